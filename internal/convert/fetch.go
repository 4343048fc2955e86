package convert

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// RemoteFile is an open file of a hypervisor's storage: what Fetch needs of a driver's image file.
type RemoteFile interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Remote opens a file by its name in the folder that the image is in.
type Remote func(name string) (RemoteFile, error)

// Fetched is a copy of a remote image in a temporary folder.
type Fetched struct {
	Path   string // of the image
	Label  *label.Frame
	folder string
}

// Close removes the copy.
func (f *Fetched) Close() error {
	if err := os.RemoveAll(f.folder); err != nil {
		return fmt.Errorf("remove temporary folder: %w", err)
	}
	return nil
}

// fetchPiece is what is asked for at once, in bytes: a vCenter answers with no more in one request. Zeros of fetchHole bytes become
// a hole.
const (
	fetchPiece = 8 << 20
	fetchHole  = 64 << 10
)

// maxFetched bounds one remote file in bytes: what its server says is a claim.
const maxFetched = 64 << 40

// Fetch copies a remote image, with the parts of a split one and its sidecar, into a temporary folder inside folder. The image
// must not be in use; that is the caller's to know. An overlay is refused: ErrReference.
func Fetch(ctx context.Context, open Remote, image string, declared diskimage.Format, folder string, progress func(done, total label.Bytes)) (_ *Fetched, err error) {
	f := &Fetched{folder: filepath.Join(folder, ".berth-"+rand.Text()+".tmp")}
	f.Path = filepath.Join(f.folder, image)
	if !filepath.IsLocal(image) || filepath.Base(image) != image {
		return nil, fmt.Errorf("fetch image: %w: name %q", ErrRequest, image)
	}
	if err := os.Mkdir(f.folder, 0o700); err != nil {
		return nil, fmt.Errorf("fetch image: %w", errOf(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	files, info, err := f.look(open, image, declared)
	for _, r := range files {
		defer func() { _ = r.file.Close() }() // they were only read
	}
	if err != nil {
		return nil, err
	}
	m := &fetchMeter{tell: progress}
	for _, r := range files {
		m.total += label.Bytes(r.file.Size())
	}
	for _, r := range files {
		if err := fetchFile(ctx, r.file, filepath.Join(f.folder, r.name), m); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", r.name, err)
		}
	}
	if err := f.besides(files[0].file); err != nil {
		return nil, err
	}
	return f, f.unchanged(open, image, declared, info)
}

type remoteFile struct {
	name string
	file RemoteFile
}

// look opens the image and all its parts. What it has opened it returns with an error too.
func (f *Fetched) look(open Remote, image string, declared diskimage.Format) ([]remoteFile, *diskimage.Info, error) {
	top, err := open(image)
	if err != nil {
		return nil, nil, err
	}
	files := []remoteFile{{image, top}}
	frame, info, err := diskimage.Options{Format: declared}.ReadLabel(top)
	if err != nil {
		return files, nil, fmt.Errorf("read image %s: %w", image, err)
	}
	f.Label = frame
	if info.Parent.Exists() {
		return files, nil, fmt.Errorf("fetch image %s: %w: it is based on %q, which does not come along", image, ErrReference, info.Parent.Ref)
	}
	var head [4]byte
	if _, err := top.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return files, nil, fmt.Errorf("read image %s: %w", image, err)
	}
	if info.Format != diskimage.FormatVMDK || string(head[:]) == "KDMV" {
		return files, info, nil
	}
	var names []string
	for _, e := range info.Extents {
		if e.Name != "" {
			names = append(names, e.Name)
		}
	}
	for _, n := range unique(names) {
		if filepath.Base(n) != n || !filepath.IsLocal(n) || n == image {
			return files, nil, fmt.Errorf("fetch image %s: %w: its part is called %q", image, diskimage.ErrUnsupported, n)
		}
		p, err := open(n)
		if err != nil {
			return files, nil, err
		}
		files = append(files, remoteFile{n, p})
	}
	return files, info, nil
}

type fetchMeter struct {
	done, total label.Bytes
	tell        func(done, total label.Bytes)
}

func (m *fetchMeter) add(n int) {
	if m.done += label.Bytes(n); m.tell != nil {
		m.tell(m.done, m.total)
	}
}

func fetchFile(ctx context.Context, from RemoteFile, path string, m *fetchMeter) (err error) {
	size := from.Size()
	if size < 0 || size > maxFetched {
		return fmt.Errorf("%w: %d bytes", diskimage.ErrUnsupported, size)
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return errOf(err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := to.Truncate(size); err != nil {
		return errOf(err)
	}
	b, zero := make([]byte, fetchPiece), make([]byte, fetchHole)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.ReadAt(b[:min(fetchPiece, size-at)], at)
		if err != nil && (!errors.Is(err, io.EOF) || at+int64(n) < size) {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for i := 0; i < n; i += fetchHole {
			if p := b[i:min(i+fetchHole, n)]; !bytes.Equal(p, zero[:len(p)]) {
				if _, err := to.WriteAt(p, at+int64(i)); err != nil {
					return errOf(err)
				}
			}
		}
		at += int64(n)
		m.add(n)
	}
	return nil
}

// besides brings the sidecar along, where the source has a place for one.
func (f *Fetched) besides(top RemoteFile) error {
	b, ok := top.(diskimage.Beside)
	if !ok {
		return nil
	}
	text, err := b.Sidecar()
	if errors.Is(err, errors.ErrUnsupported) || err == nil && text == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fetch sidecar: %w", err)
	}
	if err := os.WriteFile(f.Path+diskimage.SidecarSuffix, text, 0o600); err != nil {
		return fmt.Errorf("fetch sidecar: %w", errOf(err))
	}
	return nil
}

// unchanged looks at the remote image again, and holds the copy to what was seen before.
func (f *Fetched) unchanged(open Remote, image string, declared diskimage.Format, info *diskimage.Info) error {
	again, err := open(image)
	if err != nil {
		return err
	}
	defer func() { _ = again.Close() }() // it was only read
	now, ninfo, err := diskimage.Options{Format: declared}.ReadLabel(again)
	if err != nil || !sameLabel(now, f.Label) || ninfo.Binding() != info.Binding() {
		return errors.Join(fmt.Errorf("fetch image %s: %w", image, diskimage.ErrChanged), err)
	}
	_, err = readBack(f.Path, info.Format, f.Label)
	return err
}
