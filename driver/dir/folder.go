package dir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// folder is the open folder of an image. What is made, renamed or removed beside the image is named below it: somebody who can exchange
// a folder on the way for a symbolic link gets no file written elsewhere.
type folder struct{ *os.File }

// folder opens the folder of the image at path, which has no symbolic links, and makes sure that the image is in it.
func (f *File) folder(path string) (folder, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(filepath.Dir(path), openFolder, 0)
		return err
	})
	if err != nil {
		return folder{}, &os.PathError{Op: "open folder", Path: filepath.Dir(path), Err: err}
	}
	d := folder{os.NewFile(uintptr(fd), filepath.Dir(path))}
	var held, named unix.Stat_t
	err = errors.Join(
		retry(func() error { return unix.Fstat(int(f.f.Fd()), &held) }),
		retry(func() error { return unix.Fstatat(fd, filepath.Base(path), &named, unix.AT_SYMLINK_NOFOLLOW) }),
	)
	if err == nil && (held.Dev != named.Dev || held.Ino != named.Ino) {
		err = errors.New("the image is not in it any more")
	}
	if err != nil {
		_ = d.Close()
		return folder{}, fmt.Errorf("open folder of %s: %w", path, err)
	}
	return d, nil
}

// temp makes a temporary file that only its owner can open. Its name is the last part of the file's.
func (d folder) temp() (*os.File, error) {
	path := filepath.Join(d.Name(), tempPrefix+rand.Text()+tempSuffix)
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Openat(int(d.Fd()), filepath.Base(path), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// rename gives a file of the folder another name.
func (d folder) rename(from, to string) error {
	from, to = filepath.Base(from), filepath.Base(to)
	if err := retry(func() error { return unix.Renameat(int(d.Fd()), from, int(d.Fd()), to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(d.Name(), from), New: filepath.Join(d.Name(), to), Err: err}
	}
	return nil
}

// remove unlinks a file of the folder.
func (d folder) remove(path string) error {
	return retry(func() error { return unix.Unlinkat(int(d.Fd()), filepath.Base(path), 0) })
}

// sync makes the names in the folder durable.
func (d folder) sync() error {
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", d.Name(), err)
	}
	return nil
}
