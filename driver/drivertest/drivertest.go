// Package drivertest is the conformance suite that every driver passes: what internal/inventory and
// internal/executor rely on, run against a fresh world of real (or simulated) hypervisors.
//
// A driver's own test calls Run with a Harness that builds such a world. Each check gets a world of its own,
// since most of them move things. What a world cannot do (fill a pool, take a name) is left nil, and the checks
// that need it are skipped and say so.
package drivertest

import (
	"context"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// Source is what internal/inventory needs of a driver.
type Source interface {
	ID() fleet.SourceID
	Observe(ctx context.Context) (*fleet.Snapshot, error)
	OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error)
}

// Mover is what internal/executor needs of a driver.
type Mover interface {
	Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error)
	Precheck(ctx context.Context, r fleet.Relocation) error
	Relocate(ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes)) error
}

// Harness builds worlds and says which moves the driver can make in one.
type Harness struct {
	// New builds a fresh world and tears it down with t.Cleanup.
	New func(t *testing.T) *World
	// Moves are the moves that work in a fresh world; each is made in a world of its own. At least one.
	Moves []Move
}

// Move is one relocation, named by what changes.
type Move struct {
	Name string
	VM   fleet.VMID
	Host fleet.HostID // the target; empty: the VM stays on its host
	Pool fleet.PoolID // the target of every disk; empty: the disks stay
	Mode fleet.Mode
}

// World is one fleet that a check may change.
type World struct {
	Source Source
	Mover  Mover
	// Image is one image file with its whole content.
	Image Image
	// Take makes the place that r needs at its target (a file, a definition) taken by something that is not
	// r's. Nil: the hypervisor resolves such clashes itself.
	Take func(t *testing.T, r fleet.Relocation)
	// Fill leaves less free room in the pool than any VM of the world needs.
	Fill func(t *testing.T, pool fleet.PoolID)
	// Fail makes the next relocation fail at the hypervisor with an error that has to come out as kind.
	Fail func(t *testing.T, kind fleet.ErrorKind)
}

// Image is a known image file.
type Image struct {
	Pool    fleet.PoolID
	Path    string
	Content []byte
}

// Run runs every check against worlds of h.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil || len(h.Moves) == 0 {
		t.Fatal("a harness needs New and at least one move")
	}
}
