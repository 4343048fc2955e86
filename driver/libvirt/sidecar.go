package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/berth-project/berth/fleet"
)

// sidecarSuffix and maxSidecar are those of package diskimage, which this package does not know.
const (
	sidecarSuffix = ".berth"
	maxSidecar    = 4000
)

// sidecarName is the volume that has what lies beside the image file.
func sidecarName(file string) string { return path.Base(file) + sidecarSuffix }

// Attribute says errors.ErrUnsupported: libvirt has no word for extended attributes.
func (i *image) Attribute(string) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetAttribute says errors.ErrUnsupported.
func (i *image) SetAttribute(string, []byte) error { return errors.ErrUnsupported }

// Sidecar is the content of the volume NAME.berth in the image's pool, nil when there is none. The pool is not refreshed:
// a sidecar that was made behind libvirt's back is seen after the next refresh, which every Observe makes.
func (i *image) Sidecar() ([]byte, error) {
	ctx, cancel := context.WithTimeout(i.ctx, i.h.time.Stall)
	defer cancel()
	name := sidecarName(i.vol.path)
	v, err := i.h.volume(ctx, i.vol.vol.Pool, name)
	if fleetNotFound(err) {
		return nil, nil
	}
	if err == nil {
		var text []byte
		if text, err = i.h.readSidecar(ctx, v); err == nil {
			return text, nil
		}
	}
	return nil, wrap("read sidecar "+name, err, false)
}

// readSidecar reads a sidecar without the padding that a shorter content has left. Nothing but padding is no sidecar: it
// was created, and never filled.
func (h *host) readSidecar(ctx context.Context, v *volume) ([]byte, error) {
	text, err := h.download(ctx, v.vol, 0, maxSidecar+1)
	if err != nil {
		return nil, err
	}
	if len(text) > maxSidecar {
		return nil, fmt.Errorf("%s has more than %d bytes", v.path, maxSidecar)
	}
	if text = bytes.TrimRight(text, " \x00"); len(text) == 0 {
		return nil, nil
	}
	return bytes.Clone(text), nil
}

// SetSidecar replaces the volume NAME.berth, or removes it with nil. libvirt can neither rename nor sync a volume, so this
// is not as atomic as on a local file system: a berth or libvirtd that is killed leaves the old content, the new one or,
// when there was none, an empty volume that counts as none; a power cut within seconds may leave, where the disk writes less
// than 4 KiB at once, a mixture, which is read as a damaged label. A content that is shorter than the old is padded with
// blanks, which Sidecar takes away.
func (i *image) SetSidecar(content []byte) error {
	name := sidecarName(i.vol.path)
	op := "write sidecar " + name
	if len(content) > maxSidecar || content != nil && len(bytes.TrimRight(content, " \x00")) != len(content) {
		return permanentf(op, "%d bytes, expected at most %d and no blank at the end", len(content), maxSidecar)
	}
	ctx, cancel := context.WithTimeout(i.ctx, i.h.time.Stall)
	defer cancel()
	if err := i.writable(ctx); err != nil {
		return err
	}
	v, err := i.h.fresh(ctx, i.vol.vol.Pool, name)
	switch {
	case fleetNotFound(err) && content == nil:
		return nil
	case fleetNotFound(err):
		v, err = i.h.create(ctx, i.vol.vol.Pool, name, "raw", i.vol.mode, fleet.Bytes(len(content)))
	}
	if err != nil {
		return err
	}
	if v.physical > maxSidecar {
		return permanentf(op, "%s has %d bytes: it is no sidecar", v.path, v.physical)
	}
	users, err := i.h.users(ctx, v.path)
	if err != nil {
		return wrap(op, err, false)
	}
	if len(users) > 0 { // small, such as the descriptor of a VMDK
		return permanentf(op, "%s is a disk of vm %s", v.path, users[0].name)
	}
	if content == nil {
		return i.h.remove(ctx, v)
	}
	padded := append(bytes.Clone(content), bytes.Repeat([]byte(" "), max(0, int(v.physical)-len(content)))...)
	if err := i.h.upload(ctx, v.vol, 0, padded); err != nil {
		return wrap(op, err, true)
	}
	got, err := i.h.readSidecar(ctx, v)
	if err != nil {
		return wrap(op, err, true)
	}
	if !bytes.Equal(got, content) { // libvirtd may lose an ENOSPC at the end of a short stream
		return retryf(op, "%w", errVerify)
	}
	return nil
}
