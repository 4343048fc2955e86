package search_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/search"
	"pgregory.net/rapid"
)

// TestDearMoves holds the costs kept by deltas to the referee's while moves cost more than their price, and after.
func TestDearMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, from := problem(t)
		cost, to, wrong, err := search.CostsOfDear(p, from, rapid.Uint64().Draw(t, "seed"), 200, rapid.IntRange(1, 1000).Draw(t, "most"))
		if err != nil {
			t.Fatal(err)
		}
		if wrong > 0 {
			t.Fatalf("at %d of 8 looks the cost is not the referee's with dear moves", wrong)
		}
		c, err := model.Evaluate(p, to)
		if err != nil || c.Total() != cost {
			t.Fatalf("the search says %d, the referee %d (%v)", cost, c.Total(), err)
		}
	})
}

// TestDearMovesFindFewer is a fleet in which nothing was loaded above Soft until 30 of 300 VMs went elsewhere, and a move costs
// next to nothing beside load: 30 moves would mend it. A search without dear moves makes
// 142 to 251 of them.
func TestDearMovesFindFewer(t *testing.T) {
	t.Parallel()
	p := disturbed(30, 10, 30)
	for seed := range uint64(6) {
		x, err := search.New(p, nil, seed)
		if err != nil {
			t.Fatal(err)
		}
		x.Run(30_000*int64(len(p.VMs)), nil)
		c, err := model.Evaluate(p, x.Best())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: %d moves", seed, c.Move)
		if c.Load != 0 || c.Move > 70 {
			t.Errorf("seed %d: load %d, %d moves; want no load, at most 70 moves", seed, c.Load, c.Move)
		}
	}
}

// disturbed has each VMs on each of so many hosts, which they load exactly to Soft, a hundredth apart, in two resources; then
// moved of them go to any host.
func disturbed(hosts, each, moved int) *model.Problem {
	r := rand.New(rand.NewPCG(7, 7))
	p := &model.Problem{Resources: []model.Resource{{Load: 1000}, {Load: 1000}}, Fit: [][]model.Points{{0}}}
	for h := range hosts {
		host := model.Host{Capacity: make([]int64, 2), Soft: make([]int64, 2), Open: true}
		for range each {
			v := model.VM{Initial: model.HostIx(h), Group: model.None, Apart: model.None}
			v.Move[model.HostChange] = 1
			for q := range 2 {
				d := 10 + r.Int64N(90)
				v.Demand = append(v.Demand, d)
				host.Soft[q] += d
			}
			p.VMs = append(p.VMs, v)
		}
		for q := range 2 {
			host.Soft[q] += host.Soft[q] / 100
			host.Capacity[q] = 2 * host.Soft[q]
		}
		p.Hosts = append(p.Hosts, host)
	}
	for _, v := range r.Perm(len(p.VMs))[:moved] {
		p.VMs[v].Initial = model.HostIx(r.IntN(hosts))
	}
	return p
}
