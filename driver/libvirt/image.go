package libvirt

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/fleet"
)

// headSize is how much of an image is read at once and kept: it covers every embedded VMDK descriptor.
const headSize = 64 << 10

// image is an image file behind libvirt's volume streams. It is safe for concurrent use.
type image struct {
	h    *host
	ctx  context.Context // a file outlives the call that opened it, but not the caller's context
	vol  *volume
	mu   sync.Mutex
	size int64
	head []byte // bytes 0 to len(head); nil when not read yet
	may  bool   // writing was found to be allowed, and may have been done
}

// OpenImage opens the image file at path in pool. Reads and writes go through libvirt's volume streams; the
// first 64 KiB are read at once. Writing is refused while a VM that runs has the file open. libvirt has no
// call that syncs a volume: what is written is durable when the host's kernel has written it back.
func (d *Driver) OpenImage(ctx context.Context, pool fleet.Pool, file string) (fleet.ImageFile, error) {
	op := "open image " + file
	h, name, err := d.poolRef(pool)
	if err != nil {
		return nil, permanentf(op, "%w", err)
	}
	base := path.Base(file)
	v, err := h.volume(ctx, name, base)
	if fleetNotFound(err) {
		v, err = h.fresh(ctx, name, base)
	}
	if err != nil {
		return nil, wrap(op, err, false)
	}
	if path.Clean(file) != path.Clean(v.path) {
		return nil, permanentf(op, "pool %s has %s at %s: %w", pool.ID, base, v.path, fleet.ErrNotFound)
	}
	img, err := openVolume(ctx, h, v)
	if err != nil {
		return nil, wrap(op, err, false)
	}
	return img, nil
}

func openVolume(ctx context.Context, h *host, v *volume) (*image, error) {
	img := &image{h: h, ctx: context.WithoutCancel(ctx), vol: v, size: int64(v.physical)}
	if _, err := img.fill(ctx); err != nil {
		return nil, err
	}
	if len(img.head) < headSize {
		img.size = int64(len(img.head))
	}
	return img, nil
}

// poolRef takes a Pool's Ref apart.
func (d *Driver) poolRef(p fleet.Pool) (*host, string, error) {
	uri, name, ok := strings.Cut(p.Ref, "#")
	if !ok || name == "" {
		return nil, "", fmt.Errorf("pool %s: ref %q, expected URI#pool", p.ID, p.Ref)
	}
	h, err := d.byRef(uri)
	return h, name, err
}

func (i *image) fill(ctx context.Context) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.head == nil {
		p, err := i.h.download(ctx, i.vol.vol, 0, headSize)
		if err != nil {
			return nil, err
		}
		i.head = append([]byte{}, p...)
	}
	return i.head, nil
}

func (i *image) Size() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.size
}

func (i *image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read image %s: offset %d", i.vol.path, off)
	}
	if len(p) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(i.ctx, i.h.time.Stall)
	defer cancel()
	head, err := i.fill(ctx)
	if err != nil {
		return 0, wrap("read image "+i.vol.path, err, false)
	}
	if off+int64(len(p)) <= int64(len(head)) {
		return copy(p, head[off:]), nil
	}
	n := 0
	for n < len(p) {
		got, err := i.h.download(ctx, i.vol.vol, off+int64(n), min(len(p)-n, maxPiece))
		if err != nil {
			return n, wrap("read image "+i.vol.path, err, false)
		}
		if len(got) == 0 {
			return n, io.EOF
		}
		n += copy(p[n:], got)
	}
	return n, nil
}

func (i *image) WriteAt(p []byte, off int64) (int, error) {
	op := "write image " + i.vol.path
	if off < 0 || len(p) > maxPiece {
		return 0, permanentf(op, "%d bytes at %d, expected at most %d", len(p), off, maxPiece)
	}
	ctx, cancel := context.WithTimeout(i.ctx, i.h.time.Stall+10*time.Second)
	defer cancel()
	if err := i.writable(ctx); err != nil {
		return 0, err
	}
	i.mu.Lock()
	i.head = nil
	i.size = max(i.size, off+int64(len(p)))
	i.mu.Unlock()
	if err := i.h.upload(ctx, i.vol.vol, off, p); err != nil {
		return 0, wrap(op, err, true)
	}
	return len(p), nil
}

// writable refuses to write under a running QEMU, which would not notice and would overwrite it later.
func (i *image) writable(ctx context.Context) error {
	i.mu.Lock()
	may := i.may
	i.mu.Unlock()
	if may {
		return nil
	}
	name, err := i.runner(ctx)
	if err != nil {
		return err
	}
	if name != "" {
		return permanentf("write image "+i.vol.path, "vm %s runs from it", name)
	}
	i.mu.Lock()
	i.may = true
	i.mu.Unlock()
	return nil
}

// runner names a VM that runs from the image, or "".
func (i *image) runner(ctx context.Context) (string, error) {
	users, err := i.h.users(ctx, i.vol.path)
	if err != nil {
		return "", wrap("look for users of "+i.vol.path, err, false)
	}
	for _, u := range users {
		if u.active {
			return u.name, nil
		}
	}
	return "", nil
}

// Sync reads the first bytes back: libvirt's streams confirm a write when the file has been closed on the
// host, and no call asks for more.
func (i *image) Sync() error {
	_, err := i.ReadAt(make([]byte, 1), 0)
	if err == io.EOF { //nolint:errorlint // ReadAt returns it bare
		return nil
	}
	return err
}

// Close says so when a VM was started from an image that was being written: QEMU may have opened it before, and would write
// its own header over the new one.
func (i *image) Close() error {
	i.mu.Lock()
	wrote := i.may
	i.may = false
	i.mu.Unlock()
	if !wrote {
		return nil
	}
	ctx, cancel := context.WithTimeout(i.ctx, i.h.time.Stall)
	defer cancel()
	name, err := i.runner(ctx)
	if err == nil && name != "" {
		err = retryf("write image "+i.vol.path, "vm %s was started from it meanwhile", name)
	}
	return err
}
