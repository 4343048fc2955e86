package diskimage

import (
	"bytes"
	"errors"
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

// identifier is a codec whose format holds an identity of the disk that can be changed.
type identifier interface {
	planIdentity(s *source, uuid string) (*Edit, error)
}

// codecs are all formats, in the order in which they are tried: those known by their head first.
func codecs() [6]codec { return [...]codec{vmdk{}, qcow2{}, vhdx{}, vdi{}, vhd{}, raw{}} }

// Options is what a caller knows of an image, or wants, besides its bytes. The zero value is right for a file of which
// nothing is known.
type Options struct {
	// Format is what the image is declared to be, by a hypervisor or an overlay. It is then not looked for: what a
	// guest wrote into its raw disk must not be taken for a container. Empty: by content.
	Format Format
	// VHDFooter lets a first label of a VHD go into the reserved bytes of its footer, which the format wants to be
	// zero, instead of beside the image.
	VHDFooter bool
}

func (o Options) find(r Reader) (codec, *source, error) {
	s, err := newSource(r)
	if err != nil {
		return nil, nil, err
	}
	s.opts = o
	c, err := s.codec(func(f Format) bool { return o.Format == "" || f == o.Format })
	switch {
	case err != nil || c != nil:
		return c, s, err
	case o.Format == FormatRaw && s.size > 0: // any length will do for what is said to be raw
		return raw{}, s, nil
	case o.Format != "" && o.Format != FormatRaw:
		if c, err = s.codec(func(Format) bool { return true }); err != nil {
			return nil, nil, err
		}
		if c != nil {
			return nil, nil, fmt.Errorf("detect format: %w: declared as %s, it is %s", ErrCorrupt, o.Format, c.format())
		}
	}
	return nil, nil, fmt.Errorf("detect format: %w", ErrNotImage)
}

// codec is the first of those asked for that knows the image; nil: none. A format that is declared is the only one to be asked: the
// first sector of a fixed VHD, too, is the guest's, who may write there what another format begins with.
func (s *source) codec(asked func(Format) bool) (codec, error) {
	for _, c := range codecs() {
		if !asked(c.format()) {
			continue
		}
		if ok, err := c.detect(s); ok || err != nil {
			return c, err
		}
	}
	return nil, nil //nolint:nilnil // no codec and no fault
}

// Detect names the format by content alone. ErrNotImage: none of them.
func Detect(r Reader) (Format, error) {
	c, _, err := Options{}.find(r)
	if err != nil {
		return "", err
	}
	return c.format(), nil
}

// Inspect reads the image's headers. With an error that says why not all is known it still gives what is, Format at least.
func Inspect(r Reader) (*Info, error) {
	_, info, err := ReadLabel(r)
	return info, err
}

// ReadLabel is Options{}.ReadLabel.
func ReadLabel(r Reader) (*label.Frame, *Info, error) { return Options{}.ReadLabel(r) }

// PlanSet is Options{}.PlanSet.
func PlanSet(r Reader, frame label.Frame) (*Edit, error) { return Options{}.PlanSet(r, frame) }

// PlanRemove is Options{}.PlanRemove.
func PlanRemove(r Reader) (*Edit, error) { return Options{}.PlanRemove(r) }

// ReadLabel reads the headers and the label. A nil frame means that there is none. The frame's signature and
// document are not checked (label.TrustFile.Verify does it). An image of the usual make costs one read.
func (o Options) ReadLabel(r Reader) (*label.Frame, *Info, error) {
	c, s, err := o.find(r)
	if err != nil {
		return nil, nil, err
	}
	return c.read(s)
}

// PlanSet works out how to store frame in the image, as its first label or in place of the present one. The
// frame's document has to be valid, bound to this disk, and its serial above the present label's.
func (o Options) PlanSet(r Reader, frame label.Frame) (*Edit, error) {
	c, s, err := o.find(r)
	if err != nil {
		return nil, err
	}
	e, err := c.planSet(s, frame)
	if err != nil {
		return nil, err
	}
	e.Format = c.format()
	return e, mirror(s, e)
}

// PlanRemove works out how to remove the image's label, damaged or not. ErrNoLabel: there is nothing to remove.
func (o Options) PlanRemove(r Reader) (*Edit, error) {
	c, s, err := o.find(r)
	if err != nil {
		return nil, err
	}
	e, err := c.planRemove(s)
	if err != nil {
		return nil, err
	}
	e.Format = c.format()
	return e, mirror(s, e)
}

// PlanStrip is PlanRemove that also takes away what is left beside the image of a label that is gone, such as of a copy that was
// overwritten: attributes that show it to people. ErrNoLabel: there is nothing of it either.
func (o Options) PlanStrip(r Reader) (*Edit, error) {
	e, gone := o.PlanRemove(r)
	if !errors.Is(gone, ErrNoLabel) {
		return e, gone
	}
	c, s, err := o.find(r)
	if err != nil {
		return nil, err
	}
	e = &Edit{Format: c.format(), Size: s.size}
	if err := mirror(s, e); err != nil || len(e.Beside) == 0 {
		return nil, errors.Join(err, gone)
	}
	return e, nil
}

// PlanIdentity works out how to give the image another identity (Info.UUID), for a copy that takes the place of its
// original: the label, which is bound to it, then needs no new signature. uuid is 8-4-4-4-12 lower-case hexadecimal
// digits. It is meant for a file that nobody else has seen yet: it need not survive a power cut. ErrUnsupported: the
// format has no identity.
func (o Options) PlanIdentity(r Reader, uuid string) (*Edit, error) {
	c, s, err := o.find(r)
	if err != nil {
		return nil, err
	}
	i, ok := c.(identifier)
	if !ok {
		return nil, fmt.Errorf("plan identity: %w: %s images have none", ErrUnsupported, c.format())
	}
	if normalUUID(uuid) != uuid || uuid == "" {
		return nil, fmt.Errorf("plan identity: %q, expected 8-4-4-4-12 lower-case hexadecimal digits", clip(uuid))
	}
	e, err := i.planIdentity(s, uuid)
	if err != nil {
		return nil, err
	}
	e.Format = c.format()
	return e, nil
}

// magic knows a format by fixed bytes.
type magic struct {
	name   Format
	offset int
	bytes  string
}

func (m magic) detect(s *source) (bool, error) {
	return len(s.head) > m.offset && bytes.HasPrefix(s.head[m.offset:], []byte(m.bytes)), nil
}
