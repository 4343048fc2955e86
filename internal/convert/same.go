package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Same reads the remote image a second time, whole, and holds the copy to it: what was written to it since it was fetched, or was
// garbled on the way, is ErrChanged. It is asked before the remote image is removed.
func (f *Fetched) Same(ctx context.Context, open Remote, declared diskimage.Format, progress func(done, total label.Bytes)) (err error) {
	image := filepath.Base(f.Path)
	top, err := open(image)
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }() // it was only read
	frame, _, err := diskimage.Options{Format: declared}.ReadLabel(top)
	if err != nil || !sameLabel(frame, f.Label) {
		return errors.Join(fmt.Errorf("read image %s again: its label: %w", image, diskimage.ErrChanged), err)
	}
	list, err := os.ReadDir(f.folder)
	if err != nil {
		return fmt.Errorf("read fetched image: %w", errOf(err))
	}
	m := &fetchMeter{tell: progress}
	for _, e := range list {
		st, err := e.Info()
		if err != nil {
			return fmt.Errorf("read fetched image: %w", errOf(err))
		}
		m.total += label.Bytes(st.Size())
	}
	for _, e := range list {
		if e.Name() == image+diskimage.SidecarSuffix {
			continue // compared above, as the label
		}
		if err := f.sameFile(ctx, open, e.Name(), m); err != nil {
			return fmt.Errorf("read %s again: %w", e.Name(), err)
		}
	}
	return nil
}

// Used is what the copy takes, in bytes, without its holes; what cannot be looked at counts as nothing.
func (f *Fetched) Used() (sum label.Bytes) {
	list, err := os.ReadDir(f.folder)
	if err != nil {
		return 0
	}
	for _, e := range list {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(f.folder, e.Name()), &st) == nil {
			sum += label.Bytes(st.Blocks * 512)
		}
	}
	return sum
}

func (f *Fetched) sameFile(ctx context.Context, open Remote, name string, m *fetchMeter) error {
	local, err := os.Open(filepath.Join(f.folder, name))
	if err != nil {
		return errOf(err)
	}
	defer func() { _ = local.Close() }() // it was only read
	st, err := local.Stat()
	if err != nil {
		return errOf(err)
	}
	remote, err := open(name)
	if err != nil {
		return err
	}
	defer func() { _ = remote.Close() }() // it was only read
	if remote.Size() != st.Size() {
		return fmt.Errorf("%w: it has %d bytes, and had %d", diskimage.ErrChanged, remote.Size(), st.Size())
	}
	a, b := make([]byte, fetchPiece), make([]byte, fetchPiece)
	for at := int64(0); at < st.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(fetchPiece, st.Size()-at))
		if got, err := remote.ReadAt(a[:n], at); got < n {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		if got, err := local.ReadAt(b[:n], at); got < n {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("%w: within %d bytes from %d", diskimage.ErrChanged, n, at)
		}
		at += int64(n)
		m.add(n)
	}
	return nil
}
