package inventory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// Source is what the inventory needs of a driver.
type Source interface {
	ID() fleet.SourceID
	// Observe lists what the source has: one entry in Sources, and its hosts, pools, VMs and gaps. It fails
	// only when nothing at all could be seen.
	Observe(ctx context.Context) (*fleet.Snapshot, error)
	// OpenImage opens an image for reading; reads end soon after ctx does. A file that is a diskimage.Beside gives the
	// sidecar, where images without a place of their own have their label.
	OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error)
}

// Options of Take.
type Options struct {
	// Trust are the keys that labels are verified with; nil: no key is known.
	Trust *label.TrustFile
	// Now becomes the snapshot's time and decides what has expired.
	Now time.Time
	// Parallel is how many images of one source are read at once, and how many sources at once; 8 when 0.
	Parallel int
	// ObserveTimeout bounds one Observe, 5 minutes when 0; ReadTimeout all reads of one disk, 30 s when 0.
	ObserveTimeout, ReadTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.ObserveTimeout <= 0 {
		o.ObserveTimeout = 5 * time.Minute
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = 30 * time.Second
	}
	return o
}

// Take observes all sources, reads the labels of their disks, and joins them into one valid, sorted snapshot.
// What cannot be seen is a Gap in it. Errors: two sources of one name, ctx's end, or a driver whose
// observations contradict themselves even after joining.
func Take(ctx context.Context, sources []Source, o Options) (*fleet.Snapshot, error) {
	o = o.withDefaults()
	names := map[fleet.SourceID]bool{}
	for _, s := range sources {
		if names[s.ID()] {
			return nil, fmt.Errorf("take inventory: source %s is there twice", s.ID())
		}
		names[s.ID()] = true
	}
	parts := make([]*fleet.Snapshot, len(sources))
	var group errgroup.Group
	group.SetLimit(o.Parallel)
	for i, s := range sources {
		group.Go(func() error {
			parts[i] = survey(ctx, s, o)
			return nil
		})
	}
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("take inventory: %w", err)
	}
	out := join(parts)
	out.Version, out.Taken = fleet.SnapshotVersion, o.Now.UTC().Round(0)
	out.Sort()
	complete(out)
	copies(out) // by the order of the snapshot, not of the sources
	out.Sort()
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("take inventory: %w", err)
	}
	return out, nil
}

// survey is one source with its labels, or the gap where it should be.
func survey(ctx context.Context, s Source, o Options) *fleet.Snapshot {
	part, err := observe(ctx, s, o.ObserveTimeout)
	if err != nil {
		return &fleet.Snapshot{
			Sources: []fleet.Source{{ID: s.ID()}},
			Gaps: []fleet.Gap{{
				Source: s.ID(), Object: "source " + string(s.ID()), What: "everything", Cause: err.Error(),
			}},
		}
	}
	newReader(s, part, o).readAll(ctx)
	return part
}

// observe asks the source and checks that what it says is its own and whole: one driver's fault must not
// spoil the snapshot of the others.
func observe(ctx context.Context, s Source, limit time.Duration) (*fleet.Snapshot, error) {
	part, err := within(ctx, limit, s.Observe)
	if err != nil {
		return nil, err
	}
	if part == nil {
		return nil, errors.New("the driver saw nothing")
	}
	if len(part.Sources) != 1 || part.Sources[0].ID != s.ID() {
		return nil, fmt.Errorf("the driver names %d sources, expected only %s", len(part.Sources), s.ID())
	}
	part.Version = fleet.SnapshotVersion
	claim(part, s.ID())
	distinguish(part)
	complete(part)
	part.Sort()
	if err := part.Validate(); err != nil {
		return nil, fmt.Errorf("the driver contradicts itself: %w", err)
	}
	return part, nil
}

// claim makes everything in part belong to the source.
func claim(part *fleet.Snapshot, id fleet.SourceID) {
	for i := range part.Hosts {
		part.Hosts[i].Source = id
	}
	for i := range part.Pools {
		part.Pools[i].Source = id
	}
	for i := range part.VMs {
		part.VMs[i].Source = id
	}
	for i := range part.Modules {
		part.Modules[i].Source = id
	}
	for i := range part.Gaps {
		part.Gaps[i].Source = id
	}
}

// within gives call a deadline, and up on it: a driver that hangs on in spite of its context is left behind.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer cancel()
		v, err := call(ctx)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select { // a driver that obeys says more than the context
	case r := <-done:
		return r.v, r.err
	case <-time.After(grace):
		var zero T
		return zero, fmt.Errorf("no answer within %v: %w", limit, ctx.Err())
	}
}

// grace is what a driver gets to return after its context ended.
const grace = time.Second / 4
