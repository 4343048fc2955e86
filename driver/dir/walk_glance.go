package dir

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// glanceRoom is what is lent for the reads of one image: 12 KiB for the first, and 36 for those of a VHDX.
const glanceRoom = 48 << 10

// Glance opens one image after another for a short look: four calls of the kernel and no allocation an image. It has the
// shapes of diskimage.Reader, Beside and Lender. It is for one goroutine.
type Glance struct {
	path string
	fd   int
	size int64
	have int // bytes at the begin of head that are the file's begin
	head [glanceRoom]byte
}

// Open opens a file that Walk yielded. Nothing but a regular file with content is opened for long, and no symbolic link.
func (g *Glance) Open(path string) error {
	fd := -1
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW, 0)
		return err
	})
	if err != nil {
		return &os.PathError{Op: "open image", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return &os.PathError{Op: "open image", Path: path, Err: err}
	}
	if err := regular(path, &st); err != nil {
		_ = unix.Close(fd)
		return err
	}
	g.path, g.fd, g.size, g.have = path, fd, st.Size, 0
	return nil
}

// Close closes the image; another one can then be opened.
func (g *Glance) Close() error {
	fd := g.fd
	g.fd = -1
	return unix.Close(fd)
}

// Size is the length of the file in bytes when it was opened.
func (g *Glance) Size() int64 { return g.size }

// Lend gives the buffer for the reads of the image that is open (diskimage.Lender).
func (g *Glance) Lend() []byte { return g.head[:] }

// Head is the begin of the image that is open, as far as it was read into the buffer.
func (g *Glance) Head() []byte { return g.head[:g.have] }

// ReadAt reads as io.ReaderAt says. What was read into the buffer lent is not read twice.
func (g *Glance) ReadAt(p []byte, off int64) (int, error) {
	lent := len(p) > 0 && &p[0] == &g.head[0]
	if end := off + int64(len(p)); !lent && off >= 0 && end >= off && end <= int64(g.have) {
		return copy(p, g.head[off:end]), nil
	}
	n, err := g.read(p, off)
	if lent {
		g.have = 0
		if off == 0 {
			g.have = n
		}
	}
	return n, err
}

func (g *Glance) read(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Pread(g.fd, p[done:], off+int64(done))
			return err
		})
		if err != nil {
			return done, &os.PathError{Op: "read image", Path: g.path, Err: err}
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// SetAttribute refuses: a glance changes nothing.
func (g *Glance) SetAttribute(string, []byte) error { return errors.ErrUnsupported }

// SetSidecar refuses: a glance changes nothing.
func (g *Glance) SetSidecar([]byte) error { return errors.ErrUnsupported }

// Attribute is File.Attribute.
func (g *Glance) Attribute(name string) ([]byte, error) { return attribute(g.fd, g.path, name) }

// Sidecar is File.Sidecar. The path of the image is no symbolic link: Open has seen to that.
func (g *Glance) Sidecar() ([]byte, error) { return sidecar(g.path + sidecarSuffix) }
