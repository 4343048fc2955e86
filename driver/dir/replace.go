package dir

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of temporary files: a crash can leave one, which those who go through folders pass over.
const (
	tempPrefix = ".berth-"
	tempSuffix = ".tmp"
)

// IsTemp reports whether a file name (without its folder) is that of a temporary file of ours, which a crash can leave.
func IsTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// maxXattr bounds the list of attribute names, and each value, in bytes (the kernel's own limits).
const maxXattr = 64 << 10

// Replace exchanges the whole content in one atomic, durable step, keeping mode, owner, extended attributes and
// ACL. It says errors.ErrUnsupported, having touched nothing, where that cannot be done: the file has several
// names, or its owner or an attribute could not be kept.
func (f *File) Replace(content []byte) error {
	return f.exchange(int64(len(content)), func(tmp *os.File) error {
		_, err := tmp.WriteAt(content, 0)
		return err
	})
}

// exchange is Replace with the size bytes that write puts into the new file.
func (f *File) exchange(size int64, write func(tmp *os.File) error) error {
	if !f.writable {
		return &os.PathError{Op: "replace image", Path: f.path, Err: os.ErrPermission}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.f.Fd()), &st); err != nil {
		return &os.PathError{Op: "replace image", Path: f.path, Err: err}
	}
	if st.Nlink > 1 {
		return fmt.Errorf("replace image %s: it has %d names: %w", f.path, st.Nlink, errors.ErrUnsupported)
	}
	d, err := f.folder(f.path)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("replace image: %w: %w", err, errors.ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("replace image: %w", err)
	}
	defer func() { _ = d.Close() }() // it was synced
	tmp, err := d.twin()
	if err != nil {
		return err
	}
	if err := f.fill(tmp, write, &st); err != nil {
		_ = tmp.Close()
		_ = d.remove(tmp.Name())
		return err
	}
	if err := d.rename(tmp.Name(), f.path); err != nil {
		_ = tmp.Close()
		_ = d.remove(tmp.Name())
		return fmt.Errorf("replace image: %w", err)
	}
	// From here on the new file is the image, and its lock is held already.
	old := f.f
	f.f, f.size = tmp, size
	if err := d.sync(); err != nil {
		_ = old.Close()
		return err
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("replace image: %w", err)
	}
	return nil
}

// twin makes a file beside the image that nobody else can open. A folder that takes no new file is no fault: the
// image is then written in place.
func (d folder) twin() (*os.File, error) {
	tmp, err := d.temp()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil, fmt.Errorf("replace image: %w: %w", err, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("replace image: %w", err)
	}
	return tmp, nil
}

// fill makes tmp a durable twin of the image with other content, locked as it.
func (f *File) fill(tmp *os.File, write func(tmp *os.File) error, st *unix.Stat_t) error {
	if err := holdLock(tmp, tmp.Name()); err != nil {
		return err
	}
	if err := write(tmp); err != nil {
		return fmt.Errorf("replace image: %w", err)
	}
	if err := keep("owner", tmp.Chown(int(st.Uid), int(st.Gid))); err != nil {
		return err
	}
	if err := copyXattrs(int(tmp.Fd()), int(f.f.Fd())); err != nil {
		return err
	}
	// After the ACL, whose mask is part of the mode, and after the owner, whose change clears bits of it.
	if err := keep("mode", unix.Fchmod(int(tmp.Fd()), st.Mode&0o7777)); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("replace image: %w", err)
	}
	return nil
}

func keep(what string, err error) error {
	if err != nil {
		return fmt.Errorf("replace image: keep %s: %w: %w", what, err, errors.ErrUnsupported)
	}
	return nil
}

// copyXattrs gives the file to the extended attributes of the file from and no other; ACLs are among them
// (system.posix_acl_access), and a folder's default ACL has given the new file some of its own.
func copyXattrs(to, from int) error {
	want, err := xattrs(from)
	if err != nil {
		return keep("attributes", err)
	}
	have, err := xattrs(to)
	if err != nil {
		return keep("attributes", err)
	}
	for _, name := range have {
		if slices.Contains(want, name) {
			continue
		}
		if err := unix.Fremovexattr(to, name); err != nil {
			return keep("attributes, without "+name, err)
		}
	}
	value := make([]byte, maxXattr)
	for _, name := range want {
		n, err := unix.Fgetxattr(from, name, value)
		if err != nil {
			return keep("attribute "+name, err)
		}
		if err := unix.Fsetxattr(to, name, value[:n], 0); err != nil {
			return keep("attribute "+name, err)
		}
	}
	return nil
}

func xattrs(fd int) ([]string, error) {
	list := make([]byte, maxXattr)
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }), nil
}
