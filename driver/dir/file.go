package dir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is an open image. It has the shapes of diskimage.File, diskimage.Replacer and fleet.ImageFile.
type File struct {
	f        *os.File
	path     string
	size     int64
	writable bool
}

// LockedError says that somebody else has the image open.
type LockedError struct {
	Path   string
	Reason string // who holds it, as far as can be told
}

func (e *LockedError) Error() string { return "lock image " + e.Path + ": " + e.Reason }

// Open opens an image for reading. It takes no lock: a running hypervisor is not disturbed.
func Open(path string) (*File, error) { return open(path, unix.O_RDONLY) }

// OpenWrite opens an image for writing and holds its locks until Close. *LockedError: it is in use.
func OpenWrite(path string) (*File, error) {
	// The file's own path decides in which folder a replacement is made and where VMware's lock folder is.
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("open image %s: %w", path, err)
	}
	f, err := open(target, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	f.writable = true
	if err := f.lock(); err != nil {
		_ = f.Close() // the lock's error says it all
		return nil, err
	}
	return f, nil
}

// open looks before it opens: opening a device or a fifo can have effects. O_NONBLOCK keeps a fifo that took the
// file's place in between from blocking.
func open(path string, mode int) (*File, error) {
	var before, st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &before) }); err != nil {
		return nil, &os.PathError{Op: "open image", Path: path, Err: err}
	}
	if err := regular(path, &before); err != nil {
		return nil, err
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, mode|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open image", Path: path, Err: err}
	}
	// A regular file is kept out of the runtime's poller: os.NewFile would ask for it because of O_NONBLOCK.
	if err := retry(func() error { return unix.SetNonblock(fd, false) }); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "open image", Path: path, Err: err}
	}
	f := &File{f: os.NewFile(uintptr(fd), path), path: path}
	if err := unix.Fstat(fd, &st); err != nil {
		_ = f.f.Close()
		return nil, &os.PathError{Op: "open image", Path: path, Err: err}
	}
	if err := regular(path, &st); err != nil {
		_ = f.f.Close()
		return nil, err
	}
	f.size = st.Size
	return f, nil
}

// regular refuses what is no file with content.
func regular(path string, st *unix.Stat_t) error {
	var kind string
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if st.Size > 0 {
			return nil
		}
		kind = "an empty file"
	case unix.S_IFDIR:
		kind = "a folder"
	case unix.S_IFIFO:
		kind = "a fifo"
	case unix.S_IFSOCK:
		kind = "a socket"
	case unix.S_IFBLK, unix.S_IFCHR:
		kind = "a device"
	default:
		kind = "no regular file"
	}
	return fmt.Errorf("open image %s: %s, expected a disk image file", path, kind)
}

// retry repeats a call that a signal interrupted; the kernel promises that this ends with the signals.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// ReadAt reads as io.ReaderAt says; os.File handles interrupted and short reads.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// WriteAt writes as io.WriterAt says.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	f.size = max(f.size, off+int64(n))
	if err != nil { // os.File does not tell how much of it was written
		if st, serr := f.f.Stat(); serr == nil {
			f.size = st.Size()
		}
	}
	return n, err
}

// Truncate cuts the file to size bytes.
func (f *File) Truncate(size int64) error {
	err := f.f.Truncate(size)
	if err == nil {
		f.size = size
	}
	return err
}

// Sync makes what was written durable.
func (f *File) Sync() error { return f.f.Sync() }

// Size is the length of the file in bytes, when it was opened or last written.
func (f *File) Size() int64 { return f.size }

// Path is the file's path; of a file open for writing with symbolic links resolved.
func (f *File) Path() string { return f.path }

// Close releases the locks and closes the file.
func (f *File) Close() error {
	if f.writable {
		return errors.Join(releaseLock(f.f), f.f.Close())
	}
	return f.f.Close()
}
