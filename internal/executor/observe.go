package executor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/berth-project/berth/fleet"
)

// insist makes a call that changes nothing until it succeeds, fails for good, or has failed Retries times.
func (s *step) insist(ctx context.Context, call func(context.Context) error) error {
	for n := 1; ; n++ {
		err := s.bounded(ctx, call)
		if err == nil || permanent(err) || n > s.limits.Retries || ctx.Err() != nil {
			return err
		}
		s.tell(Event{Kind: StepWaiting, Err: err})
		if s.clock.Sleep(ctx, s.backoff(n)) != nil {
			return err
		}
	}
}

func (s *step) bounded(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Ask)
	defer cancel()
	return call(ctx)
}

func permanent(err error) bool {
	return errors.Is(err, fleet.ErrNotFound) || fleet.KindOf(err) == fleet.Permanent
}

// locate asks where the VM is, in the names of the plan.
func (s *step) locate(ctx context.Context) (fleet.Observed, error) {
	var seen fleet.Observed
	err := s.insist(ctx, func(ctx context.Context) (err error) {
		seen, err = s.mover.Locate(ctx, s.move)
		return err
	})
	seen.Placement = s.named(seen.Placement)
	return seen, err
}

// settled asks until the VM is settled or the time for that is over, and returns what was seen last. A VM
// that is not found is asked for again too: between two hosts it may be invisible for a moment.
func (s *step) settled(ctx context.Context, limit time.Duration) (fleet.Observed, error) {
	deadline := s.clock.Now().Add(limit)
	for {
		var seen fleet.Observed
		err := s.bounded(ctx, func(ctx context.Context) (err error) {
			seen, err = s.mover.Locate(ctx, s.move)
			return err
		})
		seen.Placement = s.named(seen.Placement)
		final := err != nil && permanent(err) && (s.acted == 0 || !errors.Is(err, fleet.ErrNotFound))
		if (err == nil && seen.Settled) || final || !s.clock.Now().Before(deadline) {
			return seen, err
		}
		if ctx.Err() != nil {
			return seen, ctx.Err()
		}
		s.tell(Event{Kind: StepWaiting, Err: err, Detail: seen.Detail})
		if slept := s.clock.Sleep(ctx, s.limits.Poll); slept != nil {
			return seen, slept
		}
	}
}

// named puts p in the names and the order of the plan. A driver knows nothing of the "source/" that the
// inventory put before an identifier that two sources use.
func (s *step) named(p fleet.Placement) fleet.Placement {
	prefix := string(s.move.VM.Source) + "/"
	p = p.Clone()
	if h := fleet.HostID(prefix) + p.Host; h == s.move.From.Host || h == s.move.To.Host {
		p.Host = h
	}
	for i := range p.Disks {
		full := fleet.PoolID(prefix) + p.Disks[i].Pool
		for _, pool := range s.move.Pools {
			if pool.ID == full {
				p.Disks[i].Pool = full
			}
		}
	}
	return p
}

// where is the place of a VM in relation to one move.
type where int

const (
	elsewhere where = iota // where this move cannot have put it
	atFrom
	atTo
	between // the host and each disk are at one of the two ends
)

func (s *step) where(seen fleet.Observed) where {
	from, to, p := byDisk(s.move.From), byDisk(s.move.To), byDisk(seen.Placement)
	switch {
	case p.Equal(to):
		return atTo
	case p.Equal(from):
		return atFrom
	case p.Host != from.Host && p.Host != to.Host, len(p.Disks) != len(from.Disks), len(p.Disks) != len(to.Disks):
		return elsewhere
	}
	for i, d := range p.Disks {
		if d != from.Disks[i] && d != to.Disks[i] {
			return elsewhere
		}
	}
	return between
}

func byDisk(p fleet.Placement) fleet.Placement {
	p = p.Clone()
	slices.SortFunc(p.Disks, func(a, b fleet.DiskPlace) int { return cmp.Compare(a.Disk, b.Disk) })
	return p
}

// found prints what was seen.
func found(seen fleet.Observed) string {
	text := describe(seen.Placement, seen.Power)
	if !seen.Settled {
		text += ", not settled"
	}
	if seen.Detail != "" {
		text += ": " + seen.Detail
	}
	return text
}

// nowhere says what is known of a VM that was not found: the driver may mean its host or a disk.
func nowhere(err error) string { return "nowhere: " + err.Error() }
