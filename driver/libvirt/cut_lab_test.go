package libvirt

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
)

var errCut = errors.New("cut off here")

// cutCase is one kind of move that is cut off at every checkpoint.
type cutCase struct {
	name           string
	format, option string
	to             fleet.HostID
	mode           fleet.Mode
	level          string
	boots          int // as the guest counts them when nothing is cut
	slow           uint64
}

var cutCases = []cutCase{
	{"offline-host", "vmdk", "subformat=monolithicFlat", "silver-1", fleet.Offline, "gold", 2, 0},
	{"offline-storage", "raw", "", "", fleet.Offline, "silver", 2, 0}, // the label is in a file of its own
	{"live-storage", "vmdk", "subformat=monolithicSparse", "", fleet.Live, "gold", 1, 12},
	{"live-host", "qcow2", "", "silver-1", fleet.Live, "gold", 1, 12},
}

// setup makes the case's VM, with 12 MiB of data on its disk so that copies last, and a driver.
func (c *cutCase) setup(t *testing.T, l *lab) (*Driver, fleet.Relocation) {
	t.Helper()
	l.reset(t)
	path := l.image(t, 1, "hdd", "vm-a."+c.format, c.format, c.option, c.level)
	l.sh(t, 1, "qemu-io -f "+c.format+" -c 'write -P 0x5a 1M 12M' "+path+" >/dev/null")
	l.vm(t, 1, "vm-a", true, path)
	d := l.driver(t)
	d.slow = c.slow
	return d, relocation(t, observe(t, d), "vm-a", c.to, c.mode, "ssd")
}

// TestLabCut cuts each kind of move at every checkpoint there is, as kill -9 would, and lets a new driver
// finish it from what the libvirts say.
func TestLabCut(t *testing.T) {
	for _, c := range cutCases {
		t.Run(c.name, func(t *testing.T) {
			l := startLab(t)
			d, r := c.setup(t, l)
			var names []string
			d.checkpoint = func(name string) error {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
				return nil
			}
			if err := d.Relocate(t.Context(), r, true, nil); err != nil {
				t.Fatal(err)
			}
			wantDone(t, l, d, r, fleet.Running, c.level)
			t.Logf("checkpoints: %s", strings.Join(names, ", "))
			if len(names) < 5 {
				t.Fatal("too few checkpoints: the hook is broken")
			}
			for _, name := range names {
				t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { c.cut(t, l, name) })
			}
		})
	}
}

func (c *cutCase) cut(t *testing.T, l *lab, name string) {
	t.Helper()
	d, r := c.setup(t, l)
	hit := false
	d.checkpoint = func(n string) error {
		if n == name {
			hit = true
			return errCut
		}
		return nil
	}
	if err := d.Relocate(t.Context(), r, true, nil); hit != errors.Is(err, errCut) || !hit && err != nil {
		t.Fatalf("cut %t: %v", hit, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := l.driver(t)
	o, err := again.Locate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after the cut: %+v", o)
	both := l.virsh(t, 1, "list", "--name", "--state-running") + l.virsh(t, 2, "list", "--name", "--state-running")
	if n := len(strings.Fields(both)); n > 1 && !strings.HasPrefix(name, "migrat") {
		t.Fatalf("runs %d times", n)
	}
	if err := again.Relocate(t.Context(), r, true, nil); err != nil {
		t.Fatal(err)
	}
	l.beats(t, "vm-a", 1)
	if boots, _, failed := l.guestLog(t, "vm-a"); boots > c.boots || failed {
		t.Errorf("%d boots, expected at most %d; write failed: %t", boots, c.boots, failed)
	}
	wantDone(t, l, again, r, fleet.Running, c.level)
	// What was written before the move is there.
	disk := observe(t, again).VM("vm-a").Disks[0]
	host := 1
	if c.to != "" {
		host = 2
	}
	if out := l.sh(t, host, "qemu-io -U -r -f "+c.format+" -c 'read -P 0x5a 1M 12M' "+disk.Path); strings.Contains(out, "fail") {
		t.Errorf("the data differs: %s", out)
	}
	if err := again.Relocate(t.Context(), r, true, nil); err != nil {
		t.Errorf("a call after the end: %v", err)
	}
}
