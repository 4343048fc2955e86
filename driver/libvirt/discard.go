package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"slices"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// RemoveImage deletes the image at file in pool with the parts of a split VMDK and its sidecar, the image itself last: what is left
// of a deletion that was cut can be found, and deleted, again. It is refused while a domain names one of the files, or
// another volume of an active pool of the host is based on the image. It returns the paths of what was deleted, with an error too.
func (d *Driver) RemoveImage(ctx context.Context, pool fleet.Pool, file string) ([]string, error) {
	op := "remove image " + file
	h, p, err := d.filePool(ctx, op, pool)
	if err != nil {
		return nil, err
	}
	first, err := h.fresh(ctx, p.name, path.Base(file))
	if err != nil {
		return nil, err
	}
	if path.Clean(first.path) != path.Clean(file) {
		return nil, permanentf(op, "pool %s has %s at %s: %w", pool.ID, path.Base(file), first.path, fleet.ErrNotFound)
	}
	set, err := h.imageFiles(ctx, op, p.name, first)
	if err != nil {
		return nil, err
	}
	if err := d.spare(ctx, op, h, set.all()); err != nil {
		return nil, err
	}
	var gone []string
	for _, v := range slices.Concat(set.all()[1:], set.all()[:1]) {
		if err := h.remove(ctx, v); err != nil {
			return gone, err
		}
		gone = append(gone, v.path)
		if err := d.checkpoint("removed " + path.Base(v.path)); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// imageFiles lists the image's own files. Parts and sidecar may be gone already; a sidecar is one by its content.
func (h *host) imageFiles(ctx context.Context, op, pool string, first *volume) (*fileSet, error) {
	set := &fileSet{pool: pool, files: []*volume{first}}
	head, err := h.download(ctx, first.vol, 0, maxDescriptor)
	if err != nil {
		return nil, wrap(op, err, false)
	}
	if set.vmdk, err = parseVMDK(head, int64(first.physical)); err != nil {
		return nil, permanentf(op, "%w", err)
	}
	if set.vmdk != nil {
		for _, name := range set.vmdk.files() {
			v, err := h.volume(ctx, pool, name)
			if fleetNotFound(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			set.files = append(set.files, v)
		}
	}
	v, err := h.volume(ctx, pool, sidecarName(first.path))
	switch {
	case fleetNotFound(err):
		return set, nil
	case err != nil:
		return nil, err
	case v.physical > maxSidecar:
		return nil, permanentf(op, "%s has %d bytes: it is no sidecar", v.path, v.physical)
	}
	set.sidecar = v
	return set, nil
}

// spare refuses files that something stands on: domains of this host, or of another one that sees the same file, and volumes
// whose backing image one of them is.
func (d *Driver) spare(ctx context.Context, op string, h *host, files []*volume) error {
	list := paths(files)
	users, err := h.users(ctx, list...)
	if err != nil {
		return wrap(op+": look for users", err, false)
	}
	if len(users) > 0 {
		return permanentf(op, "%s is used by vm %s", users[0].file, users[0].name)
	}
	for _, o := range d.hosts {
		if o == h {
			continue
		}
		if err := o.spareShared(ctx, op, files); err != nil {
			return err
		}
	}
	top, err := h.basedOn(ctx, list)
	if err != nil {
		return wrap(op+": look for overlays", err, false)
	}
	if top != "" {
		return permanentf(op, "%s is an overlay on it", top)
	}
	return nil
}

// spareShared refuses files that this host sees as well, and uses. A host that does not answer could be such a one.
func (h *host) spareShared(ctx context.Context, op string, files []*volume) error {
	users, err := h.users(ctx, paths(files)...)
	if err != nil {
		return wrap(op+": look for users on "+h.cfg.URI, err, false)
	}
	for _, u := range users {
		for _, f := range files {
			same, err := h.seesSame(ctx, f)
			if err != nil {
				return wrap(op+": look for it on "+h.cfg.URI, err, false)
			}
			if same && path.Clean(f.path) == path.Clean(u.file) {
				return permanentf(op, "%s is used by vm %s of %s", u.file, u.name, h.cfg.URI)
			}
		}
	}
	return nil
}

// seesSame reports whether this host has the very same file at the path of f.
func (h *host) seesSame(ctx context.Context, f *volume) (bool, error) {
	v, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (*volume, error) {
		vol, err := l.StorageVolLookupByPath(f.path)
		if err != nil {
			return nil, err
		}
		doc, err := l.StorageVolGetXMLDesc(vol, 0)
		if err != nil {
			return nil, err
		}
		return parseVolume(vol, doc)
	})
	if notFound(err) {
		return false, nil
	}
	return err == nil && sameFile(v, f), err
}

// basedOn names a volume of the host's active pools whose backing image is one of files.
func (h *host) basedOn(ctx context.Context, files []string) (string, error) {
	on := map[string]bool{}
	for _, f := range files {
		on[path.Clean(f)] = true
	}
	return call(ctx, h, h.time.Stall, func(l *golibvirt.Libvirt) (string, error) {
		pools, _, err := l.ConnectListAllStoragePools(1, golibvirt.ConnectListStoragePoolsActive)
		if err != nil {
			return "", err
		}
		for _, p := range pools {
			if err := l.StoragePoolRefresh(p, 0); err != nil {
				return "", fmt.Errorf("refresh pool %s: %w", p.Name, err)
			}
			vols, _, err := l.StoragePoolListAllVolumes(p, 1, 0)
			if err != nil {
				return "", fmt.Errorf("pool %s: %w", p.Name, err)
			}
			for _, v := range vols {
				b, err := backingOf(l, v)
				if err != nil {
					return "", fmt.Errorf("volume %s: %w", v.Key, err)
				}
				if b != "" && on[path.Clean(b)] {
					return v.Key, nil
				}
			}
		}
		return "", nil
	})
}

// backingOf is the path of the volume's backing image, "" when it has none or is gone.
func backingOf(l *golibvirt.Libvirt, v golibvirt.StorageVol) (string, error) {
	doc, err := l.StorageVolGetXMLDesc(v, 0)
	if notFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var x libvirtxml.StorageVolume
	if err := xml.Unmarshal([]byte(doc), &x); err != nil {
		return "", errors.Join(errors.New("parse volume XML"), err)
	}
	if x.BackingStore == nil {
		return "", nil
	}
	return x.BackingStore.Path, nil
}
