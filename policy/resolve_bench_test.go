package policy_test

import (
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/policy"
)

func BenchmarkResolve10000x250000(b *testing.B) {
	s := sim.Generate(sim.Options{Hosts: 10_000, VMs: 250_000, Seed: 1})
	c := policy.Default()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Resolve(c, s); err != nil {
			b.Fatal(err)
		}
	}
}
