package fleet

import (
	"errors"
	"fmt"
)

// ErrorKind says what the caller may do after a driver failed.
type ErrorKind int

// The kinds of driver errors.
const (
	// Permanent: the same call will fail again; the VM is where it was.
	Permanent ErrorKind = iota
	// Retry: a passing fault; the VM is where it was, the call may be made again.
	Retry
	// Unknown: it cannot be said whether the change happened (a deadline passed, a link was cut). Only
	// asking the hypervisors again tells. Never start the VM elsewhere on this alone.
	Unknown
)

func (k ErrorKind) String() string {
	switch k {
	case Permanent:
		return "permanent"
	case Retry:
		return "retry"
	case Unknown:
		return "unknown"
	default:
		return fmt.Sprintf("kind %d", int(k))
	}
}

// DriverError is the typed error of every driver.
type DriverError struct {
	Kind ErrorKind
	Op   string // "verb noun": "migrate vm vm-db"
	Err  error
}

func (e *DriverError) Error() string { return e.Op + ": " + e.Err.Error() }

func (e *DriverError) Unwrap() error { return e.Err }

// KindOf is the kind of err, Unknown when err is no DriverError: what is not known is never taken as settled.
func KindOf(err error) ErrorKind {
	var de *DriverError
	if errors.As(err, &de) {
		return de.Kind
	}
	return Unknown
}

// ErrNotFound is wrapped by a driver's error when the VM, disk or pool asked for does not exist there.
var ErrNotFound = errors.New("not found")

// ImageFile is an open image as drivers hand it out: the shape of diskimage.File, and Close.
type ImageFile interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
	Size() int64
	Close() error
}
