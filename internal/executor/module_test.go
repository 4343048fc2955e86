package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// wired is snapshot with the HBA io-1 on host-c: it brings the pool far, to which vm-web can move on host-b once the
// module is there.
func wired() (*fleet.Snapshot, *plan.Plan) {
	s := snapshot()
	s.Sources[0].Capabilities.AttachModules = true
	s.Pools = append(s.Pools, fleet.Pool{ID: "far", Source: "lab", Ref: "ref-far", Capacity: fleet.TiB, Free: fleet.TiB})
	s.Host("host-c").Pools = append(s.Host("host-c").Pools, "far")
	s.Modules = []fleet.IOModule{{
		ID: "io-1", Source: "lab", Ref: "slot-1", Kind: fleet.ModuleHBA, Pools: []fleet.PoolID{"far"},
		AttachableTo: []fleet.HostID{"host-b", "host-c"}, Host: "host-c",
	}}
	s.Sort()
	p := makePlan(s, move{"vm-web", "host-b", fleet.Live, []fleet.PoolID{"far"}})
	p.Steps = append([]plan.Step{{Attach: &fleet.Attachment{
		Module: s.Modules[0], From: "host-c", To: "host-b", FromHost: s.Host("host-c"), ToHost: s.Host("host-b"),
	}}}, p.Steps...)
	for i := range p.Steps {
		p.Steps[i].N, p.Steps[i].Wave = i+1, i+1
	}
	return s, p
}

// TestModuleCrashes kills a run that moves a module, and then a VM to what the module brings, at every operation,
// before and after it takes effect, and goes on with it.
func TestModuleCrashes(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		for _, after := range []bool{false, true} {
			s, p := wired()
			f := sim.New(s)
			f.Inject(sim.Fault{At: n, Action: sim.Crash, After: after})
			l := &log{}
			_, died, err := run(deps(f, l), p)
			if !died {
				if err != nil {
					t.Fatalf("operation %d: %v", n, err)
				}
				if n < 8 {
					t.Fatalf("%d operations: too few to be true", n)
				}
				return
			}
			f.ClearFaults()
			if _, _, err := run(deps(f, &log{records: l.records}), p); err != nil {
				t.Fatalf("killed at operation %d (after: %v): %v", n, after, err)
			}
			got, err := f.Observe(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if m := got.Modules[0].Host; m != "host-b" || got.VM("vm-web").Disks[0].Pool != "far" || len(f.Violations()) > 0 {
				t.Fatalf("killed at operation %d: module on %q, vm-web on %v, %v", n, m, got.VM("vm-web").Place(), f.Violations())
			}
			if err := got.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestModuleFaults: a passing fault is retried, a lost answer asked for, and what fails for good leaves the module where
// it was.
func TestModuleFaults(t *testing.T) {
	t.Parallel()
	s, p := wired()
	f := sim.New(s)
	f.Inject(sim.Fault{Op: sim.OpAttach, Action: sim.Fail, Kind: fleet.Retry})
	f.Inject(sim.Fault{Op: sim.OpAttach, Action: sim.Lose, After: true})
	if r, _, err := run(deps(f, &log{}), p); err != nil || len(r.Done) != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	s, p = wired()
	f = sim.New(s)
	f.Inject(sim.Fault{Op: sim.OpAttach, Action: sim.Fail, Kind: fleet.Permanent})
	l := &log{}
	_, _, err := run(deps(f, l), p)
	var failed *executor.StepError
	if !errors.As(err, &failed) || failed.Module != "io-1" || !strings.HasPrefix(err.Error(), "apply step 1: module io-1 is where it was: ") {
		t.Errorf("%v", err)
	}
	f.ClearFaults()
	if r, _, err := run(deps(f, &log{records: l.records}), p); err != nil || len(r.Done) != 2 {
		t.Errorf("applied again: %+v, %v", r, err)
	}
	if r, _, err := run(deps(f, &log{}), p); err != nil || len(r.Done) != 2 { // both are there already
		t.Errorf("with a new journal: %+v, %v", r, err)
	}
}

// TestModuleMovedByHand: a module that is on a third host makes the plan stale.
func TestModuleMovedByHand(t *testing.T) {
	t.Parallel()
	s, p := wired()
	f := sim.New(s)
	p.Steps[0].Attach.From, p.Steps[0].Attach.Module.Host = "", ""
	p.Steps[0].Attach.FromHost = nil
	_, _, err := run(deps(f, &log{}), p)
	var stale *executor.StaleError
	if !errors.As(err, &stale) || stale.Expected != "attached nowhere" || stale.Found != "host-c" {
		t.Errorf("%v", err)
	}
}

// TestModuleRefused: a plan with a module is refused before anything is done where the driver cannot move any.
func TestModuleRefused(t *testing.T) {
	t.Parallel()
	s, p := wired()
	f := sim.New(s)
	d := deps(f, &log{})
	d.Movers = func(fleet.SourceID) executor.Mover { return onlyVMs{f} }
	_, _, err := run(d, p)
	if want := `apply step 1: module io-1: the driver of source "lab" cannot move I/O modules`; fmt.Sprint(err) != want {
		t.Errorf("%v, expected %s", err, want)
	}
	if f.Operations() != 0 {
		t.Errorf("%d operations", f.Operations())
	}
	p.Steps[0].Attach.ToHost = nil
	if _, _, err := run(deps(f, &log{}), p); err == nil || !strings.Contains(err.Error(), "its hosts are not described") {
		t.Errorf("%v", err)
	}
}

// onlyVMs is a driver that knows no modules.
type onlyVMs struct{ executor.Mover }
