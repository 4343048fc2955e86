package search_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
	"github.com/berth-project/berth/solver/search"
)

// TestBrokenRulesAreCounted holds the count of broken rules that moves keep against one made anew after each.
func TestBrokenRulesAreCounted(t *testing.T) {
	t.Parallel()
	changes, problems := 0, 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		p, from := modeltest.Random(r, modeltest.Shape{Hosts: 3 + r.IntN(10), VMs: 6 + r.IntN(40), Pools: 1, Slack: 60 + r.IntN(40), Load: true, Groups: true})
		from, err := search.Improve(p, from, search.Options{Seed: seed, Steps: 20_000}) // most starts break something
		if err != nil {
			t.Fatal(err)
		}
		n, wrong, err := search.CountsOfBroken(p, from, seed, 400)
		if err != nil {
			t.Fatal(err)
		}
		if wrong > 0 {
			t.Errorf("seed %d: the count is wrong after %d of 400 moves", seed, wrong)
		}
		changes += n
		problems += min(n, 1)
	}
	t.Logf("%d moves changed what is broken, in %d problems", changes, problems)
	if changes < 1000 || problems < 20 {
		t.Errorf("%d moves changed what is broken, in %d problems, expected 1,000 in 20 at least", changes, problems)
	}
}

// TestRulesArePriced: host-a and host-b hold a pair each that needs its partner beside it, and each pair would be cheaper on the
// other host, which has no room for a third VM. Who keeps all rules at each move is shut in.
func TestRulesArePriced(t *testing.T) {
	t.Parallel()
	p, want := pairs()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	x, err := search.New(p, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	x.Run(8_000_000, nil)
	best := x.Best()
	if bad := model.Verify(p, best); len(bad) > 0 {
		t.Fatalf("%+v", bad)
	}
	if x.BestCost() != want {
		t.Errorf("%d, expected %d", x.BestCost(), want)
	}
}

// pairs is a problem of four VMs in two groups that need each other on two hosts with room for two VMs, at home where they are
// not cheapest; and what its best answer costs.
func pairs() (*model.Problem, model.Points) {
	p := &model.Problem{
		Resources: []model.Resource{{Name: "slots"}},
		Fit:       [][]model.Points{{100, 0}, {0, 100}},
		Groups:    []model.Group{{Needs: []model.GroupIx{1}}, {Needs: []model.GroupIx{0}}, {Needs: []model.GroupIx{3}}, {Needs: []model.GroupIx{2}}},
	}
	for h := range 2 {
		p.Hosts = append(p.Hosts, model.Host{
			Class: int32(h), Zone: int32(h), Domain: []int32{int32(h)}, Open: true, Capacity: []int64{2}, Soft: []int64{2},
		})
	}
	for v := range 4 {
		p.VMs = append(p.VMs, model.VM{
			Group: model.GroupIx(v), Apart: model.None, Initial: model.HostIx(v / 2), Class: int32(v / 2), Demand: []int64{1},
		})
	}
	return p, 0
}
