package model

import (
	"errors"
	"fmt"
)

// Evaluate says what a costs. The problem must have been validated: then nothing overflows. It judges no hard
// constraint, and what is forbidden costs nothing: ask Verify. An error is an assignment that is none of this problem,
// by its lengths or indices. O(VMs + hosts) times resources.
func Evaluate(p *Problem, a *Assignment) (Cost, error) {
	if err := p.shape(a); err != nil {
		return Cost{}, fmt.Errorf("evaluate assignment: %w", err)
	}
	t := p.tally(a)
	var c Cost
	t.hosts(&c)
	moved := make([]int32, len(p.Groups))
	var most int32
	for i := range p.VMs {
		if p.vmCost(&p.VMs[i], a.Host[i], a.Pool[i], &c) && p.VMs[i].Group != None {
			g := p.VMs[i].Group
			moved[g]++
			most = max(most, moved[g])
		}
	}
	c.GroupMove = p.GroupMove * int64(most)
	return c, nil
}

// vmCost adds the terms of one VM and says whether it moved.
func (p *Problem) vmCost(v *VM, h HostIx, pools []PoolIx, c *Cost) bool {
	change := 0
	for j := range v.Disks {
		d, at := &v.Disks[j], pools[j]
		if at == None {
			continue
		}
		c.PoolFit += price(p.PoolFit[d.Class][p.Pools[at].Class]) * d.Weight
		if d.Initial != None && d.Initial != at && h != None {
			c.Copy += d.Copy
			change = DiskChange
		}
	}
	if h == None {
		c.Drop += v.Drop
		return false
	}
	c.Fit += price(p.Fit[v.Class][p.Hosts[h].Class])
	if v.Initial == None {
		return false
	}
	moved := v.Initial != h
	if moved {
		change |= HostChange
		c.Hop += p.hop(v.Initial, h)
	}
	c.Move += price(v.Move[change])
	return moved
}

// hop is the price of the way between two hosts.
func (p *Problem) hop(from, to HostIx) Points {
	if p.Hop == nil {
		return 0
	}
	return int64(p.Hop[p.Hosts[from].Place][p.Hosts[to].Place]) * p.HopWeight
}

// price is a table's entry, where what is forbidden counts nothing.
func price(x Points) Points {
	if x == Forbidden {
		return 0
	}
	return x
}

// tally is what an assignment uses, counted.
type tally struct {
	p *Problem
	// use and leaving are by host and resource, poolUse and poolHeld by pool and pool resource. Leaving is of VMs that
	// go to another host; poolHeld of disks that go to another pool.
	use, leaving      []int64
	poolUse, poolHeld []int64
	// stuck is the part of poolHeld that never comes back: of sticky disks.
	stuck []int64
	vms   []int32 // by host
}

func (p *Problem) tally(a *Assignment) *tally {
	r, q := len(p.Resources), len(p.PoolResources)
	t := &tally{
		p: p, use: make([]int64, len(p.Hosts)*r), leaving: make([]int64, len(p.Hosts)*r),
		poolUse: make([]int64, len(p.Pools)*q), poolHeld: make([]int64, len(p.Pools)*q), stuck: make([]int64, len(p.Pools)*q),
		vms: make([]int32, len(p.Hosts)),
	}
	for i := range p.VMs {
		v, h := &p.VMs[i], a.Host[i]
		if h != None {
			t.vms[h]++
			add(t.use[int(h)*r:], v.Demand)
			if v.Initial != None && v.Initial != h {
				add(t.leaving[int(v.Initial)*r:], v.Demand)
			}
		}
		for j := range v.Disks {
			d, at := &v.Disks[j], a.Pool[i][j]
			if at != None {
				add(t.poolUse[int(at)*q:], d.Demand)
			}
			if d.Initial != None && d.Initial != at {
				add(t.poolHeld[int(d.Initial)*q:], d.Demand)
				if d.Sticky {
					add(t.stuck[int(d.Initial)*q:], d.Demand)
				}
			}
		}
	}
	return t
}

func add(sum, x []int64) {
	for i, v := range x {
		sum[i] += v
	}
}

// hosts adds the terms of the hosts.
func (t *tally) hosts(c *Cost) {
	p, r := t.p, len(t.p.Resources)
	for h := range p.Hosts {
		host := &p.Hosts[h]
		use := t.use[h*r : (h+1)*r]
		for k := range p.Resources {
			if over := use[k] - host.Soft[k]; over > 0 {
				c.Load += over * p.Resources[k].Load
			}
		}
		for b := range p.Balances {
			w := &p.Balances[b]
			freeA, freeB := host.Capacity[w.A]-use[w.A], host.Capacity[w.B]-use[w.B]
			if short := w.Target*freeA - freeB; short > 0 {
				c.Balance += short * w.Weight
			}
		}
		if t.vms[h] > 0 {
			c.On += host.On
		}
	}
}

// shape says what is wrong with a's lengths and indices.
func (p *Problem) shape(a *Assignment) error {
	switch {
	case a == nil:
		return errors.New("no assignment")
	case len(a.Host) != len(p.VMs):
		return fmt.Errorf("%d hosts for %d VMs", len(a.Host), len(p.VMs))
	case len(a.Pool) != len(p.VMs):
		return fmt.Errorf("pools for %d of %d VMs", len(a.Pool), len(p.VMs))
	}
	for i := range p.VMs {
		if h := a.Host[i]; h < None || int(h) >= len(p.Hosts) {
			return fmt.Errorf("vms[%d]: host %d of %d", i, h, len(p.Hosts))
		}
		if len(a.Pool[i]) != len(p.VMs[i].Disks) {
			return fmt.Errorf("vms[%d]: %d pools for %d disks", i, len(a.Pool[i]), len(p.VMs[i].Disks))
		}
		for j, at := range a.Pool[i] {
			if at < None || int(at) >= len(p.Pools) {
				return fmt.Errorf("vms[%d].disks[%d]: pool %d of %d", i, j, at, len(p.Pools))
			}
		}
	}
	return nil
}
