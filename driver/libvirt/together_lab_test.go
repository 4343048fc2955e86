package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// TestLabSameName moves two VMs at once whose disks have one name, from two pools into one. Both are checked before either begins, so
// that neither finds the other's file. One gets there; the other is refused while the first copies, touches none of its files,
// and is where it was.
func TestLabSameName(t *testing.T) {
	l := startLab(t)
	const disk = "disk.qcow2"
	names := []fleet.VMID{"vm-a", "vm-b"}
	for i, pool := range []string{"hdd", "nvme"} {
		l.vm(t, 1, string(names[i]), false, l.image(t, 1, pool, disk, "qcow2", "", []string{"gold", "silver"}[i]))
	}
	d := l.driver(t)
	s := observe(t, d)
	refused, errs := make(chan struct{}), make([]error, 2)
	var begun atomic.Bool
	d.checkpoint = func(name string) error {
		if name == "created "+disk && begun.CompareAndSwap(false, true) {
			<-refused // the first one waits, half-way, until the other's end
		}
		return nil
	}
	var all []fleet.Relocation
	for _, vm := range names {
		r := relocation(t, s, vm, "silver-1", fleet.Offline, "ssd")
		if err := d.Precheck(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	var group sync.WaitGroup
	var end sync.Once
	for i, r := range all {
		group.Go(func() {
			errs[i] = d.Relocate(t.Context(), r, false, nil)
			end.Do(func() { close(refused) })
		})
	}
	group.Wait()
	lost := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if lost < 0 || errs[1-lost] != nil || fleet.KindOf(errs[lost]) != fleet.Permanent || !strings.Contains(errs[lost].Error(), "which is being moved too") {
		t.Fatalf("%v: expected that one of them is refused for the other", errs)
	}
	for i, r := range all {
		want := r.To
		if i == lost {
			want = r.From
		}
		o, err := d.Locate(context.WithoutCancel(t.Context()), r)
		if err != nil || !o.Placement.Equal(want) {
			t.Errorf("%s: %+v, %v, expected it at %+v", r.VM.ID, o, err, want)
		}
	}
	// The label tells the two images apart.
	now := observe(t, d)
	for i, vm := range names {
		v := now.VM(vm)
		f, err := d.OpenImage(t.Context(), *now.Pool(v.Disks[0].Pool), v.Disks[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		if level := levelOf(t, f, "qcow2"); level != []string{"gold", "silver"}[i] {
			t.Errorf("%s: its disk has the label %q", vm, level)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	// Again, the refused one finds the other's disk in its way.
	if err := d.Relocate(t.Context(), all[lost], false, nil); err == nil || !strings.Contains(err.Error(), "is used by vm") {
		t.Errorf("%v, expected that the file is in use", errors.Unwrap(err))
	}
}
