package executor_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/internal/journal"
	"github.com/berth-project/berth/plan"
)

func TestRetriesPassingFaults(t *testing.T) {
	t.Parallel()
	for _, op := range []sim.Op{sim.OpLocate, sim.OpPrecheck, sim.OpBegin, sim.OpCopy, sim.OpClean} {
		for _, times := range []int{1, 4} {
			s := snapshot()
			f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
			f.Inject(sim.Fault{Op: op, Times: times, Kind: fleet.Retry})
			d, clock := deps(f, l), &ticker{}
			d.Clock = clock
			if _, _, err := run(d, p); err != nil {
				t.Errorf("%s fails %d times: %v", op, times, err)
			}
			if clock.Now().Sub(time.Time{}) < time.Duration(times)*2*time.Second {
				t.Errorf("%s fails %d times: waited %v, expected at least 2 s each", op, times, clock.Now().Sub(time.Time{}))
			}
			f.ClearFaults()
			checkFleet(t, f, p)
		}
	}
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
	f.Inject(sim.Fault{Op: sim.OpBegin, Times: 100, Kind: fleet.Retry})
	_, _, err := run(deps(f, l), p)
	var se *executor.StepError
	if !errors.As(err, &se) {
		t.Errorf("passing faults that do not pass: %v, expected a StepError", err)
	}
	f.ClearFaults()
	if _, _, err := run(deps(f, l), p); err != nil {
		t.Errorf("the same plan after the cause is gone: %v", err)
	}
	checkFleet(t, f, p)
}

func TestPermanentFaultStopsAndCanBeAppliedAgain(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()...)
	f.Inject(sim.Fault{Op: sim.OpBegin, VM: "vm-cache", Kind: fleet.Permanent})
	res, _, err := run(deps(f, l), p)
	var se *executor.StepError
	if !errors.As(err, &se) || se.Step != 3 || se.VM != "vm-cache" {
		t.Fatalf("%v, expected a StepError of step 3", err)
	}
	if !slices.Equal(res.Done, []int{1, 2}) || !slices.Equal(res.Remaining, []int{3, 4, 5}) {
		t.Errorf("result %+v", res)
	}
	pr, err := executor.Status(l.records, p)
	if err != nil || pr.Steps[2].Phase != executor.Failed || pr.Steps[2].Error == "" || pr.Steps[3].Phase != executor.NotBegun {
		t.Errorf("status %+v, %v", pr, err)
	}
	res, _, err = run(deps(f, l), p)
	if err != nil || !slices.Equal(res.Done, []int{3, 4, 5}) || !slices.Equal(res.Skipped, []int{1, 2}) {
		t.Errorf("applied again: %+v, %v", res, err)
	}
	checkFleet(t, f, p)
}

// TestPermanentFaultWithTheGuestDown: the driver gave up after it stopped the guest, so the VM is not as it
// was; the intent stays open, and the next run starts the guest.
func TestPermanentFaultWithTheGuestDown(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()[1])
	f.Inject(sim.Fault{Op: sim.OpShutdown, After: true, Kind: fleet.Permanent})
	_, _, err := run(deps(f, l), p)
	var ue *executor.UnknownError
	if !errors.As(err, &ue) || !strings.Contains(ue.Found, "stopped") {
		t.Fatalf("%v, expected an UnknownError that says that the VM is stopped", err)
	}
	if _, _, err := run(deps(f, l), p); err != nil {
		t.Fatal(err)
	}
	checkFleet(t, f, p)
}

func TestPrecheckFailureNamesTheStep(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
	f.SetFree("host-b/ssd", fleet.MiB)
	_, _, err := run(deps(f, l), p)
	var se *executor.StepError
	if !errors.As(err, &se) || !strings.Contains(err.Error(), "host-b/ssd") {
		t.Fatalf("%v, expected a StepError that names the pool", err)
	}
	if pr, err := executor.Status(l.records, p); err != nil || pr.Steps[0].Phase != executor.Failed {
		t.Errorf("status %+v, %v", pr, err)
	}
	f.SetFree("host-b/ssd", 50*fleet.GiB)
	if _, _, err := run(deps(f, l), p); err != nil {
		t.Errorf("with room made: %v", err)
	}
	checkFleet(t, f, p)
}

func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault sim.Fault
		ok    bool
	}{
		{"goes on and completes", sim.Fault{Op: sim.OpCopy, Action: sim.Lose, Polls: 5, Completes: true}, true},
		{"dies before anything", sim.Fault{Op: sim.OpBegin, Action: sim.Lose, Polls: 3}, true},
		{"dies half-way", sim.Fault{Op: sim.OpSwitch, Action: sim.Lose, Polls: 3}, true},
		{"dies half-way twice", sim.Fault{Op: sim.OpSwitch, Action: sim.Lose, Times: 2}, false},
		{"is never settled", sim.Fault{Op: sim.OpSwitch, Action: sim.Lose, Times: 2, Polls: 1e6}, false},
		{"nobody answers any more", sim.Fault{Op: sim.OpLocate, VM: "vm-db", Times: 1e6, Kind: fleet.Unknown}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := snapshot()
			f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
			f.Inject(c.fault)
			if c.fault.Op == sim.OpLocate { // from the relocation on
				f.ClearFaults()
				f.Inject(sim.Fault{Op: sim.OpBegin, Action: sim.Lose, Polls: 1, Completes: true})
				d := deps(f, l)
				d.Report = func(e executor.Event) {
					if e.Kind == executor.StepStarted {
						f.Inject(c.fault)
					}
				}
				assertUnknown(t, d, f, l, p)
				return
			}
			if !c.ok {
				assertUnknown(t, deps(f, l), f, l, p)
				return
			}
			if _, _, err := run(deps(f, l), p); err != nil {
				t.Fatal(err)
			}
			checkFleet(t, f, p)
		})
	}
}

// assertUnknown wants the run to stop with its intent open, and a run after it to come to the end.
func assertUnknown(t *testing.T, d executor.Deps, f *sim.Fleet, l *log, p *plan.Plan) {
	t.Helper()
	res, _, err := run(d, p)
	var ue *executor.UnknownError
	if !errors.As(err, &ue) || ue.VM != "vm-db" || len(res.Remaining) != len(p.Steps) {
		t.Fatalf("%v, %+v, expected an UnknownError of vm-db", err, res)
	}
	if pr, err := executor.Status(l.records, p); err != nil || pr.Steps[0].Phase != executor.Unknown {
		t.Errorf("status %+v, %v", pr, err)
	}
	f.ClearFaults()
	if _, _, err := run(deps(f, l), p); err != nil {
		t.Fatalf("run after it: %v", err)
	}
	checkFleet(t, f, p)
}

// TestHangIsBounded: a driver that hangs until its context ends, on a real clock.
func TestHangIsBounded(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
	f.Inject(sim.Fault{Op: sim.OpLocate, Action: sim.Hang})
	f.Inject(sim.Fault{Op: sim.OpCopy, Action: sim.Hang})
	d := deps(f, l)
	d.Limits = executor.Limits{Ask: 20 * time.Millisecond, Step: 50 * time.Millisecond}
	if _, _, err := run(d, p); err != nil {
		t.Fatal(err)
	}
	checkFleet(t, f, p)
}

// TestCancel ends the context while step 2 is at work: that step is brought to its end, the next is not begun.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := deps(f, l)
	d.Report = func(e executor.Event) {
		if e.Step == 2 && e.Kind == executor.StepProgress {
			cancel()
		}
	}
	res, err := executor.Run(ctx, d, p)
	if !errors.Is(err, context.Canceled) || !slices.Equal(res.Done, []int{1, 2}) || !slices.Equal(res.Remaining, []int{3, 4, 5}) {
		t.Fatalf("%+v, %v, expected steps 1 and 2 done", res, err)
	}
	if _, _, err := run(deps(f, l), p); err != nil {
		t.Fatal(err)
	}
	checkFleet(t, f, p)
}

// asked is a mover that ends a context when a VM is asked for, as Ctrl-C does in the middle of a call.
type asked struct {
	executor.Mover
	vm  fleet.VMID
	end func()
}

func (a asked) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	if r.VM.ID == a.vm {
		a.end()
		<-ctx.Done()
		return fleet.Observed{}, &fleet.DriverError{Kind: fleet.Retry, Op: "locate vm " + string(r.VM.ID), Err: ctx.Err()}
	}
	return a.Mover.Locate(ctx, r)
}

// TestCancelWhileAsked ends the context before anything of step 2 is done: the run ends before it, and nobody is told
// that it waits.
func TestCancelWhileAsked(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()...)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := deps(f, l)
	d.Movers = func(fleet.SourceID) executor.Mover { return asked{f, "vm-web", cancel} }
	d.Report = func(e executor.Event) {
		if e.Kind == executor.StepWaiting {
			t.Errorf("waits after its end: %+v", e)
		}
	}
	res, err := executor.Run(ctx, d, p)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped before step 2: ") || !slices.Equal(res.Done, []int{1}) {
		t.Fatalf("%+v, %v, expected to be stopped before step 2", res, err)
	}
	// The same where an earlier run had done the step, and it is only asked for again.
	if _, _, err := run(deps(f, l), p); err != nil {
		t.Fatal(err)
	}
	ctx, again := context.WithCancel(context.Background())
	defer again()
	d = deps(f, l)
	d.Movers = func(fleet.SourceID) executor.Mover { return asked{f, "vm-web", again} }
	if _, err := executor.Run(ctx, d, p); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped before step 2: ") {
		t.Errorf("asked for again: %v, expected to be stopped before step 2", err)
	}
	checkFleet(t, f, p)
}

// TestCancelAnywhere ends the context at each report of each step; what comes of it is a clean stop.
func TestCancelAnywhere(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		t.Helper()
		s := snapshot()
		p := makeWaves(s, m.waves...)
		for k := 1; ; k++ {
			f, l := sim.New(s), &log{}
			f.Inject(sim.Fault{Op: sim.OpPrecheck, Kind: fleet.Retry})
			f.Inject(sim.Fault{Op: sim.OpCopy, Kind: fleet.Retry})
			ctx, cancel := context.WithCancel(context.Background())
			d, n := m.deps(f, l), 0
			d.Report = func(executor.Event) {
				if n++; n == k {
					cancel()
				}
			}
			_, err := executor.Run(ctx, d, p)
			cancel()
			if err == nil && n < k {
				return
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled at report %d: %v", k, err)
			}
			f.ClearFaults()
			if _, _, err := run(m.deps(f, &log{records: l.records}), p); err != nil {
				t.Fatalf("resumed after report %d: %v", k, err)
			}
			checkFleet(t, f, p)
		}
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()[0])
	f.Inject(sim.Fault{Op: sim.OpSwitch, Kind: fleet.Retry})
	var got []string
	d := deps(f, l)
	d.Report = func(e executor.Event) {
		if e.Step != 1 || e.Steps != 1 || e.VM != "vm-db" {
			t.Errorf("event %+v", e)
		}
		got = append(got, string(e.Kind))
		if e.Kind == executor.StepProgress && (e.Done > e.Total || e.Total != fleet.GiB) {
			t.Errorf("progress %d of %d", e.Done, e.Total)
		}
	}
	if _, _, err := run(d, p); err != nil {
		t.Fatal(err)
	}
	want := []string{"started", "progress", "retried", "progress", "progress", "finished"}
	if !slices.Equal(got, want) {
		t.Errorf("events %v, expected %v", got, want)
	}
}

// TestRealJournal runs over the journal on disk: a second run at once is locked out, and the file alone is
// enough to see the progress.
func TestRealJournal(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, p := sim.New(s), makePlan(s, moves()...)
	path := filepath.Join(t.TempDir(), "state", "plan.journal")
	j, records, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	d := deps(f, &log{})
	d.Journal, d.Records = j, records
	seen := 0
	d.Report = func(e executor.Event) {
		if e.Kind != executor.StepFinished {
			return
		}
		if _, _, err := journal.Open(path); !errors.Is(err, journal.ErrLocked) {
			t.Errorf("second open: %v", err)
		}
		live, err := journal.Read(path)
		if err != nil {
			t.Error(err)
		}
		pr, err := executor.Status(live, p)
		if err != nil || pr.Done() != e.Step {
			t.Errorf("step %d: status %+v, %v", e.Step, pr, err)
		}
		seen++
	}
	if _, _, err := run(d, p); err != nil || seen != len(p.Steps) {
		t.Fatalf("%d steps seen, %v", seen, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	checkFleet(t, f, p)
}

// TestJournalFailureStopsBeforeActing: without an intent on disk nothing is done.
func TestJournalFailureStopsBeforeActing(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, p := sim.New(s), makePlan(s, moves()[:1]...)
	d := deps(f, &log{})
	d.Journal = broken{}
	if _, _, err := run(d, p); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	d.Journal = &failing{left: 1}
	if _, _, err := run(d, p); !errors.Is(err, errFull) {
		t.Fatal(err)
	}
	seen, err := f.Locate(context.Background(), p.Steps[0].Move)
	if err != nil || !seen.Placement.Equal(p.Steps[0].Move.From) || !seen.Settled {
		t.Errorf("the VM is at %+v, %v", seen, err)
	}
}

var errFull = errors.New("no space left on device")

type broken struct{}

func (broken) Append([]byte) error { return errFull }

type failing struct{ left int }

func (f *failing) Append([]byte) error {
	if f.left--; f.left < 0 {
		return errFull
	}
	return nil
}

// TestPrefixedNames: the inventory put the source's name before identifiers that clash; the driver does not
// know that.
func TestPrefixedNames(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makePlan(s, moves()[:1]...)
	d := deps(f, l)
	d.Movers = func(fleet.SourceID) executor.Mover { return unprefixed{f} }
	r := &p.Steps[0].Move
	r.From.Host, r.FromHost.ID = "lab/host-a", "lab/host-a"
	for i := range r.Pools {
		if r.Pools[i].ID == "host-b/ssd" {
			r.Pools[i].ID = "lab/host-b/ssd"
		}
	}
	r.To.Disks[0].Pool = "lab/host-b/ssd"
	if _, _, err := run(d, p); err != nil {
		t.Fatal(err)
	}
}

// unprefixed answers in the driver's own names.
type unprefixed struct{ *sim.Fleet }

func (u unprefixed) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	o, err := u.Fleet.Locate(ctx, r)
	o.Placement = o.Placement.Clone()
	o.Placement.Host = fleet.HostID(strings.TrimPrefix(string(o.Placement.Host), "lab/"))
	for i := range o.Placement.Disks {
		d := &o.Placement.Disks[i]
		d.Pool = fleet.PoolID(strings.TrimPrefix(string(d.Pool), "lab/"))
	}
	return o, err
}

// TestVMsThatMoveTwice: the plan does not know where the first steps put the disks; two VMs, one with two disks,
// end in one pool, and no step may take one file for another. Each run dies at another operation.
func TestVMsThatMoveTwice(t *testing.T) {
	t.Parallel()
	list := []move{
		{"vm-db", "host-b", fleet.Live, []fleet.PoolID{"host-b/ssd", "host-b/ssd"}},
		{"vm-web", "host-b", fleet.Offline, []fleet.PoolID{"host-b/ssd"}},
		{"vm-db", "host-c", fleet.Live, []fleet.PoolID{"host-c/ssd", "host-c/ssd"}},
		{"vm-web", "host-c", fleet.Offline, []fleet.PoolID{"host-c/ssd"}},
		{"vm-web", "host-c", fleet.Live, []fleet.PoolID{"san"}},
	}
	deaths := 0
	for at := 1; at <= 70; at++ {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makePlan(s, list...)
		f.Inject(sim.Fault{At: at, Action: sim.Crash, After: at%2 == 0})
		_, died, err := run(deps(f, l), p)
		if died {
			deaths++
			_, _, err = run(deps(f, &log{records: l.records}), p)
		}
		if err != nil {
			t.Fatalf("died at operation %d: %v: %v", at, died, err)
		}
		f.ClearFaults() // of one that had no turn
		checkFleet(t, f, p)
	}
	if deaths < 50 {
		t.Errorf("died %d times: the plan has fewer operations than thought", deaths)
	}
}
