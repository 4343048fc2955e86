package solver_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver"
	"github.com/berth-project/berth/solver/search"
)

// TestLocalSearchOfFleets holds the local search to the referee on compiled fleets, broken ones among them: its answer breaks
// nothing, it costs what it says, and no more than the fleet as it is.
func TestLocalSearchOfFleets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, _, err := solver.Compile(drawPriced(t))
		if err != nil {
			t.Fatal(err)
		}
		start, err := model.Evaluate(p, p.Start())
		if err != nil {
			t.Fatal(err)
		}
		x, err := search.New(p, nil, rapid.Uint64().Draw(t, "seed"))
		if err != nil {
			t.Fatal(err)
		}
		x.Run(2_000, nil)
		for _, v := range model.Verify(p, x.Best()) {
			t.Errorf("breaks %+v", v)
		}
		cost, err := model.Evaluate(p, x.Best())
		if err != nil || cost.Total() != x.BestCost() || cost.Total() > start.Total() {
			t.Errorf("the search says %d, the referee %d, the start costs %d (%v)", x.BestCost(), cost.Total(), start.Total(), err)
		}
	})
}
