package diskimage

import (
	"errors"
	"fmt"
	"io"
)

// headSize is the first read of every image. It covers the whole of an embedded VMDK descriptor of the usual 20
// sectors, so that most images cost one read; the image may be far away.
const headSize = 12 << 10

const sectorSize = 512

// source is an image whose beginning has been read.
type source struct {
	r    Reader
	opts Options
	size int64
	head []byte // the first headSize bytes, or all there are
	lent []byte // what is left of the reader's buffer
}

// Lender is a Reader that lends a buffer for the reads of an image, which cost a scan of very many images an allocation each
// otherwise. Nothing that ReadLabel gives refers to it. 12 KiB are for the first read, more for the others, as far as they go; one
// that is too small is not used.
type Lender interface {
	Lend() []byte
}

func newSource(r Reader) (*source, error) {
	s := &source{r: r, size: r.Size()}
	var b []byte
	if l, ok := r.(Lender); ok {
		b = l.Lend()
	}
	if len(b) < headSize {
		b = make([]byte, min(headSize, max(s.size, 0)))
	} else {
		s.lent = b[headSize:]
	}
	head, err := s.fill(b[:min(headSize, max(s.size, 0))], 0)
	if err != nil {
		return nil, err
	}
	s.head = head
	return s, nil
}

// at gives up to n bytes at off, fewer at the end of the image. The caller bounds n.
func (s *source) at(off int64, n int) ([]byte, error) {
	if end := off + int64(n); off >= 0 && end >= off && end <= int64(len(s.head)) {
		return s.head[off:end], nil
	}
	return s.read(off, n)
}

func (s *source) read(off int64, n int) ([]byte, error) {
	if off < 0 || off >= s.size || n <= 0 {
		return nil, nil
	}
	size := min(int64(n), s.size-off)
	if size > int64(len(s.lent)) {
		return s.fill(make([]byte, size), off)
	}
	b := s.lent[:size:size]
	s.lent = s.lent[size:]
	return s.fill(b, off)
}

// fill gives what b could be filled with, fewer bytes at the end of the image.
func (s *source) fill(b []byte, off int64) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	got, err := s.r.ReadAt(b, off)
	if got < len(b) && err == nil {
		err = io.ErrNoProgress // io.ReaderAt forbids it: a short read is not to be taken for the image's end
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read image at %d: %w", off, err)
	}
	return b[:got], nil
}
