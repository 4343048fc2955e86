package executor_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

func TestRunAppliesEveryStep(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()...)
	res, _, err := run(deps(f, l), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Done) != len(p.Steps) || len(res.Remaining) != 0 {
		t.Errorf("result %+v, expected all of %d done", res, len(p.Steps))
	}
	checkFleet(t, f, p)
	pr, err := executor.Status(l.records, p)
	if err != nil || pr.Done() != len(p.Steps) {
		t.Errorf("status %+v, %v", pr, err)
	}
	again, _, err := run(deps(f, l), p)
	if err != nil || len(again.Done) != 0 || len(again.Skipped) != len(p.Steps) {
		t.Errorf("second run: %+v, %v, expected all skipped", again, err)
	}
}

// TestCrashAtEveryOperation kills the run before and after each operation of the hypervisors, then runs the
// plan again on the same world and journal.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	s := snapshot()
	p := makePlan(s, moves()...)
	n := countOperations(t, s, p)
	crashes := 0
	for k := 1; k <= n; k++ {
		for _, after := range []bool{false, true} {
			f, l := sim.New(s), &log{}
			f.Inject(sim.Fault{At: k, Action: sim.Crash, After: after})
			_, died, err := run(deps(f, l), p)
			if !died {
				t.Fatalf("crash at %d (after %v) did not strike: %v", k, after, err)
			}
			crashes++
			resume(t, fmt.Sprintf("operation %d, after %v", k, after), f, l, p)
		}
	}
	t.Logf("%d crashes over %d operations", crashes, n)
}

// TestCrashAtEveryAppend kills the run at each journal record, on disk and not.
func TestCrashAtEveryAppend(t *testing.T) {
	t.Parallel()
	s := snapshot()
	p := makePlan(s, moves()...)
	l := &log{}
	if _, _, err := run(deps(sim.New(s), l), p); err != nil {
		t.Fatal(err)
	}
	for k := 1; k <= l.appends; k++ {
		for _, kept := range []bool{false, true} {
			f, l := sim.New(s), &log{dieAt: k, kept: kept}
			if _, died, err := run(deps(f, l), p); !died {
				t.Fatalf("append %d (kept %v) did not kill: %v", k, kept, err)
			}
			resume(t, fmt.Sprintf("append %d, kept %v", k, kept), f, l, p)
		}
	}
}

// TestCrashTwice kills the run, and the run after it, at every pair of operations.
func TestCrashTwice(t *testing.T) {
	t.Parallel()
	s := snapshot()
	p := makePlan(s, moves()[:2]...)
	n := countOperations(t, s, p)
	for k := 1; k <= n; k++ {
		for second := 1; second <= n; second++ {
			f, l := sim.New(s), &log{}
			f.Inject(sim.Fault{At: k, Action: sim.Crash})
			if _, died, _ := run(deps(f, l), p); !died {
				t.Fatalf("crash at %d did not strike", k)
			}
			f.Inject(sim.Fault{At: f.Operations() + second, Action: sim.Crash, After: true})
			if _, died, err := run(deps(f, l), p); !died && err != nil {
				t.Fatalf("crash at %d, second run: %v", k, err)
			}
			f.ClearFaults()
			resume(t, fmt.Sprintf("operations %d and %d", k, second), f, l, p)
		}
	}
}

// countOperations is how many operations a run without faults makes.
func countOperations(t *testing.T, s *fleet.Snapshot, p *plan.Plan) int {
	t.Helper()
	f := sim.New(s)
	if _, _, err := run(deps(f, &log{}), p); err != nil {
		t.Fatal(err)
	}
	if f.Operations() < 4*len(p.Steps) {
		t.Fatalf("%d operations: the simulation has no phases", f.Operations())
	}
	return f.Operations()
}

// resume runs p in a new process on the world and the journal that a dead one left.
func resume(t *testing.T, at string, f *sim.Fleet, l *log, p *plan.Plan) {
	t.Helper()
	l = &log{records: l.records}
	res, died, err := run(deps(f, l), p)
	if died || err != nil || len(res.Remaining) != 0 {
		t.Fatalf("%s: resumed run: died %v, %v, remaining %v", at, died, err, res.Remaining)
	}
	checkFleet(t, f, p)
	if t.Failed() {
		t.Fatalf("at %s", at)
	}
}

// TestRandomFaults lets passing faults, unknown outcomes and crashes strike at random; however often the run
// has to be started again, it ends with every VM where it belongs.
func TestRandomFaults(t *testing.T) {
	t.Parallel()
	s := snapshot()
	p := makePlan(s, moves()...)
	rapid.Check(t, func(t *rapid.T) {
		f, l := sim.New(s), &log{}
		for range rapid.IntRange(1, 12).Draw(t, "faults") {
			f.Inject(sim.Fault{
				At:     rapid.IntRange(1, 120).Draw(t, "at"),
				Action: rapid.SampledFrom([]sim.Action{sim.Fail, sim.Lose, sim.Crash}).Draw(t, "action"),
				After:  rapid.Bool().Draw(t, "after"),
				Kind:   rapid.SampledFrom([]fleet.ErrorKind{fleet.Permanent, fleet.Retry, fleet.Unknown}).Draw(t, "kind"),
				Polls:  rapid.IntRange(0, 3).Draw(t, "polls"), Completes: rapid.Bool().Draw(t, "completes"),
			})
		}
		for n := 0; ; n++ {
			if n > 40 {
				t.Fatal("40 runs did not bring the plan to its end")
			}
			_, died, err := run(deps(f, l), p)
			if !died && err == nil {
				break
			}
			if v := f.Violations(); len(v) > 0 {
				t.Fatalf("after %v: %v", err, v)
			}
		}
		f.ClearFaults()
		checkFleet(t, f, p)
	})
}
