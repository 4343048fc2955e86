package sim

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
)

func TestGenerateIsValidAndSeeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			Hosts: rapid.IntRange(-1, 70).Draw(t, "hosts"), VMs: rapid.IntRange(-1, 400).Draw(t, "vms"), Seed: rapid.Uint64().Draw(t, "seed"),
			Shape: drawShape(t),
		}
		s := Generate(o)
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		if o.Hosts > 0 && (len(s.Hosts) != o.Hosts || len(s.VMs) != max(o.VMs, 0)) {
			t.Fatalf("%d hosts and %d VMs, expected %d and %d", len(s.Hosts), len(s.VMs), o.Hosts, o.VMs)
		}
		a, b := encode(t, s), encode(t, Generate(o))
		if !bytes.Equal(a, b) {
			t.Fatal("the same options gave two snapshots")
		}
		back, err := fleet.DecodeSnapshot("generated", a)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, encode(t, back)) {
			t.Fatal("the snapshot changes when it is written and read")
		}
	})
}

func encode(t interface{ Fatal(...any) }, s *fleet.Snapshot) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func BenchmarkGenerate10000x250000(b *testing.B) {
	for b.Loop() {
		Generate(Options{Hosts: 10_000, VMs: 250_000, Seed: 1})
	}
}
