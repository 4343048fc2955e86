package diskimage

import "io"

// File is an open image file. ReadAt follows io.ReaderAt. Size is the length of the file in bytes when it
// was opened or last written.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Size() int64
}

// Replacer is a File whose whole content can be exchanged in one atomic, durable step (a temporary file,
// fsync, rename, fsync of the folder; mode, owner, attributes and ACL kept). Text descriptors need it when
// their length changes; a File without it, or whose Replace says errors.ErrUnsupported having touched nothing (a
// file of several names), is written in place, in the steps of the Edit.
type Replacer interface {
	Replace(content []byte) error
}

// Reader is what reading a label needs of an image.
type Reader interface {
	io.ReaderAt
	Size() int64
}

// Beside is a Reader whose file system keeps more than the image's bytes: extended attributes and a sidecar file,
// NAME.berth in the same folder. Formats without a place of their own have their label there. All four say
// errors.ErrUnsupported where there is no such place (a file system without attributes, a remote volume).
type Beside interface {
	// Attribute is the value of an extended attribute, at most MaxBeside bytes; nil: there is none.
	Attribute(name string) ([]byte, error)
	// SetAttribute changes or, with nil, removes an extended attribute, durably.
	SetAttribute(name string, value []byte) error
	// Sidecar is the content of the sidecar, at most MaxBeside bytes; nil: there is none.
	Sidecar() ([]byte, error)
	// SetSidecar replaces the sidecar in one atomic, durable step, or removes it with nil.
	SetSidecar(content []byte) error
}

// MaxBeside bounds what is read of an attribute or a sidecar, in bytes; a longer one is an error.
const MaxBeside = 4000

// SidecarSuffix is what the name of a sidecar has behind the image's.
const SidecarSuffix = ".berth"
