package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"

	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// qcow2Info is what the driver must know of a qcow2 image to make an empty one like it, or to leave it alone. Source:
// QEMU, docs/interop/qcow2.rst, "Header".
type qcow2Info struct {
	version     uint32
	clusterBits uint32
	size        fleet.Bytes // as the guest sees it
	backing     bool
	encrypted   bool
	dataFile    bool // the guest's data is in another file
	extendedL2  bool
	lazy        bool // lazy refcounts
}

// parseQcow2 reads the header of a qcow2 image.
func parseQcow2(head []byte) (*qcow2Info, error) {
	const v2, v3 = 72, 104
	if len(head) < v2 || !bytes.HasPrefix(head, []byte("QFI\xfb")) {
		return nil, fmt.Errorf("qcow2: no header")
	}
	be := binary.BigEndian
	q := &qcow2Info{
		version: be.Uint32(head[4:]), backing: be.Uint64(head[8:]) != 0, clusterBits: be.Uint32(head[20:]), encrypted: be.Uint32(head[32:]) != 0,
	}
	size := be.Uint64(head[24:])
	if q.version != 2 && q.version != 3 || q.clusterBits < 9 || q.clusterBits > 21 || size == 0 || size > 1<<56 {
		return nil, fmt.Errorf("qcow2: version %d, cluster bits %d, size %d, expected 2 or 3, 9 to 21, at most 2^56", q.version, q.clusterBits, size)
	}
	q.size = fleet.Bytes(size)
	if q.version == 3 {
		if len(head) < v3 {
			return nil, fmt.Errorf("qcow2: %d bytes, the header has at least %d", len(head), v3)
		}
		incompatible, compatible := be.Uint64(head[72:]), be.Uint64(head[80:])
		q.dataFile, q.extendedL2, q.lazy = incompatible&4 != 0, incompatible&16 != 0, compatible&1 != 0
	}
	return q, nil
}

// whole says why copying the file alone does not copy the disk, or "".
func (q *qcow2Info) whole() string {
	switch {
	case q.backing:
		return "has a backing file, which is not moved yet"
	case q.dataFile:
		return "keeps its data in another file, which is not moved yet"
	default:
		return ""
	}
}

// qcow2 reads the header of the volume v.
func (h *host) qcow2(ctx context.Context, v *volume) (*qcow2Info, error) {
	head, err := h.download(ctx, v.vol, 0, 512)
	if err != nil {
		return nil, wrap("read volume "+v.path, err, false)
	}
	q, err := parseQcow2(head)
	if err != nil {
		return nil, permanentf("read volume "+v.path, "the domain says qcow2: %w", err)
	}
	return q, nil
}

// createQcow2 makes an empty image of the same size, version and cluster size: what a block copy onto a new file would
// make, too.
func (h *host) createQcow2(ctx context.Context, pool, name, mode string, like *qcow2Info) (*volume, error) {
	target := &libvirtxml.StorageVolumeTarget{
		Format:      &libvirtxml.StorageVolumeTargetFormat{Type: "qcow2"},
		Permissions: &libvirtxml.StorageVolumeTargetPermissions{Mode: mode},
		Compat:      "1.1",
		ClusterSize: &libvirtxml.StorageVolumeTargetClusterSize{Unit: "B", Value: 1 << like.clusterBits},
	}
	if like.version == 2 {
		target.Compat = "0.10"
	}
	var f libvirtxml.StorageVolumeTargetFeature
	if like.extendedL2 {
		f.ExtendedL2 = &struct{}{}
	}
	if like.lazy {
		f.LazyRefcounts = &struct{}{}
	}
	if like.extendedL2 || like.lazy {
		target.Features = append(target.Features, f)
	}
	v, err := h.createVolume(ctx, pool, &libvirtxml.StorageVolume{
		Name: name, Capacity: &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: uint64(like.size)}, Target: target,
	})
	if err != nil {
		return nil, err
	}
	made, err := h.qcow2(ctx, v)
	if err == nil && (made.size != like.size || made.extendedL2 != like.extendedL2) {
		err = permanentf("create volume "+pool+"/"+name, "libvirt made an image of %d bytes, expected %d", made.size, like.size)
	}
	return v, err
}

// backingChain follows the backing files of the volume that a stopped domain names: libvirt looks for them only when a
// domain starts. It ends where no pool knows a file.
func (h *host) backingChain(ctx context.Context, pools []poolInfo, file string) ([]fleet.ChainLink, error) {
	var chain []fleet.ChainLink
	for {
		pool := poolOf(pools, file)
		if pool == nil || !pool.files() || path.Dir(path.Clean(file)) != pool.path {
			return chain, nil
		}
		v, err := h.volume(ctx, pool.name, path.Base(file)) // Observe has refreshed the pool
		if fleetNotFound(err) {
			return chain, nil
		}
		if err != nil || v.backing == "" {
			return chain, err
		}
		if len(chain) == fleet.MaxChain {
			return chain, fmt.Errorf("more than %d images", fleet.MaxChain)
		}
		link := fleet.ChainLink{Path: v.backing, Format: v.backingFormat}
		if p := poolOf(pools, v.backing); p != nil {
			link.Pool = p.id
		}
		chain = append(chain, link)
		file = v.backing
	}
}
