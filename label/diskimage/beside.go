package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-project/berth/label"
)

// Extended attributes of a labelled file. AttributeLabel is the label as a DSSE envelope: of a format without a place of
// its own it is the label itself, of every other a copy for those who look with a file manager, never read.
// AttributeLevel is the level's name alone, always a copy.
const (
	AttributeLabel = "user.berth.label"
	AttributeLevel = "user.berth.level"
)

// readBeside reads the label that lies beside the image: sidecar or attribute, whichever has the higher serial; the
// sidecar when they are equal. It completes info.
func (s *source) readBeside(info *Info) (*label.Frame, error) {
	info.Place = PlaceSidecar
	b, ok := s.r.(Beside)
	if !ok {
		return nil, nil //nolint:nilnil // no label and no fault: as in ReadLabel
	}
	var best *label.Frame
	damaged := false
	for _, p := range []struct {
		place Place
		read  func() ([]byte, error)
	}{
		{PlaceSidecar, b.Sidecar},
		{PlaceAttribute, func() ([]byte, error) { return b.Attribute(AttributeLabel) }},
	} {
		text, err := p.read()
		if errors.Is(err, errors.ErrUnsupported) || err == nil && text == nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read label %s: %w", p.place, err)
		}
		frame, err := label.ParseEnvelope(text)
		if err != nil {
			damaged = true
			continue
		}
		if best != nil && !sameFrame(best, &frame) {
			// As a power cut leaves it, or a sidecar that stayed when another image of the same name and size came.
			info.Trace = fmt.Sprintf("sidecar and attribute hold different labels, of serials %d and %d", best.Serial, frame.Serial)
		}
		if best == nil || frame.Serial > best.Serial {
			best, info.Place = &frame, p.place
		}
	}
	info.HasLabel, info.Damaged = best != nil, best == nil && damaged
	return best, nil
}

// planSetBeside stores frame in the sidecar and then in the attribute, where there can be one. before is what of the image frame
// is bound to, beyond its size.
func (s *source) planSetBeside(frame label.Frame, info *Info, present *label.Frame, before ...Write) (*Edit, error) {
	if err := checkFrame(frame, info, present); err != nil {
		return nil, err
	}
	envelope, err := frame.Envelope()
	if err != nil {
		return nil, err
	}
	b, ok := s.r.(Beside)
	if !ok {
		return nil, fmt.Errorf("plan label: %w: this %s image needs a sidecar file, and there is no place for one here", ErrUnsupported, info.Format)
	}
	change := BesideChange{New: envelope}
	if change.Old, err = b.Sidecar(); errors.Is(err, errors.ErrUnsupported) {
		// Such as a name that is too long with the suffix: then the attribute alone holds the label.
		change.Attribute = AttributeLabel
		var aerr error
		if change.Old, aerr = b.Attribute(AttributeLabel); aerr != nil {
			return nil, fmt.Errorf("plan label: no sidecar (%w) and no attribute: %w", err, aerr)
		}
	} else if err != nil {
		return nil, fmt.Errorf("plan label: read sidecar: %w", err)
	}
	return &Edit{Size: s.size, Before: before, Want: &frame, Beside: []BesideChange{change}}, nil
}

// planRemoveBeside removes sidecar and attribute, damaged or not.
func (s *source) planRemoveBeside(info *Info) (*Edit, error) {
	if !info.HasLabel && !info.Damaged {
		return nil, fmt.Errorf("plan removal: %w", ErrNoLabel)
	}
	e := &Edit{Size: s.size}
	return e, s.dropBeside(e, info.Place)
}

// dropBeside lets e remove what lies beside the image; last what is in the place that counts, be it the image, so that a removal cut
// off shows no label older than the present one.
func (s *source) dropBeside(e *Edit, counts Place) error {
	b, ok := s.r.(Beside)
	if !ok {
		return nil
	}
	e.BesideFirst = counts == PlaceImage
	changes := []BesideChange{{Attribute: AttributeLabel}, {}}
	if counts == PlaceAttribute {
		slices.Reverse(changes)
	}
	for _, c := range changes {
		var err error
		if c.Old, err = c.get(b); errors.Is(err, errors.ErrUnsupported) || err == nil && c.Old == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("plan removal: read %s: %w", c.name(), err)
		}
		e.Beside = append(e.Beside, c)
	}
	return nil
}

// mirror adds to e the attributes that show the label beside the image, or takes them away. One that cannot be read, such as where
// the file system has none, is left alone: a copy is no reason to refuse. Where it is the label itself readBeside has refused.
func mirror(s *source, e *Edit) error {
	b, ok := s.r.(Beside)
	if !ok {
		return nil
	}
	want := map[string][]byte{}
	if e.Want != nil {
		doc, err := e.Want.Document()
		if err != nil {
			return err
		}
		if want[AttributeLabel], err = e.Want.Envelope(); err != nil {
			return err
		}
		want[AttributeLevel] = []byte(doc.Level)
	}
	for _, name := range []string{AttributeLabel, AttributeLevel} {
		if slices.ContainsFunc(e.Beside, func(c BesideChange) bool { return c.Attribute == name }) {
			continue // there it is the label itself
		}
		old, err := b.Attribute(name)
		if err == nil && !bytes.Equal(old, want[name]) {
			e.Beside = append(e.Beside, BesideChange{Attribute: name, Old: old, New: want[name], Optional: true})
		}
	}
	return nil
}

// applyBeside makes the changes in order and takes those before back when one fails.
func applyBeside(f File, changes []BesideChange) error {
	b, ok := f.(Beside)
	if !ok {
		if len(changes) == 0 {
			return nil
		}
		return fmt.Errorf("write label: %w: no place beside the image", ErrUnsupported)
	}
	for i, c := range changes {
		err := c.set(b, c.New)
		if c.Optional && err != nil {
			_ = c.set(b, nil) // better no copy than an outdated one; where it was the label itself, Apply's last look tells
			continue
		}
		if err != nil {
			err = fmt.Errorf("write label %s: %w", c.name(), err)
			return errors.Join(err, takeBackBeside(f, changes[:i+1])) // c too: it can be done and not be durable
		}
	}
	return nil
}

// takeBackBeside puts back what stood there before the changes, in the opposite order.
func takeBackBeside(f File, changes []BesideChange) error {
	b, ok := f.(Beside)
	if !ok {
		return nil
	}
	var errs []error
	for _, c := range slices.Backward(changes) {
		if now, err := c.get(b); err == nil && bytes.Equal(now, c.Old) {
			continue
		}
		if err := c.set(b, c.Old); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			errs = append(errs, fmt.Errorf("take back what was written: %w", err))
		}
	}
	return errors.Join(errs...)
}

// expectBeside reports what is not as the edit was planned for.
func expectBeside(f File, changes []BesideChange) error {
	b, ok := f.(Beside)
	for _, c := range changes {
		if !ok {
			return fmt.Errorf("%s cannot be read", c.name())
		}
		now, err := c.get(b)
		if err != nil && (!c.Optional || !errors.Is(err, errors.ErrUnsupported)) {
			return fmt.Errorf("read %s: %w", c.name(), err)
		}
		if err == nil && !bytes.Equal(now, c.Old) {
			return fmt.Errorf("other content in %s", c.name())
		}
	}
	return nil
}

func (c *BesideChange) name() string {
	if c.Attribute == "" {
		return "sidecar"
	}
	return "attribute " + c.Attribute
}

func (c *BesideChange) get(b Beside) ([]byte, error) {
	if c.Attribute == "" {
		return b.Sidecar()
	}
	return b.Attribute(c.Attribute)
}

func (c *BesideChange) set(b Beside, value []byte) error {
	if c.Attribute == "" {
		return b.SetSidecar(value)
	}
	return b.SetAttribute(c.Attribute, value)
}
