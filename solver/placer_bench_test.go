package solver_test

import (
	"fmt"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/solver"
)

// benchmarkPlacer takes VMs of a generated fleet away and places them again, one after another.
func benchmarkPlacer(b *testing.B, hosts, candidates int) {
	b.Helper()
	p := generated(b, hosts, 25*hosts, 1)
	x, err := solver.NewPlacer(p, solver.PlacerOptions{Candidates: candidates})
	if err != nil {
		b.Fatal(err)
	}
	n, placed := 0, 0
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
		got, err := x.Place(w, p.VMs[v.ID])
		if err != nil {
			b.Fatal(err)
		}
		if got.OK {
			placed++
		}
	}
	b.ReportMetric(float64(placed)/float64(n), "placed")
}

func BenchmarkPlacer100(b *testing.B)        { benchmarkPlacer(b, 100, 0) }
func BenchmarkPlacer1000(b *testing.B)       { benchmarkPlacer(b, 1_000, 0) }
func BenchmarkPlacer10000(b *testing.B)      { benchmarkPlacer(b, 10_000, 0) }
func BenchmarkPlacer10000First(b *testing.B) { benchmarkPlacer(b, 10_000, 16) }
