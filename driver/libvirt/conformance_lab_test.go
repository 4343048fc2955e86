package libvirt

import (
	"context"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/drivertest"
	"github.com/berth-project/berth/fleet"
)

// TestLabConformance runs the suite that every driver passes on real hosts.
func TestLabConformance(t *testing.T) {
	l := startLab(t)
	drivertest.Run(t, drivertest.Harness{
		New: func(t *testing.T) *drivertest.World {
			t.Helper()
			return l.world(t)
		},
		Moves: []drivertest.Move{
			{Name: "running but offline to another host", VM: "vm-db", Host: "silver-1", Pool: "silver-1/ssd", Mode: fleet.Offline},
			{Name: "live storage", VM: "vm-db", Pool: "gold-1/nvme", Mode: fleet.Live},
			{Name: "live host and storage", VM: "vm-log", Host: "silver-1", Pool: "silver-1/ssd", Mode: fleet.Live},
			{Name: "stopped host and storage", VM: "vm-web", Host: "gold-1", Pool: "gold-1/ssd", Mode: fleet.Offline},
			{Name: "stopped storage", VM: "vm-web", Pool: "silver-1/nvme", Mode: fleet.Offline},
		},
		Together: []drivertest.Move{ // two come to one pool: libvirt lists none while it makes a volume there
			{VM: "vm-db", Host: "silver-1", Pool: "silver-1/ssd", Mode: fleet.Offline}, {VM: "vm-log", Host: "silver-1", Pool: "silver-1/ssd", Mode: fleet.Live},
			{VM: "vm-web", Host: "gold-1", Pool: "gold-1/hdd", Mode: fleet.Offline},
		},
	})
}

func (l *lab) world(t *testing.T) *drivertest.World {
	t.Helper()
	l.reset(t)
	image := l.image(t, 1, "hdd", "vm-db.vmdk", "vmdk", "", "gold")
	l.vm(t, 1, "vm-db", true, image)
	l.vm(t, 1, "vm-log", true, l.image(t, 1, "hdd", "vm-log.qcow2", "qcow2", "", "gold"))
	l.vm(t, 2, "vm-web", false, l.image(t, 2, "hdd", "vm-web.vmdk", "vmdk", "subformat=monolithicFlat", "silver"))
	// The content that must come back is of an image at rest.
	rest := l.image(t, 2, "nvme", "vm-rest.vmdk", "vmdk", "", "gold")
	content := []byte(l.sh(t, 2, "cat "+rest))
	d := l.driver(t)
	f := &failing{Driver: d}
	t.Cleanup(func() { l.sh(t, 1, "rm -f "+images+"/*/filler"); l.sh(t, 2, "rm -f "+images+"/*/filler") })
	return &drivertest.World{
		Source: d, Mover: f,
		Image: drivertest.Image{Pool: "silver-1/nvme", Path: rest, Content: content},
		Take: func(t *testing.T, r fleet.Relocation) {
			t.Helper()
			host, pool := l.place(r.To.Disks[0].Pool)
			l.sh(t, host, "echo mine > "+path.Join(images, pool, path.Base(r.VM.Disks[0].Path)))
		},
		Fill: func(t *testing.T, pool fleet.PoolID) { t.Helper(); l.fill(t, pool) },
		Fail: func(t *testing.T, kind fleet.ErrorKind) bool { t.Helper(); return l.fail(t, f, kind) },
		Gone: func(t *testing.T, vm fleet.VMID) {
			t.Helper()
			l.virsh(t, 1, "destroy", string(vm))
			l.virsh(t, 1, "undefine", string(vm))
		},
	}
}

// place takes a pool's id apart.
func (l *lab) place(id fleet.PoolID) (host int, pool string) {
	name, pool, _ := strings.Cut(string(id), "/")
	if name == "gold-1" {
		return 1, pool
	}
	return 2, pool
}

func (l *lab) fill(t *testing.T, id fleet.PoolID) {
	t.Helper()
	host, pool := l.place(id)
	l.sh(t, host, "cat /dev/zero > "+images+"/"+pool+"/filler 2>/dev/null; true")
}

// failing is the driver, with what ends a failure after the next move; nil: none is to fail, and several moves may be made
// at once.
type failing struct {
	*Driver
	after func()
}

func (f *failing) Relocate(ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes)) error {
	err := f.Driver.Relocate(ctx, r, powerOn, progress)
	if f.after != nil {
		f.after()
		f.after, f.checkpoint = nil, func(string) error { return nil }
	}
	return err
}

// fail makes the next move of vm-db to silver-1/ssd fail: for good, as the pool is full; for now, as the target's
// libvirtd does not answer; with an unknown end, as it falls silent on the very call that defines the VM there.
func (l *lab) fail(t *testing.T, f *failing, kind fleet.ErrorKind) bool {
	t.Helper()
	thaw := func() {
		l.run(t, "thaw-libvirtd", "2")
		time.Sleep(time.Second) // it answers what it was asked meanwhile, and does it
	}
	switch kind {
	case fleet.Permanent:
		l.fill(t, "silver-1/ssd")
		f.after = func() { l.sh(t, 2, "rm "+images+"/ssd/filler") }
	case fleet.Retry:
		l.run(t, "freeze-libvirtd", "2")
		f.after = thaw
	default:
		f.time.Stall = 3 * time.Second
		f.after = thaw
		f.checkpoint = func(name string) error {
			if name == "define-target" {
				l.run(t, "freeze-libvirtd", "2")
			}
			return nil
		}
	}
	return true
}
