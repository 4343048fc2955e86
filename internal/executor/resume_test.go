package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// diedWithThreeOpen is what a process leaves that is killed when the steps 1 to 3 of the first wave are under way.
func diedWithThreeOpen(t *testing.T, f *sim.Fleet, p *plan.Plan) [][]byte {
	t.Helper()
	l := &log{}
	d := deps(f, l)
	d.Parallel = 3
	b := &barrier{n: 3}
	d, g := through(d, f, nil)
	d.Limits.Step = time.Minute
	g.pass = func(ctx context.Context, r fleet.Relocation) {
		if err := b.wait(ctx); err != nil {
			t.Errorf("%s is alone: %v", r.VM.ID, err)
		}
	}
	f.Inject(sim.Fault{Op: sim.OpCreate, VM: "vm-cache", Action: sim.Crash})
	for _, vm := range []fleet.VMID{"vm-db", "vm-web"} { // they wait, half-way, for the one that dies
		f.Inject(sim.Fault{Op: sim.OpCopy, VM: vm, Action: sim.Crash, After: true})
	}
	if _, died, err := run(d, p); !died {
		t.Fatalf("did not die: %v", err)
	}
	f.ClearFaults()
	pr, err := executor.Status(l.records, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range pr.Steps {
		if open := st.Phase == executor.Intent; open != (st.Step <= 3) {
			t.Fatalf("step %d is %q: %+v", st.Step, st.Phase, pr)
		}
	}
	return l.records
}

// TestOpenStepsFirst: all open steps are brought to their end, at any width; then the rest is asked for once; then it runs.
func TestOpenStepsFirst(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int{1, 2, 4} {
		s := snapshot()
		f, p := sim.New(s), makeWaves(s, waves()...)
		l := &log{records: diedWithThreeOpen(t, f, p)}
		d := deps(f, l)
		d.Parallel = parallel
		var got []string
		d.Report = func(e executor.Event) {
			if e.Kind != executor.StepProgress && e.Kind != executor.StepFinished {
				got = append(got, string(e.Kind))
			}
		}
		d.Resumed = func(_ context.Context, rest []plan.Step) error {
			got = append(got, "asked")
			if len(rest) != 3 || rest[0].N != 4 || rest[2].N != 6 {
				t.Errorf("parallel %d: asked for %+v", parallel, rest)
			}
			return nil
		}
		res, _, err := run(d, p)
		if err != nil || len(res.Done) != 6 {
			t.Errorf("parallel %d: %+v, %v", parallel, res, err)
		}
		if want := []string{"resumed", "resumed", "resumed", "asked", "started", "started", "started"}; !slices.Equal(got, want) {
			t.Errorf("parallel %d: %v, expected %v", parallel, got, want)
		}
		checkFleet(t, f, p)
	}
}

// TestOpenStepFails: one of the open steps cannot be brought to its end; the others are, whatever the width, nothing is asked
// and nothing begun.
func TestOpenStepFails(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int{1, 4} {
		s := snapshot()
		f, p := sim.New(s), makeWaves(s, waves()...)
		records := diedWithThreeOpen(t, f, p)
		f.Teleport("vm-db", "host-c")
		l := &log{records: records}
		d := deps(f, l)
		d.Parallel = parallel
		d.Resumed = func(context.Context, []plan.Step) error {
			t.Error("asked")
			return nil
		}
		res, _, err := run(d, p)
		var stale *executor.StaleError
		if !errors.As(err, &stale) || stale.Step != 1 || !slices.Equal(res.Done, []int{2, 3}) {
			t.Errorf("parallel %d: %+v, %v, expected step 1 to be stale, and 2 and 3 done", parallel, res, err)
		}
	}
}

// TestResumedRefuses: what Resumed says ends the run before anything else is begun.
func TestResumedRefuses(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, p := sim.New(s), makeWaves(s, waves()...)
	l := &log{records: diedWithThreeOpen(t, f, p)}
	d := deps(f, l)
	moved := errors.New("the fleet has moved on")
	d.Resumed = func(context.Context, []plan.Step) error { return moved }
	res, _, err := run(d, p)
	if !errors.Is(err, moved) || !slices.Equal(res.Done, []int{1, 2, 3}) || !slices.Equal(res.Remaining, []int{4, 5, 6}) {
		t.Errorf("%+v, %v", res, err)
	}
}

// record is one of a journal of p.
func record(t *testing.T, p *plan.Plan, step int, phase executor.Phase) []byte {
	t.Helper()
	b, err := json.Marshal(executor.Record{
		Version: 1, Phase: phase, PlanID: p.ID, Step: step, VM: p.Steps[step-1].Move.VM.ID, Time: time.Unix(1, 0).UTC(), Power: p.Steps[step-1].Move.VM.Power,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOldJournal goes on with what a berth that made one step after another wrote of a plan with waves, and refuses a step
// that comes before an earlier wave is done.
func TestOldJournal(t *testing.T) {
	t.Parallel()
	s := snapshot()
	p := makeWaves(s, waves()...)
	l := &log{}
	d := deps(sim.New(s), l)
	d.Parallel = 1
	if _, _, err := run(d, p); err != nil {
		t.Fatal(err)
	}
	planned := l.records[0]
	old := [][]byte{planned}
	for n := 1; n <= 6; n++ {
		old = append(old, record(t, p, n, executor.Intent), record(t, p, n, executor.Done))
	}
	for n := range old {
		f := sim.New(s)
		for i := range n / 2 { // what is done, or may be
			if err := f.Relocate(t.Context(), p.Steps[i].Move, p.Steps[i].Move.VM.Power == fleet.Running, nil); err != nil {
				t.Fatal(err)
			}
		}
		res, _, err := run(deps(f, &log{records: slices.Clone(old[:n+1])}), p)
		if err != nil || len(res.Remaining) > 0 || len(res.Skipped) != n/2 {
			t.Errorf("%d records: %+v, %v", n, res, err)
		}
		checkFleet(t, f, p)
	}
	early := [][]byte{planned, record(t, p, 1, executor.Intent), record(t, p, 3, executor.Intent), record(t, p, 3, executor.Done)}
	if _, err := executor.Status(early, p); err != nil {
		t.Errorf("steps of one wave in any order: %v", err)
	}
	_, err := executor.Status(append(early, record(t, p, 5, executor.Intent)), p)
	if err == nil || !strings.Contains(err.Error(), "record 5: step 5 comes before step 1 of an earlier wave is done") {
		t.Errorf("%v", err)
	}
}
