package libvirt

import (
	"context"
	"path"

	"github.com/berth-project/berth/fleet"
)

// fileSet is the files that one disk consists of; the first is the one that the domain names.
type fileSet struct {
	pool    string
	files   []*volume
	sidecar *volume   // what lies beside the first, and may be its label; nil: nothing, or not looked for
	vmdk    *vmdkInfo // nil when the disk is no VMDK
}

// all is every file, the first one first.
func (s *fileSet) all() []*volume {
	if s.sidecar == nil {
		return s.files
	}
	return append([]*volume{s.files[0], s.sidecar}, s.files[1:]...)
}

// used is what the files take in their pool.
func (s *fileSet) used() fleet.Bytes {
	var sum fleet.Bytes
	for _, f := range s.all() {
		sum += f.alloc
	}
	return sum
}

// length is the sum of the files' lengths.
func (s *fileSet) length() fleet.Bytes {
	var sum fleet.Bytes
	for _, f := range s.all() {
		sum += f.physical
	}
	return sum
}

// fileSet reads which files the disk at file has. A pool that does not know one of them is refreshed once.
func (h *host) fileSet(ctx context.Context, pool, file, format string) (*fileSet, error) {
	first, err := h.lookup(ctx, pool, path.Base(file))
	if err != nil {
		return nil, err
	}
	set := &fileSet{pool: pool, files: []*volume{first}}
	if format != "vmdk" {
		return set, nil
	}
	head, err := h.download(ctx, first.vol, 0, maxDescriptor)
	if err != nil {
		return nil, wrap("read volume "+first.path, err, false)
	}
	if set.vmdk, err = parseVMDK(head, int64(first.physical)); err != nil {
		return nil, permanentf("read volume "+first.path, "%w", err)
	}
	if set.vmdk == nil {
		return nil, permanentf("read volume "+first.path, "the domain says vmdk, but the file is none")
	}
	for _, name := range set.vmdk.files() {
		v, err := h.lookup(ctx, pool, name)
		if err != nil {
			return nil, err
		}
		set.files = append(set.files, v)
	}
	return set, nil
}

// files is the fileSet of a disk at the source, with its sidecar. A sidecar that was made behind libvirt's back is seen
// after a refresh.
func (m *move) files(ctx context.Context, dm diskMove, refresh bool) (*fileSet, error) {
	if refresh {
		if err := m.src.refresh(ctx, dm.from.name); err != nil {
			return nil, wrap(m.op, err, false)
		}
	}
	set, err := m.src.fileSet(ctx, dm.from.name, dm.disk.Path, dm.disk.Format)
	if err != nil {
		return nil, wrap(m.op, err, false)
	}
	set.sidecar, err = m.src.volume(ctx, dm.from.name, sidecarName(dm.disk.Path))
	if err != nil && !fleetNotFound(err) {
		return nil, wrap(m.op, err, false)
	}
	return set, nil
}

// lookup is volume, with one refresh of the pool when the name is not known.
func (h *host) lookup(ctx context.Context, pool, name string) (*volume, error) {
	v, err := h.volume(ctx, pool, name)
	if fleetNotFound(err) {
		v, err = h.fresh(ctx, pool, name)
	}
	return v, err
}
