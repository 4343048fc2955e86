package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestBoundsHoldForOtherPlans compares the bound of a plan with what other plans for the same fleet cost: with other seeds, without the
// local search, and the one that moves nothing. Only plans that leave nothing broken are compared, as a bound is of plans that
// mend as much.
func TestBoundsHoldForOtherPlans(t *testing.T) {
	t.Parallel()
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawEither(t)
		p.Weights.Overload = rapid.Int64Range(0, 20).Draw(t, "overload")
		p.Weights.Stranded = rapid.Int64Range(0, 3).Draw(t, "stranded")
		p.Weights.HostOn = rapid.Int64Range(0, 300).Draw(t, "host on")
		var plans []*plan.Plan
		for _, o := range []solver.Options{{}, {Effort: -1}, {Effort: -1, Seed: 7}} {
			pl, err := solver.Solve(p, o)
			if err != nil {
				t.Fatal(err)
			}
			plans = append(plans, pl)
		}
		for i, a := range plans {
			for j, b := range plans {
				if a.Summary.BrokenAfter > 0 || b.Summary.BrokenAfter > 0 {
					continue
				}
				compared++
				if a.Summary.Bound > b.Summary.Cost() {
					t.Errorf("bound %d of plan %d, plan %d costs %d:\n%s", a.Summary.Bound, i, j, b.Summary.Cost(), planText(b))
				}
			}
		}
	})
	if compared < 50 {
		t.Errorf("only %d plans compared: nothing is tested", compared)
	}
}

// TestBoundCountsMemoryInBytes evacuates two VMs to a host that has just room for them in bytes, but not in whole MiB of each.
func TestBoundCountsMemoryInBytes(t *testing.T) {
	t.Parallel()
	p := emptyProblem()
	p.Weights = policy.Weights{HostOn: 100, MoveVM: 1}
	memory := 4*fleet.GiB + fleet.MiB
	for _, id := range []fleet.HostID{"host-a", "host-b", "host-c"} {
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, fleet.Host{
			ID: id, Source: "kvm", Hypervisor: fleet.KVM, CPU: fleet.CPUs(8), Memory: memory, Maintenance: id == "host-a",
		})
		p.Hosts[id] = policy.HostFacts{CPU: fleet.CPUs(8), Memory: memory}
	}
	p.Hosts["host-b"] = policy.HostFacts{CPU: fleet.CPUs(8), Memory: memory, Tier: 1}
	for _, id := range []fleet.VMID{"vm-db", "vm-web"} {
		p.Snapshot.VMs = append(p.Snapshot.VMs, fleet.VM{
			ID: id, Source: "kvm", Host: "host-a", Power: fleet.Running, CPU: fleet.CPUs(1), Memory: 2*fleet.GiB + fleet.MiB/2,
		})
		p.VMs[id] = policy.Requirement{Level: "gold", Server: 1}
	}
	p.Snapshot.Sort()
	pl := mustSolve(t, p)
	if len(pl.Steps) != 2 || pl.Summary.Cost() != 102 {
		t.Fatalf("%d steps, cost %d, expected 2 and 102:\n%s", len(pl.Steps), pl.Summary.Cost(), planText(pl))
	}
	for _, v := range plan.Check(p, pl) {
		t.Error(v)
	}
}
