package search_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/search"
)

const movePrice = 150

// standbys is a fleet of instances, each with its standby on another host, that was even until some left their hosts for the first three,
// first and standby often changing places on the way.
func standbys(seed uint64) *model.Problem {
	const hosts, each, gone = 10, 12, 30
	r := rand.New(rand.NewPCG(seed, 5))
	p := &model.Problem{Resources: []model.Resource{{Name: "firsts", Load: 600}, {Name: "copies", Load: 200}, {Name: "memory", Load: 1}}}
	for h := range hosts {
		p.Hosts = append(p.Hosts, model.Host{Capacity: []int64{each * 2, each * 4, each * 400}, Soft: []int64{each, each * 2, each * 45}, Domain: []int32{int32(h)}, Open: true})
	}
	for i := range hosts * each {
		at := [2]int{i % hosts, (i%hosts + 1 + i/hosts%(hosts-1)) % hosts}
		if i < gone {
			other := r.IntN(2)
			for other == at[0] || other == at[1] {
				other++
			}
			if at[0] = other; r.IntN(2) == 0 {
				at[0], at[1] = at[1], at[0]
			}
		}
		for k, h := range at {
			v := model.VM{Demand: []int64{int64(1 - k), 1, int64(1-k) * (30 + int64(i*7%31))}, Group: model.GroupIx(i), Apart: 0, Initial: model.HostIx(h)}
			v.Move[model.HostChange] = movePrice
			p.VMs = append(p.VMs, v)
		}
		p.Groups = append(p.Groups, model.Group{})
	}
	p.Fit = [][]model.Points{{0}}
	return p
}

// TestPairs: the search spreads pairs by few moves in few steps, and counts as the referee does. By moves and exchanges alone the six fleets
// came to 20,832 in as many steps.
func TestPairs(t *testing.T) {
	t.Parallel()
	all := model.Points(0)
	for seed := range uint64(6) {
		p := standbys(seed)
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		x, err := search.New(p, nil, seed)
		if err != nil {
			t.Fatal(err)
		}
		x.Run(60_000, nil)
		best := x.Best()
		cost, err := model.Evaluate(p, best)
		if err != nil || cost.Total() != x.BestCost() {
			t.Fatalf("seed %d: the search says %d, the referee %d (%v)", seed, x.BestCost(), cost.Total(), err)
		}
		if bad := model.Verify(p, best); len(bad) > 0 {
			t.Fatalf("seed %d: %+v", seed, bad)
		}
		all += cost.Total()
	}
	if all > 19_800 {
		t.Errorf("the fleets cost %d", all)
	}
	t.Logf("the fleets cost %d", all)
}
