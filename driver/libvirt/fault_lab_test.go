package libvirt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
)

// TestLabFull moves a disk to a pool that has no room for it: refused beforehand, and when it is tried all the
// same, the VM goes on and nothing is left behind.
func TestLabFull(t *testing.T) {
	l := startLab(t)
	for _, c := range []struct {
		name, format, option string
		to                   fleet.HostID
		mode                 fleet.Mode
	}{
		{"live-storage", "vmdk", "subformat=monolithicSparse", "", fleet.Live},
		{"live-storage-flat", "vmdk", "subformat=monolithicFlat", "", fleet.Live},
		{"live-host", "qcow2", "", "silver-1", fleet.Live},
		{"offline-host", "vmdk", "subformat=monolithicFlat", "silver-1", fleet.Offline},
		{"offline-storage", "qcow2", "", "", fleet.Offline},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.reset(t)
			d := l.driver(t)
			path := l.image(t, 1, "hdd", "vm-a."+c.format, c.format, c.option, "")
			l.sh(t, 1, "qemu-io -f "+c.format+" -c 'write -P 0x5a 1M 15M' "+path+" >/dev/null")
			l.vm(t, 1, "vm-a", true, path)
			r := relocation(t, observe(t, d), "vm-a", c.to, c.mode, "tiny")
			if err := d.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "free") {
				t.Errorf("precheck: %v", err)
			}
			before := l.files(t, 1)
			err := d.Relocate(t.Context(), r, true, nil)
			t.Logf("relocate: %v", err)
			if k := fleet.KindOf(err); err == nil || k == fleet.Unknown {
				t.Errorf("relocate: kind %v: %v", k, err)
			}
			l.beats(t, "vm-a", 2)
			if _, _, failed := l.guestLog(t, "vm-a"); failed {
				t.Error("a write of the guest failed")
			}
			if after := l.files(t, 1); !slices.Equal(before, after) {
				t.Errorf("files %v, were %v", after, before)
			}
			if after := l.files(t, 2); len(after) != 0 {
				t.Errorf("files on the other host: %v", after)
			}
			if o, err := d.Locate(t.Context(), r); err != nil || !o.Settled || !o.Placement.Equal(r.From) || o.Power != fleet.Running {
				t.Errorf("located %+v, %v", o, err)
			}
		})
	}
}

// TestLabFrozen stops one libvirtd: it accepts connections and never answers.
func TestLabFrozen(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", false, l.image(t, 1, "hdd", "vm-a.vmdk", "vmdk", "", "gold"))
	r := relocation(t, observe(t, d), "vm-a", "silver-1", fleet.Offline, "ssd")
	l.run(t, "freeze-libvirtd", "2")
	defer l.run(t, "thaw-libvirtd", "2")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := d.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Host("gold-1") == nil || s.Host("silver-1") == nil || !s.Host("silver-1").Unreachable || s.VM("vm-a") == nil {
		t.Errorf("saw %+v", s.Hosts)
	}
	if !slices.ContainsFunc(s.Gaps, func(g fleet.Gap) bool { return strings.Contains(g.Object, "/h2/") && g.What == "everything" }) {
		t.Errorf("gaps %+v", s.Gaps)
	}
	if _, err := d.Locate(ctx, r); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("locate: %v", err)
	}
	if err := d.Relocate(ctx, r, false, nil); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("relocate: %v", err)
	}
	l.run(t, "freeze-libvirtd", "1")
	defer l.run(t, "thaw-libvirtd", "1")
	if s, err := d.Observe(ctx); err == nil {
		t.Errorf("no host answers, and observed %+v", s)
	}
	if ctx.Err() != nil {
		t.Error("the calls hung")
	}
}

// TestLabTaken finds the places at the target taken by others, and touches nothing of theirs.
func TestLabTaken(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-a", false, l.image(t, 1, "hdd", "vm-a.vmdk", "vmdk", "", "gold"))
	l.vm(t, 1, "vm-b", false, l.image(t, 1, "ssd", "vm-a.vmdk", "vmdk", "", ""))
	r := relocation(t, observe(t, d), "vm-a", "", fleet.Offline, "ssd")
	before := l.sh(t, 1, "sha256sum "+images+"/*/vm-a*")
	for name, f := range map[string]func() error{
		"precheck": func() error { return d.Precheck(t.Context(), r) },
		"relocate": func() error { return d.Relocate(t.Context(), r, false, nil) },
	} {
		if err := f(); fleet.KindOf(err) != fleet.Permanent {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := l.sh(t, 1, "sha256sum "+images+"/*/vm-a*"); after != before {
		t.Errorf("files changed:\n%s\n%s", before, after)
	}
}

// TestLabImage reads and writes images of each kind at offsets, and refuses to write under a running VM.
func TestLabImage(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	for _, k := range kinds {
		name := "vm-" + k.name
		l.vm(t, 1, name, false, l.image(t, 1, "nvme", name+"."+k.format, k.format, k.options, "gold"))
	}
	l.vm(t, 1, "vm-stream", false, l.image(t, 1, "nvme", "vm-stream.vmdk", "vmdk", "subformat=streamOptimized", "silver"))
	s := observe(t, d)
	for _, vm := range s.VMs {
		disk := vm.Disks[0]
		if disk.Size != 16<<20 {
			t.Errorf("%s: size %d", vm.ID, disk.Size)
		}
		img, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
		if err != nil {
			t.Fatal(err)
		}
		want := []byte(l.sh(t, 1, "cat "+disk.Path))
		if int(img.Size()) != len(want) {
			t.Errorf("%s: size %d, expected %d", vm.ID, img.Size(), len(want))
		}
		for _, at := range []int{0, 1, 511, headSize - 3, len(want) - 700, len(want) - 1, len(want), len(want) + 9} {
			if at < 0 {
				continue
			}
			p := make([]byte, 700)
			n, err := img.ReadAt(p, int64(at))
			expect := want[min(at, len(want)):min(at+700, len(want))]
			if string(p[:n]) != string(expect) || (err == nil) != (len(expect) == 700) {
				t.Errorf("%s: read at %d: %d bytes, %v, expected %d", vm.ID, at, n, err, len(expect))
			}
		}
		if got := levelOf(t, img, disk.Format); got == "" {
			t.Errorf("%s: no label", vm.ID)
		}
	}
	if why := s.VM("vm-stream").BlockedBy(fleet.ChangeStorage); !strings.Contains(why, "streamOptimized") {
		t.Errorf("streamOptimized: %q", why)
	}
	disk := s.VM("vm-sparse").Disks[0]
	img, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	end := img.Size()
	if n, err := img.WriteAt([]byte("written"), end-3); n != 7 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	p := make([]byte, 7)
	if n, err := img.ReadAt(p, end-3); n != 7 || err != nil || string(p) != "written" || img.Size() != end+4 {
		t.Errorf("read back %q (%v), size %d", p, err, img.Size())
	}
	if err := errors.Join(img.Sync(), img.Close()); err != nil {
		t.Error(err)
	}
	l.virsh(t, 1, "start", "vm-flat")
	disk = s.VM("vm-flat").Disks[0]
	if img, err = d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := img.WriteAt([]byte("x"), 0); fleet.KindOf(err) != fleet.Permanent || !strings.Contains(err.Error(), "vm-flat runs from it") {
		t.Errorf("write under a running VM: %v", err)
	}
	if _, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path+".not"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("missing image: %v", err)
	}
}

// TestLabObserve checks what Observe says of the hosts and of VMs that must be left alone.
func TestLabObserve(t *testing.T) {
	l := startLab(t)
	d := l.driver(t)
	l.vm(t, 1, "vm-run", true, l.image(t, 1, "hdd", "vm-run.qcow2", "qcow2", "", ""))
	l.vm(t, 1, "vm-saved", true, l.image(t, 1, "hdd", "vm-saved.qcow2", "qcow2", "", ""))
	l.vm(t, 2, "vm-paused", true, l.image(t, 2, "hdd", "vm-paused.vmdk", "vmdk", "", ""))
	l.vm(t, 2, "vm-chain", false, l.image(t, 2, "hdd", "vm-base.qcow2", "qcow2", "", ""))
	l.vm(t, 2, "vm-nowhere", false, "/tmp/no-such-disk.qcow2")
	l.virsh(t, 1, "managedsave", "vm-saved")
	l.virsh(t, 2, "suspend", "vm-paused")
	l.virsh(t, 2, "snapshot-create-as", "vm-chain", "s1")
	s := observe(t, d)
	gold, silver := s.Host("gold-1"), s.Host("silver-1")
	if gold.CPU != fleet.CPUs(8) || gold.Memory != 16*fleet.GiB || silver.CPU != fleet.CPUs(4) || gold.Hypervisor != fleet.KVM {
		t.Errorf("hosts %+v, %+v", gold, silver)
	}
	if len(gold.NICs) != 1 || gold.NICs[0].ID != "ens16f0" || gold.NICs[0].Class != 3 || gold.NICs[0].Queues != 7 {
		t.Errorf("nics of gold-1: %+v", gold.NICs)
	}
	if len(silver.NICs) != 1 || silver.NICs[0].ID != "ens16f0" || silver.NICs[0].Class != 0 || silver.NICs[0].Speed != 10000 {
		t.Errorf("nics of silver-1: %+v", silver.NICs)
	}
	if gold.Chassis != "rack-1" || silver.Chassis != "rack-2" || !slices.Equal(gold.Tags, []string{"lab"}) {
		t.Errorf("what the configuration says: chassis %q and %q, tags %q", gold.Chassis, silver.Chassis, gold.Tags)
	}
	if !slices.Equal(gold.Networks, []string{"vmbr0"}) || len(gold.Pools) != 4 {
		t.Errorf("gold-1: networks %v, pools %v", gold.Networks, gold.Pools)
	}
	if p := s.Pool("gold-1/nvme"); p == nil || p.Type != "dir" || p.Capacity == 0 || p.Free == 0 || p.Shared {
		t.Errorf("pool %+v", p)
	}
	for _, want := range []struct {
		vm     fleet.VMID
		power  fleet.PowerState
		pinned string
	}{
		{"vm-run", fleet.Running, ""},
		{"vm-saved", fleet.Suspended, "has a saved memory image on its host"},
		{"vm-paused", fleet.Suspended, "is suspended"},
		{"vm-chain", fleet.Stopped, "has 1 snapshots, which are not moved yet"},
		{"vm-nowhere", fleet.Stopped, "vda is in no storage pool"},
	} {
		vm := s.VM(want.vm)
		if vm == nil || vm.Power != want.power || vm.Pinned != want.pinned {
			t.Errorf("%s: %+v, expected %s, pinned %q", want.vm, vm, want.power, want.pinned)
		}
	}
	run := s.VM("vm-run")
	if run.CPU != 1000 || run.Memory != 16*fleet.MiB || len(run.VNICs) != 1 || run.VNICs[0].Queues != 2 || run.VNICs[0].Network != "vmbr0" {
		t.Errorf("vm-run: %+v", run)
	}
	if why := s.VM("vm-paused").BlockedBy(fleet.ChangeHost); !strings.Contains(why, "VMDK") {
		t.Errorf("vm-paused: blocked %q", why)
	}
	if !slices.ContainsFunc(s.Gaps, func(g fleet.Gap) bool { return g.Object == "vm vm-nowhere disk vda" }) {
		t.Errorf("gaps %+v", s.Gaps)
	}
	l.virsh(t, 2, "snapshot-delete", "vm-chain", "s1")
}
