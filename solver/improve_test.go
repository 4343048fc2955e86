package solver_test

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// drawPriced is a random fleet in which much has a price and moves are cheap, so that there is something to improve.
func drawPriced(t *rapid.T) *policy.Problem {
	p := drawEither(t)
	drawWeights(t, p)
	p.Weights.MoveVM = rapid.Int64Range(0, 5).Draw(t, "cheap move")
	return p
}

// TestImproveIsLegalSettlesAndPays holds plans that improve to what every plan is held to: Check accepts them, they cost
// less than they save, and solving the result again moves nothing.
func TestImproveIsLegalSettlesAndPays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPriced(t)
		without, err := solver.Solve(p, solver.Options{Effort: -1})
		if err != nil {
			t.Fatal(err)
		}
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Error(v)
		}
		a, b := pl.Summary, without.Summary
		if a.BrokenAfter > b.BrokenAfter {
			t.Errorf("%d VMs broken after, %d without improvement", a.BrokenAfter, b.BrokenAfter)
		}
		if a.BrokenBefore == 0 && a.Cost() > a.CostBefore {
			t.Errorf("nothing was wrong, and the plan costs %d where the fleet cost %d", a.Cost(), a.CostBefore)
		}
		for _, st := range mustSolve(t, after(p, pl.Steps)).Steps {
			t.Errorf("solved again: moves %s from %v to %v: %s", st.Move.VM.ID, st.Move.From, st.Move.To, st.Reason)
		}
	})
}

// TestImproveIsDeterministic solves twice, with a stop function that never says stop and without.
func TestImproveIsDeterministic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPriced(t)
		o := solver.Options{Seed: rapid.Uint64Range(0, 3).Draw(t, "seed"), Effort: rapid.IntRange(0, 2).Draw(t, "effort")}
		a, err := solver.Solve(p, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Stop = func() bool { return false }
		costs := []int64{}
		o.Progress = func(c int64) { costs = append(costs, c) }
		b, err := solver.Solve(p, o)
		if err != nil {
			t.Fatal(err)
		}
		x, y := plan.File{Plan: *a, Snapshot: *p.Snapshot}, plan.File{Plan: *b, Snapshot: *p.Snapshot}
		one, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		other, err := y.Encode()
		if err != nil || !bytes.Equal(one, other) {
			t.Errorf("%v, plans differ:\n%s\n%s", err, one, other)
		}
		if len(costs) == 0 {
			t.Error("no progress was told")
		}
		if a.Summary.BrokenBefore == 0 && !slices.IsSortedFunc(costs, func(x, y int64) int { return cmp.Compare(y, x) }) {
			t.Errorf("nothing was wrong, and the cost rose on the way: %v", costs)
		}
	})
}

// TestImproveOfPermutedInput shuffles the snapshot before it is sorted, as inventories do.
func TestImproveOfPermutedInput(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPriced(t)
		q, s := *p, *p.Snapshot
		s.Hosts, s.Pools, s.VMs = slices.Clone(s.Hosts), slices.Clone(s.Pools), slices.Clone(s.VMs)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 1))
		rnd.Shuffle(len(s.Hosts), func(i, j int) { s.Hosts[i], s.Hosts[j] = s.Hosts[j], s.Hosts[i] })
		rnd.Shuffle(len(s.Pools), func(i, j int) { s.Pools[i], s.Pools[j] = s.Pools[j], s.Pools[i] })
		rnd.Shuffle(len(s.VMs), func(i, j int) { s.VMs[i], s.VMs[j] = s.VMs[j], s.VMs[i] })
		s.Sort()
		q.Snapshot = &s
		if a, b := mustSolve(t, p), mustSolve(t, &q); a.ID != b.ID {
			t.Errorf("plans differ:\n%s\n%s", planText(a), planText(b))
		}
	})
}
