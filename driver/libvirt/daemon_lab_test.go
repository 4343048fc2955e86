package libvirt

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
)

// TestLabDaemonFaults breaks a libvirtd or the link between the hosts in the middle of a move, and makes the move
// again until it ends: every error in between is a passing or an unknown one, and the VM runs once at most.
func TestLabDaemonFaults(t *testing.T) {
	l := startLab(t)
	for _, c := range []struct {
		kind  int // of cutCases
		at    string
		fault []string
		heal  []string
	}{
		{0, "copied vm-a-flat.vmdk", []string{"kill-libvirtd", "2"}, nil},
		{0, "define-target", []string{"kill-libvirtd", "2"}, nil},
		{0, "undefine-source", []string{"kill-libvirtd", "1"}, nil},
		{2, "mirror-wait vda", []string{"kill-libvirtd", "1"}, nil},
		{2, "pivot vda", []string{"kill-libvirtd", "1"}, nil},
		{3, "migrating", []string{"kill-libvirtd", "1"}, nil},
		{3, "migrating", []string{"kill-libvirtd", "2"}, nil},
		{3, "migrating", []string{"cut", "2", "mgmt"}, []string{"heal", "2", "mgmt"}},
	} {
		k := cutCases[c.kind]
		t.Run(k.name+"/"+strings.ReplaceAll(c.at+"/"+strings.Join(c.fault, "_"), " ", "_"), func(t *testing.T) {
			d, r := k.setup(t, l)
			d.time.Stall, d.time.Call = 6*time.Second, 4*time.Second
			if c.heal != nil {
				defer l.run(t, c.heal...)
			}
			done := false
			d.checkpoint = func(name string) error {
				if name == c.at && !done {
					done = true
					l.run(t, c.fault...)
				}
				return nil
			}
			err := d.Relocate(t.Context(), r, true, nil)
			t.Logf("first: %v", err)
			if !done {
				t.Fatal("the fault was not reached")
			}
			if c.heal != nil {
				if fleet.KindOf(err) != fleet.Unknown {
					t.Errorf("a cut link: kind %v, expected unknown", fleet.KindOf(err))
				}
				l.run(t, c.heal...)
			}
			boots := k.boots
			for try := 0; err != nil; try++ {
				if try == 40 {
					t.Fatal("it does not end")
				}
				if fleet.KindOf(err) == fleet.Permanent {
					t.Fatalf("permanent: %v", err)
				}
				if both := l.virshList(); len(both) > 1 && k.mode == fleet.Offline {
					t.Fatalf("runs twice: %v", both)
				}
				if k.mode == fleet.Offline { // after a passing fault the guest was started at its source again
					boots += 2
				}
				time.Sleep(time.Second)
				err = d.Relocate(t.Context(), r, true, nil)
				t.Logf("again: %v", err)
			}
			l.beats(t, "vm-a", 1)
			if n, _, failed := l.guestLog(t, "vm-a"); n > boots || failed {
				t.Errorf("%d boots, expected at most %d; write failed: %t", n, boots, failed)
			}
			wantDone(t, l, d, r, fleet.Running, k.level)
		})
	}
}

// virshList names the domains that run, host by host, as far as the hosts answer.
func (l *lab) virshList() []string {
	var names []string
	for _, i := range []string{"1", "2"} {
		if out, err := l.command("virsh", i, "list", "--name", "--state-running").Output(); err == nil {
			names = append(names, strings.Fields(string(out))...)
		}
	}
	return names
}
