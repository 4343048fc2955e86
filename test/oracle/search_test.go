package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/plan/model/modeltest"
	"github.com/berth-project/berth/solver/search"
)

// dear is what leaving out a VM costs in these problems, more than all else in them together. The search never leaves out a
// VM that it has room for, whatever that would save; so the optimum must not either, or the two would answer different
// questions. The gap is of the rest of the cost.
const dear = 100_000

// The bar, in percent above the proven optimum, after searchSteps steps of one search: no problem above gapEach, and
// the mean not above gapMean. A problem whose optimum is not proven in the time is shown and not counted.
const (
	searchSteps = 400_000
	gapEach     = 4.0 // measured: 3.6, 0.22
	gapMean     = 0.4
)

// mix is one line of the table: a shape and the seed of its problem.
type mix struct {
	name  string
	shape modeltest.Shape
}

func mixes() []mix {
	out := []mix{
		{"load", modeltest.Shape{Hosts: 8, VMs: 60, Load: true}},
		{"balance", modeltest.Shape{Hosts: 5, VMs: 30, Balance: true, Load: true}},
		{"hosts in use", modeltest.Shape{Hosts: 8, VMs: 24, On: true, Slack: 60}},
		{"moves", modeltest.Shape{Hosts: 8, VMs: 50, Load: true, Moves: true, Transient: true}},
		{"groups", modeltest.Shape{Hosts: 8, VMs: 40, Load: true, Groups: true, Moves: true}},
		{"fit", modeltest.Shape{Hosts: 20, VMs: 200, Fit: true, Groups: true}},
		{"fit and moves, large", modeltest.Shape{Hosts: 20, VMs: 200, Fit: true, Moves: true}},
		{"disks", modeltest.Shape{Hosts: 6, VMs: 20, Pools: 4, Fit: true, Disks: true, Moves: true}},
		{"nics", modeltest.Shape{Hosts: 5, VMs: 20, Fit: true, NICs: true, Load: true}},
		{"all", modeltest.Shape{
			Hosts: 5, VMs: 16, Pools: 3, Load: true, Balance: true, On: true, Moves: true, Groups: true, Fit: true, Disks: true,
			NICs: true, Transient: true,
		}},
	}
	for i := range out {
		if out[i].shape.Slack == 0 {
			out[i].shape.Slack = 25
		}
		out[i].shape.New = 15
	}
	return out
}

// TestSearchAgainstOptimum prints how far the search ends from the proven optimum, and fails above the bar, or below
// the optimum: then one of the two is wrong.
func TestSearchAgainstOptimum(t *testing.T) {
	t.Parallel()
	have := installed()
	if len(have) == 0 {
		t.Skip("neither cbc nor glpsol is installed (test/oracle/deps): no optimum to compare with")
	}
	var rows []row
	sum, proven := 0.0, 0
	for n, m := range mixes() {
		for k := range 2 {
			seed := uint64(100*n + k)
			p, _ := modeltest.Random(rand.New(rand.NewPCG(seed, 4)), m.shape)
			for i := range p.VMs {
				if v := &p.VMs[i]; v.Drop > 0 {
					v.Drop = dear
				}
			}
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			r := compare(t, fmt.Sprintf("%s, seed %d", m.name, seed), p, have[0])
			rows = append(rows, r)
			if !r.proven {
				continue
			}
			proven++
			sum += r.gap()
			if r.found+r.left < r.optimum+r.mustLeave {
				t.Errorf("%s: the search found %d, below the proven optimum %d", r.name, r.found, r.optimum)
			}
			if r.left != r.mustLeave {
				t.Errorf("%s: the search leaves out VMs for %d points, the optimum for %d", r.name, r.left, r.mustLeave)
			}
			if r.gap() > gapEach {
				t.Errorf("%s: %.3f %% above the optimum, the bar is %.1f %%", r.name, r.gap(), gapEach)
			}
		}
	}
	t.Logf("%s, %d steps of one search; the mean gap of %d proven problems is %.3f %%\n%s",
		have[0].name, searchSteps, proven, sum/float64(max(1, proven)), table(rows))
	if proven < len(rows)/2 {
		t.Errorf("%d of %d problems were solved: too few to compare with", proven, len(rows))
	}
	if sum/float64(max(1, proven)) > gapMean {
		t.Errorf("the mean gap is above %.2f %%", gapMean)
	}
}

// compare runs both on p.
func compare(t *testing.T, what string, p *model.Problem, s solver) row {
	t.Helper()
	best, err := search.Improve(p, nil, search.Options{Seed: 1, Steps: searchSteps})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if bad := model.Verify(p, best); len(bad) > 0 {
		t.Errorf("%s: the search's assignment breaks %+v", what, bad)
	}
	c, err := model.Evaluate(p, best)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	again, err := search.New(p, best, 1)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if again.BestCost() != c.Total() {
		t.Errorf("%s: the search says that its answer costs %d, Evaluate %+v", what, again.BestCost(), c)
	}
	start, err := model.Evaluate(p, p.Start())
	if err != nil {
		t.Fatal(err)
	}
	a := s.solve(t, p, 4)
	r := row{name: what, hosts: len(p.Hosts), vms: len(p.VMs), start: start.Total() - start.Drop, found: c.Total() - c.Drop, left: c.Drop, proven: a.proven}
	r.bound, _ = model.Bound(p)
	if a.proven {
		judge(t, what, p, a)
		o, _ := model.Evaluate(p, a.assignment)
		r.optimum, r.mustLeave = o.Total()-o.Drop, o.Drop
		r.bound -= o.Drop
	}
	return r
}

// row is a line of the table.
type row struct {
	name            string
	hosts, vms      int
	start           model.Points
	optimum, found  model.Points // but for VMs that are left out:
	mustLeave, left model.Points // these
	bound           model.Points
	proven          bool
}

func (r row) gap() float64 {
	return 100 * float64(r.found-r.optimum) / max(1, float64(r.optimum))
}

func table(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-28s %6s %5s %8s %8s %8s %8s %8s\n", "problem", "hosts", "VMs", "start", "bound", "optimum", "search", "gap %")
	for _, r := range rows {
		optimum, gap := "unproven", "-"
		if r.proven {
			optimum, gap = fmt.Sprint(r.optimum), fmt.Sprintf("%.3f", r.gap())
		}
		fmt.Fprintf(&b, "%-28s %6d %5d %8d %8d %8s %8d %8s\n", r.name, r.hosts, r.vms, r.start, r.bound, optimum, r.found, gap)
	}
	return b.String()
}
