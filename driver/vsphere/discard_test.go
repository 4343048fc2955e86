package vsphere_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

// TestRemoveImage: a disk that nothing refers to goes with its extent; one that a VM has stays, whether it runs or not and
// however its path is spelled.
func TestRemoveImage(t *testing.T) {
	s, d := world(t)
	snapshot := observe(t, d)
	loose := filepath.Join(s.Folder("ssd-1"), "loose")
	must(t, vcsim.WriteDisk(loose, "old.vmdk", 1<<20))
	must(t, os.WriteFile(filepath.Join(loose, "single.vmdk"), append([]byte("KDMV"), make([]byte, 1020)...), 0o644))
	must(t, os.WriteFile(filepath.Join(loose, "note.txt"), []byte("stays"), 0o644))
	for name, why := range map[string]string{
		"[ssd-1] vm-db/vm-db.vmdk":      "vm-db",
		"[ssd-1] vm-db/vm-db-flat.vmdk": "part of one",
		"[ssd-1] loose/none.vmdk":       "not found",
		"[ssd-1] loose/../vm-db/x.vmdk": "not plain",
		"[hdd-1] vm-log/vm-log.vmdk":    "no path on datastore",
	} {
		gone, err := d.RemoveImage(t.Context(), *snapshot.Pool("ssd-1"), name)
		if err == nil || len(gone) > 0 || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: removed %v, %v", name, gone, err)
		}
	}
	if gone, err := d.RemoveImage(t.Context(), *snapshot.Pool("hdd-1"), "[hdd-1] vm-web/vm-web.vmdk"); err == nil || len(gone) > 0 || !strings.Contains(err.Error(), "vm-web") {
		t.Errorf("the disk of a VM that is switched off: removed %v, %v", gone, err)
	}
	for _, name := range []string{"[ssd-1] loose/old.vmdk", "[ssd-1] loose/single.vmdk"} {
		if gone, err := d.RemoveImage(t.Context(), *snapshot.Pool("ssd-1"), name); err != nil || len(gone) != 1 || gone[0] != name {
			t.Errorf("%s: removed %v, %v", name, gone, err)
		}
	}
	left, err := os.ReadDir(loose)
	must(t, err)
	if len(left) != 1 || left[0].Name() != "note.txt" {
		t.Errorf("left: %v", left)
	}
	readFile(t, s, "ssd-1", "vm-db/vm-db.vmdk")
	readFile(t, s, "hdd-1", "vm-web/vm-web.vmdk")
	if _, err := os.Stat(filepath.Join(s.Folder("ssd-1"), "vm-db", "vm-db-flat.vmdk")); err != nil {
		t.Error(err)
	}
}

// TestRemoveImageParent: a disk that only a snapshot's disk is based on belongs to the VM too.
func TestRemoveImageParent(t *testing.T) {
	s, d := world(t)
	loose := filepath.Join(s.Folder("hdd-1"), "loose")
	must(t, vcsim.WriteDisk(loose, "base.vmdk", 1<<20))
	pool := *observe(t, d).Pool("hdd-1")
	ctx := s.Service.Context
	for _, ref := range ctx.Map.All("VirtualMachine") {
		vm := ref.(*simulator.VirtualMachine)
		if vm.Name != "vm-web" {
			continue
		}
		ctx.WithLock(vm, func() {
			for _, dev := range object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualDisk)(nil)) {
				b := dev.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo)
				b.Parent = &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[hdd-1] loose//base.vmdk"}}
			}
		})
	}
	if _, err := d.RemoveImage(t.Context(), pool, "[hdd-1] loose/base.vmdk"); err == nil || !strings.Contains(err.Error(), "vm-web") {
		t.Errorf("removed the parent of a VM's disk: %v", err)
	}
	if _, err := os.Stat(filepath.Join(loose, "base-flat.vmdk")); err != nil {
		t.Error(err)
	}
	if _, err := d.RemoveImage(t.Context(), fleet.Pool{ID: "x", Ref: "Datastore:none"}, "[x] a.vmdk"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("no such pool: %v", err)
	}
}

// TestImageReadsLarge: what is asked for at once is fetched at once, up to 8 MiB.
func TestImageReadsLarge(t *testing.T) {
	s, d := world(t)
	want := pattern(t, s, 17<<20+5)
	f := open(t, d, "ssd-1", "[ssd-1] big.vmdk")
	got := make([]byte, len(want))
	before := s.Requests()
	if n, err := f.ReadAt(got, 0); n != len(want) || err != nil || string(got) != string(want) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	if n := s.Requests() - before; n > 4 {
		t.Errorf("%d requests for 17 MiB", n)
	}
}
