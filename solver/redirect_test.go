package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestRedirect sends VMs that move anyway to other targets, in random fleets in which hosts have a price: that saves points
// or changes nothing, breaks nothing, and each move is still legal at its turn.
func TestRedirect(t *testing.T) {
	t.Parallel()
	done, fewer := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r, err := solver.Redirect(drawPriced(t))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !r.Done && (r.After != r.Before || r.Moves != r.MovesNow || r.Left != r.Broken):
			t.Errorf("nothing was found, and all is not as it was: %+v", r)
		case r.Done && r.After >= r.Before:
			t.Errorf("saves nothing: %+v", r)
		case r.Left > r.Broken:
			t.Errorf("breaks something: %+v", r)
		case !r.Legal:
			t.Errorf("not legal in this order: %+v", r)
		}
		if r.Done {
			done++
			if r.MovesNow <= r.Moves {
				fewer++
			}
		}
	})
	if done == 0 {
		t.Error("no fleet was made cheaper: nothing is tested")
	}
	t.Logf("%d fleets were made cheaper, %d without a further move", done, fewer)
}

// TestRedirectKeepsTheReserve sends VMs to other targets in fixed random fleets with protected VMs: that saves points, breaks nothing, leaves
// no more failures without a place for all, and Check accepts the whole plan.
func TestRedirectKeepsTheReserve(t *testing.T) {
	t.Parallel()
	fleets := rapid.Custom(func(t *rapid.T) *policy.Problem {
		p := drawProtected(t)
		drawWeights(t, p)
		p.Weights.MoveVM = rapid.Int64Range(0, 5).Draw(t, "cheap move")
		return p
	})
	done, failures := 0, 0
	for seed := range 300 {
		p := fleets.Example(seed)
		r, err := solver.Redirect(p)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !r.Done && (r.After != r.Before || r.Moves != r.MovesNow || r.Left != r.Broken || r.LostNow > r.Lost):
			t.Errorf("seed %d: nothing was found, and all is not as it was: %+v", seed, r)
		case r.Done && r.After >= r.Before:
			t.Errorf("seed %d: saves nothing: %+v", seed, r)
		case r.Left > r.Broken || r.LostNow > r.Lost:
			t.Errorf("seed %d: breaks something: %+v", seed, r)
		}
		if !r.Done {
			continue
		}
		done++
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("seed %d: %s, in %s", seed, v, planText(pl))
		}
		failures += pl.Summary.Reserve.SurvivedAfter
	}
	t.Logf("%d fleets were made cheaper, with %d failures survived", done, failures)
	if done < 5 || failures == 0 {
		t.Error("nothing is tested")
	}
}
