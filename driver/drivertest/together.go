package drivertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// checkTogether makes several moves at once, as a wave of a plan does, and then all of them back at once.
func checkTogether(t *testing.T, s *suite) {
	t.Helper()
	if len(s.h.Together) < 2 {
		t.Skip("the harness names no moves to be made at once")
	}
	var there []fleet.Relocation
	for _, m := range s.h.Together {
		there = append(there, s.relocation(t, m))
	}
	s.crowd(t, there)
	s.snap = s.observe(t)
	var back []fleet.Relocation
	for _, r := range there {
		back = append(back, s.reverse(r))
	}
	s.crowd(t, back)
}

// crowd makes the moves at once, each as the executor does, and checks what became of them all.
func (s *suite) crowd(t *testing.T, all []fleet.Relocation) {
	t.Helper()
	ctx, errs := s.context(t), make([]error, len(all))
	asked, moved := newMeeting(len(all)), sync.WaitGroup{}
	for i, r := range all {
		moved.Go(func() { errs[i] = s.one(ctx, r, asked) })
	}
	moved.Wait()
	for i, r := range all {
		if errs[i] != nil {
			t.Errorf("vm %s, from %s to %s, while %d others moved: %v", r.VM.ID, r.From.Host, r.To.Host, len(all)-1, errs[i])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, r := range all {
		power, _ := finalPower(r.VM)
		s.wantAt(t, r, r.To, power)
	}
	s.wantAllMoved(t, all)
}

// one makes one of several moves. All of them are asked for before one begins, as it may be in a wave.
func (s *suite) one(ctx context.Context, r fleet.Relocation, asked *meeting) error {
	power, on := finalPower(r.VM)
	o, err := s.Mover.Locate(ctx, r)
	if err == nil && (!o.Placement.Equal(r.From) || o.Power != power || !o.Settled) {
		err = errors.New("it is not at its start: " + o.Detail)
	}
	if err == nil {
		err = s.Mover.Precheck(ctx, r)
	}
	asked.wait() // also after an error: the others wait for this one
	if err != nil {
		return err
	}
	var calls int
	var last fleet.Bytes
	err = s.Mover.Relocate(ctx, r, on, func(done, of fleet.Bytes) {
		calls++
		if done < last || done > of {
			calls = -1 << 30
		}
		last = done
	})
	if err == nil && calls < 1 {
		err = errors.New("its progress is not reported, or goes backwards")
	}
	return err
}

// meeting lets nobody on before n have come.
type meeting struct {
	all sync.WaitGroup
}

func newMeeting(n int) *meeting {
	m := &meeting{}
	m.all.Add(n)
	return m
}

func (m *meeting) wait() {
	m.all.Done()
	m.all.Wait()
}

// wantAllMoved checks the whole fleet after the moves: those VMs are at their targets with the images that they had, the
// others where they were.
func (s *suite) wantAllMoved(t *testing.T, all []fleet.Relocation) {
	t.Helper()
	after := s.observe(t)
	if err := after.Validate(); err != nil {
		t.Errorf("snapshot after the moves: %v", err)
	}
	if len(after.VMs) != len(s.snap.VMs) {
		t.Errorf("%d VMs after the moves, %d before", len(after.VMs), len(s.snap.VMs))
	}
	for i := range s.snap.VMs {
		before := &s.snap.VMs[i]
		want := before.Place()
		if n := slices.IndexFunc(all, func(r fleet.Relocation) bool { return r.VM.ID == before.ID }); n >= 0 {
			want = all[n].To
		}
		vm := after.VM(before.ID)
		if vm == nil || !vm.Place().Equal(want) || vm.Power != before.Power || vm.UUID != before.UUID {
			t.Errorf("vm %s: %+v, expected it at %+v, %s", before.ID, vm, want, before.Power)
			continue
		}
		for j, d := range vm.Disks {
			s.wantImage(t, after, vm.ID, d, before.Disks[j])
		}
	}
}

// wantImage checks that a disk can be read, and that nothing is left of it where it was.
func (s *suite) wantImage(t *testing.T, after *fleet.Snapshot, vm fleet.VMID, now, before fleet.Disk) {
	t.Helper()
	f, err := s.Source.OpenImage(s.context(t), *after.Pool(now.Pool), now.Path)
	if err != nil || now.Size != before.Size {
		t.Errorf("vm %s disk %s: %v; size %d, %d before", vm, now.ID, err, now.Size, before.Size)
		return
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if now.Pool == before.Pool {
		return
	}
	if f, err := s.Source.OpenImage(s.context(t), *after.Pool(before.Pool), before.Path); err == nil {
		_ = f.Close() // nothing was read
		t.Errorf("vm %s disk %s: the image at its source is still there: %s", vm, now.ID, before.Path)
	} else if !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("vm %s disk %s: image at its source: %v, expected fleet.ErrNotFound", vm, now.ID, err)
	}
}
