package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/solver"
)

// TestNobodyGivesWayForNothing solves the fleets, 13 of the first 60,000, in which somebody gave way and what came later took the reason for it away:
// whom the plan displaced came back, its room went to a lower priority, or the one for whom it left found another place. Nothing is left out of
// the plan for that, and no higher priority goes without a place that a lower one could give it.
func TestNobodyGivesWayForNothing(t *testing.T) {
	t.Parallel()
	draw := rapid.Custom(drawGiving)
	struck := 0
	for _, seed := range []int{3661, 4360, 12221, 14327, 14676, 18054, 20419, 26438, 26807, 28008, 32610, 33738, 48319} {
		p := draw.Example(seed)
		n, err := solver.Reconsidered(p)
		if err != nil {
			t.Fatal(err)
		}
		struck += n
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("fleet %d: %s", seed, v)
		}
		for _, u := range pl.Unordered {
			t.Errorf("fleet %d: %s is not brought to %s: %s", seed, u.VM, u.To.Host, u.Reason)
		}
		end := after(p, pl.Steps)
		for _, u := range pl.Unplaced {
			if p.VMs[u.VM].AffinityGroup != "" || !brokenAlone(end, u.VM) || crowded(end, u.VM) {
				continue // groups move as one
			}
			if _, way := wayFor(end, u.VM); way != "" {
				t.Errorf("fleet %d: %s, after\n%s", seed, way, planText(pl))
			}
		}
		if again := mustSolve(t, end); len(again.Steps) > 0 {
			t.Errorf("fleet %d: solved again:\n%s", seed, planText(again))
		}
	}
	if struck == 0 {
		t.Error("no displacement was taken back: nothing is tested")
	}
	t.Logf("displacements were taken back %d times", struck)
}
