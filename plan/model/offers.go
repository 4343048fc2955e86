package model

import "math"

// never is the cost of what is not possible.
const never = int64(math.MaxInt64)

// plus adds costs of which each may be never.
func plus(a, b int64) int64 {
	if a == never || b == never {
		return never
	}
	return a + b
}

// allowed is a table's entry as a cost.
func allowed(x Points) int64 {
	if x == Forbidden {
		return never
	}
	return x
}

// offers says what VMs pay at least for themselves (fit, pool fit, move, copy, hop, drop), other VMs and all capacities
// apart. Each is a lower bound of what the VM pays in any assignment in which it stays, goes or is dropped.
type offers struct {
	p *Problem
	// pool is the least PoolFit of a disk class over open pools.
	pool []int64
	// spots are the kinds of open hosts: one of each class and place.
	spots []spot
	// least is, by VM class and place of the initial host (last: none), the least of Fit and hop over the spots.
	least  []int64
	places int
}

type spot struct{ class, place int32 }

func newOffers(p *Problem) *offers {
	o := &offers{p: p, pool: make([]int64, len(p.PoolFit)), places: len(p.Hop)}
	open := map[int32]bool{}
	for s := range p.Pools {
		if p.Pools[s].Open {
			open[p.Pools[s].Class] = true
		}
	}
	for k, row := range p.PoolFit {
		o.pool[k] = never
		for c, x := range row {
			if open[int32(c)] { //nolint:gosec // MaxClasses
				o.pool[k] = min(o.pool[k], allowed(x))
			}
		}
	}
	seen := map[spot]bool{}
	for h := range p.Hosts {
		k := spot{class: p.Hosts[h].Class}
		if p.Hop != nil {
			k.place = p.Hosts[h].Place
		}
		if p.Hosts[h].Open && !seen[k] {
			seen[k] = true
			o.spots = append(o.spots, k)
		}
	}
	o.least = make([]int64, len(p.Fit)*(o.places+1))
	for i := range o.least {
		o.least[i] = -1
	}
	return o
}

// lowest is the least of Fit and hop for a VM that goes to any open host.
func (o *offers) lowest(class int32, from HostIx) int64 {
	place := o.places
	if from != None && o.p.Hop != nil {
		place = int(o.p.Hosts[from].Place)
	}
	memo := &o.least[int(class)*(o.places+1)+place]
	if *memo >= 0 {
		return *memo
	}
	best := never
	for _, k := range o.spots {
		c := allowed(o.p.Fit[class][k.class])
		if c != never && place < o.places {
			c += int64(o.p.Hop[place][k.place]) * o.p.HopWeight
		}
		best = min(best, c)
	}
	*memo = best
	return best
}

// disks says what the disks of v cost at least: all where they are (new ones anywhere), wherever is best, and when
// their VM is dropped.
func (o *offers) disks(v *VM) (stay, best, drop int64) {
	for j := range v.Disks {
		d := &v.Disks[j]
		x := never
		if f := o.pool[d.Class]; f != never {
			x = f*d.Weight + d.Copy
		}
		if d.Initial == None {
			if x != never {
				x -= d.Copy
			}
			stay, best = plus(stay, x), plus(best, x)
			continue
		}
		f := o.p.PoolFit[d.Class][o.p.Pools[d.Initial].Class]
		drop += price(f) * d.Weight
		here := never
		if f != Forbidden {
			here = f * d.Weight
		}
		stay = plus(stay, here)
		if d.Fixed {
			x = here
		}
		best = plus(best, min(here, x))
	}
	return stay, best, drop
}

// offer is what one VM pays at least, by what becomes of it.
type offer struct{ stay, move, drop int64 }

// of works out the offer of a VM; what is not possible is never.
func (o *offers) of(v *VM) offer {
	stay, best, drop := o.disks(v)
	x := offer{never, never, never}
	if v.mayDrop() {
		x.drop = v.Drop + drop
	}
	if v.Initial == None {
		x.move = plus(o.lowest(v.Class, None), best)
		return x
	}
	h := &o.p.Hosts[v.Initial]
	if f := o.p.Fit[v.Class][h.Class]; f != Forbidden && fits(v.Demand, h.Capacity) {
		x.stay = plus(f, min(stay, plus(allowed(v.Move[DiskChange]), best)))
	}
	if !v.Fixed {
		x.move = plus(o.lowest(v.Class, v.Initial), o.moved(v, stay, best))
	}
	return x
}

// moved is what Move and the disks cost when the host changes.
func (o *offers) moved(v *VM, stay, best int64) int64 {
	return min(plus(allowed(v.Move[HostChange]), stay), plus(allowed(v.Move[HostChange|DiskChange]), best))
}

// mayDrop says whether v may be without a host.
func (v *VM) mayDrop() bool {
	return !v.Fixed && (v.Drop > 0 || v.Initial == None)
}

func fits(demand, room []int64) bool {
	for r, d := range demand {
		if d > room[r] {
			return false
		}
	}
	return true
}
