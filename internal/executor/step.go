package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-project/berth/fleet"
)

// state is one state of a step; it acts and returns the next one, nil when the step is done. What a state
// needs to know is in the world and the journal, so that a killed step starts again at examine.
//
//	examine -> precheck -> intend -> act <-> judge -> (done)
//	   |  (open intent)               ^
//	   +------------------------------+
type state interface {
	next(ctx context.Context, s *step) (state, error)
}

// step is what the states of one step share. One goroutine works on it.
type step struct {
	*run
	index   int
	move    fleet.Relocation
	module  fleet.ModuleID // of a step that moves one
	mover   Mover
	power   fleet.PowerState // at the intent
	acted   int              // calls of Relocate in this run
	unknown int              // of them with an outcome that had to be asked for
}

// confirm asks whether a step that was done in an earlier run still holds.
type confirm struct{}

func (confirm) next(ctx context.Context, s *step) (state, error) {
	seen, err := s.locate(ctx)
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return nil, s.stale(s.move.To, s.move.VM.Power, nowhere(err))
	case ctx.Err() != nil:
		return nil, s.cancelled(ctx)
	case err != nil:
		return nil, s.failure(err)
	case s.where(seen) != atTo:
		return nil, s.stale(s.move.To, s.move.VM.Power, found(seen))
	}
	return nil, s.skip()
}

// skip leaves out a step that was done in an earlier run.
func (s *step) skip() error {
	s.leaveOut(s.index)
	s.tell(Event{Kind: StepSkipped})
	return nil
}

// examine compares the world with the plan before anything is done.
type examine struct{}

func (examine) next(ctx context.Context, s *step) (state, error) {
	if was := s.now(s.index); was.Phase.open() {
		s.power = was.Power
		return s.resume(ctx)
	}
	// What works on the VM is not ours: a passing job may end, but there is no point in waiting for long.
	var seen fleet.Observed
	err := s.chooseFiles(ctx)
	if err == nil {
		seen, err = s.settled(ctx, s.limits.Ask)
	}
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return nil, s.stale(s.move.From, s.move.VM.Power, nowhere(err))
	case ctx.Err() != nil:
		return nil, s.cancelled(ctx)
	case err != nil:
		return nil, s.failure(err)
	case !seen.Settled || seen.Power != s.move.VM.Power:
		return nil, s.stale(s.move.From, s.move.VM.Power, found(seen))
	}
	s.power = seen.Power
	switch s.where(seen) {
	case atTo:
		s.tell(Event{Kind: StepSkipped})
		return nil, s.append(s.record(Done, nil))
	case atFrom:
		return precheck{}, nil
	default:
		return nil, s.stale(s.move.From, s.move.VM.Power, found(seen))
	}
}

// resume goes on with a step whose intent is open. The files at the target are this step's own then: there is
// no Precheck.
func (s *step) resume(ctx context.Context) (state, error) {
	seen, err := s.locate(ctx)
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return nil, s.stale(s.move.From, s.power, nowhere(err))
	case ctx.Err() != nil:
		return nil, s.cancelled(ctx)
	case err != nil:
		return nil, s.lost("not to be seen", err)
	case s.where(seen) == elsewhere:
		return nil, s.stale(s.move.From, s.power, found(seen))
	}
	s.tell(Event{Kind: StepResumed, Detail: found(seen)})
	return act{}, nil
}

// precheck asks the driver whether the move can work; it changes nothing, so that any fault may be retried.
type precheck struct{}

func (precheck) next(ctx context.Context, s *step) (state, error) {
	err := s.insist(ctx, func(ctx context.Context) error { return s.mover.Precheck(ctx, s.move) })
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return intend{}, nil
}

// intend writes down that the world is about to change. Once it is on disk, the step is brought to an end.
type intend struct{}

func (intend) next(ctx context.Context, s *step) (state, error) {
	rec := s.record(Intent, nil)
	rec.Power, rec.Files = s.power, s.move.Files
	if err := s.intend(ctx, rec); err != nil {
		return nil, err
	}
	s.tell(Event{Kind: StepStarted, Detail: s.renamed()})
	return act{}, nil
}

// act makes the change. The end of ctx does not interrupt it: half a move is what nobody wants.
type act struct{}

func (act) next(ctx context.Context, s *step) (state, error) {
	s.acted++
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.deadline(s.index))
	defer cancel()
	report, stop := s.copying()
	defer stop()
	return judge{s.mover.Relocate(ctx, s.move, s.power == fleet.Running, report)}, nil
}

// copying is a progress callback that is silent once stop was called.
func (s *step) copying() (report func(done, total fleet.Bytes), stop func()) {
	var mu sync.Mutex
	over := false
	report = func(done, total fleet.Bytes) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			s.tell(Event{Kind: StepProgress, Done: done, Total: total})
		}
	}
	return report, func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// judge asks the world what became of a Relocate that returned err.
type judge struct{ err error }

func (j judge) next(ctx context.Context, s *step) (state, error) {
	// The current step is brought to its end even when ctx has ended; the polling is bounded.
	asking := context.WithoutCancel(ctx)
	kind := fleet.Unknown // also of a success: it is believed when it is seen
	if j.err != nil {
		kind = fleet.KindOf(j.err)
	}
	var seen fleet.Observed
	var err error
	more := s.acted <= s.limits.Retries
	if kind == fleet.Unknown {
		s.unknown++
		more = s.unknown == 1
		seen, err = s.settled(asking, s.limits.Settle)
	} else {
		seen, err = s.locate(asking)
	}
	if err != nil {
		return nil, s.lost("not to be seen", errors.Join(j.err, err))
	}
	at, whole := s.where(seen), seen.Settled && seen.Power == s.power
	switch {
	case at == atTo && whole && kind != fleet.Permanent:
		return nil, s.done(seen)
	case at == elsewhere:
		return nil, s.lost(found(seen), j.err)
	case kind != fleet.Permanent && more:
		return s.again(ctx, j.err)
	case at == atFrom && whole:
		return nil, s.failed(ctx, j.err)
	default:
		return nil, s.lost(found(seen), j.err)
	}
}

func (s *step) done(seen fleet.Observed) error {
	if err := s.append(s.record(Done, nil)); err != nil {
		return err
	}
	s.tell(Event{Kind: StepFinished, Detail: found(seen)})
	return nil
}

// again waits and acts once more, unless ctx has ended: the intent then stays open.
func (s *step) again(ctx context.Context, cause error) (state, error) {
	s.tell(Event{Kind: StepRetried, Attempt: s.acted + 1, Err: cause})
	if err := s.clock.Sleep(ctx, s.backoff(s.acted)); err != nil {
		return nil, s.cancelled(ctx)
	}
	return act{}, nil
}

// failed journals that the step failed and the VM is where it was.
func (s *step) failed(ctx context.Context, cause error) error {
	if ctx.Err() != nil && !s.now(s.index).Phase.open() {
		return s.cancelled(ctx)
	}
	if cause == nil {
		cause = errors.New("the driver reported success, but nothing moved")
	}
	return errors.Join(s.failure(cause), s.append(s.record(Failed, cause)))
}

// failure is an error of a step that did nothing to the VM.
func (s *step) failure(cause error) error {
	return &StepError{Step: s.index + 1, VM: s.move.VM.ID, Module: s.module, Err: cause}
}

// lost journals that the outcome is not known; the intent stays open.
func (s *step) lost(seen string, cause error) error {
	err := &UnknownError{Step: s.index + 1, VM: s.move.VM.ID, Module: s.module, Found: seen, Err: cause}
	return errors.Join(err, s.append(s.record(Unknown, err)))
}

func (s *step) stale(want fleet.Placement, power fleet.PowerState, seen string) error {
	return &StaleError{Step: s.index + 1, VM: s.move.VM.ID, Expected: describe(want, power), Found: seen}
}

// cancelled says where the end of ctx found the step: while nothing was done to its VM, the run ends before it.
func (s *step) cancelled(ctx context.Context) error {
	if !s.now(s.index).Phase.open() {
		return errNotBegun
	}
	return fmt.Errorf("apply step %d: %s: stopped: %w", s.index+1, who(s.move.VM.ID, s.module), ctx.Err())
}

func (s *step) record(p Phase, cause error) Record {
	rec := Record{Phase: p, Step: s.index + 1, VM: s.move.VM.ID}
	if cause != nil {
		rec.Error = cause.Error()
	}
	return rec
}

func (s *step) tell(e Event) {
	e.Step, e.VM, e.Module = s.index+1, s.move.VM.ID, s.module
	s.report(e)
}

// backoff before the call after the n-th, n from 1.
func (s *step) backoff(n int) time.Duration {
	d := s.limits.Backoff
	for ; n > 1 && d < s.limits.MaxBackoff; n-- {
		d *= 2
	}
	return min(d, s.limits.MaxBackoff)
}
