package search_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
	"github.com/berth-project/berth/solver/search"
	"pgregory.net/rapid"
)

// TestSearchAgainstReferee holds the search to the model on random problems: the cost that it keeps by deltas is what the
// referee counts, nothing is broken that was not, and no answer is dearer than the start.
func TestSearchAgainstReferee(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, from := problem(t)
		start, err := model.Evaluate(p, from)
		if err != nil {
			t.Fatal(err)
		}
		before := len(model.Verify(p, from))
		x, err := search.New(p, from, rapid.Uint64().Draw(t, "seed"))
		if err != nil {
			t.Fatal(err)
		}
		last := model.Points(0)
		for round := range 3 {
			x.Run(30_000, nil)
			best := x.Best()
			cost, err := model.Evaluate(p, best)
			if err != nil || cost.Total() != x.BestCost() {
				t.Fatalf("round %d: the search says %d, the referee %d: %+v (%v)", round, x.BestCost(), cost.Total(), cost, err)
			}
			bad := model.Verify(p, best)
			if len(bad) > before || before == 0 && len(bad) > 0 {
				t.Fatalf("round %d: %d violations, %d before: %+v", round, len(bad), before, bad)
			}
			if round > 0 && x.BestCost() > last {
				t.Fatalf("round %d: the best went from %d to %d", round, last, x.BestCost())
			}
			last = x.BestCost()
		}
		if placed(best(x)) == placed(from) && last > start.Total() {
			t.Fatalf("%d, the start %d", last, start.Total())
		}
	})
}

func best(x *search.Search) *model.Assignment { return x.Best() }

func placed(a *model.Assignment) int {
	n := 0
	for _, h := range a.Host {
		if h != model.None {
			n++
		}
	}
	return n
}

// problem draws a problem of the referee's generator and a start.
func problem(t *rapid.T) (*model.Problem, *model.Assignment) {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "problem"), 1))
	hosts, vms := rapid.IntRange(2, 12).Draw(t, "hosts"), rapid.IntRange(1, 60).Draw(t, "vms")
	p, from := modeltest.Random(r, modeltest.Any(r, hosts, vms))
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if from == nil || rapid.Bool().Draw(t, "fromStart") {
		from = p.Start()
	}
	return p, from
}

func TestSearchIsRepeatable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, from := problem(t)
		o := search.Options{Seed: rapid.Uint64().Draw(t, "seed"), Steps: 20_000}
		a, err := search.Improve(p, from, o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := search.Improve(p, from, o)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatal("two runs of one seed differ")
		}
	})
}

// TestRestart goes on from another assignment and forgets nothing better.
func TestRestart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, from := problem(t)
		x, err := search.New(p, from, 1)
		if err != nil {
			t.Fatal(err)
		}
		x.Run(20_000, nil)
		had := x.BestCost()
		if err := x.Restart(from); err != nil {
			t.Fatal(err)
		}
		x.Run(20_000, nil)
		cost, err := model.Evaluate(p, x.Best())
		if err != nil || cost.Total() != x.BestCost() || x.BestCost() > had {
			t.Fatalf("%d after a restart, %d before, the referee says %d (%v)", x.BestCost(), had, cost.Total(), err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	p := &model.Problem{
		Hosts: []model.Host{{Domain: []int32{0}, Open: true}}, Fit: [][]model.Points{{0}},
		VMs: []model.VM{{Group: model.None, Apart: model.None, Initial: 0}},
	}
	for name, a := range map[string]*model.Assignment{
		"too short": {}, "no such host": {Host: []model.HostIx{1}, Pool: make([][]model.PoolIx, 1)},
	} {
		if _, err := search.New(p, a, 1); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestMeet lets a search go on from what another has found: its best is never dearer than that.
func TestMeet(t *testing.T) {
	t.Parallel()
	met := 0
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, from := modeltest.Random(r, modeltest.Any(r, 4, 8))
		if from == nil {
			from = p.Start()
		}
		had, err := search.Improve(p, from, search.Options{Seed: 2, Steps: 20_000})
		if err != nil {
			t.Fatal(err)
		}
		x, err := search.New(p, from, 1)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		x.Meet(func(*search.Search) *model.Assignment {
			if asked++; asked == 1 {
				return had
			}
			return nil
		})
		x.Run(500_000, func() bool { return asked > 1 })
		cost, err := model.Evaluate(p, x.Best())
		if err != nil || cost.Total() != x.BestCost() {
			t.Fatalf("seed %d: %d, the referee says %d (%v)", seed, x.BestCost(), cost.Total(), err)
		}
		other, err := model.Evaluate(p, had)
		if err != nil || asked > 0 && placed(x.Best()) <= placed(had) && x.BestCost() > other.Total() {
			t.Errorf("seed %d: %d after meeting %d (%v)", seed, x.BestCost(), other.Total(), err)
		}
		met += min(asked, 1)
	}
	if met < 4 {
		t.Errorf("%d of 8 searches were asked", met)
	}
}

// TestLongRuns holds runs of many steps for each VM, whose first cooling is another, to the referee and to short ones.
func TestLongRuns(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		p, from := modeltest.Random(r, modeltest.Any(r, 3, 6))
		if from == nil {
			from = p.Start()
		}
		before := len(model.Verify(p, from))
		var costs [2]model.Points
		var on [2]int
		for i, steps := range []int64{20_000, 3_200_000} {
			x, err := search.New(p, from, seed)
			if err != nil {
				t.Fatal(err)
			}
			x.Run(steps, nil)
			cost, err := model.Evaluate(p, x.Best())
			if err != nil || cost.Total() != x.BestCost() || len(model.Verify(p, x.Best())) > before {
				t.Fatalf("seed %d, %d steps: %d, the referee says %d (%v)", seed, steps, x.BestCost(), cost.Total(), err)
			}
			costs[i], on[i] = x.BestCost(), placed(x.Best())
		}
		if on[1] < on[0] || on[1] == on[0] && costs[1] > costs[0] {
			t.Errorf("seed %d: %d with %d VMs placed in a long run, %d with %d in a short one", seed, costs[1], on[1], costs[0], on[0])
		}
	}
}
