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

// Run applies p, or goes on with it from what the journal says. It stops at the first step that cannot be
// brought to its end, and after the current step when ctx ends. Errors: *JournalError and *RiskError before
// anything is done; *StaleError, *StepError, *UnknownError of the step that stopped it; that of Resumed; ctx's error;
// or the journal's own.
func Run(ctx context.Context, d Deps, p *plan.Plan) (Result, error) {
	r := &run{deps: d, plan: p, limits: d.Limits.withDefaults(), clock: d.Clock}
	if r.clock == nil {
		r.clock = wallClock{}
	}
	var err error
	if r.progress, err = Status(d.Records, p); err != nil {
		return r.result(), err
	}
	r.skipped, r.last = make([]bool, len(p.Steps)), map[fleet.VMID]int{}
	for i, s := range r.progress.Steps {
		if s.Phase != NotBegun && s.VM != "" {
			r.last[s.VM] = i
		}
	}
	if err := r.admit(); err != nil {
		return r.result(), err
	}
	if !r.progress.Begun {
		sum, err := digest(p)
		if err != nil {
			return r.result(), err
		}
		if err := r.append(Record{Phase: Planned, Digest: sum}); err != nil {
			return r.result(), err
		}
	}
	open := slices.IndexFunc(r.progress.Steps, func(s StepState) bool { return s.Phase.open() })
	for i := range p.Steps {
		if ctx.Err() != nil {
			return r.result(), r.stoppedBefore(ctx, i)
		}
		if err := r.step(ctx, i); err != nil {
			r.report(Event{Kind: StepStopped, Step: i + 1, VM: p.Steps[i].Move.VM.ID, Module: moduleOf(&p.Steps[i]), Err: err})
			return r.result(), err
		}
		if rest := p.Steps[i+1:]; i == open && len(rest) > 0 && d.Resumed != nil {
			if err := d.Resumed(ctx, rest); err != nil {
				return r.result(), err
			}
		}
	}
	return r.result(), nil
}

type run struct {
	deps     Deps
	plan     *plan.Plan
	limits   Limits
	clock    Clock
	progress Progress // as the journal has it, kept up to date
	// last is the index of the last step of each VM that an earlier run began.
	last    map[fleet.VMID]int
	skipped []bool // by index: done by an earlier run, and left out by this one

	reporting sync.Mutex
}

// admit refuses what can be refused before anything is done.
func (r *run) admit() error {
	if n := len(r.plan.Steps); n > MaxSteps {
		return fmt.Errorf("apply plan %s: %d steps, expected at most %d", r.plan.ID, n, MaxSteps)
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
		if r.progress.Steps[i].Phase == Done {
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

// step runs the state machine of the step at index i.
func (r *run) step(ctx context.Context, i int) error {
	if r.plan.Steps[i].Attach != nil {
		return r.attach(ctx, i)
	}
	s := &step{run: r, index: i, move: r.plan.Steps[i].Move}
	s.mover = r.deps.Movers(s.move.VM.Source)
	var now state = examine{}
	if r.progress.Steps[i].Phase == Done {
		if r.last[s.move.VM.ID] > i { // moved on since: this place of it does not count any more
			return s.skip()
		}
		now = confirm{}
	}
	for now != nil {
		next, err := now.next(ctx, s)
		if err != nil {
			return err
		}
		now = next
	}
	return nil
}

func (r *run) stoppedBefore(ctx context.Context, i int) error {
	return fmt.Errorf("apply plan %s: stopped before step %d: %w", r.plan.ID, i+1, ctx.Err())
}

// append journals rec and applies it to the progress.
func (r *run) append(rec Record) error {
	rec.Version, rec.PlanID, rec.Time = recordVersion, r.plan.ID, r.clock.Now().UTC()
	if len(rec.Error) > maxErrorText {
		rec.Error = strings.ToValidUTF8(rec.Error[:maxErrorText], "")
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record of step %d: %w", rec.Step, err)
	}
	if err := r.deps.Journal.Append(b); err != nil {
		return fmt.Errorf("journal %s of step %d: %w", rec.Phase, rec.Step, err)
	}
	if rec.Phase == Planned {
		r.progress.Begun = true
		return nil
	}
	if reason := r.progress.apply(rec); reason != "" {
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
	for i, s := range r.progress.Steps {
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
