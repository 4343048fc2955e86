package diskimage

import (
	"bytes"
	"fmt"

	"github.com/berth-project/berth/label"
)

// codec is one format: how it is known, and how its label is read and changed.
type codec interface {
	format() Format
	// detect looks at the head; at most one more small read, for a format that is known by its end.
	detect(s *source) (bool, error)
	read(s *source) (*label.Frame, *Info, error)
	planSet(s *source, frame label.Frame) (*Edit, error)
	planRemove(s *source) (*Edit, error)
}

// codecs are all formats, in the order in which they are tried: those known by their head first.
func codecs() [6]codec {
	return [...]codec{
		vmdk{},
		magic{FormatQcow2, 0, "QFI\xfb"},
		magic{FormatVHDX, 0, "vhdxfile"},
		magic{FormatVDI, 64, "\x7f\x10\xda\xbe"},
		vhd{magic{FormatVHD, 0, "conectix"}},
		raw{magic{name: FormatRaw}},
	}
}

func find(r Reader) (codec, *source, error) {
	s, err := newSource(r)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range codecs() {
		ok, err := c.detect(s)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			return c, s, nil
		}
	}
	return nil, nil, fmt.Errorf("detect format: %w", ErrNotImage)
}

// Detect names the format by content alone. ErrNotImage: none of them.
func Detect(r Reader) (Format, error) {
	c, _, err := find(r)
	if err != nil {
		return "", err
	}
	return c.format(), nil
}

// Inspect reads the image's headers. Of a format that carries no label yet it gives Format alone and
// ErrUnsupported.
func Inspect(r Reader) (*Info, error) {
	_, info, err := ReadLabel(r)
	return info, err
}

// ReadLabel reads the headers and the label. A nil frame means that there is none. The frame's signature and
// document are not checked (label.TrustFile.Verify does it). An image of the usual make costs one read.
func ReadLabel(r Reader) (*label.Frame, *Info, error) {
	c, s, err := find(r)
	if err != nil {
		return nil, nil, err
	}
	return c.read(s)
}

// PlanSet works out how to store frame in the image, as its first label or in place of the present one. The
// frame's document has to be valid, bound to this disk, and its serial above the present label's.
func PlanSet(r Reader, frame label.Frame) (*Edit, error) {
	c, s, err := find(r)
	if err != nil {
		return nil, err
	}
	return c.planSet(s, frame)
}

// PlanRemove works out how to remove the image's label, damaged or not. ErrNoLabel: there is nothing to remove.
func PlanRemove(r Reader) (*Edit, error) {
	c, s, err := find(r)
	if err != nil {
		return nil, err
	}
	return c.planRemove(s)
}

// magic is a format that is known by fixed bytes and carries no label in this version.
type magic struct {
	name   Format
	offset int
	bytes  string
}

func (m magic) format() Format { return m.name }

func (m magic) detect(s *source) (bool, error) {
	return len(s.head) > m.offset && bytes.HasPrefix(s.head[m.offset:], []byte(m.bytes)), nil
}

func (m magic) unsupported() error {
	return fmt.Errorf("read label: %w: %s images carry no label in this version", ErrUnsupported, m.name)
}

func (m magic) read(*source) (*label.Frame, *Info, error) {
	return nil, &Info{Format: m.name}, m.unsupported()
}

func (m magic) planSet(*source, label.Frame) (*Edit, error) { return nil, m.unsupported() }

func (m magic) planRemove(*source) (*Edit, error) { return nil, m.unsupported() }

// vhd has its footer at the end, and a dynamic one a copy of it at the start.
type vhd struct{ magic }

func (v vhd) detect(s *source) (bool, error) {
	if ok, err := v.magic.detect(s); ok || err != nil {
		return ok, err
	}
	if s.size < sectorSize || s.size%sectorSize != 0 {
		return false, nil
	}
	foot, err := s.at(s.size-sectorSize, sectorSize)
	return err == nil && len(foot) == sectorSize && bytes.HasPrefix(foot, []byte(v.bytes)), err
}

// raw is whatever consists of whole sectors and is nothing else.
type raw struct{ magic }

func (raw) detect(s *source) (bool, error) { return s.size > 0 && s.size%sectorSize == 0, nil }
