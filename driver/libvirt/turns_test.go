package libvirt

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

// TestTurns: a pool is one caller's at a time, others are not kept from theirs, and waiting has an end that says that nothing was
// done.
func TestTurns(t *testing.T) {
	t.Parallel()
	var turn turns
	inside, most := 0, 0 // the race detector looks at them
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			done, err := turn.take(t.Context(), "ssd", time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			defer done()
			inside++
			most = max(most, inside)
			inside--
		})
	}
	group.Wait()
	if most != 1 {
		t.Errorf("%d at once", most)
	}
	held, err := turn.take(t.Context(), "ssd", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	other, err := turn.take(t.Context(), "hdd", time.Minute)
	if err != nil {
		t.Fatalf("another pool: %v", err)
	}
	other()
	if _, err := turn.take(t.Context(), "ssd", time.Nanosecond); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("%v, expected one to be tried again", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turn.take(ended, "ssd", time.Minute); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("%v, expected one to be tried again", err)
	}
	held()
	if done, err := turn.take(t.Context(), "ssd", time.Minute); err != nil {
		t.Error(err)
	} else {
		done()
	}
}

// TestClaims: a file that one move makes is no remains of another's.
func TestClaims(t *testing.T) {
	t.Parallel()
	var c claims
	a, b := &host{cfg: HostConfig{URI: "qemu:///a"}}, &host{cfg: HostConfig{URI: "qemu:///b"}}
	for _, step := range []struct {
		h    *host
		file string
		vm   fleet.VMID
		want fleet.VMID
	}{
		{a, "/ssd/disk.qcow2", "vm-db", ""}, {a, "/ssd/disk.qcow2", "vm-db", ""}, {a, "/ssd/disk.qcow2", "vm-web", "vm-db"},
		{b, "/ssd/disk.qcow2", "vm-web", ""}, {a, "/hdd/disk.qcow2", "vm-web", ""}, {b, "/ssd/disk.qcow2", "vm-db", "vm-web"},
	} {
		if other := c.take(step.h, step.file, step.vm); other != step.want {
			t.Errorf("%s at %s for %s: %q has it, expected %q", step.file, step.h.cfg.URI, step.vm, other, step.want)
		}
	}
	c.drop("vm-db")
	if other := c.take(a, "/ssd/disk.qcow2", "vm-web"); other != "" {
		t.Errorf("given back, and %s has it", other)
	}
	c.drop("vm-web")
	if len(c.of) > 0 {
		t.Errorf("left: %v", c.of)
	}
}

func TestPoolBusy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{golibvirt.Error{Code: uint32(golibvirt.ErrInternalError), Message: "internal error: pool 'ssd' has asynchronous jobs running."}, true},
		{fmt.Errorf("refresh: %w", golibvirt.Error{Code: uint32(golibvirt.ErrInternalError), Message: "pool 'ssd' has asynchronous jobs running."}), true},
		{golibvirt.Error{Code: uint32(golibvirt.ErrInternalError), Message: "internal error: out of luck"}, false},
		{golibvirt.Error{Code: uint32(golibvirt.ErrNoStoragePool), Message: "no pool asynchronous jobs"}, false},
		{nil, false},
	} {
		if got := poolBusy(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
