package plan_test

import (
	"slices"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// contest is site with room for one more on neither gold host: vm-db needs gold, vm-web (silver, gives way) is on gold-1, vm-log on gold-2.
func contest() *policy.Problem {
	p := site()
	for _, id := range []fleet.HostID{"gold-1", "gold-2"} {
		facts(p, id, func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) })
	}
	for _, id := range []fleet.VMID{"vm-web", "vm-log"} {
		need(p, id, func(r *policy.Requirement) {
			r.Level, r.Priority, r.Server, r.NICClass, r.GiveWay = "silver", 500, 1, 1, true
			r.Disks = []policy.DiskRequirement{{Tier: 1, Level: "silver"}}
		})
	}
	return p
}

// displacing are the steps by which vm-web gives way to vm-db.
func displacing(p *policy.Problem) []plan.Step {
	out := move(p, "vm-web", "host-a", "nas")
	out.Risks, out.GivesWayTo = []plan.Risk{plan.RiskDisplaced}, "vm-db"
	return []plan.Step{out, move(p, "vm-db", "gold-1", "nas")}
}

func TestCheckDisplaced(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		name    string
		spoil   func(p *policy.Problem)
		steps   func(p *policy.Problem, s []plan.Step) []plan.Step
		unnamed bool // vm-web is not listed as without a right place
		want    string
		own     bool // only of the whole plan
	}{
		{name: "all is well"},
		{name: "priority that is equal", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Priority = 900 })
		}},
		{name: "priority that is higher", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Priority = 901 })
		}},
		{name: "a level that does not give way", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.GiveWay = false })
		}},
		{name: "nobody comes", want: plan.ConstraintDisplaced, steps: func(_ *policy.Problem, s []plan.Step) []plan.Step { return s[:1] }},
		{name: "the other comes elsewhere", want: plan.ConstraintDisplaced, steps: func(p *policy.Problem, s []plan.Step) []plan.Step {
			facts(p, "gold-2", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(8) })
			return []plan.Step{s[0], move(p, "vm-db", "gold-2", "nas")}
		}},
		{name: "there was room for both", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(4) })
		}},
		{name: "the other was right before: a soft cost", want: plan.ConstraintDisplaced, spoil: func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Server = 0 })
		}},
		{name: "names another", want: plan.ConstraintDisplaced, own: true, steps: func(_ *policy.Problem, s []plan.Step) []plan.Step {
			s[0].GivesWayTo = "vm-log"
			return s
		}},
		{name: "names nobody", want: plan.ConstraintDisplaced, own: true, steps: func(_ *policy.Problem, s []plan.Step) []plan.Step {
			s[0].GivesWayTo = ""
			return s
		}},
		{name: "security is not negotiable", want: plan.ConstraintSecurity, spoil: func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Security = 1 })
			facts(p, "host-a", func(f *policy.HostFacts) { f.Security = 0 })
		}},
		{name: "capacity is not", want: plan.ConstraintCPU, spoil: func(p *policy.Problem) {
			facts(p, "host-a", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) })
		}},
		{name: "nor a host without a tier", want: plan.ConstraintServerTier, spoil: func(p *policy.Problem) {
			facts(p, "host-a", func(f *policy.HostFacts) { f.Tier = policy.Unranked })
		}},
		{name: "nor queues", want: plan.ConstraintNICQueues, spoil: func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Queues = 2 })
			facts(p, "host-a", func(f *policy.HostFacts) { f.NICClass = map[fleet.NICID]fleet.NICClass{"eth0": 0, "eth1": 0} })
		}},
		{name: "the NIC's class is", spoil: func(p *policy.Problem) {
			facts(p, "host-a", func(f *policy.HostFacts) { f.NICClass = map[fleet.NICID]fleet.NICClass{"eth0": 0, "eth1": 0} })
		}},
		{name: "the pool's tier is", spoil: func(p *policy.Problem) { p.Pools["nas"] = policy.PoolFacts{} }, steps: func(p *policy.Problem, s []plan.Step) []plan.Step {
			return []plan.Step{s[0], move(p, "vm-db", "gold-1", "gold-1/nvme")}
		}},
		{name: "a pool without a tier is not", want: plan.ConstraintPoolTier, spoil: func(p *policy.Problem) {
			p.Pools["nas"] = policy.PoolFacts{Tier: policy.Unranked}
		}, steps: func(p *policy.Problem, s []plan.Step) []plan.Step {
			return []plan.Step{s[0], move(p, "vm-db", "gold-1", "gold-1/nvme")}
		}},
		{name: "without the risk", want: plan.ConstraintServerTier, steps: func(_ *policy.Problem, s []plan.Step) []plan.Step {
			s[0].Risks, s[0].GivesWayTo = nil, ""
			return s
		}},
		{name: "names one without the risk", want: plan.ConstraintDisplaced, steps: func(_ *policy.Problem, s []plan.Step) []plan.Step {
			s[1].GivesWayTo = "vm-web"
			return s
		}},
		{name: "a risk that is none", want: plan.ConstraintRisk, spoil: func(p *policy.Problem) {
			facts(p, "host-a", func(f *policy.HostFacts) { f.Tier = 1 })
		}, unnamed: true},
		{name: "not told of", want: plan.ConstraintSummary, unnamed: true, own: true},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			p := contest()
			if k.spoil != nil {
				k.spoil(p)
			}
			steps := displacing(p)
			if k.steps != nil {
				steps = k.steps(p, steps)
			}
			pl := seal(t, p, steps...)
			if !k.unnamed {
				pl.Unplaced = []plan.Unplaced{{VM: "vm-web", Level: "silver", Refused: []plan.RefusedHost{}}}
				pl.Summary, _ = plan.Summarize(p, pl)
				if err := pl.Seal(); err != nil {
					t.Fatal(err)
				}
			}
			found(t, k.want, plan.Check(p, pl))
			if !k.own {
				found(t, k.want, plan.CheckSteps(p, pl.Steps))
			}
		})
	}
}

// found holds that want is among the violations, or that there are none.
func found(t *testing.T, want string, got []plan.Violation) {
	t.Helper()
	if want == "" && len(got) > 0 || want != "" && !slices.ContainsFunc(got, func(v plan.Violation) bool { return v.Constraint == want }) {
		t.Errorf("found %v, expected %q", got, want)
	}
}
