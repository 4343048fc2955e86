package solver_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// benchmarkPlacer takes VMs of a generated fleet away and places them again, one after another.
func benchmarkPlacer(b *testing.B, hosts, candidates int) {
	b.Helper()
	benchmarkPlacing(b, generated(b, hosts, 25*hosts, 1), candidates)
}

func benchmarkPlacing(b *testing.B, p *policy.Problem, candidates int) {
	b.Helper()
	x, err := solver.NewPlacer(p, solver.PlacerOptions{Candidates: candidates})
	if err != nil {
		b.Fatal(err)
	}
	n, placed := 0, 0
	var took []time.Duration
	for b.Loop() {
		v := p.Snapshot.VMs[n*7919%len(p.Snapshot.VMs)]
		n++
		if n <= len(p.Snapshot.VMs) {
			if err := x.Remove(v.ID); err != nil {
				b.Fatal(err)
			}
		}
		w := v
		w.ID = fleet.VMID(fmt.Sprintf("new-%d", n))
		start := time.Now()
		got, err := x.Place(w, p.VMs[v.ID])
		took = append(took, time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
		if got.OK {
			placed++
		}
	}
	b.ReportMetric(float64(placed)/float64(n), "placed")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

func BenchmarkPlacer100(b *testing.B)        { benchmarkPlacer(b, 100, 0) }
func BenchmarkPlacer1000(b *testing.B)       { benchmarkPlacer(b, 1_000, 0) }
func BenchmarkPlacer10000(b *testing.B)      { benchmarkPlacer(b, 10_000, 0) }
func BenchmarkPlacer10000First(b *testing.B) { benchmarkPlacer(b, 10_000, 16) }

// With N+1: gold VMs are to survive the loss of a host or a chassis.
func BenchmarkPlacerReserved100(b *testing.B) { benchmarkPlacing(b, guardedFleet(b, 100, 2_500, 1), 0) }
func BenchmarkPlacerReserved1000(b *testing.B) {
	benchmarkPlacing(b, guardedFleet(b, 1_000, 25_000, 1), 0)
}
func BenchmarkPlacerReserved10000(b *testing.B) {
	benchmarkPlacing(b, guardedFleet(b, 10_000, 250_000, 1), 0)
}
