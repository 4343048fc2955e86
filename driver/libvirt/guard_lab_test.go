package libvirt

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// TestLabForeignSidecar: a file with the name of a label file, or of an extent, that is another VM's disk is neither taken
// along by a move, nor deleted, nor written over.
func TestLabForeignSidecar(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", false, l.image(t, 1, "hdd", "vm-a.raw", "raw", "", ""))
	l.image(t, 1, "hdd", "vm-b.raw", "raw", "", "")
	l.sh(t, 1, "cd "+images+"/hdd && mv vm-b.raw vm-a.raw.berth && truncate -s 3584 vm-c.raw.berth")
	l.virsh(t, 1, "pool-refresh", "hdd")
	l.vm(t, 1, "vm-b", false, images+"/hdd/vm-a.raw.berth,raw")
	s := observe(t, d)
	if vm := s.VM("vm-b"); !strings.Contains(vm.Pinned, "name of a label file") {
		t.Errorf("vm-b is pinned %q", vm.Pinned)
	}
	r := relocation(t, s, "vm-a", "", fleet.Offline, "ssd")
	if err := d.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "is used by vm vm-b") {
		t.Errorf("precheck: %v", err)
	}
	if err := d.Relocate(t.Context(), r, false, nil); fleet.KindOf(err) != fleet.Permanent {
		t.Errorf("relocate: %v", err)
	}
	if left := strings.Join(l.files(t, 1), " "); !strings.Contains(left, "hdd/vm-a.raw.berth") || !strings.Contains(left, "hdd/vm-a.raw ") {
		t.Errorf("left: %s", left)
	}
	// A small disk of another VM, where the label of a disk would go.
	disk := l.image(t, 1, "hdd", "vm-c.raw", "raw", "", "")
	l.vm(t, 1, "vm-c", false, disk)
	l.vm(t, 1, "vm-d", false, disk+".berth,raw")
	s = observe(t, d)
	img, err := d.OpenImage(t.Context(), *s.Pool("gold-1/hdd"), disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range [][]byte{[]byte("{}"), nil} {
		if err := img.(*image).SetSidecar(content); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "disk of vm vm-d") {
			t.Errorf("set sidecar %q: %v", content, err)
		}
	}
	if err := img.Close(); err != nil {
		t.Error(err)
	}
}

// TestLabLabelAndSavedMemory: a label that is set while the VM's memory is saved is not undone by the saved domain, which has
// the older one.
func TestLabLabelAndSavedMemory(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", true, l.image(t, 1, "hdd", "vm-a.qcow2", "qcow2", "", ""))
	vm := observe(t, d).VM("vm-a")
	keep(t, d, vm, 0, "gold", 1)
	l.virsh(t, 1, "managedsave", "vm-a")
	vm = observe(t, d).VM("vm-a")
	if vm.Power != fleet.Suspended {
		t.Fatalf("vm-a is %s", vm.Power)
	}
	want := keep(t, d, vm, 0, "silver", 2)
	for _, verb := range []string{"start", "destroy"} {
		l.virsh(t, 1, verb, "vm-a")
		if got := observe(t, d).VM("vm-a").Disks[0].Metadata; got != want {
			t.Errorf("after %s: metadata %q, expected %q", verb, got, want)
		}
	}
	if err := d.SetLabelMetadata(t.Context(), *observe(t, d).VM("vm-a"), "vda", nil); err != nil {
		t.Fatal(err)
	}
	if got := observe(t, d).VM("vm-a").Disks[0].Metadata; got != "" {
		t.Errorf("removed: metadata %q", got)
	}
	l.virsh(t, 1, "start", "vm-a")
	l.virsh(t, 1, "undefine", "vm-a")
	f := frame(t, label.Binding{Size: vm.Disks[0].Size}, "gold", 1)
	envelope, err := f.Envelope()
	if err == nil {
		err = d.SetLabelMetadata(t.Context(), *vm, "vda", envelope)
	}
	if fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "transient") {
		t.Errorf("label of a VM without a definition: %v", err)
	}
}

// TestLabStartedMeanwhile: a VM that starts, or whose definition changes, while an image or a definition is being written.
func TestLabStartedMeanwhile(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", false, l.image(t, 1, "hdd", "vm-a.qcow2", "qcow2", "", "gold"))
	s := observe(t, d)
	vm := s.VM("vm-a")
	keep(t, d, vm, 0, "silver", 2)
	img, err := d.OpenImage(t.Context(), *s.Pool(vm.Disks[0].Pool), vm.Disks[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	magic := make([]byte, 4)
	_, rerr := img.ReadAt(magic, 0)
	_, werr := img.WriteAt(magic, 0)
	if err := errors.Join(rerr, werr); err != nil {
		t.Fatal(err)
	}
	l.virsh(t, 1, "start", "vm-a")
	if err := img.Close(); fleet.KindOf(err) != fleet.Retry || !strings.Contains(err.Error(), "was started") {
		t.Errorf("close: %v", err)
	}
	if err := d.SetLabelMetadata(t.Context(), *vm, "vda", nil); fleet.KindOf(err) != fleet.Retry || !strings.Contains(err.Error(), "was started") {
		t.Errorf("remove what was to be in the image: %v", err)
	}
	l.virsh(t, 1, "destroy", "vm-a")

	for _, to := range []fleet.HostID{"", "silver-1"} {
		r := relocation(t, observe(t, d), "vm-a", to, fleet.Offline, "ssd")
		want := ""
		d.checkpoint = func(name string) error {
			if name == "copied "+path.Base(vm.Disks[0].Path) && want == "" {
				want = keep(t, d, vm, 0, "bronze", 3+uint32(len(to)))
			}
			return nil
		}
		if err := d.Relocate(t.Context(), r, false, nil); fleet.KindOf(err) != fleet.Retry || !strings.Contains(err.Error(), "changed its definition") {
			t.Errorf("move to %q: %v", to, err)
		}
		if err := d.Relocate(t.Context(), r, false, nil); err != nil {
			t.Errorf("move to %q again: %v", to, err)
		}
		if got := observe(t, d).VM("vm-a").Disks[0].Metadata; got != want || want == "" {
			t.Errorf("move to %q: metadata %q, expected %q", to, got, want)
		}
	}
}
