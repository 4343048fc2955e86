package executor_test

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/plan"
)

// errDead is what a dead process gets for whatever it tries.
var errDead = &fleet.DriverError{Kind: fleet.Permanent, Op: "live on", Err: errors.New("the process is dead")}

// life is one process. It ends where the simulated fleet crashes or the journal dies; from then on nothing that it still does
// reaches the world or the journal, and its goroutines come to their end. What other steps do before they notice is what they
// could have done before the death as well.
type life struct{ over atomic.Bool }

// run runs p in a process of its own and says whether it died.
func run(d executor.Deps, p *plan.Plan) (res executor.Result, died bool, err error) {
	l, movers := &life{}, d.Movers
	d.Journal = mortalJournal{l, d.Journal}
	d.Movers = func(id fleet.SourceID) executor.Mover {
		m := movers(id)
		if m == nil {
			return nil
		}
		if modules, ok := m.(executor.ModuleMover); ok {
			return mortalModules{mortal{l, m}, modules}
		}
		return mortal{l, m}
	}
	res, err = executor.Run(context.Background(), d, p)
	if l.over.Load() { // the dead say nothing
		return res, true, nil
	}
	return res, false, err
}

// call makes a call of the living.
func (l *life) call(ctx context.Context, f func(context.Context) error) (err error) {
	if l.over.Load() {
		return errDead
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case sim.Crashed:
			l.over.Store(true)
		default:
			panic(r)
		}
		if l.over.Load() {
			err = errDead
		}
	}()
	return f(mortalContext{ctx, l})
}

// mortalContext ends with its process, for those who ask it before they do something.
type mortalContext struct {
	context.Context
	life *life
}

func (c mortalContext) Err() error {
	if c.life.over.Load() {
		return errDead
	}
	return c.Context.Err()
}

type mortalJournal struct {
	life  *life
	inner executor.Journal
}

func (j mortalJournal) Append(b []byte) error {
	if j.life.over.Load() {
		return errDead
	}
	err := j.inner.Append(b)
	if errors.Is(err, errDead) {
		j.life.over.Store(true)
	}
	return err
}

type mortal struct {
	life  *life
	inner executor.Mover
}

func (m mortal) Locate(ctx context.Context, r fleet.Relocation) (seen fleet.Observed, err error) {
	err = m.life.call(ctx, func(ctx context.Context) (err error) {
		seen, err = m.inner.Locate(ctx, r)
		return err
	})
	return seen, err
}

func (m mortal) Precheck(ctx context.Context, r fleet.Relocation) error {
	return m.life.call(ctx, func(ctx context.Context) error { return m.inner.Precheck(ctx, r) })
}

func (m mortal) Relocate(ctx context.Context, r fleet.Relocation, on bool, progress func(done, total fleet.Bytes)) error {
	return m.life.call(ctx, func(ctx context.Context) error { return m.inner.Relocate(ctx, r, on, progress) })
}

// ChooseFiles is nothing where the mover is no Namer.
func (m mortal) ChooseFiles(ctx context.Context, r fleet.Relocation) (files []fleet.DiskFile, err error) {
	n, ok := m.inner.(executor.Namer)
	if !ok {
		return nil, nil
	}
	err = m.life.call(ctx, func(ctx context.Context) (err error) {
		files, err = n.ChooseFiles(ctx, r)
		return err
	})
	return files, err
}

type mortalModules struct {
	mortal
	modules executor.ModuleMover
}

func (m mortalModules) LocateModule(ctx context.Context, a fleet.Attachment) (at fleet.HostID, err error) {
	err = m.life.call(ctx, func(ctx context.Context) (err error) {
		at, err = m.modules.LocateModule(ctx, a)
		return err
	})
	return at, err
}

func (m mortalModules) AttachModule(ctx context.Context, a fleet.Attachment) error {
	return m.life.call(ctx, func(ctx context.Context) error { return m.modules.AttachModule(ctx, a) })
}
