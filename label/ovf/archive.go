package ovf

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/berth-project/berth/label/diskimage"
)

const blockSize = 512

// Archive is an OVA: a tar archive (ustar; GNU's and pax's long names and sizes are read as well) whose first member is
// the descriptor. DSP0243 5.3 wants manifest and certificate behind it or at the end; the order found is kept.
type Archive struct {
	Members []Member // regular files, in order
	r       diskimage.Reader
	size    int64
}

// Member is one file of an archive.
type Member struct {
	Name   string
	Offset int64 // of its content; its header is the block before
	Size   int64 // in bytes
	fixed  bool  // the size is in an extended header, too: it cannot be changed
}

// Piece is a part of a rewritten archive: new bytes, or a range of the old archive.
type Piece struct {
	Data []byte
	From int64
	Len  int64 // of the range, when Data is nil
}

// ReadArchive reads the headers of all members, at most MaxMembers.
func ReadArchive(r diskimage.Reader) (*Archive, error) {
	a := &Archive{r: r, size: r.Size()}
	sr := io.NewSectionReader(r, 0, a.size)
	tr := tar.NewReader(sr)
	seen := map[string]bool{}
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w: member %d: %w", diskimage.ErrCorrupt, n+1, err)
		}
		if n >= MaxMembers {
			return nil, fmt.Errorf("read archive: %w: more than %d members", diskimage.ErrUnsupported, MaxMembers)
		}
		if h.Typeflag != tar.TypeReg {
			if n == 0 || h.Typeflag == tar.TypeGNUSparse {
				return nil, fmt.Errorf("read archive: %w: member %q is no plain file", diskimage.ErrUnsupported, clip(h.Name))
			}
			continue
		}
		m, err := a.member(sr, h)
		if err != nil {
			return nil, err
		}
		if seen[m.Name] {
			return nil, fmt.Errorf("read archive: %w: member %q is there twice", diskimage.ErrCorrupt, clip(m.Name))
		}
		seen[m.Name] = true
		a.Members = append(a.Members, m)
	}
	if len(a.Members) == 0 || !isDescriptorName(a.Members[0].Name) {
		return nil, fmt.Errorf("read archive: %w: the first member is no .ovf descriptor", diskimage.ErrCorrupt)
	}
	return a, nil
}

// member notes where the content of the member just read begins: where its reader stands.
func (a *Archive) member(sr *io.SectionReader, h *tar.Header) (Member, error) {
	off, err := sr.Seek(0, io.SeekCurrent)
	if err != nil {
		return Member{}, fmt.Errorf("read archive: %w", err)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") {
			return Member{}, fmt.Errorf("read archive: %w: member %q is sparse", diskimage.ErrUnsupported, clip(h.Name))
		}
	}
	if h.Size < 0 || off < blockSize || off%blockSize != 0 || h.Size > a.size-off {
		return Member{}, fmt.Errorf("read archive: %w: member %q does not end in the file", diskimage.ErrCorrupt, clip(h.Name))
	}
	_, fixed := h.PAXRecords["size"]
	return Member{Name: strings.TrimPrefix(h.Name, "./"), Offset: off, Size: h.Size, fixed: fixed}, nil
}

// Open gives a member: Archive is a Source.
func (a *Archive) Open(name string) (diskimage.Reader, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(a.r, m.Offset, m.Size), nil
}

func (a *Archive) find(name string) (Member, error) {
	for _, m := range a.Members {
		if m.Name == name {
			return m, nil
		}
	}
	return Member{}, fmt.Errorf("%w: %s", ErrNoFile, clip(name))
}

// Rewrite is the archive after an edit, as pieces in order. Order, headers and padding of the members stay as they are
// but for the lengths that change.
func (a *Archive) Rewrite(e *Edit) ([]Piece, error) {
	var pieces []Piece
	at := int64(0)
	for _, m := range a.Members {
		f := e.file(m.Name)
		if f == nil {
			continue
		}
		if f.Content == nil || int64(len(f.Content)) == m.Size {
			writes := f.Writes
			if f.Content != nil {
				writes = []diskimage.Write{{Data: f.Content}}
			}
			for _, w := range writes {
				pieces = append(pieces, Piece{From: at, Len: m.Offset + w.Offset - at}, Piece{Data: w.Data})
				at = m.Offset + w.Offset + int64(len(w.Data))
			}
			continue
		}
		header, err := a.resized(m, int64(len(f.Content)))
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, Piece{From: at, Len: m.Offset - blockSize - at},
			Piece{Data: append(append(header, f.Content...), make([]byte, padding(int64(len(f.Content))))...)})
		at = min(m.Offset+m.Size+padding(m.Size), a.size)
	}
	pieces = append(pieces, Piece{From: at, Len: a.size - at})
	return pieces, a.check(pieces, e)
}

// check reads the archive that is to be made: it has the same members, of the lengths wanted.
func (a *Archive) check(pieces []Piece, e *Edit) error {
	got, err := ReadArchive(NewPieces(a.r, pieces))
	if err != nil {
		return fmt.Errorf("verify archive: %w", err)
	}
	if len(got.Members) != len(a.Members) {
		return errors.New("verify archive: other members than before")
	}
	for i, m := range a.Members {
		size := m.Size
		if f := e.file(m.Name); f != nil && f.Content != nil {
			size = int64(len(f.Content))
		}
		if g := got.Members[i]; g.Name != m.Name || g.Size != size {
			return fmt.Errorf("verify archive: member %q of %d bytes, expected %q of %d", clip(g.Name), g.Size, clip(m.Name), size)
		}
	}
	return nil
}

func padding(n int64) int64 { return (blockSize - n%blockSize) % blockSize }

// resized is the header block of m with another size: two fields change, in the style that they are written in.
func (a *Archive) resized(m Member, size int64) ([]byte, error) {
	if m.fixed {
		return nil, fmt.Errorf("rewrite archive: %w: the size of member %q is in an extended header", diskimage.ErrUnsupported, clip(m.Name))
	}
	h, err := readRange(a.r, m.Offset-blockSize, blockSize, blockSize)
	if err != nil {
		return nil, fmt.Errorf("rewrite archive: %w", err)
	}
	if !setNumber(h[124:136], size) {
		return nil, fmt.Errorf("rewrite archive: %w: the header of member %q has no room for its size", diskimage.ErrUnsupported, clip(m.Name))
	}
	field := bytes.Clone(h[148:156])
	for i := range field {
		h[148+i] = ' '
	}
	sum := int64(0)
	for _, c := range h {
		sum += int64(c)
	}
	copy(h[148:], field)
	if !setNumber(h[148:156], sum) {
		return nil, fmt.Errorf("rewrite archive: %w: the header of member %q has no room for its checksum", diskimage.ErrUnsupported, clip(m.Name))
	}
	return h, nil
}

// setNumber puts an octal number, or a base-256 one where there is one, into a header field. Width and padding stay, so
// that setting the old number back gives the old bytes.
func setNumber(field []byte, v int64) bool {
	if field[0]&0x80 != 0 {
		for i := len(field) - 1; i > 0; i-- {
			field[i] = byte(v)
			v >>= 8
		}
		field[0] = 0x80
		return v == 0
	}
	end := 0
	for end < len(field) && (field[end] == ' ' || field[end] >= '0' && field[end] <= '7') {
		end++
	}
	for end > 0 && field[end-1] == ' ' {
		end-- // the terminator of old writers
	}
	pad := byte('0')
	if end > 0 && field[0] == ' ' {
		pad = ' '
	}
	digits := fmt.Appendf(nil, "%o", v)
	if end == 0 || len(digits) > end {
		return false
	}
	n := copy(field, bytes.Repeat([]byte{pad}, end-len(digits)))
	copy(field[n:], digits)
	return true
}

// Pieces reads what pieces stand for. It is a diskimage.Reader.
type Pieces struct {
	r      diskimage.Reader
	pieces []Piece
	size   int64
}

// NewPieces makes a reader of the pieces; r is the old archive.
func NewPieces(r diskimage.Reader, pieces []Piece) *Pieces {
	p := &Pieces{r: r, pieces: pieces}
	for _, c := range pieces {
		p.size += c.size()
	}
	return p
}

func (c *Piece) size() int64 {
	if c.Data != nil {
		return int64(len(c.Data))
	}
	return c.Len
}

// Size is the length of the new archive in bytes.
func (p *Pieces) Size() int64 { return p.size }

// ReadAt reads as io.ReaderAt says.
func (p *Pieces) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read archive: offset %d", off)
	}
	for _, c := range p.pieces {
		size := c.size()
		if off >= size {
			off -= size
			continue
		}
		part := b[n:min(int64(len(b)), int64(n)+size-off)]
		if c.Data != nil {
			copy(part, c.Data[off:])
		} else if got, rerr := p.r.ReadAt(part, c.From+off); got < len(part) {
			return n + got, rerr
		}
		n += len(part)
		off = 0
		if n == len(b) {
			return n, nil
		}
	}
	return n, io.EOF
}

// isTar knows ustar and GNU tar.
func isTar(head []byte) bool {
	return len(head) >= blockSize && bytes.HasPrefix(head[257:], []byte("ustar"))
}

// firstMember is the name of an archive's first member.
func firstMember(r diskimage.Reader) (string, bool) {
	h, err := tar.NewReader(io.NewSectionReader(r, 0, r.Size())).Next()
	if err != nil {
		return "", false
	}
	return h.Name, true
}
