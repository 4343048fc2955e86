package balance

import (
	"math"
	"testing"

	"github.com/berth-project/berth/bench/internal/ganeti"
)

// deviation is the least weighted standard deviation of the counts that so many moves of one can reach, by trying all.
func deviation(counts []int, moves int, weight float64) float64 {
	mean, square := 0.0, 0.0
	for _, k := range counts {
		mean += float64(k) / float64(len(counts))
	}
	for _, k := range counts {
		square += (float64(k) - mean) * (float64(k) - mean)
	}
	best := weight * math.Sqrt(square/float64(len(counts)))
	if moves == 0 {
		return best
	}
	for a := range counts {
		for b := range counts {
			if a == b || counts[a] == 0 {
				continue
			}
			counts[a]--
			counts[b]++
			best = min(best, deviation(counts, moves-1, weight))
			counts[a]++
			counts[b]--
		}
	}
	return best
}

// TestFewest: with fewer moves than Fewest says no answer is under its floor, and with as many there is one.
func TestFewest(t *testing.T) {
	for _, x := range []struct {
		name   string
		counts []int
	}{
		{"even", []int{2, 2, 2}}, {"one over", []int{3, 2, 1}}, {"three over", []int{5, 2, 1, 0}}, {"no whole mean", []int{4, 1, 0}}, {"many under", []int{3, 3, 0, 0}},
	} {
		c := &ganeti.Cluster{Nodes: make([]ganeti.Node, len(x.counts))}
		for node, k := range x.counts {
			for range k {
				c.Instances = append(c.Instances, ganeti.Instance{Primary: node, Secondary: -1})
			}
		}
		moves, floor := Fewest(c)
		const tiny = 1e-9
		if moves > 0 && deviation(x.counts, moves-1, 4) < floor-tiny {
			t.Errorf("%s: %d moves reach less than %f", x.name, moves-1, floor)
		}
		if moves > 0 && deviation(x.counts, moves, 4) > floor-tiny {
			t.Errorf("%s: %d moves do not reach less than %f", x.name, moves, floor)
		}
		if moves == 0 && (floor != 0 || deviation(x.counts, 2, 4) < deviation(x.counts, 0, 4)-tiny) {
			t.Errorf("%s: no move, though there is a better answer, floor %f", x.name, floor)
		}
	}
}
