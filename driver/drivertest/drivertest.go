// Package drivertest is the conformance suite that every driver passes: what internal/inventory and
// internal/executor rely on, run against a fresh world of real (or simulated) hypervisors.
//
// A driver's own test calls Run with a Harness that builds such a world. Each check gets a world of its own,
// since most of them move things. What a world cannot do (fill a pool, take a name) is left nil, and the checks
// that need it are skipped and say so.
package drivertest

import (
	"context"
	"errors"
	"testing"
	"time"

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

// Namer is what internal/executor asks of a driver whose images can find their names taken; see there.
type Namer interface {
	ChooseFiles(ctx context.Context, r fleet.Relocation) ([]fleet.DiskFile, error)
}

// Harness builds worlds and says which moves the driver can make in one.
type Harness struct {
	// New builds a fresh world and tears it down with t.Cleanup.
	New func(t *testing.T) *World
	// Moves are the moves that work in a fresh world; each is made in a world of its own. At least one.
	Moves []Move
	// Together are moves of different VMs that work in a fresh world all at once, as the steps of a wave, and all back at once:
	// two or three between the same hosts, in both directions. Without any the check is skipped.
	Together []Move
	// Timeout bounds one call of the driver; 0: two minutes. It only keeps a driver that hangs from hanging
	// the tests: nothing is measured.
	Timeout time.Duration
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
	// Take makes the place that r needs at its target (a file; a definition, where the driver is no Namer) taken by something
	// that is not r's. Nil: the hypervisor resolves such clashes itself.
	Take func(t *testing.T, r fleet.Relocation)
	// Fill leaves less free room in the pool than any VM of the world needs.
	Fill func(t *testing.T, pool fleet.PoolID)
	// Fail makes the next relocation fail at the hypervisor so that it has to come out as kind; false: this
	// world cannot make that kind.
	Fail func(t *testing.T, kind fleet.ErrorKind) bool
	// Gone removes the VM from the hypervisor.
	Gone func(t *testing.T, vm fleet.VMID)
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
	if h.Timeout == 0 {
		h.Timeout = 2 * time.Minute
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"Observe", checkObserve},
		{"OpenImage", checkOpenImage},
		{"OpenImageMissing", checkOpenImageMissing},
		{"PrecheckRefuses", checkPrecheckRefuses},
		{"PrecheckTaken", checkPrecheckTaken},
		{"NameTaken", checkNameTaken},
		{"PrecheckFull", checkPrecheckFull},
		{"Gone", checkGone},
		{"CancelledBefore", checkCancelledBefore},
		{"Together", checkTogether},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newSuite(t, h)) })
	}
	for _, m := range h.Moves {
		t.Run("Move/"+m.Name, func(t *testing.T) { checkMove(t, newSuite(t, h), m) })
		t.Run("PowerOn/"+m.Name, func(t *testing.T) { checkPowerOn(t, newSuite(t, h), m) })
		t.Run("Interrupted/"+m.Name, func(t *testing.T) { checkInterrupted(t, newSuite(t, h), m) })
	}
	for _, kind := range []fleet.ErrorKind{fleet.Permanent, fleet.Retry, fleet.Unknown} {
		t.Run("Fails/"+kind.String(), func(t *testing.T) { checkFails(t, newSuite(t, h), kind) })
	}
}

// suite is one check's world.
type suite struct {
	*World
	h    Harness
	snap *fleet.Snapshot
}

func newSuite(t *testing.T, h Harness) *suite {
	t.Helper()
	s := &suite{World: h.New(t), h: h}
	s.snap = s.observe(t)
	return s
}

// context bounds one call.
func (s *suite) context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.h.Timeout)
	t.Cleanup(cancel)
	return ctx
}

func (s *suite) observe(t *testing.T) *fleet.Snapshot {
	t.Helper()
	snap, err := s.Source.Observe(s.context(t))
	if err != nil {
		t.Fatalf("Observe: %v", err)
	}
	snap.Sort()
	return snap
}

// relocation makes m complete, as a plan would.
func (s *suite) relocation(t *testing.T, m Move) fleet.Relocation {
	t.Helper()
	vm := s.snap.VM(m.VM)
	if vm == nil {
		t.Fatalf("the world has no VM %s", m.VM)
	}
	r := fleet.Relocation{VM: *vm, From: vm.Place(), To: vm.Place(), Mode: m.Mode}
	if m.Host != "" {
		r.To.Host = m.Host
	}
	if m.Pool != "" {
		for i := range r.To.Disks {
			r.To.Disks[i].Pool = m.Pool
		}
	}
	from, to := s.snap.Host(r.From.Host), s.snap.Host(r.To.Host)
	if from == nil || to == nil {
		t.Fatalf("the world has no host %s or %s", r.From.Host, r.To.Host)
	}
	r.FromHost, r.ToHost = *from, *to
	seen := map[fleet.PoolID]bool{}
	for _, dp := range append(r.From.Clone().Disks, r.To.Disks...) {
		p := s.snap.Pool(dp.Pool)
		if p == nil {
			t.Fatalf("the world has no pool %s", dp.Pool)
		}
		if !seen[dp.Pool] {
			seen[dp.Pool] = true
			r.Pools = append(r.Pools, *p)
		}
	}
	return r
}

// wantAt checks where the hypervisors say the VM is.
func (s *suite) wantAt(t *testing.T, r fleet.Relocation, p fleet.Placement, power fleet.PowerState) {
	t.Helper()
	o, err := s.Mover.Locate(s.context(t), r)
	if err != nil {
		t.Fatalf("Locate: %v", err)
	}
	if !o.Placement.Equal(p) || o.Power != power || !o.Settled {
		t.Fatalf("Locate: %+v, expected %+v, %s, settled", o, p, power)
	}
}

// wantTyped checks that err is a *fleet.DriverError.
func wantTyped(t *testing.T, err error) *fleet.DriverError {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	var de *fleet.DriverError
	if !errors.As(err, &de) {
		t.Fatalf("error is a %T, expected a *fleet.DriverError: %v", err, err)
	}
	if de.Op == "" || de.Err == nil {
		t.Fatalf("error says neither what was done nor why: %#v", de)
	}
	return de
}

// prompt runs f and fails when it does not return in time: a guard against hanging, not a measurement.
func (s *suite) prompt(t *testing.T, what string, f func() error) error {
	t.Helper()
	out := make(chan error, 1)
	go func() { out <- f() }()
	select {
	case err := <-out:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("%s did not return within 30 s of its context's end", what)
		return nil
	}
}

// wantRefused checks a Precheck's error: settled, and nothing moved.
func (s *suite) wantRefused(t *testing.T, r fleet.Relocation) {
	t.Helper()
	err := s.Mover.Precheck(s.context(t), r)
	if de := wantTyped(t, err); de.Kind == fleet.Unknown {
		t.Errorf("Precheck: kind %s, expected a settled one: %v", de.Kind, err)
	}
}

// finalPower is the power state that a move has to end in when it may not change it.
func finalPower(vm fleet.VM) (fleet.PowerState, bool) { return vm.Power, vm.Power == fleet.Running }
