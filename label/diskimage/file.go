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
