package executor_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/inventory"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestSolvedPlan takes the whole way on generated fleets: inventory, policy, solver, check, and a run that is
// killed again and again. At its end every VM is where the plan wants it.
func TestSolvedPlan(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			s := sim.Generate(sim.Options{Hosts: 12, VMs: 60, Seed: seed})
			for i := range s.VMs { // all labels are readable, so that there is much to move
				for j := range s.VMs[i].Disks {
					s.VMs[i].Disks[j].Format = "vmdk"
				}
			}
			f := sim.New(s)
			seen := survey(t, f)
			p := solve(t, seen)
			if len(p.Steps) < 5 {
				t.Fatalf("%d steps: nothing to test", len(p.Steps))
			}
			l, runs := &log{}, 0
			for {
				runs++
				f.ClearFaults()
				f.Inject(sim.Fault{At: f.Operations() + 13 + 7*runs, Action: sim.Crash, After: runs%2 == 0})
				_, died, err := run(deps(f, l), p)
				if err != nil {
					t.Fatalf("run %d: %v", runs, err)
				}
				if !died {
					break
				}
				l = &log{records: l.records}
			}
			f.ClearFaults()
			checkFleet(t, f, p)
			checkPlaces(t, survey(t, f), p, seen)
			t.Logf("%d steps in %d runs, %d operations", len(p.Steps), runs, f.Operations())
		})
	}
}

func survey(t *testing.T, f *sim.Fleet) *fleet.Snapshot {
	t.Helper()
	text, err := f.TrustText()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := label.ParseTrust("trust.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	var sources []inventory.Source
	for _, src := range f.Sources() {
		sources = append(sources, src)
	}
	s, err := inventory.Take(context.Background(), sources, inventory.Options{Trust: trust, Now: sim.Generate(sim.Options{}).Taken})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func solve(t *testing.T, s *fleet.Snapshot) *plan.Plan {
	t.Helper()
	problem, err := policy.Resolve(policy.Default(), s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := solver.Solve(problem, solver.Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if v := plan.Check(problem, p); len(v) > 0 {
		t.Fatalf("plan: %v", v)
	}
	return p
}

// checkPlaces holds an inventory after the run against the one before it and the plan.
func checkPlaces(t *testing.T, after *fleet.Snapshot, p *plan.Plan, before *fleet.Snapshot) {
	t.Helper()
	want := map[fleet.VMID]fleet.Placement{}
	for _, v := range before.VMs {
		want[v.ID] = v.Place()
	}
	for _, s := range p.Steps {
		want[s.Move.VM.ID] = s.Move.To
	}
	if len(after.VMs) != len(before.VMs) {
		t.Errorf("%d VMs, expected %d", len(after.VMs), len(before.VMs))
	}
	for i, v := range after.VMs {
		was := before.VMs[i]
		if !v.Place().Equal(want[v.ID]) || v.Power != was.Power {
			t.Errorf("vm %s: at %+v, %s, expected %+v, %s", v.ID, v.Place(), v.Power, want[v.ID], was.Power)
		}
		for j, d := range v.Disks {
			if d.Label.Trust != was.Disks[j].Label.Trust || d.Label.Serial != was.Disks[j].Label.Serial {
				t.Errorf("vm %s disk %s: label %+v, expected %+v", v.ID, d.ID, d.Label, was.Disks[j].Label)
			}
		}
	}
}
