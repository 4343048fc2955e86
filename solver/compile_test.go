package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// drawWeights prices everything now and then, in amounts that do not divide one another.
func drawWeights(t *rapid.T, p *policy.Problem) {
	w := &p.Weights
	if rapid.Bool().Draw(t, "overload") {
		w.Overload, w.HeadroomPercent = rapid.Int64Range(1, 40).Draw(t, "overload points"), rapid.Int64Range(0, 60).Draw(t, "headroom")
	}
	if rapid.Bool().Draw(t, "stranded") {
		w.Stranded = rapid.Int64Range(1, 9).Draw(t, "stranded points")
	}
	if rapid.IntRange(0, 2).Draw(t, "energy") == 0 {
		w.HostOn = rapid.Int64Range(1, 200).Draw(t, "host on")
	}
	if rapid.IntRange(0, 2).Draw(t, "links") == 0 {
		w.MoveLink = rapid.Int64Range(1, 5).Draw(t, "move link")
	}
}

// TestCompiledStartCostsWhatThePlanCounts holds the numbers of the model against those that package plan forms of the
// fleet's own types.
func TestCompiledStartCostsWhatThePlanCounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		drawWeights(t, p)
		m, ix, err := solver.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range model.Verify(m, m.Start()) {
			t.Errorf("the start is not tolerated: %+v", v)
		}
		got, err := model.Evaluate(m, m.Start())
		if err != nil {
			t.Fatal(err)
		}
		want, err := plan.Summarize(p, &plan.Plan{})
		if err != nil {
			t.Fatal(err)
		}
		up := func(n model.Points) int64 { return (n + ix.Scale - 1) / ix.Scale }
		c := want.Before
		if up(got.Fit+got.PoolFit) != c.TierWaste+c.PoolWaste || up(got.Load) != c.Overload || up(got.On) != c.Energy ||
			got.Fit%ix.Scale != 0 || got.Move+got.Copy+got.Hop+got.GroupMove+got.Drop != 0 {
			t.Errorf("model %+v in parts of 1/%d, plan %+v", got, ix.Scale, c)
		}
		if up(got.Balance) != c.Stranded && want.BrokenBefore == 0 {
			t.Errorf("model %+v in parts of 1/%d, plan %+v", got, ix.Scale, c)
		}
		if len(ix.Hosts) != len(m.Hosts) || len(ix.Pools) != len(m.Pools) || len(ix.VMs) != len(m.VMs) {
			t.Error("the index is not of the model")
		}
	})
}
