package libvirt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

// maxConns bounds the connections to one libvirtd at a time, maxIdle those kept for the next call. libvirtd
// allows 5,000 clients in all and runs 20 calls at once by default.
const (
	maxConns = 12
	maxIdle  = 4
)

// errTimeout is wrapped by every error of a call that was given up.
var errTimeout = errors.New("no answer in time")

// host is one libvirtd with its connections.
type host struct {
	cfg  HostConfig
	addr address
	time Timeouts
	slot chan struct{}
	long chan struct{} // of the calls that last
	turn turns         // by pool: libvirt lists none while it makes a volume there

	labels Labels // nil: labels are not understood

	mu     sync.Mutex
	idle   []*conn
	wires  []*wire // idle stream connections
	closed bool
	known  *fleet.Host // as last seen; nil before
}

type conn struct {
	lv   *golibvirt.Libvirt
	dial *dialer
}

func newHost(cfg HostConfig, t Timeouts) (*host, error) {
	a, err := parseURI(cfg.URI)
	if err != nil {
		return nil, err
	}
	if cfg.Peer != "" {
		if _, err := parseURI(cfg.Peer); err != nil {
			return nil, fmt.Errorf("peer %s: %w", cfg.Peer, err)
		}
	}
	return &host{cfg: cfg, addr: a, time: t, slot: make(chan struct{}, maxConns), long: make(chan struct{}, maxLong)}, nil
}

func (h *host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, c := range h.idle {
		c.dial.close()
	}
	for _, w := range h.wires {
		_ = w.conn.Close() // idle: nothing depends on it
	}
	h.idle, h.wires = nil, nil
}

// call runs f on a connection of its own, for at most limit. f must not touch anything that the caller reads
// after an error: it may still be running then, until the closed connection reaches it.
func call[T any](ctx context.Context, h *host, limit time.Duration, f func(*golibvirt.Libvirt) (T, error)) (T, error) {
	var zero T
	c, err := h.get(ctx)
	if err != nil {
		return zero, err
	}
	v, err, alive := await(ctx, limit, c.dial.close, func() (T, error) { return f(c.lv) })
	h.put(c, alive && !errors.Is(err, golibvirt.ErrInterrupted))
	return v, err
}

// await runs f, and calls stop when it is not done within limit or ctx ends. alive is false after a stop.
func await[T any](ctx context.Context, limit time.Duration, stop func(), f func() (T, error)) (v T, err error, alive bool) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.v, r.err, true
	case <-timer.C:
		stop()
		return v, fmt.Errorf("%w (%v)", errTimeout, limit), false
	case <-ctx.Done():
		stop()
		return v, ctx.Err(), false
	}
}

// get takes an idle connection or makes one.
func (h *host) get(ctx context.Context) (*conn, error) {
	select {
	case h.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		c := h.pop()
		if c == nil {
			break
		}
		if c.lv.IsConnected() {
			return c, nil
		}
	}
	c, err := h.connect(ctx)
	if err != nil {
		<-h.slot
		return nil, &unreachableError{err}
	}
	return c, nil
}

func (h *host) pop() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.idle)
	if n == 0 {
		return nil
	}
	c := h.idle[n-1]
	h.idle = h.idle[:n-1]
	return c
}

func (h *host) put(c *conn, alive bool) {
	defer func() { <-h.slot }()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !alive || h.closed || len(h.idle) >= maxIdle {
		c.dial.close()
		return
	}
	h.idle = append(h.idle, c)
}

func (h *host) connect(ctx context.Context) (*conn, error) {
	d := &dialer{address: h.addr, timeout: h.time.Dial}
	lv := golibvirt.NewWithDialer(d)
	_, err, _ := await(ctx, h.time.Dial, d.close, func() (struct{}, error) {
		return struct{}{}, lv.ConnectToURI(golibvirt.ConnectURI(h.addr.open))
	})
	if err != nil {
		d.close()
		return nil, err
	}
	return &conn{lv: lv, dial: d}, nil
}

// unreachableError says that no connection could be made: whatever was asked for did not happen.
type unreachableError struct{ err error }

func (e *unreachableError) Error() string { return "connect: " + e.err.Error() }
func (e *unreachableError) Unwrap() error { return e.err }
