package executor_test

import (
	"context"
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

// mode is a way to run a plan: its waves, and how many steps at once.
type mode struct {
	name     string
	parallel int
	waves    [][]move
}

func modes() []mode {
	var alone [][]move
	for _, m := range moves() {
		alone = append(alone, []move{m})
	}
	return []mode{
		{"one wave a step", 4, alone}, {"one at a time", 1, waves()}, {"two at once", 2, waves()}, {"all at once", 4, waves()},
	}
}

// deps are those of a run in this mode.
func (m mode) deps(f *sim.Fleet, l *log) executor.Deps {
	d := deps(f, l)
	d.Parallel = m.parallel
	return d
}

func eachMode(t *testing.T, test func(t *testing.T, m mode)) {
	t.Helper()
	t.Parallel()
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			test(t, m)
		})
	}
}

// TestCrashAtEveryOperation kills the run before and after each operation of the hypervisors, then runs the
// plan again on the same world and journal.
func TestCrashAtEveryOperation(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		t.Helper()
		s := snapshot()
		p := makeWaves(s, m.waves...)
		n := m.countOperations(t, s, p)
		crashes := 0
		for k := 1; k <= n; k++ {
			for _, after := range []bool{false, true} {
				f, l := sim.New(s), &log{}
				f.Inject(sim.Fault{At: k, Action: sim.Crash, After: after})
				_, died, err := run(m.deps(f, l), p)
				if !died {
					t.Fatalf("crash at %d (after %v) did not strike: %v", k, after, err)
				}
				crashes++
				m.resume(t, fmt.Sprintf("operation %d, after %v", k, after), f, l, p)
			}
		}
		t.Logf("%d crashes over %d operations", crashes, n)
	})
}

// TestCrashAtEveryAppend kills the run at each journal record, on disk and not.
func TestCrashAtEveryAppend(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		t.Helper()
		s := snapshot()
		p := makeWaves(s, m.waves...)
		l := &log{}
		if _, _, err := run(m.deps(sim.New(s), l), p); err != nil {
			t.Fatal(err)
		}
		for k := 1; k <= l.appends; k++ {
			for _, kept := range []bool{false, true} {
				f, l := sim.New(s), &log{dieAt: k, kept: kept}
				if _, died, err := run(m.deps(f, l), p); !died {
					t.Fatalf("append %d (kept %v) did not kill: %v", k, kept, err)
				}
				m.resume(t, fmt.Sprintf("append %d, kept %v", k, kept), f, l, p)
			}
		}
	})
}

// TestCrashTwice kills the run, and the run after it, at every pair of operations.
func TestCrashTwice(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		t.Helper()
		m.waves = m.waves[:1]
		if len(m.waves[0]) > 2 {
			m.waves = [][]move{m.waves[0][:2]}
		}
		s := snapshot()
		p := makeWaves(s, m.waves...)
		n := m.countOperations(t, s, p)
		for k := 1; k <= n; k++ {
			for second := 1; second <= n; second++ {
				f, l := sim.New(s), &log{}
				f.Inject(sim.Fault{At: k, Action: sim.Crash})
				if _, died, _ := run(m.deps(f, l), p); !died {
					t.Fatalf("crash at %d did not strike", k)
				}
				l = &log{records: l.records}
				f.Inject(sim.Fault{At: f.Operations() + second, Action: sim.Crash, After: true})
				if _, died, err := run(m.deps(f, l), p); !died && err != nil {
					t.Fatalf("crash at %d, second run: %v", k, err)
				}
				f.ClearFaults()
				m.resume(t, fmt.Sprintf("operations %d and %d", k, second), f, l, p)
			}
		}
	})
}

// countOperations is how many operations a run without faults makes.
func (m mode) countOperations(t *testing.T, s *fleet.Snapshot, p *plan.Plan) int {
	t.Helper()
	f := sim.New(s)
	if _, _, err := run(m.deps(f, &log{}), p); err != nil {
		t.Fatal(err)
	}
	if f.Operations() < 4*len(p.Steps) {
		t.Fatalf("%d operations: the simulation has no phases", f.Operations())
	}
	return f.Operations()
}

// resume runs p in a new process on the world and the journal that a dead one left. What was done is not done again: each
// step goes to its end once in the journal, and none that the dead process ended is begun.
func (m mode) resume(t *testing.T, at string, f *sim.Fleet, l *log, p *plan.Plan) {
	t.Helper()
	before, err := executor.Status(l.records, p)
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	l = &log{records: l.records}
	d := m.deps(f, l)
	open, asked := 0, 0
	for _, st := range before.Steps {
		if st.Phase == executor.Intent || st.Phase == executor.Unknown {
			open++
		}
	}
	ended := 0
	d.Report = func(e executor.Event) {
		switch was := before.Steps[e.Step-1].Phase; {
		case was == executor.Done && e.Kind != executor.StepSkipped:
			t.Errorf("%s: step %d was done, and is %s", at, e.Step, e.Kind)
		case was == executor.NotBegun && asked == 0 && open > 0:
			t.Errorf("%s: step %d is %s before what was open has ended", at, e.Step, e.Kind)
		case was == executor.Intent && e.Kind == executor.StepFinished:
			ended++
		}
	}
	d.Resumed = func(_ context.Context, rest []plan.Step) error {
		asked++
		if ended != open || len(rest) != len(p.Steps)-open-before.Done() {
			t.Errorf("%s: asked when %d of %d had ended, for %d steps", at, ended, open, len(rest))
		}
		return nil
	}
	res, died, err := run(d, p)
	if died || err != nil || len(res.Remaining) != 0 {
		t.Fatalf("%s: resumed run: died %v, %v, remaining %v", at, died, err, res.Remaining)
	}
	want := 0
	if open > 0 && open+before.Done() < len(p.Steps) {
		want = 1
	}
	if asked != want || len(res.Skipped) != before.Done() {
		t.Errorf("%s: asked %d times, expected %d; %d skipped, expected %d", at, asked, want, len(res.Skipped), before.Done())
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
	all := modes()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(all).Draw(t, "mode")
		p := makeWaves(s, m.waves...)
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
			_, died, err := run(m.deps(f, l), p)
			if !died && err == nil {
				break
			}
			l = &log{records: l.records}
			if v := f.Violations(); len(v) > 0 {
				t.Fatalf("after %v: %v", err, v)
			}
		}
		f.ClearFaults()
		checkFleet(t, f, p)
	})
}
