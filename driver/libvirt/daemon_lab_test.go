package libvirt

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
)

// daemonFault breaks something at a checkpoint of a move, once, and mends it when the move's call has come back.
type daemonFault struct {
	kind  int // of cutCases
	at    string
	fault []string
	heal  []string
	// freed: the runbook's command for a source whose QEMU waits for a connection that is dead.
	freed bool
}

// firstCall bounds the call that the fault hits, and allCalls the move: the driver gives up a job that does not move, or
// does not answer, after Stall, and a domain that waits for memory in vain goes after arrivalWait at most.
const (
	firstCall = 45 * time.Second
	allCalls  = arrivalWait + time.Minute
)

// TestLabDaemonFaults breaks a libvirtd or the link between the hosts in the middle of a move, and makes the move
// again until it ends: every error in between is a passing or an unknown one, and the VM runs once at most.
func TestLabDaemonFaults(t *testing.T) {
	for _, c := range []daemonFault{
		{kind: 0, at: "copied vm-a-flat.vmdk", fault: []string{"kill-libvirtd", "2"}},
		{kind: 0, at: "define-target", fault: []string{"kill-libvirtd", "2"}},
		{kind: 0, at: "undefine-source", fault: []string{"kill-libvirtd", "1"}},
		{kind: 2, at: "mirror-wait vda", fault: []string{"kill-libvirtd", "1"}},
		{kind: 2, at: "pivot vda", fault: []string{"kill-libvirtd", "1"}},
		{kind: 3, at: "migrating", fault: []string{"kill-libvirtd", "1"}},
		{kind: 3, at: "migrating", fault: []string{"kill-libvirtd", "2"}},
		{kind: 3, at: "migrating", fault: []string{"cut", "2", "mgmt"}, heal: []string{"heal", "2", "mgmt"}},
		// QEMU's main loop waits for the target's storage, and libvirtd for QEMU: it says nothing of the VM meanwhile.
		{kind: 3, at: "migrate", fault: []string{"cut", "2", "storage"}, heal: []string{"heal", "2", "storage"}, freed: true},
	} {
		name := cutCases[c.kind].name + "/" + strings.ReplaceAll(c.at+"/"+strings.Join(c.fault, "_"), " ", "_")
		t.Run(name, func(t *testing.T) { c.run(t, startLab(t)) }) // most of them wait: each takes the lab that is free
	}
}

func (c *daemonFault) run(t *testing.T, l *lab) {
	t.Helper()
	k := cutCases[c.kind]
	d, r := k.setup(t, l)
	d.time.Stall, d.time.Call = 6*time.Second, 4*time.Second
	if c.heal != nil {
		defer l.run(t, c.heal...)
	}
	defer func() {
		if t.Failed() {
			l.doing(t)
		}
	}()
	done := false
	d.checkpoint = func(name string) error {
		if name == c.at && !done {
			done = true
			l.run(t, c.fault...)
		}
		return nil
	}
	begin := time.Now()
	err := d.Relocate(t.Context(), r, true, nil)
	t.Logf("first, after %v: %v", time.Since(begin).Round(time.Millisecond), err)
	if !done {
		t.Fatal("the fault was not reached")
	}
	if spent := time.Since(begin); spent > firstCall {
		t.Errorf("the call took %v, expected at most %v", spent, firstCall)
	}
	if c.heal != nil {
		if fleet.KindOf(err) != fleet.Unknown {
			t.Errorf("a cut link: kind %v, expected unknown", fleet.KindOf(err))
		}
		l.run(t, c.heal...)
	}
	if c.freed {
		l.sh(t, 1, "ss -K dst 10.77.0.2 dport ge 49152")
	}
	boots := k.boots
	for begin := time.Now(); err != nil; {
		if time.Since(begin) > allCalls {
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
		t.Logf("again, after %v: %v", time.Since(begin).Round(time.Millisecond), err)
	}
	l.beats(t, "vm-a", 1)
	if n, _, failed := l.guestLog(t, "vm-a"); n > boots || failed {
		t.Errorf("%d boots, expected at most %d; write failed: %t", n, boots, failed)
	}
	wantDone(t, l, d, r, fleet.Running, k.level)
}

// doing says what libvirtd and QEMU of both hosts wait for.
func (l *lab) doing(t *testing.T) {
	t.Helper()
	for _, i := range []string{"1", "2"} {
		out, err := l.command("doing", i).CombinedOutput()
		t.Logf("host %s (%v):\n%s", i, err, out)
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
