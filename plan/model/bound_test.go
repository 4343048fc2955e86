package model_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
)

// enumerate calls f with every assignment of p, which it changes in place; false when there are more than limit.
func enumerate(p *model.Problem, limit int, f func(*model.Assignment)) bool {
	type digit struct{ vm, disk int }
	var digits []digit
	n := 1
	for i := range p.VMs {
		digits = append(digits, digit{i, -1})
		n *= len(p.Hosts) + 1
		for j := range p.VMs[i].Disks {
			digits = append(digits, digit{i, j})
			n *= len(p.Pools) + 1
		}
		if n > limit {
			return false
		}
	}
	a := p.Start()
	var walk func(k int)
	walk = func(k int) {
		if k == len(digits) {
			f(a)
			return
		}
		d := digits[k]
		if d.disk < 0 {
			for h := range len(p.Hosts) + 1 {
				a.Host[d.vm] = model.HostIx(h - 1)
				walk(k + 1)
			}
			return
		}
		for s := range len(p.Pools) + 1 {
			a.Pool[d.vm][d.disk] = model.PoolIx(s - 1)
			walk(k + 1)
		}
	}
	walk(0)
	return true
}

// optimum is the least cost of a legal assignment, and whether there is one.
func optimum(t *testing.T, p *model.Problem) (best model.Points, found, small bool) {
	t.Helper()
	small = enumerate(p, 20_000, func(a *model.Assignment) {
		c, err := model.Evaluate(p, a)
		if err != nil {
			t.Fatal(err)
		}
		if (!found || c.Total() < best) && len(model.Verify(p, a)) == 0 {
			best, found = c.Total(), true
		}
	})
	return best, found, small
}

// TestBoundHolds compares Bound with the optimum of small problems, found by trying every assignment.
func TestBoundHolds(t *testing.T) {
	t.Parallel()
	tried, above, exact := 0, 0, 0
	for seed := range uint64(700) {
		r := rand.New(rand.NewPCG(seed, 2))
		p, _ := modeltest.Random(r, modeltest.Any(r, 4, 6))
		best, found, small := optimum(t, p)
		if !found || !small {
			continue
		}
		for _, work := range []int64{0, 200_000} {
			bound, why := model.BoundWithin(p, work)
			if bound > best {
				t.Fatalf("seed %d, work %d: bound %d (%s), but an assignment costs %d", seed, work, bound, why, best)
			}
			if work > 0 && best > 0 {
				tried++
				if bound > 0 {
					above++
				}
				if bound == best {
					exact++
				}
			}
		}
	}
	t.Logf("%d problems with a cost: bound above 0 in %d, exact in %d", tried, above, exact)
	if tried < 200 || above < tried/2 {
		t.Fatalf("bound above 0 in %d of %d problems: too weak to be tested by this", above, tried)
	}
}

// TestBoundOnUnequalHosts is rapid's search for a set of hosts and sizes where the bound of On is too high.
func TestBoundOnUnequalHosts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := &model.Problem{Resources: []model.Resource{{Name: "cpu"}, {Name: "memory"}}, Fit: [][]int64{{0}}}
		for range rapid.IntRange(1, 4).Draw(rt, "hosts") {
			c := rapid.SliceOfN(rapid.Int64Range(0, 20), 2, 2).Draw(rt, "capacity")
			p.Hosts = append(p.Hosts, model.Host{Capacity: c, Soft: c, On: rapid.Int64Range(0, 9).Draw(rt, "on"), Open: true})
		}
		for range rapid.IntRange(0, 6).Draw(rt, "VMs") {
			v := model.VM{
				Demand: rapid.SliceOfN(rapid.Int64Range(0, 12), 2, 2).Draw(rt, "demand"), Group: model.None, Apart: model.None,
				Initial: model.None, Drop: rapid.SampledFrom([]int64{0, 3, 1000}).Draw(rt, "drop"),
			}
			p.VMs = append(p.VMs, v)
		}
		if err := p.Validate(); err != nil {
			rt.Fatal(err)
		}
		best, found, small := optimum(t, p)
		if bound, why := model.Bound(p); found && small && bound > best {
			rt.Fatalf("bound %d (%s), but an assignment costs %d", bound, why, best)
		}
	})
}
