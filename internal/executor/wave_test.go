package executor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// gate is a mover whose relocations wait: each tells that it has come, and goes on when it is let through.
type gate struct {
	executor.Mover
	pass func(ctx context.Context, r fleet.Relocation) // called before each Relocate

	mu        sync.Mutex
	now, most int
	seen      []fleet.VMID
}

func (g *gate) Relocate(ctx context.Context, r fleet.Relocation, on bool, progress func(done, total fleet.Bytes)) error {
	g.mu.Lock()
	g.now++
	g.most = max(g.most, g.now)
	g.seen = append(g.seen, r.VM.ID)
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now--
	}()
	g.pass(ctx, r)
	return g.Mover.Relocate(ctx, r, on, progress)
}

// barrier lets callers through n at a time: a caller that is alone stays until its context ends.
type barrier struct {
	mu   sync.Mutex
	n    int
	come int
	open chan struct{}
}

func (b *barrier) wait(ctx context.Context) error {
	b.mu.Lock()
	if b.open == nil {
		b.open = make(chan struct{})
	}
	open := b.open
	if b.come++; b.come == b.n {
		close(open)
		b.come, b.open = 0, nil
	}
	b.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// through is a fleet behind a gate.
func through(d executor.Deps, f *sim.Fleet, pass func(ctx context.Context, r fleet.Relocation)) (executor.Deps, *gate) {
	g := &gate{Mover: f, pass: pass}
	d.Movers = func(fleet.SourceID) executor.Mover { return g }
	return d, g
}

// TestWaveOverlaps: no step of the first wave gets on before all four are under way, and none of the second wave begins
// before all of them are done.
func TestWaveOverlaps(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
	all := []*barrier{{n: 4}, {n: 2}}
	d, g := through(deps(f, l), f, nil)
	d.Limits.Step = time.Minute // for a step that waits in vain
	wave := 0                   // of the steps under way, under g.mu
	begun := map[fleet.VMID]int{}
	g.pass = func(ctx context.Context, r fleet.Relocation) {
		g.mu.Lock()
		n := begun[r.VM.ID]
		begun[r.VM.ID]++
		if n < wave {
			t.Errorf("a step of wave %d beside one of wave %d", n+1, wave+1)
		}
		wave = n
		g.mu.Unlock()
		if err := all[n].wait(ctx); err != nil {
			t.Errorf("%s is alone in wave %d: %v", r.VM.ID, n+1, err)
		}
	}
	done := 0
	d.Report = func(e executor.Event) { // one call at a time: the race detector looks at done
		if e.Kind == executor.StepFinished {
			done++
		}
		if e.Kind == executor.StepStarted && e.Step > 4 && done < 4 {
			t.Errorf("step %d begins when %d steps are done", e.Step, done)
		}
	}
	if res, _, err := run(d, p); err != nil || len(res.Done) != 6 {
		t.Fatalf("%+v, %v", res, err)
	}
	if g.most != 4 || done != 6 {
		t.Errorf("at most %d at once, expected 4; %d done", g.most, done)
	}
	checkFleet(t, f, p)
}

// TestParallelBound: as many are under way as was asked for, and not one more.
func TestParallelBound(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 0} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
		d := deps(f, l)
		d.Parallel = n
		want := n
		if n == 0 {
			want = executor.DefaultParallel
		}
		b := &barrier{n: want}
		d, g := through(d, f, func(ctx context.Context, r fleet.Relocation) {
			if r.From.Host == "host-b" && r.VM.ID == "vm-db" || r.From.Host == "host-c" && r.VM.ID == "vm-web" {
				return // the second wave has two steps only
			}
			if err := b.wait(ctx); err != nil {
				t.Errorf("parallel %d: %s is alone: %v", n, r.VM.ID, err)
			}
		})
		d.Limits.Step = time.Minute
		if _, _, err := run(d, p); err != nil {
			t.Fatal(err)
		}
		if g.most != want {
			t.Errorf("parallel %d: at most %d at once", n, g.most)
		}
		if n == 1 && !slices.Equal(g.seen, []fleet.VMID{"vm-db", "vm-web", "vm-cache", "vm-old", "vm-db", "vm-web"}) {
			t.Errorf("one at a time, but not in order: %v", g.seen)
		}
		checkFleet(t, f, p)
	}
}

// TestRefusesWaves: what the executor cannot keep apart is refused before anything is done.
func TestRefusesWaves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		spoil  func(d *executor.Deps, p *plan.Plan)
	}{
		{"-1 steps at once, expected 1 to 64", func(d *executor.Deps, _ *plan.Plan) { d.Parallel = -1 }},
		{"65 steps at once, expected 1 to 64", func(d *executor.Deps, _ *plan.Plan) { d.Parallel = executor.MaxParallel + 1 }},
		{"apply plan p-0123456789abcdef: step 5 is in wave 0, after one of wave 1", func(_ *executor.Deps, p *plan.Plan) { p.Steps[4].Wave = 0 }},
		{"apply step 5: vm vm-db: moves twice in wave 1", func(_ *executor.Deps, p *plan.Plan) { p.Steps[4].Wave = 1 }},
		{"apply step 2: module io-1: shares wave 1 with another step", func(_ *executor.Deps, p *plan.Plan) {
			_, w := wired()
			p.Steps[1] = w.Steps[0]
			p.Steps[1].N, p.Steps[1].Wave = 2, 1
		}},
	} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
		d := deps(f, l)
		c.spoil(&d, p)
		if _, _, err := run(d, p); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%v, expected %q", err, c.reason)
		}
		if len(l.records) > 0 || f.Operations() > 0 {
			t.Errorf("%s: something was done", c.reason)
		}
	}
}

// TestFailureInWave: step 2 fails while 1 and 3 are under way. They come to their end, and no other is begun.
func TestFailureInWave(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
	f.Inject(sim.Fault{Op: sim.OpBegin, VM: "vm-web", Kind: fleet.Permanent})
	d := deps(f, l)
	d.Parallel = 3
	both, stopped := &barrier{n: 3}, make(chan struct{})
	d, _ = through(d, f, func(ctx context.Context, r fleet.Relocation) {
		if err := both.wait(ctx); err != nil {
			t.Errorf("%s is alone: %v", r.VM.ID, err)
		}
		if r.VM.ID != "vm-web" {
			<-stopped
		}
	})
	d.Limits.Step = time.Minute
	d.Report = func(e executor.Event) {
		if e.Kind == executor.StepStopped {
			if e.Step != 2 || e.Err == nil {
				t.Errorf("stopped: %+v", e)
			}
			close(stopped)
		}
	}
	res, _, err := run(d, p)
	var se *executor.StepError
	if !errors.As(err, &se) || se.Step != 2 || errors.Is(err, context.Canceled) {
		t.Fatalf("%v, expected a StepError of step 2 alone", err)
	}
	if !slices.Equal(res.Done, []int{1, 3}) || !slices.Equal(res.Remaining, []int{2, 4, 5, 6}) {
		t.Errorf("%+v", res)
	}
	pr, err := executor.Status(l.records, p)
	if err != nil || pr.Steps[1].Phase != executor.Failed || pr.Steps[3].Phase != executor.NotBegun {
		t.Errorf("%+v, %v", pr, err)
	}
	res, _, err = run(deps(f, &log{records: l.records}), p)
	if err != nil || !slices.Equal(res.Skipped, []int{1, 3}) || !slices.Equal(res.Done, []int{2, 4, 5, 6}) {
		t.Errorf("applied again: %+v, %v", res, err)
	}
	checkFleet(t, f, p)
}

// TestFailureWhileAsked: a step whose VM is only asked for when another fails is not begun, and is no error.
func TestFailureWhileAsked(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
	f.Inject(sim.Fault{Op: sim.OpBegin, VM: "vm-db", Kind: fleet.Permanent})
	d := deps(f, l)
	d.Parallel = 2
	d.Movers = func(fleet.SourceID) executor.Mover { return asked{f, "vm-web", func() {}} }
	res, _, err := run(d, p)
	var se *executor.StepError
	if !errors.As(err, &se) || se.Step != 1 || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "vm-web") {
		t.Errorf("%v, expected a StepError of step 1 alone", err)
	}
	if pr, err := executor.Status(l.records, p); err != nil || pr.Steps[1].Phase != executor.NotBegun || len(res.Remaining) != 6 {
		t.Errorf("%+v, %+v, %v", pr, res, err)
	}
}

// late is a mover that lets the Precheck of one VM succeed only after something else has happened.
type late struct {
	executor.Mover
	vm    fleet.VMID
	after <-chan struct{}
}

func (l late) Precheck(ctx context.Context, r fleet.Relocation) error {
	err := l.Mover.Precheck(ctx, r)
	if r.VM.ID == l.vm {
		<-l.after
	}
	return err
}

// TestNoIntentAfterTheStop: another step has failed, or the context has ended, while a step was checked. It is not begun,
// though the check was passed.
func TestNoIntentAfterTheStop(t *testing.T) {
	t.Parallel()
	for _, cancelled := range []bool{false, true} {
		s := snapshot()
		f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
		stopped := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		d := deps(f, l)
		d.Parallel = 2
		d.Movers = func(fleet.SourceID) executor.Mover { return late{f, "vm-web", stopped} }
		want := "apply step 1: vm vm-db is where it was: "
		if cancelled {
			want = "stopped before step 2: "
		} else {
			f.Inject(sim.Fault{Op: sim.OpBegin, VM: "vm-db", Kind: fleet.Permanent})
		}
		d.Report = func(e executor.Event) {
			switch {
			case e.Step == 2:
				t.Errorf("cancelled %v: %+v", cancelled, e)
			case cancelled && e.Kind == executor.StepFinished && e.Step == 1:
				cancel()
				close(stopped)
			case e.Kind == executor.StepStopped:
				close(stopped)
			}
		}
		_, err := executor.Run(ctx, d, p)
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %q", err, want)
		}
		if pr, err := executor.Status(l.records, p); err != nil || pr.Steps[1].Phase != executor.NotBegun {
			t.Errorf("cancelled %v: %+v, %v", cancelled, pr, err)
		}
	}
}

// TestTwoFailures: the error names the first step and holds both, so that the worst is found in it.
func TestTwoFailures(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
	f.Inject(sim.Fault{Op: sim.OpBegin, VM: "vm-db", Kind: fleet.Permanent})
	f.Inject(sim.Fault{Op: sim.OpCreate, VM: "vm-web", Action: sim.Lose, Times: 2})
	b := &barrier{n: 2}
	d := deps(f, l)
	d.Parallel = 2
	first := map[fleet.VMID]bool{}
	d, g := through(d, f, nil)
	g.pass = func(ctx context.Context, r fleet.Relocation) {
		g.mu.Lock()
		again := first[r.VM.ID]
		first[r.VM.ID] = true
		g.mu.Unlock()
		if again {
			return
		}
		if err := b.wait(ctx); err != nil {
			t.Errorf("%s is alone: %v", r.VM.ID, err)
		}
	}
	d.Limits.Step = time.Minute
	_, _, err := run(d, p)
	var all *executor.StepsError
	var se *executor.StepError
	var ue *executor.UnknownError
	if !errors.As(err, &all) || !errors.As(err, &se) || !errors.As(err, &ue) || se.Step != 1 || ue.Step != 2 {
		t.Fatalf("%v, expected the failure of step 1 and the unknown outcome of step 2", err)
	}
	if text := err.Error(); !strings.HasPrefix(text, "apply step 1: ") || !strings.Contains(text, "; also: apply step 2: ") {
		t.Error(text)
	}
	if pr, err := executor.Status(l.records, p); err != nil || pr.Steps[0].Phase != executor.Failed || pr.Steps[1].Phase != executor.Unknown {
		t.Errorf("%+v, %v", pr, err)
	}
	f.ClearFaults()
	if _, _, err := run(deps(f, &log{records: l.records}), p); err != nil {
		t.Fatal(err)
	}
	checkFleet(t, f, p)
}

// TestStepsErrorIsBounded: of many errors the text tells a few.
func TestStepsErrorIsBounded(t *testing.T) {
	t.Parallel()
	e := &executor.StepsError{}
	for i := range 9 {
		e.Errs = append(e.Errs, fmt.Errorf("e%d", i+1))
	}
	if want := "e1; also: e2; also: e3; also: e4; and 5 more"; e.Error() != want || !errors.Is(e, e.Errs[8]) {
		t.Errorf("%s, expected %s", e, want)
	}
}

// TestCancelInWave ends the context when two steps are under way: both come to their end, and the others are not begun.
func TestCancelInWave(t *testing.T) {
	t.Parallel()
	s := snapshot()
	f, l, p := sim.New(s), &log{}, makeWaves(s, waves()...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := deps(f, l)
	d.Parallel = 2
	b := &barrier{n: 2}
	d, _ = through(d, f, func(ctx context.Context, r fleet.Relocation) {
		if err := b.wait(ctx); err != nil {
			t.Errorf("%s is alone: %v", r.VM.ID, err)
		}
		cancel()
	})
	d.Limits.Step = time.Minute
	res, err := executor.Run(ctx, d, p)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped before step 3: ") {
		t.Errorf("%v, expected to be stopped before step 3", err)
	}
	if !slices.Equal(res.Done, []int{1, 2}) || !slices.Equal(res.Remaining, []int{3, 4, 5, 6}) {
		t.Errorf("%+v", res)
	}
	if _, _, err := run(deps(f, &log{records: l.records}), p); err != nil {
		t.Fatal(err)
	}
	checkFleet(t, f, p)
}
