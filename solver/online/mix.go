package online

import (
	"math"

	"github.com/berth-project/berth/plan/model"
)

// Size is a size of VM that comes again and again: its forms, as Place takes them, and how often it came.
type Size struct {
	Forms [][]int64 // demand by resource
	Count int64
}

// Mix rates a host by what the fleet could still take of each size after the placement: it keeps room for what usually
// comes, the more so the less of it there is left. How much a place for the k-th VM of a size is worth falls with k.
type Mix struct {
	sizes []Size
	worth [][]int64 // by size: of having room for so many
	reach int       // how many VMs of a size are counted at most
	free  []int64
}

// mixReach bounds how many VMs of one size are counted on the whole fleet.
const mixReach = 64

// mixUnit is what the first place of the most frequent size is worth.
const mixUnit = 1 << 30

// NewMix makes a rater of the sizes seen so far. Half is how many places of a size halve what one more is worth.
func NewMix(sizes []Size, half, power float64) *Mix {
	m := &Mix{sizes: sizes, reach: mixReach}
	most := int64(1)
	for _, s := range sizes {
		most = max(most, s.Count)
	}
	for _, s := range sizes {
		row := make([]int64, m.reach+1)
		for k := 1; k <= m.reach; k++ {
			w := math.Pow(float64(s.Count)/float64(most), power) * math.Pow(0.5, float64(k-1)/half)
			row[k] = row[k-1] + int64(w*mixUnit)
		}
		m.worth = append(m.worth, row)
	}
	return m
}

// Rate implements Rater.
func (m *Mix) Rate(x *Placer, h model.HostIx, vm *model.VM) int64 {
	sum := int64(0)
	for s := range m.sizes {
		n := int64(0)
		for g := range x.hosts {
			if !x.p.Hosts[g].Open {
				continue
			}
			m.free = append(m.free[:0], x.p.Hosts[g].Capacity...)
			for r := range m.free {
				m.free[r] -= x.hosts[g].use[r]
				if model.HostIx(g) == h {
					m.free[r] -= vm.Demand[r]
				}
			}
			n += m.holds(s)
			if n >= int64(m.reach) {
				n = int64(m.reach)
				break
			}
		}
		sum += m.worth[s][n]
	}
	return -sum
}

// holds counts how many VMs of a size go into m.free, form after form.
func (m *Mix) holds(s int) int64 {
	total := int64(0)
	for _, d := range m.sizes[s].Forms {
		n := int64(m.reach)
		for r, a := range d {
			if a > 0 {
				n = min(n, m.free[r]/a)
			}
		}
		if n <= 0 {
			continue
		}
		for r, a := range d {
			m.free[r] -= n * a
		}
		total += n
	}
	return total
}
