package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
)

func checkObserve(t *testing.T, s *suite) {
	t.Helper()
	if err := s.snap.Validate(); err != nil {
		t.Errorf("snapshot: %v", err)
	}
	if len(s.snap.Sources) != 1 || s.snap.Sources[0].ID != s.Source.ID() || !s.snap.Sources[0].Reachable {
		t.Errorf("sources: %+v, expected one, %s, reachable", s.snap.Sources, s.Source.ID())
	}
	if len(s.snap.Hosts) == 0 || len(s.snap.Pools) == 0 || len(s.snap.VMs) == 0 {
		t.Errorf("%d hosts, %d pools, %d VMs: expected some of each", len(s.snap.Hosts), len(s.snap.Pools), len(s.snap.VMs))
	}
	if s.snap.Taken.IsZero() || s.snap.Taken.Location() != time.UTC {
		t.Errorf("taken %v, expected a time in UTC", s.snap.Taken)
	}
	for _, vm := range s.snap.VMs {
		if vm.Ref == "" {
			t.Errorf("vm %s: no reference", vm.ID)
		}
		for _, d := range vm.Disks {
			if d.Label.Document != nil {
				t.Errorf("vm %s disk %s: the driver read a label, which is the inventory's", vm.ID, d.ID)
			}
			if d.Path == "" || d.Size == 0 {
				t.Errorf("vm %s disk %s: path %q, size %d", vm.ID, d.ID, d.Path, d.Size)
			}
		}
	}
	again := s.observe(t)
	again.Taken = s.snap.Taken
	a, b := asJSON(t, s.snap), asJSON(t, again)
	if !bytes.Equal(a, b) {
		t.Errorf("two observations of a fleet at rest differ:\n%s\n%s", a, b)
	}
	checkCapabilities(t, s)
}

// checkCapabilities: what the harness says works, the driver must declare.
func checkCapabilities(t *testing.T, s *suite) {
	t.Helper()
	c := s.snap.Sources[0].Capabilities
	for _, m := range s.h.Moves {
		vm := s.snap.VM(m.VM)
		if vm == nil {
			t.Errorf("move %s: no VM %s", m.Name, m.VM)
			continue
		}
		declared := c.Offline
		if m.Mode == fleet.Live && vm.Power == fleet.Running {
			switch {
			case m.Host != "" && m.Pool != "":
				declared = c.LiveBoth
			case m.Host != "":
				declared = c.LiveMigration
			default:
				declared = c.LiveStorage
			}
		}
		if !declared {
			t.Errorf("move %s works, but the source's capabilities do not say so: %+v", m.Name, c)
		}
	}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkOpenImage(t *testing.T, s *suite) {
	t.Helper()
	pool := s.snap.Pool(s.Image.Pool)
	if pool == nil {
		t.Fatalf("the world has no pool %s", s.Image.Pool)
	}
	f, err := s.Source.OpenImage(s.context(t), *pool, s.Image.Path)
	if err != nil {
		t.Fatalf("OpenImage: %v", err)
	}
	want := s.Image.Content
	if f.Size() != int64(len(want)) {
		t.Errorf("size %d, expected %d", f.Size(), len(want))
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; expected the %d of the image", len(got), err, len(want))
	}
	for _, off := range []int{0, 1, len(want) / 2, len(want) - 1} { // any offset, in any order
		p := make([]byte, min(7, len(want)-off))
		if n, err := f.ReadAt(p, int64(off)); n != len(p) || err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(p, want[off:off+n]) {
			t.Errorf("read at %d: %d bytes, %v", off, n, err)
		}
	}
	p := make([]byte, 16)
	if n, err := f.ReadAt(p, int64(len(want))-4); n != 4 || !errors.Is(err, io.EOF) || !bytes.Equal(p[:4], want[len(want)-4:]) {
		t.Errorf("read over the end: %d bytes, %v; expected 4 and EOF", n, err)
	}
	if n, err := f.ReadAt(p, int64(len(want))+100); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read beyond the end: %d bytes, %v; expected EOF", n, err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, vm := range s.snap.VMs { // every disk that was seen can be opened
		for _, d := range vm.Disks {
			f, err := s.Source.OpenImage(s.context(t), *s.snap.Pool(d.Pool), d.Path)
			if err != nil {
				t.Errorf("vm %s disk %s: %v", vm.ID, d.ID, err)
				continue
			}
			if f.Size() <= 0 {
				t.Errorf("vm %s disk %s: size %d", vm.ID, d.ID, f.Size())
			}
			if err := f.Close(); err != nil {
				t.Errorf("vm %s disk %s: close: %v", vm.ID, d.ID, err)
			}
		}
	}
}

func checkOpenImageMissing(t *testing.T, s *suite) {
	t.Helper()
	pool := *s.snap.Pool(s.Image.Pool)
	_, err := s.Source.OpenImage(s.context(t), pool, s.Image.Path+".missing")
	if de := wantTyped(t, err); !errors.Is(err, fleet.ErrNotFound) || de.Kind != fleet.Permanent {
		t.Errorf("missing image: %v, kind %s; expected permanent and fleet.ErrNotFound", err, de.Kind)
	}
	pool.Ref, pool.ID = "no such pool", "no-such-pool"
	if _, err := s.Source.OpenImage(s.context(t), pool, s.Image.Path); err == nil {
		t.Error("an image of a pool that does not exist was opened")
	}
}

func checkMove(t *testing.T, s *suite, m Move) {
	t.Helper()
	r := s.relocation(t, m)
	power, on := finalPower(r.VM)
	s.wantAt(t, r, r.From, power)
	if err := s.Mover.Precheck(s.context(t), r); err != nil {
		t.Fatalf("Precheck: %v", err)
	}
	var calls int
	var last, total fleet.Bytes
	err := s.Mover.Relocate(s.context(t), r, on, func(done, of fleet.Bytes) {
		calls++
		if done < last || done > of || of < total {
			t.Errorf("progress: %d of %d after %d of %d: it may only grow", done, of, last, total)
		}
		last, total = done, of
	})
	if err != nil {
		t.Fatalf("Relocate: %v", err)
	}
	if calls == 0 || last != total {
		t.Errorf("progress: %d reports, the last %d of %d", calls, last, total)
	}
	s.wantAt(t, r, r.To, power)
	s.wantMoved(t, r, power)
	if err := s.Mover.Relocate(s.context(t), r, on, nil); err != nil { // again, as after a crash at the very end
		t.Errorf("Relocate again: %v", err)
	}
	s.wantAt(t, r, r.To, power)
	s.back(t, r, power, on)
}

// wantMoved checks the whole fleet after a move: the VM is at its target, once, readable, and all other
// things are as they were.
func (s *suite) wantMoved(t *testing.T, r fleet.Relocation, power fleet.PowerState) {
	t.Helper()
	after := s.observe(t)
	if err := after.Validate(); err != nil {
		t.Errorf("snapshot after the move: %v", err)
	}
	if len(after.VMs) != len(s.snap.VMs) {
		t.Errorf("%d VMs after the move, %d before", len(after.VMs), len(s.snap.VMs))
	}
	for i := range after.VMs {
		vm := &after.VMs[i]
		if vm.ID == r.VM.ID {
			continue
		}
		if before := s.snap.VM(vm.ID); before == nil || !vm.Place().Equal(before.Place()) || vm.Power != before.Power {
			t.Errorf("vm %s changed, though it was not moved", vm.ID)
		}
	}
	vm := after.VM(r.VM.ID)
	if vm == nil || !vm.Place().Equal(r.To) || vm.Power != power || vm.UUID != r.VM.UUID {
		t.Fatalf("after the move the VM is %+v, expected it at %+v, %s", vm, r.To, power)
	}
	for i, d := range vm.Disks {
		if d.Size != r.VM.Disks[i].Size {
			t.Errorf("disk %s: size %d, %d before the move", d.ID, d.Size, r.VM.Disks[i].Size)
		}
		f, err := s.Source.OpenImage(s.context(t), *after.Pool(d.Pool), d.Path)
		if err != nil {
			t.Errorf("disk %s after the move: %v", d.ID, err)
			continue
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		old := r.VM.Disks[i]
		if old.Pool == d.Pool {
			continue
		}
		if f, err := s.Source.OpenImage(s.context(t), *s.snap.Pool(old.Pool), old.Path); err == nil {
			_ = f.Close()
			t.Errorf("disk %s: the image at its source is still there: %s", d.ID, old.Path)
		} else if !errors.Is(err, fleet.ErrNotFound) {
			t.Errorf("disk %s: image at its source: %v, expected fleet.ErrNotFound", d.ID, err)
		}
	}
}

// back moves the VM home again, as a second step of one plan would: nobody knows the paths of the disks that the
// first one moved.
func (s *suite) back(t *testing.T, r fleet.Relocation, power fleet.PowerState, on bool) {
	t.Helper()
	s.snap = s.observe(t)
	b := s.reverse(r)
	if err := s.Mover.Precheck(s.context(t), b); err != nil {
		t.Fatalf("Precheck of the way back: %v", err)
	}
	if err := s.Mover.Relocate(s.context(t), b, on, nil); err != nil {
		t.Fatalf("Relocate back: %v", err)
	}
	s.wantAt(t, b, b.To, power)
	s.wantMoved(t, b, power)
}

// reverse is the way back of r, which was made.
func (s *suite) reverse(r fleet.Relocation) fleet.Relocation {
	b := r
	b.VM = *s.snap.VM(r.VM.ID)
	b.From, b.To, b.FromHost, b.ToHost = r.To, r.From, r.ToHost, r.FromHost
	b.VM.Disks = slices.Clone(b.VM.Disks)
	for i := range b.VM.Disks {
		if b.From.Disks[i].Pool != b.To.Disks[i].Pool {
			b.VM.Disks[i].Path, b.VM.Disks[i].Chain = "", nil
		}
	}
	return b
}

// checkPowerOn: a VM that is stopped (by an earlier run that died) must run at the end when it is asked to.
func checkPowerOn(t *testing.T, s *suite, m Move) {
	t.Helper()
	r := s.relocation(t, m)
	if r.VM.Power != fleet.Stopped || m.Mode != fleet.Offline {
		t.Skip("only for an offline move of a stopped VM")
	}
	if err := s.Mover.Relocate(s.context(t), r, true, nil); err != nil {
		t.Fatalf("Relocate: %v", err)
	}
	s.wantAt(t, r, r.To, fleet.Running)
}

func checkPrecheckRefuses(t *testing.T, s *suite) {
	t.Helper()
	m := s.h.Moves[0]
	t.Run("unknown host", func(t *testing.T) {
		r := s.relocation(t, m)
		r.To.Host = "host-nowhere"
		r.ToHost = fleet.Host{ID: "host-nowhere", Source: r.FromHost.Source, Ref: "nowhere", Hypervisor: r.FromHost.Hypervisor}
		s.wantRefused(t, r)
	})
	t.Run("unknown pool", func(t *testing.T) {
		r := s.relocation(t, m)
		pool := r.Pools[0]
		pool.ID, pool.Ref = "pool-nowhere", "nowhere"
		r.Pools = append(r.Pools, pool)
		r.To = r.To.Clone()
		for i := range r.To.Disks {
			r.To.Disks[i].Pool = pool.ID
		}
		s.wantRefused(t, r)
	})
	r := s.relocation(t, m)
	power, _ := finalPower(r.VM)
	s.wantAt(t, r, r.From, power)
}

func checkPrecheckTaken(t *testing.T, s *suite) {
	t.Helper()
	if s.Take == nil {
		t.Skip("the hypervisor resolves taken names itself")
	}
	r := s.relocation(t, s.h.Moves[0])
	s.Take(t, r)
	s.wantRefused(t, r)
}

// checkNameTaken: a driver that chooses names finds a way round a file that lies where the first disk's image would go, and
// leaves the choice alone where nothing does.
func checkNameTaken(t *testing.T, s *suite) {
	t.Helper()
	n, ok := s.Mover.(Namer)
	if !ok || s.Take == nil {
		t.Skip("the driver chooses no names, or the world cannot take one")
	}
	r := s.relocation(t, s.h.Moves[0])
	if files, err := n.ChooseFiles(s.context(t), r); err != nil || len(files) != 0 {
		t.Fatalf("ChooseFiles with nothing in the way: %+v, %v, expected none", files, err)
	}
	s.Take(t, r)
	var err error
	if r.Files, err = n.ChooseFiles(s.context(t), r); err != nil || len(r.Files) != 1 || r.Files[0].Disk != r.VM.Disks[0].ID {
		t.Fatalf("ChooseFiles: %+v, %v, expected a name for disk %s", r.Files, err, r.VM.Disks[0].ID)
	}
	power, on := finalPower(r.VM)
	s.wantAt(t, r, r.From, power)
	if err := s.Mover.Precheck(s.context(t), r); err != nil {
		t.Fatalf("Precheck: %v", err)
	}
	if err := s.Mover.Relocate(s.context(t), r, on, nil); err != nil {
		t.Fatalf("Relocate: %v", err)
	}
	s.wantAt(t, r, r.To, power)
	s.wantMoved(t, r, power)
}

func checkPrecheckFull(t *testing.T, s *suite) {
	t.Helper()
	if s.Fill == nil {
		t.Skip("the world cannot fill a pool")
	}
	for _, m := range s.h.Moves {
		if m.Pool != "" {
			r := s.relocation(t, m)
			s.Fill(t, m.Pool)
			s.wantRefused(t, r)
			return
		}
	}
	t.Skip("no move changes the pool")
}

func checkGone(t *testing.T, s *suite) {
	t.Helper()
	if s.Gone == nil {
		t.Skip("the world cannot remove a VM")
	}
	r := s.relocation(t, s.h.Moves[0])
	s.Gone(t, r.VM.ID)
	_, err := s.Mover.Locate(s.context(t), r)
	if de := wantTyped(t, err); !errors.Is(err, fleet.ErrNotFound) || de.Kind != fleet.Permanent {
		t.Errorf("Locate: %v, kind %s; expected permanent and fleet.ErrNotFound", err, de.Kind)
	}
	err = s.Mover.Relocate(s.context(t), r, true, nil)
	if de := wantTyped(t, err); !errors.Is(err, fleet.ErrNotFound) || de.Kind != fleet.Permanent {
		t.Errorf("Relocate: %v, kind %s; expected permanent and fleet.ErrNotFound", err, de.Kind)
	}
}

func checkCancelledBefore(t *testing.T, s *suite) {
	t.Helper()
	r := s.relocation(t, s.h.Moves[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	power, on := finalPower(r.VM)
	for what, f := range map[string]func() error{
		"Relocate": func() error { return s.Mover.Relocate(ctx, r, on, nil) },
		"Precheck": func() error { return s.Mover.Precheck(ctx, r) },
		"Locate":   func() error { _, err := s.Mover.Locate(ctx, r); return err },
	} {
		if err := s.prompt(t, what, f); fleet.KindOf(wantTyped(t, err)) == fleet.Permanent {
			t.Errorf("%s under a context that had ended: %v is permanent", what, err)
		}
	}
	if err := s.prompt(t, "Observe", func() error { _, err := s.Source.Observe(ctx); return err }); err == nil {
		t.Error("Observe succeeded under a context that had ended")
	}
	s.wantAt(t, r, r.From, power)
}

// checkInterrupted cuts a move off at its first progress and makes it again: the world alone says how to go on.
func checkInterrupted(t *testing.T, s *suite, m Move) {
	t.Helper()
	r := s.relocation(t, m)
	power, on := finalPower(r.VM)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.prompt(t, "Relocate", func() error {
		return s.Mover.Relocate(ctx, r, on, func(fleet.Bytes, fleet.Bytes) { cancel() })
	})
	if err != nil && fleet.KindOf(wantTyped(t, err)) == fleet.Permanent {
		t.Errorf("an interrupted move failed for good: %v", err)
	}
	if err := s.Mover.Relocate(s.context(t), r, on, nil); err != nil {
		t.Fatalf("Relocate after an interruption: %v", err)
	}
	s.wantAt(t, r, r.To, power)
	s.wantMoved(t, r, power)
}

// checkFails: a failure comes out as its kind. A settled one leaves the VM where it was; after any of them the same call
// works when the cause is gone.
func checkFails(t *testing.T, s *suite, kind fleet.ErrorKind) {
	t.Helper()
	if s.Fail == nil {
		t.Skip("the world cannot make a move fail")
	}
	r := s.relocation(t, s.h.Moves[0])
	power, on := finalPower(r.VM)
	if !s.Fail(t, kind) {
		t.Skipf("the world cannot make a %s failure", kind)
	}
	err := s.Mover.Relocate(s.context(t), r, on, nil)
	if de := wantTyped(t, err); de.Kind != kind {
		t.Fatalf("Relocate: kind %s, expected %s: %v", de.Kind, kind, err)
	}
	if kind != fleet.Unknown {
		s.wantAt(t, r, r.From, power)
	}
	if err := s.Mover.Relocate(s.context(t), r, on, nil); err != nil {
		t.Fatalf("Relocate after the failure: %v", err)
	}
	s.wantAt(t, r, r.To, power)
	s.wantMoved(t, r, power)
}
