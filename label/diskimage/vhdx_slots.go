package diskimage

import (
	"fmt"

	"github.com/berth-project/berth/label"
)

// The items of the label: ids of our own, drawn at random. They are users' items that belong to the virtual disk, so that
// Hyper-V hands them on to a fork and to what an overlay is merged into, and that nobody has to understand.
const (
	vhdxSlotA = "4e0a6466-655a-47b2-9aef-52004147ee9d"
	vhdxSlotB = "f5a67354-d70b-4e71-ab82-3fbfc1c8f79e"
	// vhdxSlotFlags are IsUser and IsVirtualDisk, and not IsRequired, for which QEMU would refuse the image.
	vhdxSlotFlags = 1 | 2
	vhdxSlotSize  = 4096 // bytes
)

// vhdxSlot is one place of a frame: the frame, then zeros. A slot of zeros is empty.
type vhdxSlot struct {
	id      string
	entry   *vhdxEntry // nil: there is no such item
	content []byte
	frame   *label.Frame // nil: none that is valid
}

// sound reports that the slot can be written as it is.
func (s *vhdxSlot) sound() bool {
	return s.entry == nil || len(s.content) == vhdxSlotSize && s.entry.length == vhdxSlotSize
}

// empty reports that the slot says nothing.
func (s *vhdxSlot) empty() bool { return blank(s.content) }

func (img *vhdxImage) readSlots() error {
	for i, id := range []string{vhdxSlotA, vhdxSlotB} {
		s := &img.slots[i]
		s.id = id
		s.entry = img.table.find(id, true)
		if s.entry == nil || !img.table.inside(s.entry) {
			continue
		}
		b, err := img.window.item(img, s.entry, vhdxSlotSize)
		if err != nil {
			return err
		}
		s.content, s.frame = b, frameAt(b)
	}
	a, b := &img.slots[0], &img.slots[1]
	img.info.HasLabel = img.frame() != nil
	img.info.Damaged = !a.sound() || !b.sound() || !img.info.HasLabel && (!a.empty() || !b.empty())
	return nil
}

// current is the slot whose frame counts: valid and of the higher serial, A when they are equal; nil: no label.
func (img *vhdxImage) current() *vhdxSlot {
	a, b := &img.slots[0], &img.slots[1]
	switch {
	case a.frame == nil && b.frame == nil:
		return nil
	case b.frame == nil || a.frame != nil && a.frame.Serial >= b.frame.Serial:
		return a
	default:
		return b
	}
}

// spare is the slot that a new frame goes to.
func (img *vhdxImage) spare() *vhdxSlot {
	if img.current() == &img.slots[0] {
		return &img.slots[1]
	}
	return &img.slots[0]
}

func (img *vhdxImage) frame() *label.Frame {
	if c := img.current(); c != nil {
		return c.frame
	}
	return nil
}

// at is where the slot's content begins in the file.
func (img *vhdxImage) at(s *vhdxSlot) int64 { return img.table.base + int64(s.entry.offset) }

// writable reports why nothing may be written to the image.
func (img *vhdxImage) writable() error {
	h := img.headers.now()
	if h.logged() {
		return fmt.Errorf("plan label: %w: its log is not empty; let Hyper-V open and close it, or `qemu-img check -r all`", ErrUnclean)
	}
	if v := h.logVersion(); v != 0 {
		return fmt.Errorf("plan label: %w: log version %d, expected 0", ErrUnsupported, v)
	}
	if err := img.regions.writable(img.src, h); err != nil {
		return err
	}
	return img.table.writable()
}
