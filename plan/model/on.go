package model

import (
	"cmp"
	"math"
	"slices"
)

// onPart is a lower bound of On over all hosts.
type onPart struct {
	cost  int64
	hosts int
	by    string
	// share is, by VM, what the bound can sink by when the VM is dropped: a VM that is counted here and may be dropped is
	// charged that much less for it elsewhere. 0 for a VM that is not counted.
	share []int64
}

// onBound bounds On by the VMs that have to be somewhere. Counted are the VMs that cannot be dropped, and those for
// which being dropped is dear even after their share is taken off: let F(V) be the bound for VMs V. For dropped
// VMs S, On is at least F(V without S), which is at least F(V) minus the shares of S. So F(V) may be added to a
// bound in which the price of dropping each counted VM is less by its share.
//
// Two bounds for each resource, of which the best is taken. By count: treat each host as big as the greatest; so many
// are needed (fewest), and the cheapest are at least that dear. A VM less lowers the count by one at most. By price:
// a host that carries use u of its capacity c costs at least On*u/c; the demand goes to the hosts of least On/c
// first, as in a fractional knapsack. A VM less lowers that by its demand times the greatest On/c at most.
func (b *bounder) onBound() onPart {
	p := b.p
	out := onPart{share: make([]int64, len(p.VMs))}
	prices := b.onPrices()
	if len(prices) == 0 || prices[len(prices)-1] == 0 {
		return out
	}
	steep := b.steepest()
	in := make([]bool, len(p.VMs))
	for i := range p.VMs {
		v, o := &p.VMs[i], b.of[i]
		if o.drop == never {
			in[i] = true
			continue
		}
		share := prices[len(prices)-1]
		for r, d := range v.Demand {
			if x := math.Ceil(float64(d)*steep[r]*(1+1e-9)) + 1; x > float64(share) {
				if x > float64(MaxSum/int64(len(p.VMs)+1)) {
					share = never
					break
				}
				share = int64(x)
			}
		}
		if place := plus(min(o.stay, o.move), b.priced(v)); share != never && place != never && o.drop-share >= place {
			in[i], out.share[i] = true, share
		}
	}
	for r := range p.Resources {
		sizes := make([]int64, 0, len(p.VMs))
		for i := range p.VMs {
			if d := p.VMs[i].Demand[r]; in[i] && d > 0 {
				sizes = append(sizes, d)
			}
		}
		n, cost := b.onCount(r, sizes, prices)
		if dear := b.onPrice(r, sizes); dear > cost {
			cost = dear
		}
		if cost > out.cost {
			out.cost, out.hosts, out.by = cost, n, p.Resources[r].Name
		}
	}
	if out.cost == 0 {
		clear(out.share)
	}
	return out
}

// usable says whether a VM may be on host h at all.
func (b *bounder) usable() []bool {
	out := make([]bool, len(b.p.Hosts))
	for h := range b.p.Hosts {
		out[h] = b.p.Hosts[h].Open
	}
	for i := range b.p.VMs {
		if h := b.p.VMs[i].Initial; h != None {
			out[h] = true
		}
	}
	return out
}

// onPrices are the prices of the usable hosts, sorted.
func (b *bounder) onPrices() []int64 {
	var out []int64
	for h, ok := range b.usable() {
		if ok {
			out = append(out, b.p.Hosts[h].On)
		}
	}
	slices.Sort(out)
	return out
}

// steepest is the greatest On per unit of each resource.
func (b *bounder) steepest() []float64 {
	out := make([]float64, len(b.p.Resources))
	for h, ok := range b.usable() {
		for r, c := range b.p.Hosts[h].Capacity {
			if ok && c > 0 {
				out[r] = max(out[r], float64(b.p.Hosts[h].On)/float64(c))
			}
		}
	}
	return out
}

func (b *bounder) onCount(r int, sizes, prices []int64) (int, int64) {
	room := int64(0)
	for h, ok := range b.usable() {
		if ok {
			room = max(room, b.p.Hosts[h].Capacity[r])
		}
	}
	if room == 0 {
		return 0, 0
	}
	n := min(fewest(sizes, room), len(prices))
	cost := int64(0)
	for _, x := range prices[:n] {
		cost += x
	}
	return n, cost
}

// onPrice is the fractional knapsack, in floats rounded down.
func (b *bounder) onPrice(r int, sizes []int64) int64 {
	need := int64(0)
	for _, s := range sizes {
		need += s
	}
	type host struct{ room, on int64 }
	var hosts []host
	for h, ok := range b.usable() {
		if x := &b.p.Hosts[h]; ok && x.Capacity[r] > 0 {
			hosts = append(hosts, host{x.Capacity[r], x.On})
		}
	}
	slices.SortFunc(hosts, func(x, y host) int {
		return cmp.Compare(float64(x.on)/float64(x.room), float64(y.on)/float64(y.room))
	})
	cost := float64(0)
	for _, h := range hosts {
		if need <= h.room {
			cost += float64(h.on) * float64(need) / float64(h.room)
			break
		}
		need -= h.room
		cost += float64(h.on)
	}
	// Costs are whole numbers: what is above one comes to the next.
	return int64(math.Ceil(max(0, cost*(1-1e-9)-1e-6)))
}

// fewest is the bound L2 of Martello and Toth (1990) on the bins of size room that hold the sizes, all positive: for
// each threshold a <= room/2, sizes above room-a and sizes above room/2 need a bin each; sizes from a to room/2
// fit only into the latter's rest. Sizes above room count as room. O(n log n). Dropping a size lowers it by one at most.
func fewest(sizes []int64, room int64) int {
	s := slices.Clone(sizes)
	for i := range s {
		s[i] = min(s[i], room)
	}
	slices.SortFunc(s, func(x, y int64) int { return cmp.Compare(y, x) })
	sums := make([]int64, len(s)+1)
	for i, x := range s {
		sums[i+1] = sums[i] + x
	}
	big := firstAtMost(s, room/2) // s[:big] is above room/2
	best := max(big, int(ceilDiv(sums[len(s)], room)))
	for i := big; i < len(s); i++ {
		if i+1 < len(s) && s[i+1] == s[i] {
			continue // the last of equals takes them all in
		}
		a := s[i]
		huge := firstAtMost(s[:big], room-a) // s[:huge] is above room-a
		rest := int64(big-huge)*room - (sums[big] - sums[huge])
		n := big + int(ceilDiv(sums[i+1]-sums[big]-rest, room))
		best = max(best, n)
	}
	return best
}

// firstAtMost is the first index of the falling s whose size is at most x.
func firstAtMost(s []int64, x int64) int {
	i, _ := slices.BinarySearchFunc(s, x, func(e, x int64) int {
		if e > x {
			return -1
		}
		return 1
	})
	return i
}
