package solver

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/policy"
)

var loadOfOne = plan.Load{VMs: 1}

// maxFit bounds the table of costs: VM classes times host classes.
const maxFit = 1 << 25

func (c *compiler) addVMs() {
	c.p.VMs = make([]model.VM, len(c.items))
	for n := range c.items {
		it := &c.items[n]
		m := &c.p.VMs[n]
		first := &c.s.vms[it.vms[0]]
		*m = model.VM{Group: model.None, Apart: model.None, Initial: model.HostIx(first.host), Fixed: it.fixed, Demand: make([]int64, len(c.p.Resources))}
		priority := policy.Priority(0)
		for _, i := range it.vms {
			v := &c.s.vms[i]
			l := c.prices.Of(v.snap)
			m.Demand[cpuResource] += int64(l.CPU)
			m.Demand[memoryResource] += l.MiB
			if len(m.Demand) > shareResource {
				m.Demand[shareResource] += l.Shares
			}
			priority = max(priority, v.need.Priority)
			for _, q := range v.nics {
				if !c.loose {
					m.NICs = append(m.NICs, model.NICNeed{Class: int8(q.Class), Queues: clamp32(int64(q.Queues)), Rate: int64(q.Rate)})
				}
			}
		}
		m.Priority = int32(priority)
		if it.fixed {
			m.Class = c.fixedClass(it)
			continue
		}
		m.Class = c.vmClass(n)
		if !c.live {
			m.Move = c.movePrices(it)
		}
		for _, i := range it.vms {
			if it.bare {
				break
			}
			for j := range c.s.vms[i].disks {
				d, own := c.disk(&c.s.vms[i], j)
				m.Disks = append(m.Disks, d)
				if own {
					c.tolerated = append(c.tolerated, tolerance{n, j})
				}
			}
		}
	}
}

// fix makes a VM that was compiled as free one that stays.
func (c *compiler) fix(n int) {
	v, it := &c.p.VMs[n], &c.items[n]
	if v.Fixed {
		return
	}
	it.fixed = true
	v.Fixed, v.Move, v.Class = true, [4]model.Points{}, c.fixedClass(it)
	for j := range v.Disks {
		d := &v.Disks[j]
		pool := &c.p.Pools[d.Initial]
		for k, x := range d.Demand {
			pool.Base[k] += x
		}
	}
	v.Disks = nil
}

// fixedClass is the class of VMs that stay where they are at a cost that nobody can change.
func (c *compiler) fixedClass(it *item) int32 {
	var cost points
	for _, i := range it.vms {
		v := &c.s.vms[i]
		cost += c.s.softCost(v, v.host, v.disks)
	}
	return c.class(fmt.Sprintf("fixed %d", cost), func(hostIx) model.Points { return c.scaled(int64(cost)) })
}

// vmClass numbers the kinds of VMs: all that fixedRefusal and TierCost look at. A loose problem lets a VM stay where its
// need is broken.
func (c *compiler) vmClass(n int) int32 {
	it := &c.items[n]
	u := c.s.single(it.vms[0])
	own := int32(none)
	switch {
	case c.loose:
		if h := c.s.vms[it.vms[0]].host; c.s.fixedRefusal(u, h) != "" {
			own = c.p.Hosts[h].Class
			c.tolerated = append(c.tolerated, tolerance{n, -1})
		}
	case !c.live:
		u = &c.s.units[it.unit]
	}
	if own == none {
		return c.strictClass(u)
	}
	return c.class(fmt.Sprintf("%s %d", c.vmKey(u), own), func(h hostIx) model.Points {
		if c.p.Hosts[h].Class == own {
			return c.tierCost(u, h)
		}
		return c.fitCost(u, h)
	})
}

// strictClass is the class of VMs that break no need.
func (c *compiler) strictClass(u *unit) int32 {
	return c.class(fmt.Sprintf("%s %d", c.vmKey(u), none), func(h hostIx) model.Points { return c.fitCost(u, h) })
}

// vmKey tells units apart by what fitCost looks at.
func (c *compiler) vmKey(u *unit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "vm %d %d", u.server, u.security)
	for _, i := range u.vms {
		v := &c.s.vms[i]
		fmt.Fprintf(&b, " %q %d %d %d %q %q %q", v.snap.Source, v.snap.CPU, v.need.Server, v.need.NICClass, v.need.Hypervisors, v.snap.Guest,
			v.snap.CPUBaseline)
		for _, n := range v.snap.VNICs {
			fmt.Fprintf(&b, " %q", n.Network)
		}
	}
	return b.String()
}

// fitCost is what u costs on h by itself, or Forbidden.
func (c *compiler) fitCost(u *unit, h hostIx) model.Points {
	if c.s.fixedRefusal(u, h) != "" {
		return model.Forbidden
	}
	return c.tierCost(u, h)
}

func (c *compiler) tierCost(u *unit, h hostIx) model.Points {
	var cost int64
	for _, i := range u.vms {
		v := &c.s.vms[i]
		cost += plan.TierCost(c.s.p.Weights, c.s.hosts[h].facts.Tier, v.need.Server, v.snap.CPU)
	}
	return c.scaled(cost)
}

// class finds a row of Fit by its key, or makes it, a cost for one host of each class.
func (c *compiler) class(key string, cost func(hostIx) model.Points) int32 {
	if n, ok := c.classes[key]; ok {
		return n
	}
	n := int32(len(c.p.Fit)) // at most maxFit
	c.classes[key] = n
	if (len(c.p.Fit)+1)*len(c.reps) > maxFit {
		c.err = fmt.Errorf("more than %d kinds of VMs on %d kinds of hosts", len(c.p.Fit), len(c.reps))
		c.p.Fit = append(c.p.Fit, nil)
		return n
	}
	row := make([]model.Points, len(c.reps))
	for i, h := range c.reps {
		row[i] = cost(h)
	}
	c.p.Fit = append(c.p.Fit, row)
	return n
}

// movePrices are the prices of the changes that the driver can make of all VMs of it, live where that is possible.
func (c *compiler) movePrices(it *item) [4]model.Points {
	var out [4]model.Points
	for change := 1; change < len(out); change++ {
		for _, i := range it.vms {
			v := &c.s.vms[i]
			host, storage := change&model.HostChange != 0, change&model.DiskChange != 0 && len(v.disks) > 0
			if !host && !storage {
				continue
			}
			movedHost, movedDisks := c.paidFor(v)
			host, storage = host || movedHost, storage || movedDisks
			mode := c.s.modeOf(v, host, storage)
			if mode == "" || host && !c.loose && c.anchored(it) {
				out[change] = model.Forbidden
				break
			}
			price := c.movePrice(v, mode, host)
			if movedHost || movedDisks {
				price = max(price-c.movePrice(v, c.s.modeOf(v, movedHost, movedDisks), movedHost), 0)
			}
			out[change] += c.scaled(price)
		}
	}
	if c.loose {
		inSteps(&out)
	}
	return out
}

// movePrice is what a move of v costs, what it copies apart.
func (c *compiler) movePrice(v *vmState, mode fleet.Mode, host bool) int64 {
	w := c.s.p.Weights
	return plan.MoveCost(w, 0, mode == fleet.Offline && v.snap.Power == fleet.Running) + plan.LinkCost(w, v.snap, mode, host)
}

// inSteps prices each change at what two of the others come to, where that is possible and cheaper: a plan may move a VM
// twice.
func inSteps(move *[4]model.Points) {
	for range 2 {
		for a := 1; a < len(move); a++ {
			for b := 1; b < len(move); b++ {
				if o := a ^ b; o != 0 && move[b] != model.Forbidden && move[o] != model.Forbidden &&
					(move[a] == model.Forbidden || move[b]+move[o] < move[a]) {
					move[a] = move[b] + move[o]
				}
			}
		}
	}
}

// anchored says whether held VMs of its group keep it on its host.
func (c *compiler) anchored(it *item) bool {
	return it.unit != none && c.s.units[it.unit].anchor != none
}

// modeOf is how v can make a change: live where that is possible; "" when it cannot.
func (s *state) modeOf(v *vmState, host, storage bool) fleet.Mode {
	caps := s.p.Snapshot.Source(v.snap.Source).Capabilities
	for _, m := range []fleet.Mode{fleet.Live, fleet.Offline} {
		if plan.ModeRefusal(caps, v.snap, m, host, storage) == "" {
			return m
		}
	}
	return ""
}

// settleGroups enters the VMs into their spread groups. Of those that share a failure domain now only the first is in its
// group; the others stay where they are, for the state to judge what comes near them.
func (c *compiler) settleGroups() {
	if c.loose {
		return
	}
	c.p.Groups = make([]model.Group, len(c.s.members))
	kept := map[domainKey]domainCount{}
	for n := range c.items {
		it := &c.items[n]
		for _, i := range it.vms {
			v := &c.s.vms[i]
			if v.spread == none || c.p.VMs[n].Group != model.None {
				continue
			}
			if c.s.nearKept(kept, v) {
				c.fix(n)
				continue
			}
			c.p.VMs[n].Group, c.p.VMs[n].Apart = model.GroupIx(v.spread), int8(v.kind)
			for k := range kinds {
				key := domainKey{v.spread, k, c.s.hosts[v.host].domains[k]}
				d := kept[key]
				if d.all++; v.kind == k {
					d.asking++
				}
				kept[key] = d
			}
		}
	}
	c.p.Groups = slices.Clip(c.p.Groups)
}
