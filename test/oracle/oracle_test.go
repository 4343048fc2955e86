package oracle

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
)

// enumerable says whether a problem is small enough to try every assignment.
func enumerable(p *model.Problem) bool {
	n := 1
	for i := range p.VMs {
		n *= len(p.Hosts) + 1
		for range p.VMs[i].Disks {
			n *= len(p.Pools) + 1
		}
		if n > 5000 {
			return false
		}
	}
	return true
}

// least is the least cost of a legal assignment.
func least(t *testing.T, p *model.Problem) (best model.Points, found bool) {
	t.Helper()
	a := p.Start()
	var walk func(i, j int)
	walk = func(i, j int) {
		switch {
		case i == len(p.VMs):
			c, err := model.Evaluate(p, a)
			if err != nil {
				t.Fatal(err)
			}
			if len(model.Verify(p, a)) == 0 && (!found || c.Total() < best) {
				best, found = c.Total(), true
			}
		case j == len(p.VMs[i].Disks):
			for h := range len(p.Hosts) + 1 {
				a.Host[i] = model.HostIx(h - 1)
				walk(i+1, 0)
			}
		default:
			for s := range len(p.Pools) + 1 {
				a.Pool[i][j] = model.PoolIx(s - 1)
				walk(i, j+1)
			}
		}
	}
	walk(0, 0)
	return best, found
}

// TestProgramIsTheProblem: the program's optimum is the least cost among all assignments that Verify accepts, and the
// solver's assignment is such a one. The oracle is judged here; the search is not involved.
func TestProgramIsTheProblem(t *testing.T) {
	t.Parallel()
	have := installed()
	if len(have) == 0 {
		t.Skip("neither cbc nor glpsol is installed (test/oracle/deps): no optimum to compare with")
	}
	solved, without := 0, 0
	for seed := uint64(0); solved+without < 60; seed++ {
		r := rand.New(rand.NewPCG(seed, 3))
		p, _ := modeltest.Random(r, modeltest.Any(r, 4, 6))
		if !enumerable(p) {
			continue
		}
		best, found := least(t, p)
		s := have[int(seed)%len(have)]
		a := s.solve(t, p, 10)
		switch {
		case !found:
			if without++; !a.infeasible {
				t.Fatalf("seed %d: no assignment is legal, %s found one of cost %v", seed, s.name, a.cost)
			}
			continue
		case a.infeasible || !a.proven:
			t.Fatalf("seed %d: an assignment costs %d, %s found none", seed, best, s.name)
		}
		solved++
		judge(t, fmt.Sprintf("seed %d, %s", seed, s.name), p, a)
		if c, _ := model.Evaluate(p, a.assignment); c.Total() != best {
			t.Fatalf("seed %d: %s's optimum is %d, the least of all assignments %d", seed, s.name, c.Total(), best)
		}
	}
	t.Logf("%d problems solved, %d without a solution", solved, without)
}

// judge holds a solver's assignment against the referee.
func judge(t *testing.T, what string, p *model.Problem, a answer) {
	t.Helper()
	if bad := model.Verify(p, a.assignment); len(bad) > 0 {
		t.Fatalf("%s: the solver's assignment breaks %+v", what, bad)
	}
	c, err := model.Evaluate(p, a.assignment)
	if err != nil || math.Abs(float64(c.Total())-a.cost) > 0.01+1e-6*math.Abs(a.cost) {
		t.Fatalf("%s: the solver says %v, Evaluate %d (%v)", what, a.cost, c.Total(), err)
	}
	if bound, why := model.Bound(p); bound > c.Total() {
		t.Fatalf("%s: bound %d (%s), but the optimum is %d", what, bound, why, c.Total())
	}
}
