package dir

import (
	"context"
	"errors"
	"os"
)

// File is an open image. It has the shapes of diskimage.File, diskimage.Replacer and fleet.ImageFile.
type File struct {
	f    *os.File
	path string
	size int64
}

// LockedError says that somebody else has the image open.
type LockedError struct {
	Path   string
	Reason string // who holds it, as far as can be told
}

func (e *LockedError) Error() string { return "lock " + e.Path + ": " + e.Reason }

// Open opens an image for reading. It takes no lock: a running hypervisor is not disturbed.
func Open(path string) (*File, error) { return nil, errors.ErrUnsupported }

// OpenWrite opens an image for writing and holds its locks until Close. *LockedError: it is in use.
func OpenWrite(path string) (*File, error) { return nil, errors.ErrUnsupported }

// ReadAt reads as io.ReaderAt says.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// WriteAt writes as io.WriterAt says.
func (f *File) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }

// Sync makes what was written durable.
func (f *File) Sync() error { return f.f.Sync() }

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// Path is the file's path with symbolic links resolved.
func (f *File) Path() string { return f.path }

// Close releases the locks and closes the file.
func (f *File) Close() error { return f.f.Close() }

// Replace exchanges the whole content in one atomic, durable step.
func (f *File) Replace(content []byte) error { return errors.ErrUnsupported }

// Walk calls fn for every regular file under roots, from at most parallel goroutines at once. A root that is a
// file, or a symbolic link to one, is visited as it is; below the roots symbolic links are not followed. Folders that could not be read
// are in the error, and the rest is visited all the same.
func Walk(ctx context.Context, roots []string, parallel int, fn func(path string)) error {
	return errors.ErrUnsupported
}
