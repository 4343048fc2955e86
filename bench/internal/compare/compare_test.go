package compare

import (
	"runtime/debug"
	"testing"
	"time"

	"github.com/berth-project/berth/bench/internal/berth"
	"github.com/berth-project/berth/bench/internal/ganeti"
	"github.com/berth-project/berth/bench/internal/kube"
	"github.com/berth-project/berth/bench/internal/nomad"
	"github.com/berth-project/berth/bench/internal/peer"
	"github.com/berth-project/berth/bench/internal/spec"
)

func all(t *testing.T) []peer.Kind {
	t.Helper()
	kinds := append(append(berth.Kinds(), kube.Kinds()...), nomad.Kinds()...)
	hail, err := ganeti.Kinds()
	if err != nil {
		t.Logf("without hail: %v", err)
	}
	return append(kinds, hail...)
}

// All schedulers keep the constraints that they can express, and use the fleet: nobody is given a problem that it cannot
// read.
func TestPlace(t *testing.T) {
	o := &Options{Nodes: []int{10}, Seed: 1, Load: 0.5, Decisions: 20, Budget: 20 * time.Second, Say: t.Logf}
	rows, err := Fill(all(t), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if r := &rows[i]; r.Broken > 0 || !r.TimedOut && r.Memory < 0.5 {
			t.Errorf("%s: %d violations (%s), %.0f %% of memory used", r.Scheduler, r.Broken, r.BrokenBy, 100*r.Memory)
		}
	}
	speed, err := Speed(all(t), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range speed {
		if r := &speed[i]; r.Broken > 0 || r.Decisions == 0 || r.Refused == r.Decisions {
			t.Errorf("%s: %d decisions, %d refused, %d violations", r.Scheduler, r.Decisions, r.Refused, r.Broken)
		}
	}
}

// Berth keeps the constraints too that the peers cannot express.
func TestFull(t *testing.T) {
	o := &Options{Nodes: []int{10}, Seed: 1, Full: true, Budget: 20 * time.Second, Say: t.Logf}
	rows, err := Fill(berth.Kinds(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if rows[i].Broken > 0 || rows[i].Placed == 0 {
			t.Errorf("%s: %d placed, %s", rows[i].Scheduler, rows[i].Placed, rows[i].BrokenBy)
		}
	}
}

// The referee sees what is wrong: a fleet on one node.
func TestJudge(t *testing.T) {
	f := spec.Generate(10, 1, false)
	if n, by := f.Judge(make([]int, len(f.VMs))); n == 0 {
		t.Errorf("all VMs on one node break nothing: %s", by)
	}
}

func TestBalance(t *testing.T) {
	if _, err := ganeti.Version(); err != nil {
		t.Skip(err)
	}
	o := &Options{Seed: 1, Budget: 30 * time.Second, Say: t.Logf}
	rows, err := Balance([]Size{{6, 40}}, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if r := &rows[i]; r.After > r.Before {
			t.Errorf("%s, %s: %.4f became %.4f", r.Balancer, r.Template, r.Before, r.After)
		}
	}
}

// The versions that the table names are those of the build.
func TestVersions(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Skip("no build information")
	}
	want := map[string]string{"k8s.io/kubernetes": kube.Version, "github.com/hashicorp/nomad": nomad.Version}
	for _, d := range info.Deps {
		if v, ok := want[d.Path]; ok && v != d.Version {
			t.Errorf("%s is %s, the table says %s", d.Path, d.Version, v)
		}
	}
}
