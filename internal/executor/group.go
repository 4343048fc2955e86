package executor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// group is steps that may be under way at once.
type group struct {
	run *run
	// must says that an earlier run began them: each is brought to its end, whatever becomes of the others.
	must bool

	mu     sync.Mutex
	queue  []int // indexes of steps that nobody has taken yet, in their order
	before int   // the lowest index of a step that was taken and not begun; -1: none
	failed []failure
}

type failure struct {
	index int
	err   error
}

// together runs the steps at the indexes given, at most Deps.Parallel at once, and returns when none is under way any more.
// Once one has failed no other is begun, unless must.
func (r *run) together(ctx context.Context, steps []int, must bool) error {
	if len(steps) == 0 {
		return nil
	}
	begin, halt := context.WithCancel(ctx)
	defer halt()
	r.mu.Lock()
	r.halt = halt
	r.mu.Unlock()
	g := &group{run: r, must: must, queue: steps, before: -1}
	var workers sync.WaitGroup
	for range min(r.parallel(), len(steps)) - 1 {
		workers.Go(func() { g.work(ctx, begin, halt) })
	}
	g.work(ctx, begin, halt)
	workers.Wait()
	return g.outcome(ctx)
}

func (r *run) parallel() int { return cmp.Or(r.deps.Parallel, DefaultParallel) }

// work runs steps until none is left, or none may be begun.
func (g *group) work(ctx, begin context.Context, halt func()) {
	for {
		i, ok := g.take(ctx, begin)
		if !ok {
			return
		}
		err := g.run.step(ctx, begin, i)
		if err == nil {
			continue
		}
		halt()
		g.ended(i, err)
		if s := &g.run.plan.Steps[i]; !errors.Is(err, errNotBegun) {
			g.run.report(Event{Kind: StepStopped, Step: s.N, VM: s.Move.VM.ID, Module: moduleOf(s), Err: err})
		}
	}
}

func (g *group) take(ctx, begin context.Context) (i int, ok bool) {
	if ctx.Err() != nil || !g.must && begin.Err() != nil {
		return 0, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		return 0, false
	}
	i, g.queue = g.queue[0], g.queue[1:]
	return i, true
}

// ended notes how the step at index i ended, which is not done.
func (g *group) ended(i int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !errors.Is(err, errNotBegun) {
		g.failed = append(g.failed, failure{i, err})
	} else if g.before < 0 || i < g.before {
		g.before = i
	}
}

// outcome is the error of the group once nobody works on it. A step that was not begun since another failed is no error of
// its own.
func (g *group) outcome(ctx context.Context) error {
	slices.SortFunc(g.failed, func(a, b failure) int { return cmp.Compare(a.index, b.index) })
	switch len(g.failed) {
	case 0:
	case 1:
		return g.failed[0].err
	default:
		errs := make([]error, len(g.failed))
		for n, f := range g.failed {
			errs[n] = f.err
		}
		return &StepsError{Errs: errs}
	}
	switch before := g.before; {
	case before >= 0: // ones that nobody has taken come after it
		return g.run.stoppedBefore(ctx, before)
	case len(g.queue) > 0:
		return g.run.stoppedBefore(ctx, g.queue[0])
	}
	return nil
}
