package libvirt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// withHook installs berth's hook on both hosts for one test. libvirtd looks for hooks when it starts.
func (l *lab) withHook(t *testing.T) {
	t.Helper()
	sources, err := filepath.Glob("../../internal/hook/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("sources of the hook: %v", err)
	}
	for _, name := range append(sources, "../../internal/cli/hook.go") {
		if _, err := os.Stat(name); err != nil { // and so a cached result depends on it
			t.Fatal(err)
		}
	}
	berth := filepath.Join(t.TempDir(), "berth")
	if out, err := exec.Command("go", "build", "-o", berth, "../../cmd/berth").CombinedOutput(); err != nil {
		t.Fatalf("build berth: %v\n%s", err, out)
	}
	restart := func() {
		for _, i := range []string{"1", "2"} {
			l.run(t, "kill-libvirtd", i)
		}
		for _, i := range []string{"1", "2"} {
			l.awaitDaemon(t, i)
		}
	}
	for _, i := range []string{"1", "2"} {
		out, err := exec.Command(berth, "hook", "install", "libvirt", "--root", filepath.Join(l.dir, "hosts", "h"+i)).CombinedOutput()
		if err != nil {
			t.Fatalf("install: %v\n%s", err, out)
		}
	}
	restart()
	t.Cleanup(func() {
		for _, i := range []int{1, 2} {
			l.sh(t, i, "rm /etc/libvirt/hooks/qemu.d/berth")
		}
		restart()
	})
}

func (l *lab) awaitDaemon(t *testing.T, host string) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if l.command("virsh", host, "version").Run() == nil {
			return
		}
	}
	t.Fatalf("libvirtd on host %s does not come back", host)
}

// keep sets the label of a running VM's disk, of the given serial, and returns it.
func keep(t *testing.T, d *Driver, vm *fleet.VM, disk int, level string, serial uint32) string {
	t.Helper()
	f := frame(t, label.Binding{Size: vm.Disks[disk].Size}, level, serial)
	envelope, err := f.Envelope()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetLabelMetadata(t.Context(), *observe(t, d).VM(vm.ID), vm.Disks[disk].ID, envelope); err != nil {
		t.Fatal(err)
	}
	return string(envelope)
}

// labelIn reads level and serial from a disk's image through libvirt.
func labelIn(t *testing.T, d *Driver, s *fleet.Snapshot, disk fleet.Disk) string {
	t.Helper()
	img, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := declared(disk.Format).ReadLabel(img)
	if err = errors.Join(err, img.Close()); err != nil {
		t.Fatal(err)
	}
	if f == nil {
		return ""
	}
	doc, err := f.Document()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d", doc.Level, doc.Serial)
}

// TestLabRunningLabel changes the labels of a VM that runs: they are kept in its domain's metadata, where the images cannot be
// written, and come into the images, of three formats, when it stops.
func TestLabRunningLabel(t *testing.T) {
	l := startLab(t)
	l.withHook(t)
	t.Run("stop", func(t *testing.T) { l.labelAtStop(t) })
	t.Run("move", func(t *testing.T) { l.labelInMoves(t) })
}

func (l *lab) labelAtStop(t *testing.T) {
	t.Helper()
	d := l.driver(t)
	var paths []string
	for _, format := range []string{"vmdk", "qcow2", "raw"} {
		paths = append(paths, l.image(t, 1, "hdd", "vm-a-"+format+"."+format, format, "", "gold"))
	}
	l.vm(t, 1, "vm-a", true, paths...)
	s := observe(t, d)
	vm := s.VM("vm-a")
	for i := range vm.Disks {
		if vm.Disks[i].Metadata != "" {
			t.Errorf("disk %s has a label in the metadata of a new VM", vm.Disks[i].ID)
		}
		keep(t, d, vm, i, "bronze", 1+uint32(i)) // vda: not newer than the image's
	}
	want := []string{keep(t, d, vm, 0, "silver", 2), keep(t, d, vm, 1, "silver", 5), ""}
	if err := d.SetLabelMetadata(t.Context(), *vm, vm.Disks[2].ID, nil); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("removed a label that was not seen: %v", err)
	}
	if err := d.SetLabelMetadata(t.Context(), *observe(t, d).VM("vm-a"), vm.Disks[2].ID, nil); err != nil {
		t.Fatal(err)
	}
	for i, disk := range observe(t, d).VM("vm-a").Disks {
		if disk.Metadata != want[i] {
			t.Errorf("disk %s: metadata %q, expected %q", disk.ID, disk.Metadata, want[i])
		}
	}
	want[2] = keep(t, d, vm, 2, "bronze", 3)
	img, err := d.OpenImage(t.Context(), *s.Pool(vm.Disks[1].Pool), vm.Disks[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.WriteAt([]byte("x"), 0); fleet.KindOf(err) != fleet.Permanent {
		t.Errorf("a write into the image of a running VM, which QEMU would undo: %v", err)
	}
	for _, disk := range vm.Disks {
		if got := labelIn(t, d, s, disk); got != "gold 1" {
			t.Errorf("disk %s: %q in the image while it runs, expected gold 1", disk.ID, got)
		}
	}
	l.labelUnderQEMU(t, d, s, vm.Disks[1])
	l.virsh(t, 1, "destroy", "vm-a")
	s = observe(t, d)
	for i, disk := range s.VM("vm-a").Disks {
		if got, want := labelIn(t, d, s, disk), []string{"silver 2", "silver 5", "bronze 3"}[i]; got != want {
			t.Errorf("disk %s: %q in the image after the stop, expected %q", disk.ID, got, want)
		}
		if disk.Metadata != want[i] {
			t.Errorf("disk %s: the metadata changed with the stop: %q", disk.ID, disk.Metadata)
		}
	}
	l.virsh(t, 1, "start", "vm-a")
	l.beats(t, "vm-a", 1)
}

// labelUnderQEMU writes a label of serial 9 into the qcow2 image of vm-a while it runs, against all that forbids it, and has QEMU
// write the image's header at the end: the label is gone then, which is why there is the metadata.
func (l *lab) labelUnderQEMU(t *testing.T, d *Driver, s *fleet.Snapshot, disk fleet.Disk) {
	t.Helper()
	f, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	img := f.(*image)
	img.may = true
	edit, err := declared(disk.Format).PlanSet(img, frame(t, label.Binding{Size: disk.Size}, "bronze", 9))
	if err == nil {
		err = diskimage.Apply(img, edit)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := labelIn(t, d, s, disk); got != "bronze 9" {
		t.Fatalf("label %q", got)
	}
	_, rest, _ := strings.Cut(l.virsh(t, 1, "dumpxml", "vm-a"), disk.Path+"' index='")
	index, _, ok := strings.Cut(rest, "'")
	if !ok {
		t.Fatal("no index of the disk's source")
	}
	out := l.virsh(t, 1, "qemu-monitor-command", "vm-a", `{"execute":"block-dirty-bitmap-add","arguments":{"node":"libvirt-`+index+
		`-format","name":"backup","persistent":true}}`)
	if !strings.Contains(out, `"return":{}`) {
		t.Fatal(out)
	}
}

// labelInMoves moves VMs with a label in their metadata: it goes along, and live moves to another host bring it into the new
// image.
func (l *lab) labelInMoves(t *testing.T) {
	t.Helper()
	for _, k := range []struct {
		name, format string
		to           fleet.HostID
		mode         fleet.Mode
		level        string // in the image at first
		after        string // in the image after the move
	}{
		{"live host", "qcow2", "silver-1", fleet.Live, "gold", "silver 2"},
		{"live host, none in the image", "raw", "silver-1", fleet.Live, "", "silver 2"},
		{"live storage vmdk", "vmdk", "", fleet.Live, "gold", "gold 1"},
		{"offline host", "qcow2", "silver-1", fleet.Offline, "gold", "silver 2"}, // its hook runs between stop and copy
	} {
		t.Run(k.name, func(t *testing.T) {
			l.reset(t)
			d := l.driver(t)
			l.vm(t, 1, "vm-a", true, l.image(t, 1, "hdd", "vm-a."+k.format, k.format, "", k.level))
			s := observe(t, d)
			envelope := keep(t, d, s.VM("vm-a"), 0, "silver", 2)
			r := relocation(t, s, "vm-a", k.to, k.mode, "ssd")
			if err := d.Precheck(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := d.Relocate(t.Context(), r, true, nil); err != nil {
				t.Fatal(err)
			}
			l.beats(t, "vm-a", 1)
			level, _, _ := strings.Cut(k.after, " ")
			wantDone(t, l, d, r, fleet.Running, level)
			s = observe(t, d)
			vm := s.VM("vm-a")
			if vm.Disks[0].Metadata != envelope {
				t.Errorf("metadata after the move: %q", vm.Disks[0].Metadata)
			}
			if got := labelIn(t, d, s, vm.Disks[0]); got != k.after {
				t.Errorf("image after the move: %q, expected %q", got, k.after)
			}
			keep(t, d, vm, 0, "bronze", 3)
			host := 1
			if k.to != "" {
				host = 2
			}
			l.virsh(t, host, "destroy", "vm-a")
			if got := labelIn(t, d, observe(t, d), vm.Disks[0]); got != "bronze 3" {
				t.Errorf("image after the stop: %q, expected bronze 3", got)
			}
			if doc := l.virsh(t, host, "dumpxml", "--inactive", "vm-a"); strings.Contains(doc, moveNS) || !strings.Contains(doc, labelNS) {
				t.Errorf("metadata of the definition:\n%s", doc)
			}
		})
	}
}
