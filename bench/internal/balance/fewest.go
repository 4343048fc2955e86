package balance

import (
	"math"

	"github.com/berth-project/berth/bench/internal/ganeti"
)

// Fewest says how many moves any answer makes that spreads the instances (with second nodes: their copies) as evenly as whole
// numbers allow, and the score that no answer with fewer moves is below. A move, as hbal counts, takes one instance from a node, or one
// copy; the score has the standard deviation of these counts in it, and all its parts are positive.
func Fewest(c *ganeti.Cluster) (moves int, floor float64) {
	counts, all := make([]int, len(c.Nodes)), 0
	weight := 4.0 // processor, memory, disk and network load are all the number of instances here
	for i := range c.Instances {
		x := &c.Instances[i]
		counts[x.Primary]++
		all++
		if x.Secondary >= 0 {
			counts[x.Secondary]++
			all++
			weight = 1 // the disk load; the others count what runs
		}
	}
	n := len(counts)
	low := all / n
	high := low
	if all%n > 0 {
		high++
	}
	over, under := 0, 0
	for _, k := range counts {
		over += max(0, k-high)
		under += max(0, low-k)
	}
	if moves = max(over, under); moves == 0 {
		return 0, 0
	}
	// The sum of squares of whole numbers with a given sum is least when they are as even as can be, and else greater by 2 at least.
	mean, most := float64(all)/float64(n), float64(all%n)
	square := most*(float64(low+1)-mean)*(float64(low+1)-mean) + (float64(n)-most)*(float64(low)-mean)*(float64(low)-mean) + 2
	return moves, weight * math.Sqrt(square/float64(n))
}
