package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan"
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
