package libvirt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// copyOver copies the disks of a VM that is shut off to the target host and defines it there as incoming.
func (m *move) copyOver(ctx context.Context, s *end) error {
	if err := m.copyDisks(ctx, m.disks); err != nil {
		return err
	}
	paths := map[string]string{}
	for _, dm := range m.disks {
		paths[string(dm.disk.ID)] = dm.target
	}
	doc, err := rewrite(s.config, paths, &marker{State: stateIncoming, From: string(m.r.From.Host), Autostart: s.autostart})
	if err != nil {
		return permanentf(m.op, "%w", err)
	}
	if err := m.asBefore(ctx, s); err != nil {
		return err
	}
	if err := m.at("define-target"); err != nil {
		return err
	}
	m.defining = true
	if err := m.define(ctx, m.dst, doc); err != nil {
		return err
	}
	m.copied = true
	return m.at("defined-target")
}

// switchPools copies disks of a VM that is shut off to other pools of its host. One new definition with all
// the new paths is the switch.
func (m *move) switchPools(ctx context.Context, e *end, pending []diskMove) error {
	if err := m.copyDisks(ctx, pending); err != nil {
		return err
	}
	paths := map[string]string{}
	for _, dm := range pending {
		paths[string(dm.disk.ID)] = dm.target
	}
	doc, err := rewrite(e.config, paths, nil)
	if err != nil {
		return permanentf(m.op, "%w", err)
	}
	if err := m.asBefore(ctx, e); err != nil {
		return err
	}
	if err := m.at("define"); err != nil {
		return err
	}
	if err := m.define(ctx, m.src, doc); err != nil {
		return err
	}
	return m.at("defined")
}

// asBefore makes sure that nobody started the guest while its disks were being copied, or changed its definition, which
// holds labels too: the one that the move makes of the old would take that back.
func (m *move) asBefore(ctx context.Context, before *end) error {
	s, err := m.src.probe(ctx, m.r.VM.UUID, m.srcPools)
	if err != nil {
		return wrap(m.op, err, false)
	}
	switch {
	case !s.found || s.active:
		err = retryf(m.op, "somebody started or removed it on %s while it was copied", m.r.From.Host)
	case s.config != before.config:
		err = retryf(m.op, "somebody changed its definition on %s while it was copied", m.r.From.Host)
	default:
		return nil
	}
	return errors.Join(err, m.clearAll(ctx))
}

// copyDisks copies disks file by file. Whatever fails for good leaves no file behind.
func (m *move) copyDisks(ctx context.Context, disks []diskMove) error {
	sets := make([]*fileSet, len(disks))
	var total fleet.Bytes
	for i, dm := range disks {
		var err error
		if sets[i], err = m.files(ctx, dm, true); err != nil {
			return err
		}
		total += 2 * sets[i].length() // once to copy, once to read back
	}
	m.meter.set(0, total)
	for i, dm := range disks {
		if err := m.clearTarget(ctx, dm, sets[i]); err != nil {
			return err
		}
	}
	for i, dm := range disks {
		if err := m.copyDisk(ctx, dm, sets[i]); err != nil {
			return m.clearAllAfter(ctx, err)
		}
	}
	return nil
}

// copyDisk copies every file of a disk and reads it back. The label travels as bytes.
func (m *move) copyDisk(ctx context.Context, dm diskMove, set *fileSet) error {
	if err := m.at("copy " + string(dm.disk.ID)); err != nil {
		return err
	}
	if err := m.room(ctx, dm.to, set.used()); err != nil {
		return err
	}
	for _, f := range set.all() {
		if err := m.copyTo(ctx, dm, set, f); err != nil {
			return err
		}
		if err := m.at("copied " + dm.nameOf(path.Base(f.path))); err != nil {
			return err
		}
	}
	return wrap(m.op, m.dst.refresh(ctx, dm.to.name), false) // now it is seen as what it is
}

// slack is what a pool must have free beyond the data. libvirt counts blocks as free that ext4 keeps for itself:
// 2 % of the file system, at most 16 MiB.
func (p *poolInfo) slack() fleet.Bytes { return min(p.capacity/32, 32*fleet.MiB) }

// freeIn is what the target pool has free now.
func (m *move) freeIn(ctx context.Context, pool string) (fleet.Bytes, error) {
	if err := m.dst.refresh(ctx, pool); err != nil { // libvirt counts a pool's space at a refresh only
		return 0, wrap(m.op, err, false)
	}
	pools, err := m.dst.pools(ctx, m.r.To.Host)
	if err != nil {
		return 0, wrap(m.op, err, false)
	}
	for _, p := range pools {
		if p.name == pool {
			return p.free, nil
		}
	}
	return 0, permanentf(m.op, "pool %s: %w", pool, fleet.ErrNotFound)
}

// room compares the pool's free space with what is to come.
func (m *move) room(ctx context.Context, pool *poolInfo, need fleet.Bytes) error {
	free, err := m.freeIn(ctx, pool.name)
	if err == nil && free < need+pool.slack() {
		err = permanentf(m.op, "pool %s has %s free, the disks take %s", pool.id, fleet.FormatBytes(free), fleet.FormatBytes(need))
	}
	return err
}

// copyFile copies from's bytes into to, which is empty and as long, and compares the SHA-256 of what was read
// at the source with what is read at the target afterwards. It works in pieces, a call each, so that every
// call has a deadline and memory is bounded. Zeros are not sent.
func (m *move) copyFile(ctx context.Context, from, to *volume) error {
	op := m.op + ": copy " + from.path
	sum := sha256.New()
	size := int64(from.physical)
	for off := int64(0); off < size; {
		p, err := m.src.download(ctx, from.vol, off, int(min(maxPiece, size-off)))
		if err == nil && len(p) == 0 {
			err = fmt.Errorf("ends at %d of %d bytes", off, size)
		}
		if err != nil {
			return wrap(op, err, false)
		}
		_, _ = sum.Write(p) // a hash never fails
		err = runs(p, func(at int, data []byte) error { return m.dst.upload(ctx, to.vol, off+int64(at), data) })
		if err != nil {
			return m.uploadFailed(ctx, op, to, err)
		}
		off += int64(len(p))
		m.meter.add(fleet.Bytes(len(p)))
	}
	got, err := m.dst.digest(ctx, to.vol, from.physical, m.meter.add)
	if err != nil {
		return err
	}
	if got != [sha256.Size]byte(sum.Sum(nil)) { // libvirtd may lose an ENOSPC at the end of a short stream
		return m.uploadFailed(ctx, op, to, errVerify)
	}
	return nil
}

// uploadFailed types the error of an upload. Nothing stands on the half-written file yet, so no error is
// unknown.
func (m *move) uploadFailed(ctx context.Context, op string, to *volume, err error) error {
	if full(err) {
		return permanentf(op, "write %s: the pool is full: %w", to.path, err)
	}
	if p := poolOf(m.dstPools, to.path); p != nil && ctx.Err() == nil {
		if free, ferr := m.freeIn(ctx, p.name); ferr == nil && free < p.slack() {
			return permanentf(op, "write %s: the pool is full: %w", to.path, err)
		}
	}
	if errors.Is(err, errVerify) {
		return retryf(op, "%w", err)
	}
	return wrap(op, err, false)
}

// clearAll removes the move's files at the target.
func (m *move) clearAll(ctx context.Context) error {
	for _, dm := range m.disks {
		if !dm.moves {
			continue
		}
		set, err := m.files(ctx, dm, false)
		if err != nil {
			return err
		}
		if err := m.clearTarget(ctx, dm, set); err != nil {
			return err
		}
	}
	return nil
}

// clearAllAfter is clearAll after a step that failed with err; an end as if killed leaves everything.
func (m *move) clearAllAfter(ctx context.Context, err error) error {
	var cut *cutError
	if errors.As(err, &cut) {
		return err
	}
	return errors.Join(err, m.clearAll(context.WithoutCancel(ctx)))
}

// clearTarget removes what an earlier try left where the disk's files go. A file that a domain uses, or that
// is the source itself seen through another host, is never removed.
func (m *move) clearTarget(ctx context.Context, dm diskMove, source *fileSet) error {
	if err := m.dst.refresh(ctx, dm.to.name); err != nil {
		return wrap(m.op, err, false)
	}
	for _, f := range source.files {
		if err := m.clearFile(ctx, dm, dm.nameOf(path.Base(f.path)), f); err != nil {
			return err
		}
	}
	// A live move may have made a sidecar where the source has none.
	return m.clearFile(ctx, dm, sidecarName(dm.target), source.sidecar)
}

// clearFile removes the file name at the target, which is to be the copy of source, when there is one. From here on the name
// is this move's until Relocate returns.
func (m *move) clearFile(ctx context.Context, dm diskMove, name string, source *volume) error {
	if other := m.d.claims.take(m.dst, path.Join(dm.to.path, name), m.r.VM.ID); other != "" {
		return permanentf(m.op, "%s in pool %s: vm %s, which is being moved too, gets a file of this name there", name, dm.to.id, other)
	}
	v, err := m.dst.volume(ctx, dm.to.name, name)
	if fleetNotFound(err) {
		return nil
	}
	if err != nil {
		return wrap(m.op, err, false)
	}
	if source != nil && (m.sameHost() && path.Clean(v.path) == path.Clean(source.path) || !m.sameHost() && sameFile(v, source)) {
		return permanentf(m.op, "%s on both hosts is one file: the pools share their storage, which is not supported yet", v.path)
	}
	if err := m.unused(ctx, m.dst, v.path); err != nil {
		return err
	}
	return m.dst.remove(ctx, v)
}

// clearAfter clears the target after a step that failed with err; nil, or an end as if killed, leaves it.
func (m *move) clearAfter(ctx context.Context, dm diskMove, set *fileSet, err error) error {
	var cut *cutError
	if err == nil || errors.As(err, &cut) {
		return err
	}
	return errors.Join(err, m.clearTarget(context.WithoutCancel(ctx), dm, set))
}

// unused refuses to touch files that a domain names.
func (m *move) unused(ctx context.Context, h *host, files ...string) error {
	users, err := h.users(ctx, files...)
	if err != nil {
		return wrap(m.op+": look for users of "+strings.Join(files, ", "), err, false)
	}
	if len(users) > 0 {
		return permanentf(m.op, "%s is used by vm %s", users[0].file, users[0].name)
	}
	return nil
}

// deleteSource removes a disk's files at the source, the descriptor last, so that what is left of a cut
// deletion can be found again. Before that, the copy must be there and have the source's label.
func (m *move) deleteSource(ctx context.Context, dm diskMove) error {
	first, err := m.src.fresh(ctx, dm.from.name, path.Base(dm.disk.Path))
	if fleetNotFound(err) {
		return nil
	}
	if err != nil {
		return wrap(m.op, err, false)
	}
	target, err := m.dst.fresh(ctx, dm.to.name, path.Base(dm.target))
	if err != nil {
		return wrap(m.op, fmt.Errorf("the copy of disk %s: %w", dm.disk.ID, err), false)
	}
	if !m.sameHost() && sameFile(first, target) {
		return permanentf(m.op, "%s on both hosts is one file: the pools share their storage, which is not supported yet", first.path)
	}
	files, err := m.sourceFiles(ctx, dm, first)
	if err != nil {
		return err
	}
	// A descriptor may name, and a sidecar's name may be that of, a file that is another VM's disk.
	if err := m.unused(ctx, m.src, paths(files)...); err != nil {
		return err
	}
	for i := len(files) - 1; i >= 0; i-- {
		if err := m.src.remove(ctx, files[i]); err != nil {
			return err
		}
		if err := m.at("deleted " + path.Base(files[i].path)); err != nil {
			return err
		}
	}
	return nil
}

func paths(files []*volume) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.path)
	}
	return list
}

// sourceFiles lists the files of a disk to delete. Extents and sidecar may be gone already; the first file is not.
func (m *move) sourceFiles(ctx context.Context, dm diskMove, first *volume) ([]*volume, error) {
	set := &fileSet{files: []*volume{first}}
	sidecar, err := m.src.volume(ctx, dm.from.name, sidecarName(first.path))
	if err != nil && !fleetNotFound(err) {
		return nil, wrap(m.op, err, false)
	}
	set.sidecar = sidecar
	if dm.disk.Format != "vmdk" {
		return set.all(), m.checkLabel(ctx, dm, set)
	}
	head, err := m.src.download(ctx, first.vol, 0, maxDescriptor)
	if err != nil {
		return nil, wrap(m.op, err, false)
	}
	info, err := parseVMDK(head, int64(first.physical))
	if err != nil || info == nil {
		return nil, permanentf(m.op, "read %s before deleting it: %w", first.path, errors.Join(err, errors.New("no VMDK")))
	}
	set.vmdk = info
	if err := m.checkLabel(ctx, dm, set); err != nil {
		return nil, err
	}
	for _, name := range info.files() {
		v, err := m.src.volume(ctx, dm.from.name, name)
		if fleetNotFound(err) {
			continue
		}
		if err != nil {
			return nil, wrap(m.op, err, false)
		}
		set.files = append(set.files, v)
	}
	return set.all(), nil
}
