package whatif

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// bury takes out of the fleet what is lost with hosts and pools: reach, disks, and the VMs that cannot be started without them.
// Lost hosts stay as hosts in maintenance, which is what the solver empties first of all.
func (c *changed) bury() {
	if len(c.hosts) == 0 && len(c.pools) == 0 {
		return
	}
	for i := range c.snap.Modules {
		if m := &c.snap.Modules[i]; c.hosts[m.Host] != "" {
			c.detach(m.ID) // the fabric is still there, and the module free for others
		}
	}
	c.buryPools()
	reached := c.reached()
	keep := c.snap.VMs[:0:0]
	for i := range c.snap.VMs {
		v := &c.snap.VMs[i]
		if why := c.lost(v, reached); why != "" {
			c.gone[v.ID] = why
			continue
		}
		keep = append(keep, *v)
	}
	c.snap.VMs = keep
	for i := range c.snap.Hosts {
		if h := &c.snap.Hosts[i]; c.hosts[h.ID] != "" {
			h.Maintenance, h.Unreachable = true, false // that it is lost is known now
		}
	}
	c.startable()
}

func (c *changed) buryPools() {
	if len(c.pools) == 0 {
		return
	}
	left := func(ids []fleet.PoolID) []fleet.PoolID {
		return slices.DeleteFunc(slices.Clone(ids), func(p fleet.PoolID) bool { return c.pools[p] != "" })
	}
	for i := range c.snap.Hosts {
		c.snap.Hosts[i].Pools = left(c.snap.Hosts[i].Pools)
	}
	for i := range c.snap.Modules {
		c.snap.Modules[i].Pools = left(c.snap.Modules[i].Pools)
	}
	c.snap.Pools = slices.DeleteFunc(c.snap.Pools, func(p fleet.Pool) bool { return c.pools[p.ID] != "" })
}

// reached are the pools that a host which is left reaches, or could by a module that is free.
func (c *changed) reached() map[fleet.PoolID]bool {
	out := map[fleet.PoolID]bool{}
	for i := range c.snap.Hosts {
		if h := &c.snap.Hosts[i]; c.hosts[h.ID] == "" {
			for _, p := range h.Pools {
				out[p] = true
			}
		}
	}
	for i := range c.snap.Modules {
		m := &c.snap.Modules[i]
		src := c.snap.Source(m.Source)
		if src == nil || !src.Capabilities.AttachModules || !slices.ContainsFunc(m.AttachableTo, func(h fleet.HostID) bool { return c.hosts[h] == "" }) {
			continue
		}
		for _, p := range m.Pools {
			out[p] = true
		}
	}
	return out
}

// lost says why v cannot be started anywhere, or can run on no longer; "" when its disks are there.
func (c *changed) lost(v *fleet.VM, reached map[fleet.PoolID]bool) string {
	dead := c.hosts[v.Host] != ""
	for i := range v.Disks {
		d := &v.Disks[i]
		pools := []fleet.PoolID{d.Pool}
		for _, l := range d.Chain {
			pools = append(pools, l.Pool)
		}
		for _, p := range pools {
			switch {
			case c.pools[p] != "":
				return fmt.Sprintf("disk %s is lost with %s", d.ID, c.pools[p])
			case dead && !reached[p]:
				return fmt.Sprintf("disk %s is in pool %s, which no host that is left reaches", d.ID, p)
			}
		}
	}
	return ""
}

// startable makes the VMs of lost hosts ones that the solver may start elsewhere: they do not run any more, so that nothing
// that hinders a live move counts, and their downtime is no choice of the plan.
func (c *changed) startable() {
	cold := map[fleet.SourceID]bool{}
	for i := range c.snap.VMs {
		v := &c.snap.VMs[i]
		if c.hosts[v.Host] == "" || v.Power == fleet.Suspended {
			continue
		}
		v.Blocked = nil
		switch src := c.snap.Source(v.Source); {
		case src.Capabilities.Offline:
			v.Power = fleet.Stopped
		case src.Capabilities.LiveMigration:
			v.Power = fleet.Running // the only kind of move that the source knows; it stands for the start
		default:
			v.Power = fleet.Stopped
			cold[v.Source] = true
		}
	}
	for i := range c.snap.Sources {
		if src := &c.snap.Sources[i]; cold[src.ID] {
			src.Capabilities.Offline = true // to start a VM from its disks takes no move
		}
	}
	for i := range c.snap.VMs {
		if v := &c.snap.VMs[i]; cold[v.Source] && c.hosts[v.Host] == "" && v.Pinned == "" {
			v.Pinned = "its source cannot move it"
		}
	}
}
