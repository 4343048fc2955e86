package libvirt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"path"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// maxPiece bounds what one download holds in memory.
const maxPiece = 32 << 20

// volume is one file of a pool, as libvirt knows it.
type volume struct {
	vol      golibvirt.StorageVol
	path     string
	format   string
	capacity fleet.Bytes // as a guest sees it
	physical fleet.Bytes // length of the file
	alloc    fleet.Bytes // taken in the pool
	mode     string
	stamp    string // mtime and ctime in nanoseconds: two files with one stamp are one file

	backing, backingFormat string // as libvirt found them when it last looked; empty: none
}

// pools lists the storage pools of h.
func (h *host) pools(ctx context.Context, hostID fleet.HostID) ([]poolInfo, error) {
	return call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) ([]poolInfo, error) {
		list, _, err := l.ConnectListAllStoragePools(1, 0)
		if err != nil {
			return nil, err
		}
		var pools []poolInfo
		for _, p := range list {
			info, err := readPool(l, p, hostID)
			if hasCode(err, golibvirt.ErrNoStoragePool) {
				continue // gone since the list was made
			}
			if err != nil {
				return nil, fmt.Errorf("pool %s: %w", p.Name, err)
			}
			pools = append(pools, info)
		}
		return pools, nil
	})
}

func readPool(l *golibvirt.Libvirt, p golibvirt.StoragePool, hostID fleet.HostID) (poolInfo, error) {
	doc, err := l.StoragePoolGetXMLDesc(p, 0)
	if err != nil {
		return poolInfo{}, err
	}
	state, capacity, _, avail, err := l.StoragePoolGetInfo(p)
	if err != nil {
		return poolInfo{}, err
	}
	var x libvirtxml.StoragePool
	if err := xml.Unmarshal([]byte(doc), &x); err != nil {
		return poolInfo{}, fmt.Errorf("parse pool XML: %w", err)
	}
	info := poolInfo{
		id: fleet.PoolID(string(hostID) + "/" + p.Name), name: p.Name, kind: x.Type,
		active:   golibvirt.StoragePoolState(state) == golibvirt.StoragePoolRunning,
		capacity: clamp(capacity), free: min(clamp(avail), clamp(capacity)),
	}
	if x.Target != nil && x.Target.Path != "" {
		info.path = path.Clean(x.Target.Path)
	}
	return info, nil
}

// clamp keeps a foreign amount within what an int64 holds.
func clamp(v uint64) fleet.Bytes { return fleet.Bytes(min(v, 1<<62)) }

// refresh makes the pool look at its files again: libvirt does not see what it did not make itself. While somebody makes a
// volume in the pool libvirt refuses that, and it is asked again.
func (h *host) refresh(ctx context.Context, pool string) error {
	done, err := h.turn.take(ctx, pool, h.time.Stall)
	if err != nil {
		return err
	}
	defer done()
	for until := time.Now().Add(h.time.Call); ; {
		_, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (struct{}, error) {
			p, err := l.StoragePoolLookupByName(pool)
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, l.StoragePoolRefresh(p, 0)
		})
		if !poolBusy(err) {
			return err
		}
		if time.Now().After(until) || pause(ctx, poll) != nil {
			return retryf("refresh pool "+pool, "%w", err)
		}
	}
}

// volume finds the volume name of pool. The error wraps fleet.ErrNotFound when there is none.
func (h *host) volume(ctx context.Context, pool, name string) (*volume, error) {
	v, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (*volume, error) {
		p, err := l.StoragePoolLookupByName(pool)
		if err != nil {
			return nil, err
		}
		vol, err := l.StorageVolLookupByName(p, name)
		if err != nil {
			return nil, err
		}
		doc, err := l.StorageVolGetXMLDesc(vol, 0)
		if err != nil {
			return nil, err
		}
		return parseVolume(vol, doc)
	})
	return v, wrap("find volume "+pool+"/"+name, err, false)
}

// fresh is volume after a refresh of the pool, which also brings the volume's size up to date.
func (h *host) fresh(ctx context.Context, pool, name string) (*volume, error) {
	if err := h.refresh(ctx, pool); err != nil {
		return nil, wrap("refresh pool "+pool, err, false)
	}
	return h.volume(ctx, pool, name)
}

func parseVolume(vol golibvirt.StorageVol, doc string) (*volume, error) {
	var x libvirtxml.StorageVolume
	if err := xml.Unmarshal([]byte(doc), &x); err != nil {
		return nil, fmt.Errorf("parse volume XML: %w", err)
	}
	if x.Type != "" && x.Type != "file" {
		return nil, fmt.Errorf("volume %s is a %s, expected a file", vol.Name, x.Type)
	}
	v := &volume{vol: vol, path: vol.Key, mode: "0600"}
	for _, f := range []struct {
		size *libvirtxml.StorageVolumeSize
		to   *fleet.Bytes
	}{{x.Capacity, &v.capacity}, {x.Physical, &v.physical}, {x.Allocation, &v.alloc}} {
		if f.size == nil {
			continue
		}
		b, err := sizeOf(f.size.Value, f.size.Unit)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", vol.Name, err)
		}
		*f.to = b
	}
	if b := x.BackingStore; b != nil {
		v.backing = b.Path
		if b.Format != nil {
			v.backingFormat = b.Format.Type
		}
	}
	if t := x.Target; t != nil {
		if t.Path != "" {
			v.path = t.Path
		}
		if t.Format != nil {
			v.format = t.Format.Type
		}
		if t.Permissions != nil && t.Permissions.Mode != "" {
			v.mode = t.Permissions.Mode
		}
		if s := t.Timestamps; s != nil {
			v.stamp = s.Mtime + "/" + s.Ctime
		}
	}
	return v, nil
}

// create makes an empty file volume. A raw one has size bytes, of which none is allocated.
func (h *host) create(ctx context.Context, pool, name, format, mode string, size fleet.Bytes) (*volume, error) {
	x := &libvirtxml.StorageVolume{
		Name: name, Capacity: &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: uint64(size)},
		Target: &libvirtxml.StorageVolumeTarget{
			Format:      &libvirtxml.StorageVolumeTargetFormat{Type: format},
			Permissions: &libvirtxml.StorageVolumeTargetPermissions{Mode: mode},
		},
	}
	if format == "raw" {
		x.Allocation = &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: 0}
	}
	return h.createVolume(ctx, pool, x)
}

func (h *host) createVolume(ctx context.Context, pool string, x *libvirtxml.StorageVolume) (*volume, error) {
	op := "create volume " + pool + "/" + x.Name
	doc, err := x.Marshal()
	if err != nil {
		return nil, permanentf(op, "%w", err)
	}
	done, err := h.turn.take(ctx, pool, h.time.Stall)
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := call(ctx, h, h.time.Stall, func(l *golibvirt.Libvirt) (*volume, error) {
		p, err := l.StoragePoolLookupByName(pool)
		if err != nil {
			return nil, err
		}
		vol, err := l.StorageVolCreateXML(p, doc, 0)
		if err != nil {
			return nil, err
		}
		got, err := l.StorageVolGetXMLDesc(vol, 0)
		if err != nil {
			return nil, err
		}
		return parseVolume(vol, got)
	})
	return v, wrap(op, err, true)
}

// remove deletes a volume; one that is gone already is no error.
func (h *host) remove(ctx context.Context, v *volume) error {
	_, err := call(ctx, h, h.time.Stall, func(l *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, l.StorageVolDelete(v.vol, 0)
	})
	if notFound(err) {
		return nil
	}
	return wrap("delete volume "+v.path, err, true)
}

// download reads up to n bytes at off; fewer come back at the end of the file.
func (h *host) download(ctx context.Context, vol golibvirt.StorageVol, off int64, n int) ([]byte, error) {
	if n <= 0 || n > maxPiece || off < 0 {
		return nil, fmt.Errorf("read %d bytes at %d: expected 1 to %d", n, off, maxPiece)
	}
	return stream(ctx, h, h.time.Stall, func(w *wire) ([]byte, error) { return w.download(vol, off, n) })
}

// upload writes p at off. Beyond the end the file grows.
func (h *host) upload(ctx context.Context, vol golibvirt.StorageVol, off int64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := stream(ctx, h, h.time.Stall, func(w *wire) (struct{}, error) { return struct{}{}, w.upload(vol, off, p) })
	return err
}

// zeroBlock is the granularity in which a copy leaves out zeros, so that a sparse file stays sparse.
const zeroBlock = 64 << 10

// runs calls f for each stretch of blocks of p that are not all zero.
func runs(p []byte, f func(off int, data []byte) error) error {
	start := -1
	for i := 0; i < len(p); i += zeroBlock {
		zero := isZero(p[i:min(i+zeroBlock, len(p))])
		switch {
		case !zero && start < 0:
			start = i
		case zero && start >= 0:
			if err := f(start, p[start:i]); err != nil {
				return err
			}
			start = -1
		}
	}
	if start >= 0 {
		return f(start, p[start:])
	}
	return nil
}

func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

var zeros [4096]byte

// digest reads the whole volume of the given length and hashes it. tick is called with bytes read.
func (h *host) digest(ctx context.Context, vol golibvirt.StorageVol, size fleet.Bytes, tick func(fleet.Bytes)) ([sha256.Size]byte, error) {
	sum := sha256.New()
	for off := int64(0); off < int64(size); {
		p, err := h.download(ctx, vol, off, int(min(maxPiece, int64(size)-off)))
		if err == nil && len(p) == 0 {
			err = fmt.Errorf("ends at %d of %d bytes", off, size)
		}
		if err != nil {
			return [sha256.Size]byte{}, wrap("read volume "+vol.Key, err, false)
		}
		_, _ = sum.Write(p) // a hash never fails
		off += int64(len(p))
		tick(fleet.Bytes(len(p)))
	}
	return [sha256.Size]byte(sum.Sum(nil)), nil
}
