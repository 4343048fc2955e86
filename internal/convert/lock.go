package convert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
)

// QEMU's image locks (block/file-posix.c): who writes holds a read lock on byte 101, who resizes on 103; who does not
// bear with writers holds one on 201, with resizers on 203.
var (
	permBytes   = []int64{101, 103}
	unshareByte = []int64{201, 203}
)

// holdShared keeps writers away from a file that is being read, as QEMU does it: other readers may come. The lock
// goes with the file. *dir.LockedError: somebody writes.
func holdShared(f *os.File) error {
	for _, b := range unshareByte {
		lk := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart, Start: b, Len: 1}
		err := retry(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk) })
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return inUse(f, "another berth changes it")
		}
		if err != nil {
			return &os.PathError{Op: "lock image", Path: f.Name(), Err: err}
		}
	}
	// Ours comes first: whoever starts to write after this look sees our lock.
	for _, b := range permBytes {
		if held, err := probe(f, unix.Flock_t{Type: unix.F_WRLCK, Start: b, Len: 1}); err != nil {
			return err
		} else if held {
			return inUse(f, "QEMU has it open for writing")
		}
	}
	if held, err := probe(f, unix.Flock_t{Type: unix.F_RDLCK}); err != nil {
		return err
	} else if held {
		return inUse(f, "another program holds a write lock")
	}
	entries, err := os.ReadDir(f.Name() + ".lck")
	if err == nil && len(entries) > 0 {
		return inUse(f, fmt.Sprintf("VMware's lock %s.lck/%s is there; if no VMware program runs, remove that folder", f.Name(), entries[0].Name()))
	}
	return nil
}

// publishWait is how long another publication in the same folder is waited for; each takes some renames and syncs.
const publishWait = 30 * time.Second

// lockFolder keeps other conversions from publishing in a folder at the same time: one that looks while another is half-way would
// take the other's sidecar for that of what it replaces. A file system without such locks has none.
func lockFolder(folder string, wait time.Duration) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("publish destination: %w", err)
	}
	const pause = 20 * time.Millisecond
	for ; ; wait -= pause {
		err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if wait <= 0 {
			_ = f.Close() // it was only locked
			return nil, &dir.LockedError{Path: folder, Reason: "in use: another program keeps the folder locked (flock)"}
		}
		time.Sleep(pause)
	}
	return func() {
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // a process that is being forked has it open too
		_ = f.Close()
	}, nil
}

// release unlocks before the file is closed: a process that is being forked at this moment has the same file description open
// until it executes, and would keep the lock for as long.
func release(f *os.File) {
	lk := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart}
	_ = retry(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lk) }) // closing does it too, later
	_ = f.Close()                                                                     // it was only read
}

func inUse(f *os.File, who string) error {
	return &dir.LockedError{Path: f.Name(), Reason: "in use: " + who}
}

// probe reports whether somebody else's lock conflicts with lk.
func probe(f *os.File, lk unix.Flock_t) (bool, error) {
	lk.Whence = io.SeekStart
	if err := retry(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lk) }); err != nil {
		return false, &os.PathError{Op: "probe lock", Path: f.Name(), Err: err}
	}
	return lk.Type != unix.F_UNLCK, nil
}

// retry repeats a call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
