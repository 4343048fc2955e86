package libvirt

import (
	"context"
	"strings"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

// What moves of different VMs that are made at once have to keep out of each other's way.

// maxLong bounds the calls of one host that last as long as a migration: each holds one of libvirtd's twenty workers, and one of
// our connections, which the questions beside it need too.
const maxLong = maxConns / 2

// turns are held by one caller each at a time.
type turns struct {
	mu  sync.Mutex
	all map[string]chan struct{}
}

// take waits for the turn name, for at most limit. The error is a *fleet.DriverError: nothing was done.
func (t *turns) take(ctx context.Context, name string, limit time.Duration) (done func(), err error) {
	t.mu.Lock()
	if t.all == nil {
		t.all = map[string]chan struct{}{}
	}
	c := t.all[name]
	if c == nil {
		c = make(chan struct{}, 1)
		t.all[name] = c
	}
	t.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-timer.C:
		return nil, retryf("wait for pool "+name, "a call of another move on it does not end in %v", limit)
	case <-ctx.Done():
		return nil, retryf("wait for pool "+name, "%w", ctx.Err())
	}
}

// poolBusy says that libvirt would not look at a pool since it makes a volume there just now. It has no code for that.
func poolBusy(err error) bool {
	return hasCode(err, golibvirt.ErrInternalError) && strings.Contains(err.Error(), "asynchronous jobs")
}

// claims are the paths at which moves are making files now. What lies at the target of a move is taken for what is left of it and
// replaced; a file of the same name that a move of another VM makes at that moment belongs to no domain yet. A move claims its
// names when they are chosen.
type claims struct {
	mu sync.Mutex
	of map[string]fleet.VMID
}

// take claims the path on the host for vm; other is the VM that has it, "" when vm has it now.
func (c *claims) take(h *host, file string, vm fleet.VMID) (other fleet.VMID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]fleet.VMID{}
	}
	key := h.cfg.URI + "#" + file
	if has, ok := c.of[key]; ok && has != vm {
		return has
	}
	c.of[key] = vm
	return ""
}

// drop gives back what vm has.
func (c *claims) drop(vm fleet.VMID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, has := range c.of {
		if has == vm {
			delete(c.of, key)
		}
	}
}
