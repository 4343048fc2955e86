package plan_test

import (
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// beside is contest with vm-db on gold-1 beside vm-web, where it is right but for the host, which has promised six of its three threads.
func beside() *policy.Problem {
	p := contest()
	p.Snapshot.VM("vm-db").Host = "gold-1"
	for i := range p.Snapshot.VM("vm-db").Disks {
		p.Snapshot.VM("vm-db").Disks[i].Pool = "nas"
	}
	need(p, "vm-db", func(r *policy.Requirement) {
		for i := range r.Disks {
			r.Disks[i].Tier = 0
		}
	})
	return p
}

func TestCheckDisplacedForTheCrowded(t *testing.T) {
	t.Parallel()
	roomy := func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(16) }) }
	spread := func(p *policy.Problem) {
		for _, id := range []fleet.VMID{"vm-web", "vm-db"} {
			need(p, id, func(r *policy.Requirement) { r.SpreadGroup, r.SpreadDomain = "shop", policy.DomainHost })
		}
	}
	for _, k := range []struct {
		name  string
		spoil func(p *policy.Problem)
		want  string
	}{
		{name: "one of higher priority stays on a host that was over-full"},
		{name: "the host was not over-full", spoil: roomy, want: plan.ConstraintDisplaced},
		{name: "the one who stays has no higher priority", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Priority = 500 })
		}},
		{name: "the host is over-full still", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(1) })
		}},
		{name: "the one who stays is wrong by itself still", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			facts(p, "gold-1", func(f *policy.HostFacts) { f.Tier = 1 })
		}},
		{name: "one of higher priority stays where the two were too near", spoil: func(p *policy.Problem) { roomy(p); spread(p) }},
		{name: "too near, and no higher priority", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			roomy(p)
			spread(p)
			need(p, "vm-db", func(r *policy.Requirement) { r.Priority = 500 })
		}},
		{name: "too near, and another is too near still", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			roomy(p)
			spread(p)
			p.Snapshot.VM("vm-log").Host = "gold-1"
			need(p, "vm-log", func(r *policy.Requirement) { r.SpreadGroup, r.SpreadDomain = "shop", policy.DomainHost })
		}},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			p := beside()
			if k.spoil != nil {
				k.spoil(p)
			}
			steps := displacing(p)[:1]
			found(t, k.want, plan.CheckSteps(p, steps))
			if k.want != "" {
				return
			}
			won, err := plan.GaveWay(p, steps)
			if err != nil || won[0] != "vm-db" {
				t.Errorf("gave way to %v (%v), expected vm-db", won, err)
			}
		})
	}
}
