package solver_test

import (
	"testing"

	"pgregory.net/rapid"

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
