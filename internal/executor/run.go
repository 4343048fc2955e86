package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// Run applies p, or goes on with it from what the journal says. The steps of one wave are under way at once, as many as
// d.Parallel; a wave begins when the one before is done. When a step cannot be brought to its end, or ctx ends, no other
// is begun, and those under way are brought to theirs. Errors: *JournalError and *RiskError before anything is done;
// *StaleError, *StepError, *UnknownError of the step that stopped it, or a *StepsError of several; that of Resumed; ctx's
// error; or the journal's own.
func Run(ctx context.Context, d Deps, p *plan.Plan) (Result, error) {
	r := &run{deps: d, plan: p, limits: d.Limits.withDefaults(), clock: d.Clock, halt: func() {}}
	if r.clock == nil {
		r.clock = wallClock{}
	}
	var err error
	if r.history, err = readHistory(d.Records, p); err != nil {
		return Result{}, err
	}
	r.skipped, r.last = make([]bool, len(p.Steps)), map[fleet.VMID]int{}
	for i, s := range r.history.Steps {
		if s.Phase != NotBegun && s.VM != "" {
			r.last[s.VM] = i
		}
	}
	if err := r.admit(); err != nil {
		return r.result(), err
	}
	if !r.history.Begun {
		sum, err := digest(p)
		if err != nil {
			return r.result(), err
		}
		if err := r.append(Record{Phase: Planned, Digest: sum}); err != nil {
			return r.result(), err
		}
	}
	err = r.all(ctx)
	return r.result(), err
}

type run struct {
	deps   Deps
	plan   *plan.Plan
	limits Limits
	clock  Clock
	// last is the index of the last step of each VM that an earlier run began.
	last map[fleet.VMID]int

	mu      sync.Mutex // also held while a record is appended
	history *history   // as the journal has it, kept up to date
	skipped []bool     // by index: done by an earlier run, and left out by this one
	halt    func()     // no step of the group under way is begun after it

	reporting sync.Mutex
}

// all brings what an earlier run left open to its end, looks whether what it did still holds, and runs the rest in waves.
func (r *run) all(ctx context.Context) error {
	var open, done, rest []int
	for i, s := range r.history.Steps {
		switch {
		case s.Phase.open():
			open = append(open, i)
		case s.Phase == Done:
			done = append(done, i)
		default:
			rest = append(rest, i)
		}
	}
	if err := r.together(ctx, open, true); err != nil {
		return err
	}
	if err := r.together(ctx, done, false); err != nil {
		return err
	}
	if len(open) > 0 && len(rest) > 0 && r.deps.Resumed != nil {
		if ctx.Err() != nil {
			return r.stoppedBefore(ctx, rest[0])
		}
		steps := make([]plan.Step, len(rest))
		for n, i := range rest {
			steps[n] = r.plan.Steps[i]
		}
		if err := r.deps.Resumed(ctx, steps); err != nil {
			return err
		}
	}
	for len(rest) > 0 {
		n := 1
		for n < len(rest) && r.history.wave[rest[n]] == r.history.wave[rest[0]] {
			n++
		}
		if err := r.together(ctx, rest[:n], false); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// admit refuses what can be refused before anything is done.
func (r *run) admit() error {
	if n := len(r.plan.Steps); n > MaxSteps {
		return fmt.Errorf("apply plan %s: %d steps, expected at most %d", r.plan.ID, n, MaxSteps)
	}
	if n := r.deps.Parallel; n < 0 || n > MaxParallel {
		return fmt.Errorf("apply plan %s: %d steps at once, expected 1 to %d", r.plan.ID, n, MaxParallel)
	}
	if err := r.admitWaves(); err != nil {
		return err
	}
	for i := range r.plan.Steps {
		s := &r.plan.Steps[i]
		if s.N != i+1 {
			return fmt.Errorf("apply plan %s: steps[%d].n: is %d, expected %d", r.plan.ID, i, s.N, i+1)
		}
		if s.Attach != nil {
			if err := r.admitModule(s.N, s.Attach); err != nil {
				return err
			}
			continue
		}
		if reason := incomplete(&s.Move); reason != "" {
			return fmt.Errorf("apply step %d: vm %s: the plan is incomplete: %s", s.N, s.Move.VM.ID, reason)
		}
		if r.deps.Movers(s.Move.VM.Source) == nil {
			return fmt.Errorf("apply step %d: vm %s: no driver for source %q", s.N, s.Move.VM.ID, s.Move.VM.Source)
		}
		if r.history.Steps[i].Phase == Done {
			continue
		}
		for _, risk := range s.Risks {
			if !slices.Contains(r.deps.Accepted, risk) {
				return &RiskError{Step: s.N, VM: s.Move.VM.ID, Risk: risk}
			}
		}
	}
	return nil
}

// admitWaves refuses waves whose steps cannot be under way at once: nothing but the order of waves keeps the steps of one VM
// apart, or those that use a module from the one that brings it.
func (r *run) admitWaves() error {
	last := 0
	for n, steps := range plan.Waves(r.plan.Steps) {
		wave, seen := steps[0].Wave, map[fleet.VMID]bool{}
		if n > 0 && wave < last {
			return fmt.Errorf("apply plan %s: step %d is in wave %d, after one of wave %d", r.plan.ID, steps[0].N, wave, last)
		}
		last = wave
		for i := range steps {
			s := &steps[i]
			switch {
			case s.Attach != nil && len(steps) > 1:
				return fmt.Errorf("apply step %d: module %s: shares wave %d with another step", s.N, s.Attach.Module.ID, wave)
			case s.Attach == nil && seen[s.Move.VM.ID]:
				return fmt.Errorf("apply step %d: vm %s: moves twice in wave %d", s.N, s.Move.VM.ID, wave)
			}
			seen[s.Move.VM.ID] = true
		}
	}
	return nil
}

// incomplete says what a move lacks of what drivers rely on.
func incomplete(m *fleet.Relocation) string {
	switch {
	case m.FromHost.ID != m.From.Host || m.ToHost.ID != m.To.Host:
		return fmt.Sprintf("moves from %s to %s, but describes %s and %s", m.From.Host, m.To.Host, m.FromHost.ID, m.ToHost.ID)
	case m.FromHost.Source != m.VM.Source || m.ToHost.Source != m.VM.Source:
		return fmt.Sprintf("a move from source %s to source %s", m.FromHost.Source, m.ToHost.Source)
	case m.Mode != fleet.Live && m.Mode != fleet.Offline:
		return fmt.Sprintf("mode %q", m.Mode)
	}
	known := map[fleet.PoolID]bool{}
	for _, p := range m.Pools {
		known[p.ID] = true
	}
	for _, end := range []fleet.Placement{m.From, m.To} {
		if len(end.Disks) != len(m.VM.Disks) {
			return fmt.Sprintf("%d disks at %s, the VM has %d", len(end.Disks), end.Host, len(m.VM.Disks))
		}
		for i, d := range end.Disks {
			if d.Disk != m.VM.Disks[i].ID || !known[d.Pool] {
				return fmt.Sprintf("disk %s on pool %s is not described", d.Disk, d.Pool)
			}
		}
	}
	return ""
}

// step runs the state machine of the step at index i. begin ends when no step may be begun any more, at the latest with ctx.
func (r *run) step(ctx, begin context.Context, i int) error {
	if r.plan.Steps[i].Attach != nil {
		return r.attach(ctx, i)
	}
	s := &step{run: r, index: i, move: r.plan.Steps[i].Move}
	s.move.Files = r.now(i).Files
	s.mover = r.deps.Movers(s.move.VM.Source)
	var now state = examine{}
	if r.now(i).Phase == Done {
		if r.last[s.move.VM.ID] > i { // moved on since: this place of it does not count any more
			return s.skip()
		}
		now = confirm{}
	}
	for now != nil {
		until := begin
		if r.now(i).Phase.open() { // it is under way, whatever becomes of others
			until = ctx
		}
		next, err := now.next(until, s)
		if err != nil {
			return err
		}
		now = next
	}
	return nil
}

// errNotBegun is the end of a step to whose VM nothing was done, since the run was to stop.
var errNotBegun = errors.New("not begun")

func (r *run) stoppedBefore(ctx context.Context, i int) error {
	return fmt.Errorf("apply plan %s: stopped before step %d: %w", r.plan.ID, i+1, ctx.Err())
}

// now is what the journal says of the step at index i.
func (r *run) now(i int) StepState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.Steps[i]
}

func (r *run) leaveOut(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipped[i] = true
}

// intend is append for a step that is about to begin, unless begin has ended: then it is errNotBegun.
func (r *run) intend(begin context.Context, rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begin.Err() != nil {
		return errNotBegun
	}
	return r.write(rec)
}

// append journals rec and applies it to the history.
func (r *run) append(rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.write(rec)
}

// write is append under the lock. With the record of a failure, or a journal that fails, no step is begun any more.
func (r *run) write(rec Record) error {
	rec.Version, rec.PlanID, rec.Time = recordVersion, r.plan.ID, r.clock.Now().UTC()
	if len(rec.Error) > maxErrorText {
		rec.Error = strings.ToValidUTF8(rec.Error[:maxErrorText], "")
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record of step %d: %w", rec.Step, err)
	}
	if rec.Phase == Failed || rec.Phase == Unknown {
		r.halt()
	}
	if err := r.deps.Journal.Append(b); err != nil {
		r.halt()
		return fmt.Errorf("journal %s of step %d: %w", rec.Phase, rec.Step, err)
	}
	if rec.Phase == Planned {
		r.history.Begun = true
		return nil
	}
	if reason := r.history.apply(rec); reason != "" {
		return errors.New("journal: " + reason)
	}
	return nil
}

func (r *run) report(e Event) {
	if r.deps.Report == nil {
		return
	}
	e.Steps = len(r.plan.Steps)
	r.reporting.Lock()
	defer r.reporting.Unlock()
	r.deps.Report(e)
}

func (r *run) result() Result {
	var out Result
	for i, s := range r.history.Steps {
		switch {
		case s.Phase != Done:
			out.Remaining = append(out.Remaining, s.Step)
		case i < len(r.skipped) && r.skipped[i]:
			out.Skipped = append(out.Skipped, s.Step)
		default:
			out.Done = append(out.Done, s.Step)
		}
	}
	return out
}

// deadline is how long one Relocate of the step at index i may take.
func (r *run) deadline(i int) time.Duration {
	seconds := int64(max(r.plan.Steps[i].Bytes, 0) / r.limits.CopyRate)
	const year = 365 * 24 * 3600
	return r.limits.Step + time.Duration(min(seconds, year))*time.Second
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	def := func(v *time.Duration, to time.Duration) {
		if *v <= 0 {
			*v = to
		}
	}
	def(&l.Backoff, d.Backoff)
	def(&l.MaxBackoff, d.MaxBackoff)
	def(&l.Ask, d.Ask)
	def(&l.Step, d.Step)
	def(&l.Settle, d.Settle)
	def(&l.Poll, d.Poll)
	if l.Retries <= 0 {
		l.Retries = d.Retries
	}
	if l.CopyRate <= 0 {
		l.CopyRate = d.CopyRate
	}
	return l
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
