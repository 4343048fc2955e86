package model

import (
	"fmt"
	"math/bits"
)

// MaxSum bounds every sum that Evaluate and Verify form, and the total cost: half of int64, so that the difference of
// two of them does not overflow either, and a search may work with deltas.
const MaxSum = int64(1) << 62

// sum is a sum of products that stops at MaxSum instead of wrapping. Amounts are not negative.
type sum struct {
	v    int64
	over bool
}

func (s *sum) add(x int64) { s.mul(x, 1) }

func (s *sum) mul(x, y int64) {
	hi, lo := bits.Mul64(uint64(x), uint64(y))  //nolint:gosec // not negative, checked before
	lo, carry := bits.Add64(lo, uint64(s.v), 0) //nolint:gosec // as above
	if hi+carry != 0 || lo > uint64(MaxSum) {
		s.v, s.over = MaxSum, true
		return
	}
	s.v = int64(lo) //nolint:gosec // at most MaxSum
}

func overflow(format string, args ...any) error {
	return fmt.Errorf(format+": a sum overflows (above 2^62)", args...)
}

// amounts checks the sums of what VMs ask for and hosts and pools have. Every use that Verify forms is a part of one:
// a VM counts on one host, or on two different ones while it moves.
func (p *Problem) amounts() error {
	for r := range p.Resources {
		var d, c, s sum
		for i := range p.VMs {
			if d.add(p.VMs[i].Demand[r]); d.over {
				return overflow("vms[%d] (demand of %s)", i, p.Resources[r].Name)
			}
		}
		for h := range p.Hosts {
			c.add(p.Hosts[h].Capacity[r])
			if s.add(p.Hosts[h].Soft[r]); c.over || s.over {
				return overflow("hosts[%d] (capacity or soft of %s)", h, p.Resources[r].Name)
			}
		}
	}
	for r := range p.PoolResources {
		var d, c sum
		for s := range p.Pools {
			c.add(p.Pools[s].Capacity[r])
			if d.add(p.Pools[s].Base[r]); c.over || d.over {
				return overflow("pools[%d] (capacity or base of %s)", s, p.PoolResources[r].Name)
			}
		}
		for i := range p.VMs {
			for j := range p.VMs[i].Disks {
				if d.add(p.VMs[i].Disks[j].Demand[r]); d.over {
					return overflow("vms[%d].disks[%d] (demand of %s)", i, j, p.PoolResources[r].Name)
				}
			}
		}
	}
	return p.nicAmounts()
}

func (p *Problem) nicAmounts() error {
	var rate sum
	n := 0
	for h := range p.Hosts {
		for k := range p.Hosts[h].NICs {
			if rate.add(p.Hosts[h].NICs[k].Rate); rate.over {
				return overflow("hosts[%d].nics[%d] (rate)", h, k)
			}
		}
	}
	for i := range p.VMs {
		n += len(p.VMs[i].NICs)
		if n > MaxAllNeeds {
			return fmt.Errorf("vms[%d]: %d NIC needs so far: at most %d", i, n, MaxAllNeeds)
		}
		for k := range p.VMs[i].NICs {
			if rate.add(p.VMs[i].NICs[k].Rate); rate.over {
				return overflow("vms[%d].nics[%d] (rate)", i, k)
			}
		}
	}
	return nil
}

// costs checks that the most that any assignment can cost, summed over all terms, is within MaxSum.
func (p *Problem) costs() error {
	var total sum
	if err := p.hostCosts(&total); err != nil {
		return err
	}
	fit, poolFit := highest(p.Fit), highest(p.PoolFit)
	far := int64(0)
	for _, row := range p.Hop {
		for _, x := range row {
			far = max(far, int64(x))
		}
	}
	for i := range p.VMs {
		v := &p.VMs[i]
		total.add(fit[v.Class])
		total.add(max(0, v.Move[1], v.Move[2], v.Move[3]))
		total.mul(far, p.HopWeight)
		total.add(p.GroupMove)
		total.add(v.Drop)
		if total.over {
			return overflow("vms[%d] (cost of fit, move, hop and drop of all VMs so far)", i)
		}
		for j := range v.Disks {
			total.mul(poolFit[v.Disks[j].Class], v.Disks[j].Weight)
			if total.add(v.Disks[j].Copy); total.over {
				return overflow("vms[%d].disks[%d] (cost of pool fit and copies so far)", i, j)
			}
		}
	}
	return nil
}

// hostCosts adds the most that load, balance and on can cost.
func (p *Problem) hostCosts(total *sum) error {
	demand := make([]int64, len(p.Resources))
	for i := range p.VMs {
		add(demand, p.VMs[i].Demand)
	}
	for r := range p.Resources {
		if total.mul(p.Resources[r].Load, demand[r]); total.over {
			return overflow("resources[%d].load (times the demand of %s)", r, p.Resources[r].Name)
		}
	}
	for b, w := range p.Balances {
		// For any use: target*(capacity A - use A) - (capacity B - use B) is at most target*capacity A + use B, and at
		// least -(target*use A + capacity B).
		var most, least, one sum
		most.add(demand[w.B])
		least.mul(w.Target, demand[w.A])
		for h := range p.Hosts {
			most.mul(w.Target, p.Hosts[h].Capacity[w.A])
			least.add(p.Hosts[h].Capacity[w.B])
		}
		if most.over || least.over {
			return overflow("balances[%d].target (times %s)", b, p.Resources[w.A].Name)
		}
		one.mul(w.Weight, most.v)
		if total.add(one.v); one.over || total.over {
			return overflow("balances[%d].weight (times what can be stranded)", b)
		}
	}
	for h := range p.Hosts {
		if total.add(p.Hosts[h].On); total.over {
			return overflow("hosts[%d].on (cost of all hosts so far)", h)
		}
	}
	return nil
}

// highest is each row's greatest price.
func highest(t [][]Points) []Points {
	out := make([]Points, len(t))
	for i, row := range t {
		for _, x := range row {
			out[i] = max(out[i], x)
		}
	}
	return out
}
