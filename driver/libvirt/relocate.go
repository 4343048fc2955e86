package libvirt

import (
	"context"
	"errors"
	"path"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

// maxRounds bounds the rounds of one Relocate: each changes one thing, a disk at most.
const maxRounds = 3*maxDisks + 32

// poll is how often a job or a guest's state is looked at.
const poll = 200 * time.Millisecond

// askAgain is how often a guest is asked to shut down.
const askAgain = 3 * time.Second

// meter counts bytes for the caller's progress bar.
type meter struct {
	mu          sync.Mutex
	done, total fleet.Bytes
	report      func(done, total fleet.Bytes)
}

func (p *meter) set(done, total fleet.Bytes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = max(p.total, total)
	p.done = min(max(p.done, done), p.total) // never backwards
	if p.report != nil {
		p.report(p.done, p.total)
	}
}

// add is set relative to the present.
func (p *meter) add(n fleet.Bytes) {
	p.mu.Lock()
	done, total := p.done+n, p.total
	p.mu.Unlock()
	p.set(done, total)
}

// cutError marks an error of the checkpoint hook: it stands for kill -9, so nothing is tidied up after it.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

func (m *move) at(name string) error {
	if err := m.d.checkpoint(name); err != nil {
		return &cutError{err}
	}
	return nil
}

// Relocate brings the VM from wherever this move stands to r.To. It may be called again after a crash at any
// point. Files at the target's paths are taken for the remains of this very move and replaced, so the caller
// must have recorded the intent and called Precheck before the first call.
//
// An offline move asks the guest to shut down, and powers it off (QEMU flushes its writes) when it has not
// obeyed after Timeouts.Shutdown: the operator has accepted downtime, and a guest without ACPI would
// otherwise never move.
func (d *Driver) Relocate(ctx context.Context, r fleet.Relocation, powerOn bool, progress func(done, total fleet.Bytes)) (err error) {
	m, err := d.prepare(ctx, "move", r)
	if err != nil {
		return err
	}
	m.powerOn, m.meter.report = powerOn, progress
	defer func() {
		if err == nil || fleet.KindOf(err) == fleet.Permanent { // else it will be called again, with the same names
			d.claims.drop(r.VM.ID)
		}
	}()
	for range maxRounds {
		s, t, err := m.look(ctx)
		if err != nil {
			return err
		}
		var done bool
		if m.sameHost() {
			done, err = m.onOneHost(ctx, s)
		} else {
			done, err = m.betweenHosts(ctx, s, t)
		}
		if err != nil {
			return wrap(m.op, m.recover(ctx, err), true)
		}
		if done {
			m.meter.set(m.meter.total, m.meter.total)
			return nil
		}
	}
	return unknownf(m.op, "no end after %d rounds", maxRounds)
}

// recover starts the guest at the source again when this call shut it down and then failed before it began to
// define it at the target. err is returned with what became of that.
func (m *move) recover(ctx context.Context, err error) error {
	var cut *cutError
	if errors.As(err, &cut) || !m.stopped || !m.powerOn || fleet.KindOf(wrap(m.op, err, true)) == fleet.Unknown {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.d.time.Stall)
	defer cancel()
	if m.defining && !m.sameHost() {
		return err
	}
	s, lerr := m.src.probe(ctx, m.r.VM.UUID, m.srcPools)
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	if s.found && !s.active {
		return errors.Join(err, m.start(ctx, s))
	}
	return err
}

// onOneHost makes one change on the way to other pools of the same host.
func (m *move) onOneHost(ctx context.Context, e *end) (done bool, err error) {
	if !e.found {
		return false, permanentf(m.op, "host %s: %w", m.r.From.Host, fleet.ErrNotFound)
	}
	if e.job {
		return false, m.waitJob(ctx, e)
	}
	for _, dm := range m.disks {
		if mir, ok := e.guest.mirrors[string(dm.disk.ID)]; ok {
			return false, m.finishMirror(ctx, e, dm, mir)
		}
	}
	var pending []diskMove
	for _, dm := range m.disks {
		if !dm.moves || e.guest.path(dm.disk.ID) == dm.target {
			continue
		}
		if p := e.guest.path(dm.disk.ID); p != path.Clean(dm.disk.Path) {
			return false, permanentf(m.op, "disk %s is at %q, expected %s or %s", dm.disk.ID, p, dm.disk.Path, dm.target)
		}
		pending = append(pending, dm)
	}
	if len(pending) == 0 {
		return m.settle(ctx, e)
	}
	if err := m.held(e); err != nil {
		return false, err
	}
	switch {
	case e.active && m.r.Mode == fleet.Live:
		return false, m.blockCopy(ctx, e, pending[0])
	case e.active:
		return false, m.shutdown(ctx, e)
	default:
		return false, m.switchPools(ctx, e, pending)
	}
}

// held refuses a VM that got a state which no move may touch since the plan was made.
func (m *move) held(e *end) error {
	switch {
	case e.power() == fleet.Suspended && !e.arriving():
		return permanentf(m.op, "it is suspended or has a saved memory image")
	case !e.persistent:
		return permanentf(m.op, "it has no definition (transient domain)")
	case e.snapshots > 0:
		return permanentf(m.op, "it has %d snapshots, which are not moved yet", e.snapshots)
	}
	return nil
}

// betweenHosts makes one change on the way to another host.
func (m *move) betweenHosts(ctx context.Context, s, t *end) (done bool, err error) {
	switch {
	case !s.found && !t.found:
		return false, permanentf(m.op, "on neither %s nor %s: %w", m.r.From.Host, m.r.To.Host, fleet.ErrNotFound)
	case s.job:
		return false, m.waitJob(ctx, s)
	case t.found && t.arriving():
		return false, m.waitArrival(ctx)
	case s.found && t.found:
		return false, m.onBoth(ctx, s, t)
	case t.found:
		return m.settle(ctx, t)
	}
	if err := m.held(s); err != nil {
		return false, err
	}
	if len(s.guest.mirrors) > 0 {
		return false, permanentf(m.op, "a block job runs on it that is not of this move")
	}
	for _, dm := range m.disks {
		if p := s.guest.path(dm.disk.ID); p != path.Clean(dm.disk.Path) {
			return false, permanentf(m.op, "disk %s is at %q, expected %s", dm.disk.ID, p, dm.disk.Path)
		}
	}
	switch {
	case s.active && m.r.Mode == fleet.Live:
		return false, m.migrate(ctx, s)
	case s.active:
		return false, m.shutdown(ctx, s)
	default:
		return false, m.copyOver(ctx, s)
	}
}

// onBoth settles which of two definitions counts.
func (m *move) onBoth(ctx context.Context, s, t *end) error {
	sLeft := !s.active || s.arriving() || s.state == golibvirt.DomainPaused && s.reason == int32(golibvirt.DomainPausedMigration)
	switch {
	case t.running() && !sLeft:
		return permanentf(m.op, "it runs on %s and on %s: stop one of them by hand", m.r.From.Host, m.r.To.Host)
	case t.running() && s.active: // libvirt handed over, and did not get to ending the source
		if err := m.change(ctx, "end source", m.src, func(l *golibvirt.Libvirt) error { return l.DomainDestroy(s.dom) }); err != nil {
			return err
		}
		return m.undefineSource(ctx, s, t)
	case t.running():
		return m.undefineSource(ctx, s, t)
	case !t.incoming():
		return permanentf(m.op, "it is defined on %s and on %s, and not by this move", m.r.From.Host, m.r.To.Host)
	case t.active:
		return permanentf(m.op, "it is paused on %s", m.r.To.Host)
	case s.active || !m.copied:
		// The guest may have run, and written, since the copy was made: make it anew.
		return m.change(ctx, "undefine incoming", m.dst, func(l *golibvirt.Libvirt) error { return l.DomainUndefineFlags(t.dom, 0) })
	default:
		return m.undefineSource(ctx, s, t)
	}
}

// change makes one call that changes something; its error says what.
func (m *move) change(ctx context.Context, what string, h *host, f func(*golibvirt.Libvirt) error) error {
	_, err := call(ctx, h, m.d.time.Stall, func(l *golibvirt.Libvirt) (struct{}, error) { return struct{}{}, f(l) })
	return wrap(m.op+": "+what, err, true)
}

// undefineSource takes the source's definition away, after which only the target's can be started.
func (m *move) undefineSource(ctx context.Context, s, t *end) error {
	if err := m.at("undefine-source"); err != nil {
		return err
	}
	err := m.change(ctx, "undefine source", m.src, func(l *golibvirt.Libvirt) error { return l.DomainUndefineFlags(s.dom, 0) })
	if err != nil {
		return err
	}
	now, err := m.src.probe(ctx, m.r.VM.UUID, m.srcPools)
	if err != nil {
		return wrap(m.op, err, false)
	}
	if !now.found {
		return nil
	}
	// Somebody started it in this very moment; it goes on without a definition. Give that back; the target's
	// copy is stale.
	err = m.change(ctx, "define source again", m.src, func(l *golibvirt.Libvirt) error {
		_, err := l.DomainDefineXML(s.config)
		return err
	})
	if err == nil && t.found && !t.active {
		err = m.change(ctx, "undefine incoming", m.dst, func(l *golibvirt.Libvirt) error { return l.DomainUndefineFlags(t.dom, 0) })
	}
	return errors.Join(retryf(m.op, "somebody started it on %s meanwhile", m.r.From.Host), err)
}

// settle ends the move: e is the only definition, and its disks are at the target.
func (m *move) settle(ctx context.Context, e *end) (done bool, err error) {
	for _, dm := range m.disks {
		if p := e.guest.path(dm.disk.ID); dm.moves && p != dm.target {
			return false, permanentf(m.op, "disk %s is at %q on %s, expected %s", dm.disk.ID, p, m.r.To.Host, dm.target)
		}
	}
	if err := m.fixConfig(ctx, e); err != nil {
		return false, err
	}
	if e.incoming() {
		if err := m.at("accept"); err != nil {
			return false, err
		}
		return false, m.accept(ctx, e)
	}
	if m.powerOn && !e.active {
		if err := m.at("start"); err != nil {
			return false, err
		}
		return false, m.start(ctx, e)
	}
	for _, dm := range m.disks {
		if !dm.moves {
			continue
		}
		if err := m.at("delete-source " + string(dm.disk.ID)); err != nil {
			return false, err
		}
		if err := m.deleteSource(ctx, dm); err != nil {
			return false, err
		}
	}
	return true, m.at("done")
}

// fixConfig brings the definition of a running domain to the paths that it runs on.
func (m *move) fixConfig(ctx context.Context, e *end) error {
	paths := map[string]string{}
	for _, dm := range m.disks {
		if dm.moves && e.conf.path(dm.disk.ID) != dm.target {
			paths[string(dm.disk.ID)] = dm.target
		}
	}
	if len(paths) == 0 {
		return nil
	}
	doc, err := rewrite(e.config, paths, nil)
	if err != nil {
		return permanentf(m.op, "%w", err)
	}
	return m.define(ctx, e.h, doc)
}

func (m *move) define(ctx context.Context, h *host, doc string) error {
	return m.change(ctx, "define", h, func(l *golibvirt.Libvirt) error {
		_, err := l.DomainDefineXML(doc)
		return err
	})
}

// accept makes an incoming definition count: autostart first, since the mark remembers it.
func (m *move) accept(ctx context.Context, e *end) error {
	return m.change(ctx, "accept", e.h, func(l *golibvirt.Libvirt) error {
		if e.conf.marker.Autostart && !e.autostart {
			if err := l.DomainSetAutostart(e.dom, 1); err != nil {
				return err
			}
		}
		const element = 2 // VIR_DOMAIN_METADATA_ELEMENT
		return l.DomainSetMetadata(e.dom, element, nil, nil, golibvirt.OptString{moveNS}, golibvirt.DomainAffectConfig)
	})
}

func (m *move) start(ctx context.Context, e *end) error {
	return m.change(ctx, "start", e.h, func(l *golibvirt.Libvirt) error {
		err := l.DomainCreate(e.dom)
		if hasCode(err, golibvirt.ErrOperationInvalid) { // somebody else did
			return nil
		}
		return err
	})
}

// shutdown stops the guest: it is asked first, and powered off when it does not obey in time.
func (m *move) shutdown(ctx context.Context, e *end) error {
	if err := m.at("shutdown"); err != nil {
		return err
	}
	m.stopped = true
	// A guest that is still booting misses the request, so it is made again.
	for left := m.d.time.Shutdown; left > 0; left -= askAgain {
		err := m.change(ctx, "shut down", e.h, func(l *golibvirt.Libvirt) error { return l.DomainShutdown(e.dom) })
		if err != nil && !hasCode(err, golibvirt.ErrOperationInvalid) {
			return err
		}
		off, err := m.stoppedWithin(ctx, e, min(left, askAgain))
		if err != nil || off {
			return err
		}
	}
	if err := m.at("power-off"); err != nil {
		return err
	}
	err := m.change(ctx, "power off", e.h, func(l *golibvirt.Libvirt) error {
		return l.DomainDestroyFlags(e.dom, golibvirt.DomainDestroyGraceful)
	})
	if err != nil && !hasCode(err, golibvirt.ErrOperationInvalid) {
		return err
	}
	off, err := m.stoppedWithin(ctx, e, m.d.time.Call)
	if err == nil && !off {
		err = retryf(m.op, "the guest does not stop")
	}
	return err
}

func (m *move) stoppedWithin(ctx context.Context, e *end, limit time.Duration) (bool, error) {
	for until := time.Now().Add(limit); ; {
		state, err := call(ctx, e.h, m.d.time.Call, func(l *golibvirt.Libvirt) (int32, error) {
			s, _, err := l.DomainGetState(e.dom, 0)
			return s, err
		})
		if err != nil {
			return false, wrap(m.op+": ask for the state", err, true)
		}
		if golibvirt.DomainState(state) == golibvirt.DomainShutoff {
			return true, nil
		}
		if time.Now().After(until) {
			return false, nil
		}
		if err := pause(ctx, poll); err != nil {
			return false, wrap(m.op, err, true)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sameFile says that two volumes of different hosts look like one file on shared storage.
func sameFile(a, b *volume) bool {
	return a.stamp != "" && a.stamp == b.stamp && a.physical == b.physical && path.Base(a.path) == path.Base(b.path)
}
