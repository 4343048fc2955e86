package libvirt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// maxImport bounds the files of one import: a split VMDK, its descriptor and its sidecar.
const maxImport = maxExtents + 2

// importPiece is what is read and sent at once, in bytes: a multiple of zeroBlock.
const importPiece = 8 << 20

// ImportFile is one file to bring into a pool.
type ImportFile struct {
	// Name is that of the volume: a plain file name.
	Name string
	// Content is read twice from 0 to Size, which is at least 1 byte and must not change meanwhile.
	Content io.ReaderAt
	Size    fleet.Bytes
	// Used is what the content takes without its holes.
	Used fleet.Bytes
}

// PoolPath is the folder that the pool's files lie in.
func (d *Driver) PoolPath(ctx context.Context, pool fleet.Pool) (string, error) {
	_, p, err := d.filePool(ctx, "find pool "+string(pool.ID), pool)
	if err != nil {
		return "", err
	}
	return p.path, nil
}

// filePool finds an active pool of plain files.
func (d *Driver) filePool(ctx context.Context, op string, pool fleet.Pool) (*host, *poolInfo, error) {
	h, name, err := d.poolRef(pool)
	if err != nil {
		return nil, nil, permanentf(op, "%w", err)
	}
	pools, err := h.pools(ctx, "")
	if err != nil {
		return nil, nil, wrap(op, err, false)
	}
	for i := range pools {
		p := &pools[i]
		switch {
		case p.name != name:
		case !p.active:
			return nil, nil, permanentf(op, "pool %s is not active", pool.ID)
		case !p.files() || p.path == "":
			return nil, nil, permanentf(op, "pool %s is of type %s, expected one of files", pool.ID, p.kind)
		default:
			return h, p, nil
		}
	}
	return nil, nil, permanentf(op, "pool %s: %w", pool.ID, fleet.ErrNotFound)
}

// Import makes a volume of every file, in their order, and reads each of them back whole: the SHA-256 of what the pool has is
// compared with that of what was sent. It never touches a volume or file that is there: the error then wraps fs.ErrExist. After any other
// error, and when ctx ends, what was made is removed again, or is a *LeftError. A process that is killed leaves volumes
// behind of which the last is empty at its beginning: its first 64 KiB are sent last, so that no half of an image looks like one.
// It returns the path of the last file. progress, when not nil, is told of the bytes sent and read back.
func (d *Driver) Import(ctx context.Context, pool fleet.Pool, files []ImportFile, progress func(done, total fleet.Bytes)) (string, error) {
	op := "import into pool " + string(pool.ID)
	need, total, err := checkImport(files)
	if err != nil {
		return "", permanentf(op, "%w", err)
	}
	h, p, err := d.filePool(ctx, op, pool)
	if err != nil {
		return "", err
	}
	i := &importing{h: h, checkpoint: d.checkpoint, pool: p, op: op, total: 2 * total, tell: progress}
	if err := i.prepare(ctx, files, need); err != nil {
		return "", err
	}
	for n := range files {
		var cut *cutError
		if err := i.file(ctx, &files[n]); errors.As(err, &cut) {
			return "", err // as if killed
		} else if err != nil {
			return "", errors.Join(err, i.takeBack(context.WithoutCancel(ctx)))
		}
	}
	if err := h.refresh(ctx, p.name); err != nil { // now they are seen as what they are
		return "", errors.Join(wrap(op, err, false), i.takeBack(context.WithoutCancel(ctx)))
	}
	return i.made[len(i.made)-1].path, nil
}

// checkImport adds up what the files take, and their lengths.
func checkImport(files []ImportFile) (need, total fleet.Bytes, err error) {
	if len(files) == 0 || len(files) > maxImport {
		return 0, 0, fmt.Errorf("%d files, expected 1 to %d", len(files), maxImport)
	}
	seen := map[string]bool{}
	for _, f := range files {
		switch {
		case f.Name == "" || f.Name == "." || f.Name == ".." || len(f.Name) > 255 || path.Base(f.Name) != f.Name || strings.ContainsAny(f.Name, "\x00\n\r"):
			return 0, 0, fmt.Errorf("name %q: expected that of a file", f.Name)
		case seen[f.Name]:
			return 0, 0, fmt.Errorf("name %q comes twice", f.Name)
		case f.Size < 1 || f.Size > 1<<56 || f.Used < 0:
			return 0, 0, fmt.Errorf("%s: %d bytes", f.Name, f.Size)
		}
		seen[f.Name] = true
		need += min(f.Used, f.Size)
		total += f.Size
	}
	return need, total, nil
}

// importing is one run of Import.
type importing struct {
	h           *host
	checkpoint  func(string) error
	pool        *poolInfo
	op          string
	made        []*volume
	done, total fleet.Bytes
	tell        func(done, total fleet.Bytes)
}

func (i *importing) add(n fleet.Bytes) {
	if i.done += n; i.tell != nil {
		i.tell(i.done, i.total)
	}
}

// at lets a test end the import here, as kill -9 would.
func (i *importing) at(name string) error {
	if err := i.checkpoint(name); err != nil {
		return &cutError{err}
	}
	return nil
}

// prepare refuses what is there already and what the pool has no room for, before anything is made.
func (i *importing) prepare(ctx context.Context, files []ImportFile, need fleet.Bytes) error {
	if err := i.h.refresh(ctx, i.pool.name); err != nil { // what lies there, and the free space, are known after a refresh only
		return wrap(i.op, err, false)
	}
	for _, f := range files {
		v, err := i.h.volume(ctx, i.pool.name, f.Name)
		switch {
		case err == nil:
			return i.exists(ctx, v)
		case !fleetNotFound(err):
			return err
		}
	}
	pools, err := i.h.pools(ctx, "")
	if err != nil {
		return wrap(i.op, err, false)
	}
	for _, p := range pools {
		if p.name == i.pool.name && p.free < need+p.slack() {
			return permanentf(i.op, "it has %s free, the image takes %s", fleet.FormatBytes(p.free), fleet.FormatBytes(need))
		}
	}
	return nil
}

// exists says what stands in the way, and whether it looks like what an import that was killed has left.
func (i *importing) exists(ctx context.Context, v *volume) error {
	head, err := i.h.download(ctx, v.vol, 0, headSize)
	if err == nil && isZero(head) {
		return permanentf(i.op, "%s: %w; its beginning is empty: an upload that was cut short leaves such a volume", v.path, fs.ErrExist)
	}
	return permanentf(i.op, "%s: %w", v.path, fs.ErrExist)
}

// file makes one volume, fills it and reads it back.
func (i *importing) file(ctx context.Context, f *ImportFile) error {
	v, err := i.h.create(ctx, i.pool.name, f.Name, "raw", "0600", f.Size)
	if err != nil {
		if fleet.KindOf(err) != fleet.Permanent { // it may be there, and be ours: nothing had that name before
			if late, lerr := i.h.fresh(context.WithoutCancel(ctx), i.pool.name, f.Name); lerr == nil {
				err = &LeftError{Paths: []string{late.path}, Err: err}
			}
		}
		return err
	}
	i.made = append(i.made, v)
	if err := i.at("created " + f.Name); err != nil {
		return err
	}
	if err := i.length(v, f); err != nil {
		return err
	}
	sum, err := i.send(ctx, v, f)
	if err != nil {
		return i.typed(v, err)
	}
	got, err := i.h.digest(ctx, v.vol, f.Size, i.add)
	if err != nil {
		return err
	}
	if got != sum { // libvirtd may lose an ENOSPC at the end of a short stream
		return retryf(i.op, "read %s back: %w", v.path, errVerify)
	}
	return nil
}

// length holds the new volume to its length, beyond which a read back would not look.
func (i *importing) length(v *volume, f *ImportFile) error {
	if v.physical != 0 && v.physical != f.Size || v.capacity != f.Size {
		return permanentf(i.op, "%s was made with %d bytes, expected %d", v.path, v.capacity, f.Size)
	}
	return nil
}

// send uploads the content without its zeros, its beginning last, and gives the digest of all of it.
func (i *importing) send(ctx context.Context, v *volume, f *ImportFile) (sum [sha256.Size]byte, err error) {
	hash, buf := sha256.New(), make([]byte, min(importPiece, f.Size))
	var head []byte
	for off := int64(0); off < int64(f.Size); off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), int64(f.Size)-off)]
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		if n, err := f.Content.ReadAt(p, off); n < len(p) {
			return sum, fmt.Errorf("read %s: %w", f.Name, errors.Join(err, io.ErrUnexpectedEOF))
		}
		_, _ = hash.Write(p) // a hash never fails
		if off == 0 {
			head = bytes.Clone(p[:min(len(p), headSize)])
			clear(p[:len(head)])
		}
		err := runs(p, func(n int, data []byte) error { return i.h.upload(ctx, v.vol, off+int64(n), data) })
		if err != nil {
			return sum, err
		}
		i.add(fleet.Bytes(len(p)))
	}
	if err := i.at("sent " + f.Name); err != nil {
		return sum, err
	}
	if !isZero(head) {
		if err := i.h.upload(ctx, v.vol, 0, head); err != nil {
			return sum, err
		}
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// typed says what a failed upload means: nothing stands on the half-written file yet, so that no error is unknown.
func (i *importing) typed(v *volume, err error) error {
	var cut *cutError
	switch {
	case errors.As(err, &cut):
		return err
	case full(err):
		return permanentf(i.op, "write %s: the pool is full: %w", v.path, err)
	}
	return wrap(i.op+": write "+v.path, err, false)
}

// LeftError says that volumes which an import made could not be removed after it failed.
type LeftError struct {
	Paths []string
	Err   error
}

func (e *LeftError) Error() string {
	return fmt.Sprintf("%s stays behind: %v", strings.Join(e.Paths, ", "), e.Err)
}

func (e *LeftError) Unwrap() error { return e.Err }

// takeBack removes what was made, the last first.
func (i *importing) takeBack(ctx context.Context) error {
	var left LeftError
	for _, v := range slices.Backward(i.made) {
		if err := i.h.remove(ctx, v); err != nil {
			left.Paths, left.Err = append(left.Paths, v.path), errors.Join(left.Err, err)
		}
	}
	if left.Err == nil {
		return nil
	}
	return &left
}
