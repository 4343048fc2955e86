// Package carry takes the label of a disk where a copy of its data does not: into the new image of a live move, and out of a
// hypervisor's metadata into the image that its guest has let go of. It joins package diskimage, which knows the formats, with
// the drivers, which know the files.
//
// Which label counts is decided here once: of the image's own and the one that the hypervisor keeps, the one with the higher
// serial, and the image's when they are equal. A label of the hypervisor that does not parse, or was made for another disk,
// counts for nothing: whoever may define a virtual machine may write anything there.
package carry

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Labels is what driver/libvirt asks for in its Labels. The zero value is ready.
type Labels struct{}

// Later is the envelope with the higher serial; a when they are equal or b is none.
func (Labels) Later(a, b string) string {
	y, err := label.ParseEnvelope([]byte(b))
	if err != nil {
		return a
	}
	x, err := label.ParseEnvelope([]byte(a))
	if err != nil || y.Serial > x.Serial {
		return b
	}
	return a
}

// Labelled reports whether from has a label, or envelope is one for it. An error says why it cannot be carried.
func (Labels) Labelled(from fleet.ImageFile, format string, envelope []byte) (bool, error) {
	f, ok := diskimage.FormatNamed(format)
	if !ok {
		return false, nil
	}
	frame, err := counting(from, f, envelope)
	return frame != nil, err
}

// Carry gives to the label that counts of from and envelope.
func (Labels) Carry(from, to fleet.ImageFile, format string, envelope []byte) error {
	f, ok := diskimage.FormatNamed(format)
	if !ok {
		return nil
	}
	frame, err := counting(from, f, envelope)
	if err != nil || frame == nil {
		return err
	}
	opts := diskimage.Options{Format: f}
	present, _, err := opts.ReadLabel(to)
	if err != nil {
		return fmt.Errorf("read label of the copy: %w", err)
	}
	if same(present, frame) {
		return nil
	}
	edit, err := opts.PlanSet(to, *frame)
	if err != nil {
		return err
	}
	return diskimage.Apply(to, edit)
}

// Carried says why to has neither from's label nor a later one, or nil. An image that no label can be read of, for a reason of
// its format, is copied byte for byte or not at all: there it is enough that the copy is the same.
func (Labels) Carried(from, to fleet.ImageFile, format string) error {
	f, ok := diskimage.FormatNamed(format)
	if !ok {
		return nil
	}
	want, unreadable, err := read(from, f)
	if err != nil {
		return fmt.Errorf("read label of the source: %w", err)
	}
	got, alike, err := read(to, f)
	switch {
	case err != nil:
		return fmt.Errorf("read label of the copy: %w", err)
	case unreadable != nil && !errors.Is(alike, unreadable):
		return fmt.Errorf("read label of the source: %w; not so of the copy", unreadable)
	case want == nil:
		return nil
	case alike != nil:
		return fmt.Errorf("read label of the copy: %w", alike)
	case got == nil:
		return errors.New("the copy has no label, the source has one")
	case got.Serial < want.Serial || got.Serial == want.Serial && !same(got, want):
		return fmt.Errorf("the copy has another label (serial %d) than the source (serial %d)", got.Serial, want.Serial)
	}
	return nil
}

// read is the image's own label; nil: none. unreadable is why its format, or what became of the label, gives none away.
func read(img diskimage.Reader, f diskimage.Format) (frame *label.Frame, unreadable, err error) {
	frame, info, err := diskimage.Options{Format: f}.ReadLabel(img)
	if err == nil && frame == nil && info.Damaged {
		err = diskimage.ErrDamaged
	}
	for _, known := range []error{
		diskimage.ErrNotImage, diskimage.ErrUnsupported, diskimage.ErrExtent, diskimage.ErrCorrupt, diskimage.ErrUnclean, diskimage.ErrDamaged,
	} {
		if errors.Is(err, known) {
			return nil, known, nil
		}
	}
	return frame, nil, err
}

// counting is the label that counts of an image's own and the envelope; nil: none.
func counting(img diskimage.Reader, format diskimage.Format, envelope []byte) (*label.Frame, error) {
	own, info, err := diskimage.Options{Format: format}.ReadLabel(img)
	if format == diskimage.FormatRaw && errors.Is(err, diskimage.ErrNotImage) {
		return nil, nil //nolint:nilnil // of no whole sectors: it runs, and no label can be for it
	}
	if err != nil {
		return nil, fmt.Errorf("read label: %w", err)
	}
	kept, err := forDisk(envelope, info)
	switch {
	case err == nil && kept != nil && (own == nil || kept.Serial > own.Serial):
		return kept, nil
	case own == nil && info.Damaged:
		return nil, fmt.Errorf("read label: %w", diskimage.ErrDamaged)
	case own == nil:
		return nil, nil //nolint:nilnil // no label and no fault: as in ReadLabel
	}
	doc, err := own.Document()
	if err != nil {
		return nil, err
	}
	return own, bound(doc, info)
}

// forDisk is the label in envelope, when it is one for the disk; nil: there is no envelope.
func forDisk(envelope []byte, info *diskimage.Info) (*label.Frame, error) {
	if len(envelope) == 0 {
		return nil, nil //nolint:nilnil // nothing given, nothing wrong
	}
	frame, err := label.ParseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	doc, err := frame.Document()
	if err == nil {
		err = bound(doc, info)
	}
	return &frame, err
}

func bound(doc label.Document, info *diskimage.Info) error {
	disk := info.Binding()
	if doc.Disk.Size != disk.Size || doc.Disk.UUID != "" && disk.UUID != "" && doc.Disk.UUID != disk.UUID {
		return fmt.Errorf("%w: made for %d bytes, uuid %q; this disk has %d bytes, uuid %q", diskimage.ErrBinding,
			doc.Disk.Size, doc.Disk.UUID, disk.Size, disk.UUID)
	}
	return nil
}

func same(a, b *label.Frame) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, errA := a.Encode()
	y, errB := b.Encode()
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// Store writes the label in envelope into an image that nothing uses, when it is for this disk and its serial is higher
// than that of the image's own. changed is false, without an error, when the image has as new a label already.
func Store(img diskimage.File, format diskimage.Format, envelope []byte) (changed bool, err error) {
	opts := diskimage.Options{Format: format}
	own, info, err := opts.ReadLabel(img)
	if err != nil {
		return false, fmt.Errorf("read label: %w", err)
	}
	kept, err := forDisk(envelope, info)
	if err != nil || kept == nil || own != nil && own.Serial >= kept.Serial {
		return false, err
	}
	edit, err := opts.PlanSet(img, *kept)
	if err != nil {
		return false, err
	}
	return true, diskimage.Apply(img, edit)
}
