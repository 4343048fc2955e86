package solver_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestTheCrowdedMayBeGivenWay: whoever stands on an over-full host, or in a spread conflict, and is right by itself displaces as one without a
// place does, and only where that is needed, allowed and of use.
func TestTheCrowdedMayBeGivenWay(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name  string
		spoil func(p *policy.Problem)
		want  map[fleet.VMID]fleet.VMID // who gives way to whom
	}{
		{name: "an over-full host: one goes where another gives way", want: map[fleet.VMID]fleet.VMID{"vm-log": "vm-db"}},
		{name: "the other is of the same priority", spoil: func(p *policy.Problem) { change(p, "vm-log", func(r *policy.Requirement) { r.Priority = 900 }) }},
		{name: "the other's level does not give way", spoil: func(p *policy.Problem) { change(p, "vm-log", func(r *policy.Requirement) { r.GiveWay = false }) }},
		{name: "the place below is not secure", spoil: func(p *policy.Problem) {
			change(p, "vm-log", func(r *policy.Requirement) { r.Security = 1 })
			for _, id := range []fleet.HostID{"host-gold", "host-full"} {
				f := p.Hosts[id]
				f.Security = 1
				p.Hosts[id] = f
			}
		}},
		{name: "nobody elsewhere: one beside it goes below", spoil: func(p *policy.Problem) {
			change(p, "vm-log", func(r *policy.Requirement) { r.GiveWay = false })
			change(p, "vm-web", func(r *policy.Requirement) { r.Priority, r.GiveWay = 500, true })
		}, want: map[fleet.VMID]fleet.VMID{"vm-web": "vm-db"}},
		{name: "a spread conflict, and one beside it goes below", spoil: func(p *policy.Problem) {
			f := p.Hosts["host-full"]
			f.CPU = fleet.CPUs(8)
			p.Hosts["host-full"] = f
			change(p, "vm-log", func(r *policy.Requirement) { r.GiveWay = false })
			change(p, "vm-web", func(r *policy.Requirement) { r.Priority, r.GiveWay = 500, true })
			for _, id := range []fleet.VMID{"vm-db", "vm-web"} {
				change(p, id, func(r *policy.Requirement) { r.SpreadGroup, r.SpreadDomain = "db", policy.DomainHost })
			}
		}, want: map[fleet.VMID]fleet.VMID{"vm-web": "vm-db"}},
		{name: "a spread conflict, and another gives way elsewhere", spoil: func(p *policy.Problem) {
			f := p.Hosts["host-full"]
			f.CPU = fleet.CPUs(8)
			p.Hosts["host-full"] = f
			for _, id := range []fleet.VMID{"vm-db", "vm-web"} {
				change(p, id, func(r *policy.Requirement) { r.SpreadGroup, r.SpreadDomain = "db", policy.DomainHost })
			}
		}, want: map[fleet.VMID]fleet.VMID{"vm-log": "vm-db"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			p := crowd()
			if k.spoil != nil {
				k.spoil(p)
			}
			pl := mustSolve(t, p)
			for _, v := range plan.Check(p, pl) {
				t.Error(v)
			}
			got := map[fleet.VMID]fleet.VMID{}
			for _, st := range pl.Steps {
				if st.GivesWayTo != "" {
					got[st.Move.VM.ID] = st.GivesWayTo
				}
			}
			if len(got) != len(k.want) {
				t.Errorf("gave way: %v, expected %v, in\n%s", got, k.want, planText(pl))
			}
			for id, to := range k.want {
				if w := got[id]; p.VMs[w].Priority != p.VMs[to].Priority {
					t.Errorf("%s gave way to %q, expected %s, in\n%s", id, w, to, planText(pl))
				}
				if end := after(p, pl.Steps); crowded(end, to) || brokenVM(end, to, p.VMs[to]) {
					t.Errorf("%s is not right at the end of\n%s", to, planText(pl))
				}
			}
			if again := mustSolve(t, after(p, pl.Steps)); len(again.Steps) > 0 {
				t.Errorf("solved again:\n%s", planText(again))
			}
		})
	}
}

// crowd is a fleet with two hosts of gold, both full, one with more than it has: vm-db and vm-web, of the highest priority, on host-full, vm-log,
// which gives way, on host-gold. There is room on host-low, which is bronze.
func crowd() *policy.Problem {
	p := emptyProblem()
	for id, tier := range map[fleet.HostID]policy.Rank{"host-full": 2, "host-gold": 2, "host-low": 0} {
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, fleet.Host{ID: id, Source: "kvm", Hypervisor: fleet.KVM})
		p.Hosts[id] = policy.HostFacts{Tier: tier, CPU: fleet.CPUs(4), Memory: 64 * fleet.GiB}
	}
	for id, on := range map[fleet.VMID]fleet.HostID{"vm-db": "host-full", "vm-web": "host-full", "vm-log": "host-gold"} {
		p.Snapshot.VMs = append(p.Snapshot.VMs, fleet.VM{ID: id, Source: "kvm", Host: on, Ref: "r", CPU: fleet.CPUs(4), Memory: fleet.GiB, Power: fleet.Running})
		p.VMs[id] = policy.Requirement{Level: "l", Priority: 900, Server: 2}
	}
	change(p, "vm-log", func(r *policy.Requirement) { r.Priority, r.GiveWay = 100, true })
	p.Snapshot.Sort()
	return p
}

func change(p *policy.Problem, id fleet.VMID, how func(r *policy.Requirement)) {
	r := p.VMs[id]
	how(&r)
	p.VMs[id] = r
}

// TestFewCrowdedAreMissed is TestFewDisplacementsAreMissed for those whom the plan lists for their neighbours alone.
func TestFewCrowdedAreMissed(t *testing.T) {
	t.Parallel()
	const fleets, oneIn = 400, 50
	asked, tried, missed := missedCrowded(t, fleets)
	t.Logf("%d VMs in a crowd, %d displacements tried, %d would have helped", asked, tried, missed)
	if tried == 0 || missed*oneIn > asked {
		t.Errorf("%d of %d VMs would have had a place by a single displacement; %d were tried", missed, asked, tried)
	}
}

func missedCrowded(t *testing.T, fleets int) (asked, tried, missed int) {
	t.Helper()
	draw := rapid.Custom(drawGiving)
	for seed := range fleets {
		p := draw.Example(seed)
		for id, need := range p.VMs { // groups move as one
			need.AffinityGroup = ""
			p.VMs[id] = need
		}
		pl := mustSolve(t, p)
		if len(pl.Unordered) > 0 {
			continue
		}
		end := after(p, pl.Steps)
		for _, u := range pl.Unplaced {
			need := end.VMs[u.VM]
			if brokenVM(byItself(end, u.VM), u.VM, need) || plan.HoldReason(end, end.Snapshot.VM(u.VM)) != "" {
				continue
			}
			asked++
			for _, d := range end.Snapshot.VMs {
				low := end.VMs[d.ID]
				if !low.GiveWay || low.Priority >= need.Priority || plan.HoldReason(end, &d) != "" {
					continue
				}
				for _, st := range lowPlaces(end, &d) {
					tried++
					then := after(end, []plan.Step{*st})
					to := anyPlace(then, u.VM)
					if right := !crowded(then, u.VM) && !brokenVM(then, u.VM, need); right || to != nil && !crowded(after(then, []plan.Step{*to}), u.VM) {
						missed++
						t.Logf("fleet %d: %s could be right were %s on %v, after\n%s", seed, u.VM, d.ID, st.Move.To, planText(pl))
						break
					}
				}
			}
		}
	}
	return asked, tried, missed
}

// TestTheCrowdedAreGivenWay counts on fixed fleets that the crowded are given way at all.
func TestTheCrowdedAreGivenWay(t *testing.T) {
	t.Parallel()
	draw := rapid.Custom(drawGiving)
	n := 0
	for seed := range 400 {
		p := draw.Example(seed)
		pl := mustSolve(t, p)
		if slices.ContainsFunc(pl.Steps, func(st plan.Step) bool {
			return st.GivesWayTo != "" && !brokenVM(byItself(p, st.GivesWayTo), st.GivesWayTo, p.VMs[st.GivesWayTo])
		}) {
			n++
		}
		for _, v := range plan.Check(p, pl) {
			t.Errorf("fleet %d: %s", seed, v)
		}
	}
	t.Logf("in %d of 400 fleets", n)
	if n == 0 {
		t.Error("nobody is given way for a crowd: nothing is tested")
	}
}
