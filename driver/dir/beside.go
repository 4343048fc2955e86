package dir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What diskimage.SidecarSuffix and diskimage.MaxBeside say; a test holds them to it.
const (
	sidecarSuffix = ".berth"
	maxBeside     = 4000
)

// ErrBeside says that what lies beside an image cannot be a label: it is too long, or no regular file.
var ErrBeside = errors.New("not a label")

// sidecarMode bounds the sidecar's mode, which is otherwise the image's.
const sidecarMode = 0o644

// Attribute is the value of an extended attribute of the image, at most diskimage.MaxBeside bytes; nil: there is none.
// errors.ErrUnsupported: the file system has no attributes.
func (f *File) Attribute(name string) ([]byte, error) {
	return attribute(int(f.f.Fd()), f.path, name)
}

func attribute(fd int, path, name string) ([]byte, error) {
	var value [maxBeside]byte // most files have none: nothing is allocated for them
	var n int
	err := retry(func() (err error) {
		n, err = unix.Fgetxattr(fd, name, value[:])
		return err
	})
	switch {
	case errors.Is(err, unix.ENODATA):
		return nil, nil
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.E2BIG):
		return nil, fmt.Errorf("read attribute %s of %s: %w: more than %d bytes", name, path, ErrBeside, maxBeside)
	case err != nil:
		return nil, attributeError("read", path, name, err)
	}
	return bytes.Clone(value[:n]), nil
}

// SetAttribute changes or, with nil, removes an extended attribute of the image, durably.
func (f *File) SetAttribute(name string, value []byte) error {
	if !f.writable {
		return attributeError("set", f.path, name, os.ErrPermission)
	}
	if len(value) > maxBeside {
		return fmt.Errorf("set attribute %s of %s: %d bytes, expected at most %d", name, f.path, len(value), maxBeside)
	}
	err := retry(func() error {
		if value == nil {
			return unix.Fremovexattr(int(f.f.Fd()), name)
		}
		return unix.Fsetxattr(int(f.f.Fd()), name, value, 0)
	})
	if value == nil && errors.Is(err, unix.ENODATA) {
		return nil
	}
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		return attributeError("set", f.path, name, err)
	}
	return nil
}

func attributeError(verb, path, name string, err error) error {
	return fmt.Errorf("%s attribute %s of %s: %w", verb, name, path, err)
}

// Sidecar is the content of NAME.berth beside the image, at most diskimage.MaxBeside bytes; nil: there is none. Where the image
// is named by a symbolic link it is that of the file linked to. Anything but a regular file is an error; a link is not followed,
// so that whoever may write into the folder gets no other file read. errors.ErrUnsupported: the name is too long.
func (f *File) Sidecar() ([]byte, error) {
	path, err := f.sidecarPath()
	if err != nil {
		return nil, err
	}
	return sidecar(path)
}

func sidecar(path string) ([]byte, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case errors.Is(err, unix.ENAMETOOLONG):
		return nil, tooLong(path)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("read sidecar %s: %w: a symbolic link, expected a regular file", path, ErrBeside)
	case errors.Is(err, unix.ENXIO): // a socket
		return nil, fmt.Errorf("read sidecar %s: %w: not a regular file", path, ErrBeside)
	case err != nil:
		return nil, fmt.Errorf("read sidecar %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }() // it was only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("read sidecar %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("read sidecar %s: %w: not a regular file", path, ErrBeside)
	}
	return readSidecar(fd, path)
}

// readSidecar reads to the end: a network file system may give less than asked for.
func readSidecar(fd int, path string) ([]byte, error) {
	content := make([]byte, maxBeside+1)
	total := 0
	for total < len(content) {
		var n int
		err := retry(func() (err error) {
			n, err = unix.Read(fd, content[total:])
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read sidecar %s: %w", path, err)
		}
		if n == 0 {
			return content[:total], nil
		}
		total += n
	}
	return nil, fmt.Errorf("read sidecar %s: %w: more than %d bytes", path, ErrBeside, maxBeside)
}

// SetSidecar replaces NAME.berth in one atomic, durable step, or removes it with nil. It belongs to whom the image belongs, and
// is readable to those who can read the image.
func (f *File) SetSidecar(content []byte) error {
	path, err := f.sidecarPath()
	if err != nil {
		return err
	}
	if !f.writable {
		return &os.PathError{Op: "write sidecar", Path: path, Err: os.ErrPermission}
	}
	if len(content) > maxBeside {
		return fmt.Errorf("write sidecar %s: %d bytes, expected at most %d", path, len(content), maxBeside)
	}
	d, err := f.folder(f.path)
	if err != nil {
		return fmt.Errorf("write sidecar %s: %w", path, err)
	}
	defer func() { _ = d.Close() }() // it was synced
	if content == nil {
		if err := d.remove(path); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove sidecar %s: %w", path, err)
		}
		return d.sync()
	}
	tmp, err := d.temp()
	if err != nil {
		return fmt.Errorf("write sidecar %s: %w", path, err)
	}
	err = errors.Join(f.fillSidecar(tmp, content), tmp.Close())
	if err == nil {
		err = d.rename(tmp.Name(), path)
		if errors.Is(err, unix.ENAMETOOLONG) {
			err = tooLong(path)
		}
	}
	if err != nil {
		_ = d.remove(tmp.Name())
		return fmt.Errorf("write sidecar %s: %w", path, err)
	}
	return d.sync()
}

func (f *File) fillSidecar(tmp *os.File, content []byte) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.f.Fd()), &st); err != nil {
		return err
	}
	if _, err := io.Copy(tmp, bytes.NewReader(content)); err != nil {
		return err
	}
	mode := st.Mode & sidecarMode
	// Only root can give a file away. The group matters more: its members read the image by it. Where even that cannot be kept
	// the group that it has instead gets nothing.
	if err := tmp.Chown(int(st.Uid), int(st.Gid)); errors.Is(err, unix.EPERM) {
		if err := tmp.Chown(-1, int(st.Gid)); errors.Is(err, unix.EPERM) {
			mode &^= 0o070
		} else if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if err := tmp.Chmod(os.FileMode(mode)); err != nil {
		return err
	}
	return tmp.Sync()
}

// sidecarPath resolves what Open did not: a file open for reading keeps the name that it was given.
func (f *File) sidecarPath() (string, error) {
	path := f.path
	if !f.writable {
		var link [1]byte
		if _, err := unix.Readlink(path, link[:]); err == nil {
			target, err := filepath.EvalSymlinks(path)
			if err != nil {
				return "", fmt.Errorf("find sidecar of %s: %w", path, err)
			}
			path = target
		}
	}
	return path + sidecarSuffix, nil
}

func tooLong(path string) error {
	return fmt.Errorf("sidecar name of %d bytes is too long for the file system; give the image a shorter name: %w",
		len(filepath.Base(path)), errors.ErrUnsupported)
}
