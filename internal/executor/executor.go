package executor

import (
	"context"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// Mover is what the executor needs of a driver. Its errors are *fleet.DriverError; every call returns soon
// after its context ends. Calls for different VMs come from several goroutines at once, those for one VM one after another.
type Mover interface {
	// Locate asks the hypervisors of both ends of r where its VM is now. An error that wraps
	// fleet.ErrNotFound means that both ends answered and neither knows the VM.
	Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error)
	// Precheck says whether r would fail or overwrite something: a name taken, no room. It changes nothing.
	Precheck(ctx context.Context, r fleet.Relocation) error
	// Relocate brings the VM from any state that an earlier Relocate of r can have left to r.To, running if
	// powerOn. progress may be nil; it may be called from one goroutine of the driver until Relocate returns.
	Relocate(ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes)) error
}

// Namer is what a Mover is besides when an image may find its name taken at its target.
type Namer interface {
	// ChooseFiles chooses names for the images of r's disks that nobody has at their target, and returns those that the
	// plan cannot tell. It changes nothing; while the driver is open no other VM is given one of them before a Relocate of this VM has
	// ended. Those that are chosen in vain are taken back by the next call for the VM.
	ChooseFiles(ctx context.Context, r fleet.Relocation) ([]fleet.DiskFile, error)
}

// MaxSteps is how many steps a plan may have to be applied: with two records a step and some more for failures it
// fits into one journal.
const MaxSteps = 250_000

// How many steps of a wave may be under way at once.
const (
	DefaultParallel = 4
	MaxParallel     = 64
)

// Journal is where the run is written down. Append returns when the record is on disk; it is called one at a time.
type Journal interface {
	Append(record []byte) error
}

// Deps is what Run works with.
type Deps struct {
	// Movers is the mover of a source, nil when there is none. It is called from several goroutines.
	Movers func(fleet.SourceID) Mover
	// Parallel is how many steps of one wave are under way at most: 1 (one after another) to MaxParallel; 0 is
	// DefaultParallel.
	Parallel int
	// Journal is open and empty, or the one of an earlier run of the same plan; Records is what it holds.
	Journal Journal
	Records [][]byte
	// Accepted are the risks that the operator accepted by name.
	Accepted []plan.Risk
	// Resumed is called once when all steps that an earlier run left open have come to their end, before one of rest, those
	// that are not done, is begun: while they are open nobody can tell whether the fleet still is as the rest needs it. Its
	// error ends the run; nil: it is not asked.
	Resumed func(ctx context.Context, rest []plan.Step) error
	// Report is told of progress, one call at a time; nil: nobody listens. It must not block.
	Report func(Event)
	// Clock is the wall clock when nil.
	Clock Clock
	// Limits are DefaultLimits where zero.
	Limits Limits
}

// Clock is the time as the executor sees it. It is used from several goroutines.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or with the context's error when that ends before.
	Sleep(ctx context.Context, d time.Duration) error
}

// Limits bounds everything that waits or repeats.
type Limits struct {
	// Retries of a step after passing faults, Backoff before the first one, doubled up to MaxBackoff.
	Retries             int
	Backoff, MaxBackoff time.Duration
	// Ask bounds one Locate or Precheck, and the wait for a VM that something else works on.
	Ask time.Duration
	// Step bounds one Relocate, apart from the copying: that is allowed a second for each CopyRate bytes.
	Step     time.Duration
	CopyRate fleet.Bytes
	// Settle is how long the hypervisors are polled, each Poll, after an unknown outcome.
	Settle, Poll time.Duration
}

// DefaultLimits suit real hypervisors: a silent destination was seen to hold a migration for ten minutes.
func DefaultLimits() Limits {
	return Limits{
		Retries: 4, Backoff: 2 * time.Second, MaxBackoff: 30 * time.Second,
		Ask: time.Minute, Step: 15 * time.Minute, CopyRate: fleet.MiB,
		Settle: 10 * time.Minute, Poll: 2 * time.Second,
	}
}

// Result says how far a run came. It is right whatever error comes with it, and empty with a *JournalError.
type Result struct {
	Done    []int `json:"done"`    // steps that this run brought to their end
	Skipped []int `json:"skipped"` // steps that were done before it
	// Remaining steps are not done, those that stopped the run included.
	Remaining []int `json:"remaining"`
}
