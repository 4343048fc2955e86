package fleet_test

import (
	"testing"

	"github.com/berth-project/berth/driver/sim"
)

// BenchmarkValidate is one pass over a fleet of 1,000 hosts and 25,000 VMs.
func BenchmarkValidate(b *testing.B) {
	s := sim.Generate(sim.Options{Hosts: 1000, VMs: 25000, Seed: 1})
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}
