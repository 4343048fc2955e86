package dir

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// QEMU's image locks (block/file-posix.c): RAW_LOCK_PERM_BASE 100 and RAW_LOCK_SHARED_BASE 200, one byte a
// permission. A write lock over all of them makes QEMU refuse to open the image; `qemu-img info -U` still reads.
const (
	lockFrom = 100
	lockLen  = 104 // bytes 100 to 203
)

// lock takes the lock and makes sure that it is on the file that the path names, and that nobody else has any
// other lock on it. It waits for nobody.
func (f *File) lock() error {
	if err := f.vmwareLock(); err != nil {
		return err
	}
	if err := holdLock(f.f, f.path); err != nil {
		return err
	}
	// Another lock, of whatever kind and place, is somebody else's use of the file. Ours does not count here.
	probe := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := retry(func() error { return unix.FcntlFlock(f.f.Fd(), unix.F_OFD_GETLK, &probe) }); err != nil {
		return &os.PathError{Op: "probe lock", Path: f.path, Err: err}
	}
	if probe.Type != unix.F_UNLCK {
		return &LockedError{Path: f.path, Reason: "in use: " + holder(&probe)}
	}
	// Between opening and locking the file may have been replaced, by another berth for one.
	var held, named unix.Stat_t
	if err := unix.Fstat(int(f.f.Fd()), &held); err != nil {
		return &os.PathError{Op: "probe lock", Path: f.path, Err: err}
	}
	if err := retry(func() error { return unix.Stat(f.path, &named) }); err != nil || held.Dev != named.Dev || held.Ino != named.Ino {
		return &LockedError{Path: f.path, Reason: "it was replaced while being opened: try again"}
	}
	f.size = held.Size
	return nil
}

// holdLock takes the write lock that keeps QEMU out.
func holdLock(file *os.File, path string) error {
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: lockFrom, Len: lockLen}
	err := retry(func() error { return unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lk) })
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
		return &os.PathError{Op: "lock image", Path: path, Err: err}
	}
	probe := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: lockFrom, Len: lockLen}
	reason := "in use by another program"
	if retry(func() error { return unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &probe) }) == nil && probe.Type != unix.F_UNLCK {
		reason = "in use: " + holder(&probe)
	}
	return &LockedError{Path: path, Reason: reason}
}

// releaseLock unlocks before the file is closed: a process that is being forked at this moment has the same file
// description open until it executes, and would keep the lock for as long.
func releaseLock(file *os.File) error {
	lk := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart, Start: lockFrom, Len: lockLen}
	if err := retry(func() error { return unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lk) }); err != nil {
		return &os.PathError{Op: "unlock image", Path: file.Name(), Err: err}
	}
	return nil
}

// holder says what is known of a lock's owner. An open file description's lock names no process.
func holder(lk *unix.Flock_t) string {
	who := "another program"
	if lk.Pid > 0 {
		who = fmt.Sprintf("process %d", lk.Pid)
	}
	if lk.Start >= lockFrom && lk.Start < lockFrom+lockLen && lk.Pid <= 0 {
		who = "QEMU or another berth"
	}
	return fmt.Sprintf("%s holds a lock on byte %d; stop the virtual machine, or close the image, first", who, lk.Start)
}

// vmwareLock looks for the folder NAME.lck with something in it, which Workstation and VirtualCenter's
// converters keep while they use an image.
func (f *File) vmwareLock() error {
	entries, err := os.ReadDir(f.path + ".lck")
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
		return nil
	case err != nil:
		return fmt.Errorf("look for VMware's lock: %w", err)
	case len(entries) == 0:
		return nil
	}
	return &LockedError{Path: f.path, Reason: "in use by VMware: " + f.path + ".lck/" + entries[0].Name() + " is there; if no VMware program runs, remove that folder"}
}
