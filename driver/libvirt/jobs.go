package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// arrivalWait is how long a domain that waits for a migration's data may stay when its source is gone:
// libvirt drops it after 30 s of silence, and a minute has been seen.
const arrivalWait = 90 * time.Second

// watch is a watchdog of a job: it ends when the job's counter stands still.
type watch struct {
	limit time.Duration
	last  uint64
	since time.Time
}

func (w *watch) stalled(counter uint64) bool {
	if now := time.Now(); w.since.IsZero() || counter != w.last {
		w.last, w.since = counter, now
	}
	return time.Since(w.since) > w.limit
}

// jobStats reads a domain job: a counter that grows while it works, and bytes done and in all.
func (h *host) jobStats(ctx context.Context, dom golibvirt.Domain) (running bool, done, total uint64, err error) {
	type stats struct {
		kind        int32
		done, total uint64
	}
	s, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (stats, error) {
		kind, _, _, total, done, _, _, _, _, _, _, _, err := l.DomainGetJobInfo(dom) // the library's signature
		return stats{kind, done, total}, err
	})
	if hasCode(err, golibvirt.ErrNoDomain, golibvirt.ErrOperationInvalid, golibvirt.ErrOperationUnsupported) {
		return false, 0, 0, nil
	}
	k := golibvirt.DomainJobType(s.kind)
	return err == nil && (k == golibvirt.DomainJobBounded || k == golibvirt.DomainJobUnbounded), s.done, s.total, err
}

// waitJob waits for a job that somebody (a berth that was killed) left running on the domain.
func (m *move) waitJob(ctx context.Context, e *end) error {
	w := watch{limit: m.d.time.Stall}
	for until := time.Now().Add(m.d.time.Migrate); time.Now().Before(until); {
		running, done, total, err := e.h.jobStats(ctx, e.dom)
		if err != nil {
			return wrap(m.op+": ask for the job", err, true)
		}
		if !running {
			return nil
		}
		m.meter.set(clamp(done), clamp(total))
		if w.stalled(done) {
			return unknownf(m.op, "a job runs on it and has not moved for %v", w.limit)
		}
		if err := pause(ctx, poll); err != nil {
			return wrap(m.op, err, true)
		}
	}
	return unknownf(m.op, "a job runs on it for more than %v", m.d.time.Migrate)
}

// waitArrival waits until a domain that waits for a migration's data runs or is dropped.
func (m *move) waitArrival(ctx context.Context) error {
	for until := time.Now().Add(arrivalWait); time.Now().Before(until); {
		t, err := m.dst.probe(ctx, m.r.VM.UUID, m.dstPools)
		if err != nil {
			return wrap(m.op, err, true)
		}
		if !t.found || !t.arriving() {
			return nil
		}
		if err := pause(ctx, poll); err != nil {
			return wrap(m.op, err, true)
		}
	}
	return unknownf(m.op, "on %s it has waited for its memory for more than %v", m.r.To.Host, arrivalWait)
}

// migrate moves the running VM and its disks to the other host, peer to peer.
func (m *move) migrate(ctx context.Context, s *end) error {
	if m.dst.cfg.Peer == "" {
		return permanentf(m.op, "host %s has no peer address in the configuration", m.r.To.Host)
	}
	paths, disks := map[string]string{}, []string{}
	for _, dm := range m.disks {
		if _, _, err := m.prepareLive(ctx, s, dm); err != nil {
			return m.clearAllAfter(ctx, err)
		}
		paths[string(dm.disk.ID)] = dm.target
		disks = append(disks, string(dm.disk.ID))
	}
	params, err := m.migrateParams(ctx, s, paths, disks)
	if err != nil {
		return err
	}
	flags := golibvirt.MigrateLive | golibvirt.MigratePeer2peer | golibvirt.MigratePersistDest |
		golibvirt.MigrateUndefineSource | golibvirt.MigrateNonSharedDisk | golibvirt.MigrateAbortOnError
	if len(disks) == 0 {
		flags &^= golibvirt.MigrateNonSharedDisk
	}
	if err := m.at("migrate"); err != nil {
		return err
	}
	select {
	case m.src.long <- struct{}{}:
		defer func() { <-m.src.long }()
	case <-ctx.Done():
		return retryf(m.op, "wait for other migrations from host %s: %w", m.r.From.Host, ctx.Err())
	}
	// The context of the call ends when the watchdog gives it up, or the caller does.
	mctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := call(mctx, m.src, m.d.time.Migrate, func(l *golibvirt.Libvirt) (struct{}, error) {
			_, err := l.DomainMigratePerform3Params(s.dom, golibvirt.OptString{m.dst.cfg.Peer}, params, nil, flags)
			return struct{}{}, err
		})
		result <- err
	}()
	err = m.awaitMigration(ctx, s, result)
	if err == nil {
		if err := m.at("migrated"); err != nil {
			return err
		}
		return nil
	}
	var cut *cutError
	if errors.As(err, &cut) {
		return err
	}
	op := m.op + ": migrate to " + string(m.r.To.Host)
	if hasCode(err, golibvirt.ErrInternalError, golibvirt.ErrOperationFailed, golibvirt.ErrSystemError) && !full(err) {
		err = retryf(op, "%w", err) // what became of the peer; the VM goes on at its source
	}
	err = wrap(op, err, true)
	if fleet.KindOf(err) == fleet.Unknown {
		return err
	}
	return errors.Join(err, m.clearAll(ctx))
}

func (m *move) migrateParams(ctx context.Context, s *end, paths map[string]string, disks []string) ([]golibvirt.TypedParam, error) {
	live, err := call(ctx, m.src, m.d.time.Call, func(l *golibvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(s.dom, golibvirt.DomainXMLSecure|golibvirt.DomainXMLMigratable)
	})
	if err != nil {
		return nil, wrap(m.op, err, false)
	}
	dest, err := rewrite(live, paths, nil)
	if err != nil {
		return nil, permanentf(m.op, "%w", err)
	}
	persistent, err := rewrite(s.config, paths, &marker{State: stateIncoming, From: string(m.r.From.Host), Autostart: s.autostart})
	if err != nil {
		return nil, permanentf(m.op, "%w", err)
	}
	param := func(name, value string) golibvirt.TypedParam {
		return golibvirt.TypedParam{Field: name, Value: *golibvirt.NewTypedParamValueString(value)}
	}
	params := []golibvirt.TypedParam{param(golibvirt.MigrateParamDestXML, dest), param(golibvirt.MigrateParamPersistXML, persistent)}
	for _, d := range disks {
		params = append(params, param(golibvirt.MigrateParamMigrateDisks, d))
	}
	if m.d.slow > 0 {
		params = append(params, golibvirt.TypedParam{Field: golibvirt.MigrateParamBandwidth, Value: *golibvirt.NewTypedParamValueUllong(m.d.slow)})
	}
	return params, nil
}

// awaitMigration waits for the call's result and watches the job. A job that stands still is asked to end;
// libvirt says yes to that and may do nothing, when a silent peer holds QEMU: then the outcome is unknown.
func (m *move) awaitMigration(ctx context.Context, s *end, result <-chan error) error {
	w := watch{limit: m.d.time.Stall}
	var aborted time.Time
	for {
		select {
		case err := <-result:
			return err
		case <-time.After(poll):
		}
		if err := m.at("migrating"); err != nil {
			return err
		}
		_, done, total, err := m.src.jobStats(ctx, s.dom)
		if err != nil {
			done = w.last // no answer is no progress: QEMU answers nothing while it waits for the peer's storage
		} else {
			m.meter.set(clamp(done), clamp(total))
		}
		switch {
		case aborted.IsZero() && w.stalled(done):
			aborted = time.Now()
			err := m.change(ctx, "abort migration", m.src, func(l *golibvirt.Libvirt) error { return l.DomainAbortJob(s.dom) })
			if err != nil {
				return unknownf(m.op, "the migration has not moved for %v, and cannot be aborted: %w", w.limit, err)
			}
		case !aborted.IsZero() && time.Since(aborted) > m.d.time.Call:
			return unknownf(m.op, "the migration has not moved for %v, and does not end", w.limit)
		}
	}
}

// blockCopy starts to mirror a disk of the running VM into its new pool. The mirror is found, and finished, in
// the next round.
func (m *move) blockCopy(ctx context.Context, e *end, dm diskMove) error {
	set, made, err := m.prepareLive(ctx, e, dm)
	if err != nil {
		return err
	}
	flags := golibvirt.DomainBlockCopyTransientJob
	if made {
		flags |= golibvirt.DomainBlockCopyReuseExt
	}
	x := libvirtxml.DomainDisk{
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: dm.target}},
		Driver: &libvirtxml.DomainDiskDriver{Type: dm.disk.Format},
	}
	doc, err := x.Marshal()
	if err != nil {
		return permanentf(m.op, "%w", err)
	}
	if err := m.at("block-copy " + string(dm.disk.ID)); err != nil {
		return err
	}
	err = m.change(ctx, "copy disk "+string(dm.disk.ID), m.src, func(l *golibvirt.Libvirt) error {
		var params []golibvirt.TypedParam
		if m.d.slow > 0 {
			params = append(params, golibvirt.TypedParam{
				Field: golibvirt.DomainBlockCopyBandwidth, Value: *golibvirt.NewTypedParamValueUllong(m.d.slow << 20),
			})
		}
		return l.DomainBlockCopy(e.dom, string(dm.disk.ID), doc, params, flags)
	})
	if err != nil && fleet.KindOf(err) == fleet.Permanent {
		return errors.Join(err, m.clearTarget(ctx, dm, set))
	}
	if err != nil {
		return err
	}
	return m.at("mirroring " + string(dm.disk.ID))
}

// prepareVMDK makes an empty image of the source's kind at the target with the source's descriptor in it, and
// so with its label: a block copy onto an existing image (REUSE_EXT) leaves the descriptor's lines alone.
func (m *move) prepareVMDK(ctx context.Context, dm diskMove, set *fileSet) error {
	first := set.files[0]
	if !set.vmdk.embedded { // a text file and empty extents of the same lengths
		for _, f := range set.files {
			var err error
			if f == first {
				err = m.copyTo(ctx, dm, set, f)
			} else {
				_, err = m.dst.create(ctx, dm.to.name, dm.nameOf(path.Base(f.path)), "raw", f.mode, f.physical)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	size, ok := set.vmdk.size() // the pool may still take the image for a raw one
	if !ok {
		return permanentf(m.op, "disk %s: its extents add up to nonsense", dm.disk.ID)
	}
	v, err := m.dst.create(ctx, dm.to.name, path.Base(dm.target), "vmdk", first.mode, fleet.Bytes(size))
	if err != nil {
		return err
	}
	head, err := m.dst.download(ctx, v.vol, 0, maxDescriptor)
	if err != nil {
		return wrap(m.op, err, false)
	}
	made, err := parseVMDK(head, int64(len(head)))
	if err != nil || made == nil {
		return permanentf(m.op, "read the new image %s: %w", v.path, errors.Join(err, errors.New("no VMDK")))
	}
	if made.createType != set.vmdk.createType || len(made.extents) != 1 || len(set.vmdk.extents) != 1 || !made.extents[0].like(set.vmdk.extents[0]) {
		return permanentf(m.op, "disk %s: libvirt makes another kind of image (%s) than the source is (%s)", dm.disk.ID,
			made.kind(), set.vmdk.kind())
	}
	if int64(len(set.vmdk.text)) >= made.descSize {
		return permanentf(m.op, "disk %s: the descriptor of %d bytes does not fit into %d", dm.disk.ID, len(set.vmdk.text), made.descSize)
	}
	text := append([]byte(set.vmdk.text), make([]byte, int(made.descSize)-len(set.vmdk.text))...)
	return wrap(m.op+": write descriptor", m.dst.upload(ctx, v.vol, made.descOffset, text), true)
}

// finishMirror waits until a disk's mirror is in step, checks the label in it, and lets the VM go over to it.
func (m *move) finishMirror(ctx context.Context, e *end, dm diskMove, mir mirror) error {
	dev := string(dm.disk.ID)
	if mir.path != dm.target {
		return permanentf(m.op, "disk %s is being copied to %q, which is not of this move", dev, mir.path)
	}
	if err := m.awaitMirror(ctx, e, dm); err != nil {
		return err
	}
	set, err := m.files(ctx, dm, false)
	if err != nil {
		return err
	}
	if err := m.checkLabel(ctx, dm, set); err != nil {
		abort := m.change(ctx, "abort copy", m.src, func(l *golibvirt.Libvirt) error { return l.DomainBlockJobAbort(e.dom, dev, 0) })
		if abort != nil {
			return errors.Join(err, abort)
		}
		return errors.Join(err, m.clearTarget(ctx, dm, set))
	}
	if err := m.at("pivot " + dev); err != nil {
		return err
	}
	err = m.change(ctx, "pivot disk "+dev, m.src, func(l *golibvirt.Libvirt) error {
		return l.DomainBlockJobAbort(e.dom, dev, golibvirt.DomainBlockJobAbortPivot)
	})
	if err != nil {
		return err
	}
	if err := m.at("pivoted " + dev); err != nil {
		return err
	}
	return wrap(m.op, m.dst.refresh(ctx, dm.to.name), false)
}

// awaitMirror waits until the mirror is in step. A job that ended by itself has failed; what it wrote goes.
func (m *move) awaitMirror(ctx context.Context, e *end, dm diskMove) error {
	w := watch{limit: m.d.time.Stall}
	for until := time.Now().Add(m.d.time.Migrate); time.Now().Before(until); {
		now, err := m.src.probe(ctx, m.r.VM.UUID, m.srcPools)
		if err != nil {
			return wrap(m.op, err, true)
		}
		mir, ok := now.guest.mirrors[string(dm.disk.ID)]
		if !now.found || !ok || !now.active {
			return m.mirrorFailed(ctx, dm)
		}
		if mir.ready {
			return nil
		}
		if err := m.at("mirror-wait " + string(dm.disk.ID)); err != nil {
			return err
		}
		cur, total, err := m.src.blockJob(ctx, e.dom, string(dm.disk.ID))
		if err != nil {
			return wrap(m.op, err, true)
		}
		m.meter.set(clamp(cur), clamp(total))
		if w.stalled(cur) {
			return unknownf(m.op, "the copy of disk %s has not moved for %v", dm.disk.ID, w.limit)
		}
		if err := pause(ctx, poll/2); err != nil {
			return wrap(m.op, err, true)
		}
	}
	return unknownf(m.op, "the copy of disk %s takes more than %v", dm.disk.ID, m.d.time.Migrate)
}

func (h *host) blockJob(ctx context.Context, dom golibvirt.Domain, dev string) (cur, total uint64, err error) {
	v, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) ([2]uint64, error) {
		_, _, _, cur, total, err := l.DomainGetBlockJobInfo(dom, dev, 0)
		return [2]uint64{cur, total}, err
	})
	return v[0], v[1], err
}

// mirrorFailed says why a block job vanished: mostly the pool is full, which libvirt does not tell.
func (m *move) mirrorFailed(ctx context.Context, dm diskMove) error {
	why := "libvirt gave it up"
	if free, err := m.freeIn(ctx, dm.to.name); err == nil && free < dm.to.slack() {
		why = "pool " + string(dm.to.id) + " is full"
	}
	err := permanentf(m.op, "the copy of disk %s failed: %s", dm.disk.ID, why)
	now, perr := m.src.probe(ctx, m.r.VM.UUID, m.srcPools)
	if perr != nil || !now.found || now.guest.path(dm.disk.ID) == dm.target {
		return errors.Join(err, perr)
	}
	set, serr := m.files(ctx, dm, false)
	if serr != nil {
		return errors.Join(err, serr)
	}
	return errors.Join(err, m.clearTarget(ctx, dm, set))
}

// full recognises the text of ENOSPC, for which libvirt has no code.
func full(err error) bool {
	return err != nil && strings.Contains(err.Error(), "No space left")
}

var errVerify = fmt.Errorf("the copy differs from what was sent")
