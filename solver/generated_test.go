package solver_test

import (
	"slices"
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

func generated(tb testing.TB, hosts, vms int, seed uint64) *policy.Problem {
	tb.Helper()
	p, err := policy.Resolve(policy.Default(), sim.Generate(sim.Options{Hosts: hosts, VMs: vms, Seed: seed}))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestGeneratedFleets takes the way of berth sim generate and berth plan make: labels and the built-in
// policy make the needs, not the test.
func TestGeneratedFleets(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		p := generated(t, 40, 800, seed)
		pl, err := solver.Solve(p, solver.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range plan.Check(p, pl) {
			t.Errorf("seed %d: %v", seed, v)
		}
		s := pl.Summary
		t.Logf("seed %d: %+v", seed, s)
		if s.Moves == 0 || s.BrokenAfter >= s.BrokenBefore {
			t.Errorf("seed %d: %d moves, broken %d -> %d", seed, s.Moves, s.BrokenBefore, s.BrokenAfter)
		}
		again, err := solver.Solve(after(p, pl.Steps), solver.Options{})
		if err != nil || len(again.Steps) > 0 {
			t.Errorf("seed %d: solved again: %v, %d steps, first %+v", seed, err, len(again.Steps), again.Steps[:min(len(again.Steps), 1)])
		}
		if !slices.IsSortedFunc(pl.Unplaced, func(a, b plan.Unplaced) int { return slices.Compare([]byte(a.VM), []byte(b.VM)) }) {
			t.Errorf("seed %d: unplaced VMs are not in order", seed)
		}
	}
}

func BenchmarkGenerated1000(b *testing.B)  { benchmark(b, generated(b, 1_000, 25_000, 1)) }
func BenchmarkGenerated10000(b *testing.B) { benchmark(b, generated(b, 10_000, 250_000, 1)) }

func BenchmarkGeneratedFirst10000(b *testing.B) { benchmarkFirst(b, generated(b, 10_000, 250_000, 1)) }
