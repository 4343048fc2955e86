package diskimage

import (
	"bytes"
	"fmt"

	"github.com/berth-project/berth/label"
)

func (vmdk) planRemove(s *source) (*Edit, error) {
	img, err := openVMDK(s)
	if err != nil {
		return nil, err
	}
	sl := &img.desc.slots
	if sl.none() {
		return nil, fmt.Errorf("plan removal: %w", ErrNoLabel)
	}
	if err := img.removable(); err != nil {
		return nil, err
	}
	e := img.newEdit()
	if img.header == nil {
		e.Replace = img.padded(img.desc.withoutLines())
	}
	if from, ok := sl.tail(); ok {
		img.cut(e, from)
		return e, nil
	}
	if img.header != nil && sl.blank() {
		return nil, fmt.Errorf("plan removal: %w: only empty lines are left, among those of other tools", ErrNoLabel)
	}
	img.blank(e)
	return e, nil
}

// removable reports why nothing may be removed. A text file is never too long for that.
func (img *vmdkImage) removable() error {
	if img.header != nil {
		return img.writable()
	}
	if more := img.src.size - int64(len(img.desc.text)); more > headSize {
		return fmt.Errorf("plan removal: %w: %d bytes follow the descriptor's end", ErrCorrupt, more)
	}
	return nil
}

// cut ends the text before the lines of the label with one NUL, and then clears them.
func (img *vmdkImage) cut(e *Edit, from int) {
	at := img.base + int64(from)
	e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at, Data: []byte{0}}}})
	if n := len(img.desc.text) - from - 1; n > 0 {
		e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at + 1, Data: make([]byte, n)}}})
	}
	if img.header == nil {
		e.Remains = "where the file cannot be replaced: zero bytes at its end"
	}
}

// blank turns both slots into empty ones, line by line where they stand, since another tool has put lines after
// them and moving those cannot be done safely. The spare slot goes first, so that an older label never counts
// again, and of a frame that a power cut left there first what makes it one; then one byte ends the current one.
func (img *vmdkImage) blank(e *Edit) {
	sl := &img.desc.slots
	clearSlot := func(s *slot) {
		if s.remains && s.sound {
			e.Steps = append(e.Steps, Step{Writes: []Write{s.lines[0].version(img.base, 0)}})
		}
		var step Step
		for _, l := range s.lines {
			if n := l.valueTo - l.valueFrom; n > 0 {
				step.Writes = append(step.Writes, Write{Offset: img.base + int64(l.valueFrom), Data: bytes.Repeat([]byte{'a'}, n)})
			}
		}
		if len(step.Writes) > 0 {
			e.Steps = append(e.Steps, step)
		}
	}
	clearSlot(sl.spare())
	if c := sl.current(); c != nil {
		e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: img.base + int64(c.lines[0].valueFrom), Data: []byte{'a'}}}})
		clearSlot(c)
	} else {
		clearSlot(&sl.b) // no label: spare was a
	}
	e.Remains = fmt.Sprintf("%d empty lines %s*, since another tool added lines after them", len(sl.order), keyPrefix)
}

// blank reports that no line says anything.
func (s *slots) blank() bool {
	for _, l := range s.order {
		if len(bytes.Trim(s.text[l.valueFrom:l.valueTo], "a")) != 0 {
			return false
		}
	}
	return true
}

// withoutLines is the text with every line of a label cut out.
func (d *descriptor) withoutLines() []byte {
	if from, ok := d.slots.tail(); ok {
		return bytes.Clone(d.text[:from])
	}
	out := make([]byte, 0, len(d.text))
	at := 0
	for _, l := range d.slots.order {
		out = append(out, d.text[at:l.start]...)
		at = l.next
	}
	return append(out, d.text[at:]...)
}

// sameFrame reports whether two labels are the same bytes, or both are none.
func sameFrame(x, y *label.Frame) bool {
	if x == nil || y == nil {
		return x == y
	}
	return x.Serial == y.Serial && x.KeyID == y.KeyID && x.Signature == y.Signature && bytes.Equal(x.Payload, y.Payload)
}
