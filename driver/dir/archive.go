package dir

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Part is a piece of a file that is made anew out of the old one: new bytes, or a range of the old file.
type Part struct {
	Data []byte
	From int64
	Len  int64 // of the range, when Data is nil
}

// copyAtOnce is how much is copied between two questions whether to go on, in bytes.
const copyAtOnce = 64 << 20

// Rebuild is Replace for a file too long for memory: its new content is the parts in order. Ranges of the old file are
// copied by the kernel, which shares the blocks where the file system can. proceed is asked now and then, with the
// bytes done since; with its error, or any other, the file stays as it was.
func (f *File) Rebuild(parts []Part, proceed func(n int) error) error {
	size := int64(0)
	for _, p := range parts {
		if p.Data == nil && (p.From < 0 || p.Len < 0 || p.From > f.size-p.Len) {
			return fmt.Errorf("replace image %s: no range of %d bytes at %d", f.path, p.Len, p.From)
		}
		size += p.size()
	}
	return f.exchange(size, func(tmp *os.File) error {
		at := int64(0)
		for _, p := range parts {
			if p.Data != nil {
				if _, err := tmp.WriteAt(p.Data, at); err != nil {
					return err
				}
			} else if err := copyRange(tmp, at, f.f, p.From, p.Len, proceed); err != nil {
				return err
			}
			at += p.size()
		}
		return nil
	})
}

func (p *Part) size() int64 {
	if p.Data != nil {
		return int64(len(p.Data))
	}
	return p.Len
}

// copyRange copies n bytes; by hand where the kernel or the file system cannot.
func copyRange(to *os.File, toOff int64, from *os.File, fromOff, n int64, proceed func(n int) error) error {
	for n > 0 {
		chunk := min(n, copyAtOnce)
		var done int
		err := retry(func() (err error) {
			r, w := fromOff, toOff // the kernel counts them up
			done, err = unix.CopyFileRange(int(from.Fd()), &r, int(to.Fd()), &w, int(chunk), 0)
			return err
		})
		switch {
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPERM):
			chunk = min(chunk, 1<<20)
			var m int64
			m, err = io.Copy(io.NewOffsetWriter(to, toOff), io.NewSectionReader(from, fromOff, chunk))
			done = int(m)
		case err != nil:
			return &os.PathError{Op: "copy", Path: from.Name(), Err: err}
		}
		if err != nil {
			return err
		}
		if done == 0 {
			return io.ErrUnexpectedEOF
		}
		toOff, fromOff, n = toOff+int64(done), fromOff+int64(done), n-int64(done)
		if err := proceed(done); err != nil {
			return err
		}
	}
	return nil
}
