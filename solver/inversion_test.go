package solver_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// TestNoOneTakesThePlaceOfAHigherPriority takes back each VM's moves in turn: with it where it was before,
// nothing of higher priority that the plan could not place may find a place.
func TestNoOneTakesThePlaceOfAHigherPriority(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		for id, need := range p.VMs { // groups move as one and are told of in their own tests
			need.AffinityGroup = ""
			p.VMs[id] = need
		}
		pl := mustSolve(t, p)
		for _, st := range pl.Steps {
			w := st.Move.VM.ID
			for _, u := range pl.Unplaced {
				if u.VM == w || p.VMs[u.VM].Priority <= p.VMs[w].Priority || !strings.Contains(u.Reason, "needs") {
					continue // what is wrong with its neighbours is mended after what is wrong with it
				}
				rest := without(pl.Steps, w)
				if len(plan.CheckSteps(p, rest)) == 0 && anyPlace(after(p, rest), u.VM) != nil {
					t.Errorf("%s (priority %d) takes the place of %s (priority %d): %s", w, p.VMs[w].Priority, u.VM, p.VMs[u.VM].Priority, st.Reason)
				}
			}
		}
	})
}

// without is steps, all but those of the VM id.
func without(steps []plan.Step, id fleet.VMID) []plan.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(st plan.Step) bool { return st.Move.VM.ID == id })
}
