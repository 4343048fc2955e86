package whatif

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// without lists the VMs that have no place: those whose disks are lost, those that are left on a lost host, and those whose
// need is broken.
func (r *Result) without(c *changed, s *fleet.Snapshot, now, then *solved) {
	for i := range s.VMs {
		v := &s.VMs[i]
		if why, ok := c.gone[v.ID]; ok {
			need := now.problem.VMs[v.ID]
			r.Without = append(r.Without, Without{
				VM: v.ID, Level: need.Level, Priority: need.Priority, Host: v.Host, Stopped: true, Reason: why, Refused: []plan.RefusedHost{},
			})
		}
	}
	for _, u := range then.plan.Unplaced {
		v := then.problem.Snapshot.VM(u.VM)
		r.Without = append(r.Without, Without{
			VM: u.VM, Level: u.Level, Priority: then.problem.VMs[u.VM].Priority, Host: v.Host, Stopped: c.hosts[then.host(v)] != "",
			Reason: c.words(v.Host, u.Reason), Anyway: now.wrong[u.VM] && c.hosts[v.Host] == "", Refused: u.Refused, Nearest: u.Nearest,
		})
	}
	for _, h := range then.plan.Held {
		if v := then.problem.Snapshot.VM(h.VM); c.hosts[v.Host] != "" {
			need := then.problem.VMs[h.VM]
			r.Without = append(r.Without, Without{
				VM: h.VM, Level: need.Level, Priority: need.Priority, Host: v.Host, Stopped: true,
				Reason: c.words(v.Host, "host "+string(v.Host)+" is in maintenance") + ", and it is not started elsewhere: " + h.Reason, Refused: []plan.RefusedHost{},
			})
		}
	}
	slices.SortStableFunc(r.Without, func(a, b Without) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.VM, b.VM))
	})
}

// host is where v is after the plan.
func (s *solved) host(v *fleet.VM) fleet.HostID {
	if p, ok := s.at[v.ID]; ok {
		return p.Host
	}
	return v.Host
}

// compare marks what a plan for the fleet as it is would do too.
func (r *Result) compare(now, then *solved) {
	for i := range r.Moves {
		m := &r.Moves[i]
		p, ok := now.at[m.VM]
		m.Anyway = ok && p.Equal(m.To)
	}
	gone := map[fleet.VMID]bool{}
	for _, w := range r.Without {
		gone[w.VM] = true
	}
	for _, u := range now.plan.Unplaced {
		if !then.wrong[u.VM] && !gone[u.VM] {
			r.Helped = append(r.Helped, u.VM)
		}
	}
}
