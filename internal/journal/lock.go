package journal

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lock is a file that one process holds at a time, for what takes more than one journal. The lock goes with the
// process, however that ends; the file stays, and holds the process id of who held it last.
type Lock struct{ file *os.File }

// HeldError says that another process, or this one, holds the lock. It wraps ErrLocked.
type HeldError struct {
	Path string
	PID  int // of the holder; 0: not known
}

func (e *HeldError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("lock %s: held by %s", e.Path, who)
}

func (e *HeldError) Unwrap() error { return ErrLocked }

// Acquire takes the lock on the file at path, and creates it and its folder when there is none. It does not wait.
// Errors: *HeldError, or the operating system's.
func Acquire(path string) (*Lock, error) {
	f, err := osFS{}.Open(path)
	if errors.Is(err, ErrLocked) {
		return nil, &HeldError{Path: path, PID: holder(path)}
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := &Lock{file: f.(osFile).File} // it is what osFS opens
	if err := l.sign(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), l.file.Close())
	}
	return l, nil
}

func (l *Lock) sign() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.WriteString(strconv.Itoa(os.Getpid()) + "\n") // it is opened to append
	return err
}

// Close gives the lock back.
func (l *Lock) Close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return nil
}

// holder is the process id in the file, 0 when none can be read: the holder may just be writing it.
func holder(path string) int {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // nothing was written
	b := make([]byte, 32)
	n, _ := f.Read(b) // nothing read is no number
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
