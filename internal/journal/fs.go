package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is the locked journal file. Write always appends.
type file interface {
	io.WriteCloser
	ReadAll() ([]byte, error) // at most MaxSize+1 bytes
	Truncate(size int64) error
	Sync() error
}

// filesystem is what Open needs of the operating system; tests crash behind it.
type filesystem interface {
	// Open opens or creates the file at path, and its folder, and locks it.
	Open(path string) (file, error)
	// SyncFolder makes the file's name durable.
	SyncFolder(path string) error
}

type osFS struct{}

func (osFS) Open(path string) (file, error) {
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	// A link or a fifo in its place is none of ours.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func lock(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("is a %s, expected a regular file", info.Mode().Type())
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	if err != nil {
		return err
	}
	// A lock on a file that was removed or replaced meanwhile keeps nobody out.
	named, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(info, named) {
		return errors.New("the file was replaced while it was opened")
	}
	return nil
}

// makeFolder creates dir and its missing parents with mode 0700 and makes each name durable.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, os.ErrExist):
		return nil
	case errors.Is(err, os.ErrNotExist):
		if err := makeFolder(filepath.Dir(dir)); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	case err != nil:
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

func (osFS) SyncFolder(path string) error { return syncFolder(filepath.Dir(path)) }

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) readAll(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	data, err := osFile{f}.ReadAll()
	return data, errors.Join(err, f.Close())
}

type osFile struct{ *os.File }

func (f osFile) ReadAll() ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f.File, 0, MaxSize+1))
}
