package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// stranded lists, by kind of failure, the VMs that no reserve can help as p is.
func stranded(t *rapid.T, p *policy.Problem) map[policy.Loss]map[fleet.VMID]bool {
	list, err := plan.Survival(p)
	if err != nil {
		t.Fatal(err)
	}
	out := map[policy.Loss]map[fleet.VMID]bool{policy.LossHost: {}, policy.LossChassis: {}}
	for _, f := range list {
		for _, u := range f.Unprotected {
			out[f.Loss][u.VM] = true
		}
	}
	return out
}

// TestPlansStrandNobody: where every VM is right, and nothing has to be mended, no VM that a reserve could help ends where none can, as a
// cheaper pool of a single host would have it.
func TestPlansStrandNobody(t *testing.T) {
	t.Parallel()
	steps, left := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawProtected(t)
		for id, f := range p.Pools { // the shared pool is the dear one
			if f.Tier = 0; id == "nas" {
				f.Tier = 2
			}
			p.Pools[id] = f
		}
		p.Weights.PoolWaste = 100
		pl := mustSolve(t, p)
		if pl.Summary.BrokenBefore > 0 {
			return
		}
		before, now := stranded(t, p), stranded(t, after(p, pl.Steps))
		for loss, list := range now {
			for id := range list {
				if !before[loss][id] {
					t.Errorf("the loss of a %s takes %s with it now, in %s", loss, id, planText(pl))
				}
			}
		}
		steps += len(pl.Steps)
		left += len(pl.Unordered)
	})
	t.Logf("%d steps, %d left out", steps, left)
	if steps == 0 || left > steps/4 {
		t.Errorf("%d steps, and %d moves left out because of the places that they would take", steps, left)
	}
}
