package solver_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestExplainTellsTheTruth judges every host that an explanation names anew, by the words of docs/planner.md
// and by trying all choices of pools.
func TestExplainTellsTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		for id, need := range p.VMs { // groups move as one: a host is judged for all of them
			need.AffinityGroup = ""
			p.VMs[id] = need
		}
		pl := mustSolve(t, p)
		for i := range p.Snapshot.VMs {
			id := p.Snapshot.VMs[i].ID
			if plan.HoldReason(p, &p.Snapshot.VMs[i]) != "" {
				continue
			}
			e, err := solver.Explain(p, pl, id)
			if err != nil {
				t.Fatal(err)
			}
			until := len(pl.Steps)
			if n := len(e.Steps); n > 0 {
				until = e.Steps[n-1] - 1
			}
			now := after(p, pl.Steps[:until])
			for _, r := range e.Refused {
				for _, h := range r.Hosts {
					want := refusedBy(now, id, h)
					of := want == r.Constraint || want == "pools" && slices.Contains(poolConstraints, r.Constraint)
					own := h == now.Snapshot.VM(id).Host && want != "" // several things may be wrong there; one of them is named
					if !of && !own {
						t.Errorf("%s: host %s is refused by %s, expected %q", id, h, r.Constraint, want)
					}
				}
			}
			for _, o := range e.Others {
				if want := refusedBy(now, id, o.Host); want != "" {
					t.Errorf("%s: host %s is legal, expected refused by %s", id, o.Host, want)
				}
			}
		}
	})
}

var poolConstraints = []string{plan.ConstraintPoolReach, plan.ConstraintPoolTier, plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS,
	plan.ConstraintPoolThroughput, plan.ConstraintMode}

// refusedBy is the first constraint that refuses the host, "pools" for the last six of them, "" for none.
func refusedBy(p *policy.Problem, id fleet.VMID, host fleet.HostID) string {
	v, need := p.Snapshot.VM(id), p.VMs[id]
	h, facts := p.Snapshot.Host(host), p.Hosts[host]
	switch {
	case h.Source != v.Source:
		return plan.ConstraintSource
	case h.Unreachable || !p.Snapshot.Source(h.Source).Reachable:
		return plan.ConstraintUnreachable
	case h.Maintenance:
		return plan.ConstraintMaintenance
	case len(need.Hypervisors) > 0 && !slices.Contains(need.Hypervisors, h.Hypervisor):
		return plan.ConstraintHypervisor
	case v.Guest != "" && len(h.Guests) > 0 && !slices.Contains(h.Guests, v.Guest):
		return plan.ConstraintGuest
	case v.CPUBaseline != "" && len(h.CPUBaselines) > 0 && !slices.Contains(h.CPUBaselines, v.CPUBaseline):
		return plan.ConstraintCPUModel
	case facts.Tier < need.Server || facts.Tier < 0:
		return plan.ConstraintServerTier
	case facts.Security < need.Security:
		return plan.ConstraintSecurity
	}
	for _, n := range v.VNICs {
		if n.Network != "" && len(h.Networks) > 0 && !slices.Contains(h.Networks, n.Network) {
			return plan.ConstraintNetwork
		}
	}
	if need.NICClass > 0 && !slices.ContainsFunc(h.NICs, func(n fleet.NIC) bool { return n.Class >= need.NICClass }) {
		return plan.ConstraintNICClass
	}
	cpu, memory := v.CPU, v.Memory
	queues := plan.NICNeeds(v, &need)
	mine := len(queues)
	for _, o := range p.Snapshot.VMs {
		on, other := p.Snapshot.Host(o.Host), p.VMs[o.ID]
		if o.ID == id {
			continue
		}
		if g := need.SpreadGroup; g != "" && other.SpreadGroup == g {
			if shares(need, other, on, h) {
				return plan.ConstraintSpread
			}
		}
		if o.Host == host {
			cpu, memory = cpu+o.CPU, memory+o.Memory
			queues = append(queues, plan.NICNeeds(&o, &other)...)
		}
	}
	var rooms []plan.QueueRoom
	for _, n := range h.NICs {
		rooms = append(rooms, plan.QueueRoom{Class: n.Class, Free: n.Queues, Rate: n.Guarantee})
	}
	whole := tryNICs(rooms, queues)
	for i := range queues {
		queues[i].Rate = 0
	}
	queues = slices.DeleteFunc(queues, func(n plan.QueueNeed) bool { return n.Queues == 0 })
	stays := host == v.Host // and then all on the host count
	switch {
	case (stays || v.CPU > 0) && cpu > facts.CPU:
		return plan.ConstraintCPU
	case (stays || v.Memory > 0) && memory > facts.Memory:
		return plan.ConstraintMemory
	case (stays || mine > 0) && !tryNICs(rooms, queues):
		return plan.ConstraintNICQueues
	case (stays || mine > 0) && !whole:
		return plan.ConstraintNICRate
	}
	for _, disks := range choices(p, v, h, nil) {
		to := fleet.Placement{Host: host, Disks: disks}
		st := step(p, v, to)
		if !to.Equal(v.Place()) && (st == nil || len(plan.CheckSteps(p, []plan.Step{*st})) > 0) {
			continue
		}
		wrong := false
		for i, d := range disks {
			wrong = wrong || p.Pools[d.Pool].Tier < need.Disks[i].Tier
		}
		wrong = wrong || to.Equal(v.Place()) && brokenFit(p, v, h)
		if !wrong {
			return ""
		}
	}
	return "pools"
}

// tryNICs tries every NIC for every need.
func tryNICs(rooms []plan.QueueRoom, needs []plan.QueueNeed) bool {
	if len(needs) == 0 {
		return true
	}
	for i, r := range rooms {
		if r.Class >= needs[0].Class && r.Free >= needs[0].Queues && r.Rate >= needs[0].Rate {
			rest := slices.Clone(rooms)
			rest[i].Free, rest[i].Rate = r.Free-needs[0].Queues, r.Rate-needs[0].Rate
			if tryNICs(rest, needs[1:]) {
				return true
			}
		}
	}
	return false
}

// shares says whether VMs of one spread group with the two needs share a failure domain on the hosts a and b.
func shares(x, y policy.Requirement, a, b *fleet.Host) bool {
	return plan.DomainOf(x.SpreadDomain, a) == plan.DomainOf(x.SpreadDomain, b) || plan.DomainOf(y.SpreadDomain, a) == plan.DomainOf(y.SpreadDomain, b)
}
