package libvirt

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// TestLabLiveQcow2Kinds moves a VM live whose labelled qcow2 disks are of every kind that differs in its header: to another
// pool by block copies, then to another host. The new images are of the same kind, with the same labels.
func TestLabLiveQcow2Kinds(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	var paths []string
	kinds := []string{"", "cluster_size=512", "compat=0.10", "extended_l2=on,cluster_size=128k", "lazy_refcounts=on"}
	for i, options := range kinds {
		name := "vm-a-" + string(rune('a'+i)) + ".qcow2"
		paths = append(paths, l.image(t, 1, "hdd", name, "qcow2", options, "gold"))
	}
	l.vm(t, 1, "vm-a", true, paths...)
	before := make([]*qcow2Info, len(paths))
	look := func(i int, disk fleet.Disk, host *host) *qcow2Info {
		_, pool, _ := strings.Cut(string(disk.Pool), "/")
		v, err := host.fresh(t.Context(), pool, path.Base(disk.Path))
		if err != nil {
			t.Fatal(err)
		}
		q, err := host.qcow2(t.Context(), v)
		if err != nil {
			t.Fatalf("%s: %v", kinds[i], err)
		}
		return q
	}
	s := observe(t, d)
	for i, disk := range s.VM("vm-a").Disks {
		before[i] = look(i, disk, d.hosts[0])
	}
	for step, to := range []fleet.HostID{"", "silver-1"} {
		r := relocation(t, s, "vm-a", to, fleet.Live, []string{"ssd", "hdd"}[step])
		if err := d.Precheck(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := d.Relocate(t.Context(), r, true, nil); err != nil {
			t.Fatal(err)
		}
		wantDone(t, l, d, r, fleet.Running, "gold")
		s = observe(t, d)
		for i, disk := range s.VM("vm-a").Disks {
			if got := labelIn(t, d, s, disk); got != "gold 1" {
				t.Errorf("step %d, %s: label %q", step, kinds[i], got)
			}
			if got := look(i, disk, d.hosts[step]); *got != *before[i] {
				t.Errorf("step %d, %s: %+v, was %+v", step, kinds[i], got, before[i])
			}
		}
	}
	l.beats(t, "vm-a", 1)
	if boots, _, failed := l.guestLog(t, "vm-a"); boots != 1 || failed {
		t.Errorf("%d boots, write failed: %t", boots, failed)
	}
}

// TestLabLabelHeld has what keeps a disk where it is, since its label or its data would not come along.
func TestLabLabelHeld(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", true, l.image(t, 1, "hdd", "vm-a.qcow2", "qcow2", "", "gold"))
	l.vm(t, 1, "vm-b", true, l.image(t, 1, "hdd", "vm-b.raw", "raw", "", "gold"))
	base := l.image(t, 1, "hdd", "base.qcow2", "qcow2", "", "gold")
	l.sh(t, 1, "cd "+path.Dir(base)+" && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 vm-c.qcow2")
	l.vm(t, 1, "vm-c", false, path.Join(path.Dir(base), "vm-c.qcow2"))
	l.sh(t, 1, "cd "+images+"/hdd && qemu-img create -q -f qcow2 -o data_file=vm-d.data vm-d.qcow2 4M")
	l.vm(t, 1, "vm-d", false, path.Join(images, "hdd", "vm-d.qcow2"))
	s := observe(t, d)
	vm := s.VM("vm-c")
	if want := []fleet.ChainLink{{Pool: "gold-1/hdd", Path: base, Format: "qcow2"}}; !slices.Equal(vm.Disks[0].Chain, want) || vm.Pinned == "" {
		t.Errorf("a stopped VM on an overlay: chain %+v, pinned %q", vm.Disks[0].Chain, vm.Pinned)
	}
	fail := func(d *Driver, r fleet.Relocation, want string) {
		t.Helper()
		if err := d.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", r.VM.ID, err, want)
		}
	}
	fail(d, relocation(t, s, "vm-d", "", fleet.Offline, "ssd"), "keeps its data in another file")
	overlay := relocation(t, s, "vm-c", "", fleet.Offline, "ssd")
	overlay.VM.Disks[0].Chain = nil // as an older snapshot had it
	overlay.VM.Pinned = ""
	fail(d, overlay, "has a backing file")

	without := l.driver(t)
	without.labels = nil
	for _, name := range []fleet.VMID{"vm-a", "vm-b"} {
		fail(without, relocation(t, s, name, "silver-1", fleet.Live, "ssd"), "move it offline")
		r := relocation(t, s, name, "", fleet.Live, "ssd")
		fail(without, r, "move it offline")
		sidecar := path.Join(images, "ssd", sidecarName(r.VM.Disks[0].Path))
		l.sh(t, 1, "echo '{}' > "+sidecar)
		fail(d, r, sidecar+" exists already")
	}
	// A label for another disk, as after a resize, is not carried, and not lost either.
	l.virsh(t, 1, "blockresize", "vm-a", "vda", "17M")
	fail(d, relocation(t, s, "vm-a", "silver-1", fleet.Live, "nvme"), "label of another disk")
}

// TestLabOtherFormats moves a VM on labelled VDI and VHD images: as bytes, since an image that libvirt makes anew would have
// another identity than the label is bound to.
func TestLabOtherFormats(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", true, l.image(t, 1, "hdd", "vm-a-1.vdi", "vdi", "", "gold"), l.image(t, 1, "hdd", "vm-a-2.vhd", "vpc", "", "gold"))
	s := observe(t, d)
	r := relocation(t, s, "vm-a", "", fleet.Live, "ssd")
	if err := d.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "move it offline") {
		t.Errorf("live: %v", err)
	}
	for step, to := range []fleet.HostID{"", "silver-1"} {
		r := relocation(t, s, "vm-a", to, fleet.Offline, []string{"ssd", "hdd"}[step])
		if err := d.Precheck(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := d.Relocate(t.Context(), r, step == 1, nil); err != nil {
			t.Fatal(err)
		}
		s = observe(t, d)
		for _, disk := range s.VM("vm-a").Disks {
			if got := labelIn(t, d, s, disk); got != "gold 1" {
				t.Errorf("%s: label %q", disk.Path, got)
			}
		}
	}
	l.beats(t, "vm-a", 1)
}

// TestLabLabelGate takes the label out of the finished copy, as a fault would: the source is not deleted then.
func TestLabLabelGate(t *testing.T) {
	l := startLab(t)
	for _, format := range []string{"qcow2", "raw", "vmdk"} {
		t.Run(format, func(t *testing.T) {
			l.reset(t)
			d := l.driver(t)
			source := l.image(t, 1, "hdd", "vm-a."+format, format, "", "gold")
			l.vm(t, 1, "vm-a", false, source)
			s := observe(t, d)
			r := relocation(t, s, "vm-a", "silver-1", fleet.Offline, "ssd")
			copied := fleet.Disk{Pool: r.To.Disks[0].Pool, Path: path.Join(images, "ssd", path.Base(source)), Format: format}
			l.virsh(t, 2, "pool-refresh", "ssd")
			d.checkpoint = func(name string) error {
				if name == "delete-source vda" {
					relabel(t, d, s, copied, nil)
				}
				return nil
			}
			if err := d.Relocate(t.Context(), r, false, nil); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "has no label") {
				t.Fatalf("%v", err)
			}
			if !slices.Contains(l.files(t, 1), "hdd/"+path.Base(source)) {
				t.Fatalf("the source was deleted: %v", l.files(t, 1))
			}
			// A later label is as good, and the move ends.
			d.checkpoint = func(string) error { return nil }
			later := frame(t, label.Binding{Size: 16 << 20}, "silver", 7)
			relabel(t, d, s, copied, &later)
			if err := d.Relocate(t.Context(), r, false, nil); err != nil {
				t.Fatal(err)
			}
			wantDone(t, l, d, r, fleet.Stopped, "silver")
		})
	}
}

// relabel changes the label of a stopped VM's disk through libvirt; nil removes it.
func relabel(t *testing.T, d *Driver, s *fleet.Snapshot, disk fleet.Disk, to *label.Frame) {
	t.Helper()
	img, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	opts := declared(disk.Format)
	var edit *diskimage.Edit
	if to == nil {
		edit, err = opts.PlanRemove(img)
	} else {
		edit, err = opts.PlanSet(img, *to)
	}
	if err == nil {
		err = diskimage.Apply(img, edit)
	}
	if err = errors.Join(err, img.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestLabSidecar keeps what lies beside a raw disk in a volume.
func TestLabSidecar(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	file := l.image(t, 1, "hdd", "vm-a.raw", "raw", "", "")
	l.vm(t, 1, "vm-a", false, file)
	s := observe(t, d)
	disk := s.VM("vm-a").Disks[0]
	open := func() *image {
		t.Helper()
		img, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
		if err != nil {
			t.Fatal(err)
		}
		return img.(*image)
	}
	img := open()
	for i, content := range []string{"", "first\n", "a longer one\n", "short\n", strings.Repeat("x", maxSidecar), "short again\n", "", ""} {
		var want []byte
		if content != "" {
			want = []byte(content)
		}
		if err := img.SetSidecar(want); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		for _, img := range []*image{img, open()} {
			if got, err := img.Sidecar(); err != nil || string(got) != content || (got == nil) != (content == "") {
				t.Errorf("%d: %q, %v", i, got, err)
			}
		}
		if onDisk := strings.TrimRight(l.sh(t, 1, "cat "+file+".berth 2>/dev/null; true"), " "); onDisk != content {
			t.Errorf("%d: on disk %q", i, onDisk)
		}
	}
	for level, serial := range map[string]uint32{"gold": 1} {
		f := frame(t, label.Binding{Size: disk.Size}, level, serial)
		relabel(t, d, s, disk, &f)
		if got := labelIn(t, d, s, disk); got != "gold 1" {
			t.Errorf("label %q", got)
		}
		relabel(t, d, s, disk, nil)
	}
	if _, err := img.Attribute("user.berth.label"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("attribute: %v", err)
	}
	if err := img.SetAttribute("user.berth.label", nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("attribute: %v", err)
	}
	for _, bad := range []string{strings.Repeat("x", maxSidecar+1), "blank ", "nul\x00"} {
		if err := img.SetSidecar([]byte(bad)); err == nil {
			t.Errorf("%.20q was written", bad)
		}
	}
	l.sh(t, 1, "truncate -s 1M "+file+".berth")
	l.virsh(t, 1, "pool-refresh", "hdd")
	if _, err := img.Sidecar(); err == nil || !strings.Contains(err.Error(), "more than 4000 bytes") {
		t.Errorf("a sidecar of 1 MiB: %v", err)
	}
	if err := img.SetSidecar([]byte("x")); err == nil || !strings.Contains(err.Error(), "it is no sidecar") {
		t.Errorf("over a file of 1 MiB: %v", err)
	}
	l.sh(t, 1, "rm "+file+".berth")
	l.virsh(t, 1, "start", "vm-a")
	if err := open().SetSidecar([]byte("x")); err == nil || !strings.Contains(err.Error(), "vm-a runs from it") {
		t.Errorf("under a running VM: %v", err)
	}
}
