package solver_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// extremes are amounts at the ends of what a driver or a file can say, and around the bounds that the code sets.
var extremes = []int64{
	0, 1, 1000, 1 << 30, 1<<30 + 1, 1 << 40, 1<<40 + 1, 1 << 46, math.MaxInt64 / 8, math.MaxInt64 / 4, math.MaxInt64/4 + 1, 1 << 62,
	math.MaxInt64 - 1, math.MaxInt64,
}

func drawExtreme[T ~int64 | ~int](t *rapid.T, what string, old *T) {
	if rapid.IntRange(0, 25).Draw(t, what+"?") == 0 {
		*old = T(rapid.SampledFrom(extremes).Draw(t, what))
	}
}

// drawExtremes changes what a snapshot says.
func drawExtremes(t *rapid.T, s *fleet.Snapshot) {
	for i := range s.Hosts {
		h := &s.Hosts[i]
		drawExtreme(t, "host cpu", &h.CPU)
		drawExtreme(t, "host memory", &h.Memory)
		for j := range h.NICs {
			drawExtreme(t, "queues", &h.NICs[j].Queues)
			drawExtreme(t, "speed", &h.NICs[j].Speed)
			drawExtreme(t, "guarantee", &h.NICs[j].Guarantee)
		}
	}
	for i := range s.Pools {
		p := &s.Pools[i]
		drawExtreme(t, "capacity", &p.Capacity)
		drawExtreme(t, "free", &p.Free)
		p.Free = min(p.Free, p.Capacity)
		drawExtreme(t, "pool iops", &p.IOPS)
		drawExtreme(t, "throughput", &p.Throughput)
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		drawExtreme(t, "vm cpu", &v.CPU)
		drawExtreme(t, "vm memory", &v.Memory)
		for j := range v.Disks {
			drawExtreme(t, "disk size", &v.Disks[j].Size)
			drawExtreme(t, "disk used", &v.Disks[j].Used)
		}
		for j := range v.VNICs {
			drawExtreme(t, "vnic guarantee", &v.VNICs[j].Guarantee)
		}
	}
}

func drawExtremeWeights(t *rapid.T, w *policy.Weights) {
	for _, n := range []*int64{
		&w.TierWaste, &w.PoolWaste, &w.MoveVM, &w.MoveGiB, &w.Downtime, &w.MoveLink, &w.MoveModule, &w.Overload, &w.HeadroomPercent, &w.Stranded, &w.HostOn,
	} {
		drawExtreme(t, "weight", n)
	}
}

// solveExtreme expects a clear error or a legal plan of p, with costs that nobody could take for wrapped ones.
func solveExtreme(t *rapid.T, p *policy.Problem) (solved bool) {
	pl, err := solver.Solve(p, solver.Options{})
	if err != nil {
		if out := plan.Check(p, &plan.Plan{}); len(out) == 0 {
			t.Errorf("refused: %v", err)
		}
		return false
	}
	for _, v := range plan.Check(p, pl) {
		t.Errorf("%s, in %s", v, planText(pl))
	}
	s := pl.Summary
	for _, n := range []int64{int64(s.Bytes), s.CostBefore, s.CostAfter, s.CostOfMoves, s.Cost(), s.Bound} {
		if n < 0 {
			t.Errorf("a sum wrapped: %+v", s)
		}
	}
	return true
}

// TestExtremeFleets goes from a snapshot through policy and solver to the check.
func TestExtremeFleets(t *testing.T) {
	t.Parallel()
	solved, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := drawEither(t).Snapshot
		drawExtremes(t, s)
		p, err := policy.Resolve(policy.Default(), s)
		if err != nil {
			t.Fatalf("a snapshot is never at fault for the policy: %v", err)
		}
		if err := s.Validate(); err != nil {
			if _, err := solver.Solve(p, solver.Options{}); err == nil {
				t.Error("solved a snapshot that is not valid")
			}
			refused++
			return
		}
		if solveExtreme(t, p) {
			solved++
		} else {
			refused++
		}
	})
	if solved == 0 || refused == 0 {
		t.Errorf("%d solved, %d refused: nothing is tested", solved, refused)
	}
}

// TestExtremeProblems sets needs, facts and prices as no policy file can, but a caller of the packages.
func TestExtremeProblems(t *testing.T) {
	t.Parallel()
	solved := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawEither(t)
		drawExtremeWeights(t, &p.Weights)
		for _, v := range p.Snapshot.VMs {
			need := p.VMs[v.ID]
			drawExtreme(t, "queues needed", &need.Queues)
			drawExtreme(t, "rate needed", &need.Rate)
			for j := range need.Disks {
				drawExtreme(t, "iops needed", &need.Disks[j].IOPS)
				drawExtreme(t, "throughput needed", &need.Disks[j].Throughput)
			}
			p.VMs[v.ID] = need
		}
		for _, h := range p.Snapshot.Hosts {
			f := p.Hosts[h.ID]
			drawExtreme(t, "facts cpu", &f.CPU)
			drawExtreme(t, "facts memory", &f.Memory)
			p.Hosts[h.ID] = f
		}
		for _, q := range p.Snapshot.Pools {
			f := p.Pools[q.ID]
			drawExtreme(t, "facts reserve", &f.Reserve)
			p.Pools[q.ID] = f
		}
		if solveExtreme(t, p) {
			solved++
		}
	})
	if solved == 0 {
		t.Error("none was solved: nothing is tested")
	}
}

// TestDearestPrices: the dearest prices that a policy file can name, on hosts far above their mark, still add up.
func TestDearestPrices(t *testing.T) {
	t.Parallel()
	p := parseFleet(t, `
		pool nas tier=nvme
		host host-a cpu=512 mem=4096 pools=nas
		host host-b cpu=512 mem=64 pools=nas
		vm vm-a host=host-a cpu=300 mem=8
		vm vm-b host=host-a cpu=200 mem=8`)
	p.Weights = policy.Weights{MoveVM: 1, Overload: 999_983, HeadroomPercent: 90, Stranded: 999_979, HostOn: 1_000_000}
	pl := mustSolve(t, p)
	for _, v := range plan.Check(p, pl) {
		t.Error(v)
	}
	const over = (500_000 - 51_200) * 999_983 / 1000 // 500 threads, of which 51.2 are below the mark
	if s := pl.Summary; s.Before.Overload != over+1 || s.CostAfter >= s.CostBefore {
		t.Errorf("%+v", s)
	}
}
