package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	copyChunk = 4 << 20  // bytes that are copied between two looks at the context
	maxXattr  = 64 << 10 // bytes: the kernel's own limit of a value and of the list of names
)

// copyFile copies one file with the attributes of users. Its permissions it gets in the end: it may be one that nobody may write to.
func (c *copying) copyFile(ctx context.Context, n copyName) (err error) {
	src, err := os.Open(n.from)
	if err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	defer func() { _ = src.Close() }() // it was only read
	st, err := src.Stat()
	if err != nil {
		return fmt.Errorf("copy image: %w", err)
	}
	dst, err := os.OpenFile(filepath.Join(c.stage.path, n.to), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("copy image: %s: %w", n.to, errOf(err))
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := copyData(ctx, dst, src, st.Size(), c.progress); err != nil {
		return fmt.Errorf("copy %s: %w", n.from, err)
	}
	if now, err := src.Stat(); err != nil || now.Size() != st.Size() || !now.ModTime().Equal(st.ModTime()) {
		return errors.Join(fmt.Errorf("copy %s: it was written to meanwhile", n.from), err)
	}
	if err := copyXattrs(int(dst.Fd()), int(src.Fd())); err != nil {
		return fmt.Errorf("copy attributes of %s: %w", n.from, err)
	}
	return nil
}

// copyData copies size bytes: by sharing blocks, else by the kernel, else by hand. Holes are left out.
func copyData(ctx context.Context, dst, src *os.File, size int64, progress func(int64)) error {
	if err := retry(func() error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) }); err == nil {
		progress(size)
		return nil
	}
	if err := dst.Truncate(size); err != nil {
		return errOf(err)
	}
	move := kernelCopy
	for at := int64(0); at < size; {
		from, to, err := nextData(src, at, size)
		if err != nil {
			return err
		}
		progress(from - at)
		for at = from; at < to; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := move(dst, src, at, min(copyChunk, to-at))
			if errors.Is(err, errors.ErrUnsupported) {
				move = handCopy
				continue
			}
			if err != nil {
				return err
			}
			progress(n)
			at += n
		}
	}
	return nil
}

// nextData is the next stretch that is no hole; both are size when there is none.
func nextData(f *os.File, at, size int64) (from, to int64, err error) {
	from, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP): // a file system that does not know
		return at, size, nil
	case err != nil:
		return 0, 0, fmt.Errorf("look for data: %w", err)
	}
	to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("look for a hole: %w", err)
	}
	return min(from, size), min(to, size), nil
}

// kernelCopy copies up to n bytes at off. errors.ErrUnsupported: not between these files.
func kernelCopy(dst, src *os.File, off, n int64) (int64, error) {
	in, out := off, off
	var done int
	err := retry(func() (err error) {
		done, err = unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, int(n), 0)
		return err
	})
	for _, e := range []error{unix.EXDEV, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM} {
		if errors.Is(err, e) {
			return 0, errors.ErrUnsupported
		}
	}
	if err != nil {
		return 0, err
	}
	if done == 0 { // some file systems say so instead of an error
		return 0, errors.ErrUnsupported
	}
	return int64(done), nil
}

func handCopy(dst, src *os.File, off, n int64) (int64, error) {
	done, err := io.Copy(io.NewOffsetWriter(dst, off), io.NewSectionReader(src, off, n))
	if err == nil && done < n {
		err = io.ErrUnexpectedEOF
	}
	return done, errOf(err)
}

// copyXattrs copies the attributes of users. Where there is no place for them that is no fault: what of the label is in them
// is looked after by the caller.
func copyXattrs(to, from int) error {
	list := make([]byte, maxXattr)
	n, err := unix.Flistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, maxXattr)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		n, err := unix.Fgetxattr(from, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		err = unix.Fsetxattr(to, name, value[:n], 0)
		if errors.Is(err, unix.ENOTSUP) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// sameContent compares two files. What the kernel remembers of the copy is dropped first, where that can be done.
func sameContent(ctx context.Context, a, b string) error {
	x, err := os.Open(a)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }() // it was only read
	y, err := os.Open(b)
	if err != nil {
		return err
	}
	defer func() { _ = y.Close() }() // it was only read
	if err := y.Sync(); err != nil {
		return err
	}
	_ = unix.Fadvise(int(y.Fd()), 0, 0, unix.FADV_DONTNEED) // advice
	return compareData(ctx, x, y)
}

// compareData leaves out what is a hole in both.
func compareData(ctx context.Context, x, y *os.File) error {
	st, err := x.Stat()
	if err != nil {
		return err
	}
	if other, err := y.Stat(); err != nil || other.Size() != st.Size() {
		return errors.Join(ErrDiffers, err)
	}
	size := st.Size()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		inX, _, err := nextData(x, at, size)
		if err != nil {
			return err
		}
		inY, _, err := nextData(y, at, size)
		if err != nil {
			return err
		}
		if at = min(inX, inY); at == size {
			break
		}
		n := min(int64(len(p)), size-at)
		if _, err := x.ReadAt(p[:n], at); err != nil {
			return err
		}
		if _, err := y.ReadAt(q[:n], at); err != nil {
			return err
		}
		if !bytes.Equal(p[:n], q[:n]) {
			return ErrDiffers
		}
		at += n
	}
	return nil
}
