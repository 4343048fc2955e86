package executor

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// ModuleMover is what a Mover is besides when its source can move I/O modules. Its errors are *fleet.DriverError.
type ModuleMover interface {
	// LocateModule asks which host the module is attached to now; "" for none.
	LocateModule(ctx context.Context, a fleet.Attachment) (fleet.HostID, error)
	// AttachModule brings the module from any state that an earlier AttachModule of a can have left to a.To.
	AttachModule(ctx context.Context, a fleet.Attachment) error
}

// who names what a step moves.
func who(vm fleet.VMID, module fleet.ModuleID) string {
	if module != "" {
		return "module " + string(module)
	}
	return "vm " + string(vm)
}

func moduleOf(s *plan.Step) fleet.ModuleID {
	if s.Attach == nil {
		return ""
	}
	return s.Attach.Module.ID
}

// moduleMover is the driver of a module's source; nil when it has none that can move modules.
func (r *run) moduleMover(a *fleet.Attachment) ModuleMover {
	m, _ := r.deps.Movers(a.Module.Source).(ModuleMover)
	return m
}

// admitModule refuses a step of a module that can be refused before anything is done.
func (r *run) admitModule(n int, a *fleet.Attachment) error {
	switch {
	case r.moduleMover(a) == nil:
		return fmt.Errorf("apply step %d: module %s: the driver of source %q cannot move I/O modules", n, a.Module.ID, a.Module.Source)
	case a.ToHost == nil || a.ToHost.ID != a.To || a.Module.Host != a.From || (a.FromHost == nil) != (a.From == "") ||
		a.FromHost != nil && a.FromHost.ID != a.From:
		return fmt.Errorf("apply step %d: module %s: the plan is incomplete: its hosts are not described", n, a.Module.ID)
	}
	return nil
}

// wiring is one step that moves a module. As with VMs the world decides: a step counts as done once the module is seen on
// its host, and what became of a call whose outcome is not known is asked for.
type wiring struct {
	*step
	a       fleet.Attachment
	modules ModuleMover
}

// attach runs the step of a module at index i.
func (r *run) attach(ctx context.Context, i int) error {
	a := r.plan.Steps[i].Attach
	w := &wiring{step: &step{run: r, index: i, module: a.Module.ID}, a: *a, modules: r.moduleMover(a)}
	was := r.now(i).Phase
	if was == Done && w.movedOn() {
		return w.skip()
	}
	at, err := w.locate(ctx)
	switch {
	case ctx.Err() != nil:
		return w.cancelled(ctx)
	case err != nil && was.open():
		return w.lost("not to be seen", err)
	case err != nil:
		return w.failure(err)
	case at == w.a.To && was == Done:
		return w.skip()
	case at == w.a.To:
		w.tell(Event{Kind: StepSkipped})
		return w.append(w.record(Done, nil))
	case was == Done || at != w.a.From && (at != "" || !was.open()): // between its hosts only by a call of ours
		return &StaleError{Step: i + 1, Module: w.a.Module.ID, Expected: hostText(w.a.From), Found: hostText(at)}
	}
	if !was.open() {
		if err := w.intend(ctx, w.record(Intent, nil)); err != nil {
			return err
		}
		w.tell(Event{Kind: StepStarted})
	} else {
		w.tell(Event{Kind: StepResumed, Detail: hostText(at)})
	}
	return w.act(ctx)
}

// movedOn says whether a later step of the same module was begun, so that this place of it does not count any more.
func (w *wiring) movedOn() bool {
	for i := w.index + 1; i < len(w.plan.Steps); i++ {
		if a := w.plan.Steps[i].Attach; a != nil && a.Module.ID == w.a.Module.ID && w.now(i).Phase != NotBegun {
			return true
		}
	}
	return false
}

// act makes the change, and again after passing faults. The end of ctx does not interrupt a call.
func (w *wiring) act(ctx context.Context) error {
	asking := context.WithoutCancel(ctx)
	for {
		w.acted++
		limit, cancel := context.WithTimeout(asking, w.deadline(w.index))
		cause := w.modules.AttachModule(limit, w.a)
		cancel()
		at, err := w.settle(asking, cause)
		more := w.acted <= w.limits.Retries && (cause == nil || fleet.KindOf(cause) != fleet.Permanent)
		switch {
		case err != nil:
			return w.lost("not to be seen", errors.Join(cause, err))
		case at == w.a.To:
			if err := w.append(w.record(Done, nil)); err != nil {
				return err
			}
			w.tell(Event{Kind: StepFinished, Detail: hostText(at)})
			return nil
		case at != w.a.From && (at != "" || !more):
			return w.lost(hostText(at), cause)
		case !more:
			return w.failed(asking, cause)
		}
		w.tell(Event{Kind: StepRetried, Attempt: w.acted + 1, Err: cause})
		if w.clock.Sleep(ctx, w.backoff(w.acted)) != nil {
			return w.cancelled(ctx)
		}
	}
}

// settle asks where the module is once a call returned cause. After an unknown outcome it may still be on its way.
func (w *wiring) settle(ctx context.Context, cause error) (fleet.HostID, error) {
	deadline := w.clock.Now()
	if cause != nil && fleet.KindOf(cause) == fleet.Unknown {
		deadline = deadline.Add(w.limits.Settle)
	}
	for {
		at, err := w.locate(ctx)
		if err != nil || at == w.a.To || !w.clock.Now().Before(deadline) {
			return at, err
		}
		w.tell(Event{Kind: StepWaiting, Detail: hostText(at)})
		if err := w.clock.Sleep(ctx, w.limits.Poll); err != nil {
			return at, err
		}
	}
}

// locate asks where the module is, in the names of the plan: a driver knows nothing of the "source/" that the inventory
// may have put before an identifier.
func (w *wiring) locate(ctx context.Context) (fleet.HostID, error) {
	var at fleet.HostID
	err := w.insist(ctx, func(ctx context.Context) (err error) {
		at, err = w.modules.LocateModule(ctx, w.a)
		return err
	})
	if full := fleet.HostID(w.a.Module.Source) + "/" + at; full == w.a.From || full == w.a.To {
		at = full
	}
	return at, err
}

func hostText(h fleet.HostID) string {
	if h == "" {
		return "attached nowhere"
	}
	return string(h)
}
