package diskimage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/label"
)

func (vdi) planSet(s *source, frame label.Frame) (*Edit, error) {
	img, err := openVDI(s)
	if err != nil {
		return nil, err
	}
	present, err := img.label()
	if err != nil {
		return nil, err
	}
	if err := checkFrame(frame, img.info, present); err != nil {
		return nil, err
	}
	short := shortForm(frame)
	switch {
	case img.usable():
		return img.setSlot(frame, short)
	case img.current() != nil:
		return nil, fmt.Errorf("plan label: %w: something else lies beside it in the gap at %d; remove the label first", ErrDamaged, img.slots[0].at)
	case short != "" && (img.comment.empty || img.comment.ours):
		e := img.newEdit()
		e.Want = &frame
		e.write(vdiCommentAt, commentBytes(short))
		return e, img.src.dropSidecar(e)
	case img.comment.frame != nil:
		return nil, fmt.Errorf("plan label: %w: this image has the label in its comment, which takes %d bytes; remove it, and the new one goes into a sidecar", ErrNoRoom, vdiCommentSize-1)
	}
	return s.planSetBeside(frame, img.info, present, img.newEdit().Before...)
}

// newEdit starts an edit with what must not change until it is applied: all that was looked at.
func (img *vdiImage) newEdit() *Edit {
	e := &Edit{Size: img.src.size, Before: []Write{{Data: bytes.Clone(img.header)}}}
	for _, p := range img.slots {
		e.Before = append(e.Before, Write{Offset: p.at, Data: bytes.Clone(p.data)})
	}
	return e
}

// write adds a step of one write.
func (e *Edit) write(at int64, data []byte) {
	e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at, Data: data}}})
}

// setSlot writes the slot that does not count, then the comment. Into an empty slot the first sector goes alone: so whatever reaches
// the disk begins with the magic and is known for ours.
func (img *vdiImage) setSlot(frame label.Frame, short string) (*Edit, error) {
	encoded, err := frame.Encode()
	if err != nil {
		return nil, err
	}
	e := img.newEdit()
	e.Want = &frame
	to := &img.slots[0]
	if to == img.current() {
		to = &img.slots[1]
	}
	content := make([]byte, vdiSlot)
	copy(content, encoded)
	if to.empty && len(encoded) > sectorSize {
		e.write(to.at, content[:sectorSize])
	}
	e.Steps = append(e.Steps, refillAt(to.at, to.data, content)...)
	if short == "" {
		if short, err = hintForm(frame); err != nil {
			return nil, err
		}
	}
	if img.comment.empty || img.comment.ours {
		e.write(vdiCommentAt, commentBytes(short))
	}
	return e, nil
}

// dropSidecar lets e remove a sidecar, whose label counts no more.
func (s *source) dropSidecar(e *Edit) error {
	b, ok := s.r.(Beside)
	if !ok {
		return nil
	}
	old, err := b.Sidecar()
	if errors.Is(err, errors.ErrUnsupported) || err == nil && old == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("plan label: read sidecar: %w", err)
	}
	e.Beside = append(e.Beside, BesideChange{Old: old})
	return nil
}

// planRemove clears the comment, the spare slot and last the current one: cut off, it shows no label older than the present one.
func (vdi) planRemove(s *source) (*Edit, error) {
	img, err := openVDI(s)
	if err != nil {
		return nil, err
	}
	if _, err := img.label(); err != nil {
		return nil, err
	}
	e := img.newEdit()
	last := img.current()
	if img.comment.ours {
		e.write(vdiCommentAt, make([]byte, vdiCommentSize))
	}
	for i := range img.slots {
		if p := &img.slots[i]; p != last {
			e.clear(p)
		}
	}
	if last != nil {
		e.clear(last)
	}
	if !img.usable() {
		if err := s.dropBeside(e, img.info.Place); err != nil {
			return nil, err
		}
	}
	if len(e.Steps) == 0 && len(e.Beside) == 0 && img.beside == nil && !img.info.Damaged {
		return nil, fmt.Errorf("plan removal: %w", ErrNoLabel)
	}
	return e, nil
}

// clear zeroes a slot, the sector with the magic last. What a power cut left in it is no frame before that begins.
func (e *Edit) clear(p *vdiPlace) {
	if !p.ours {
		return
	}
	if !settled(p.data) {
		e.write(p.at+frameVersionAt, []byte{0})
	}
	if !blank(p.data[sectorSize:]) {
		e.write(p.at+sectorSize, make([]byte, vdiSlot-sectorSize))
	}
	e.write(p.at, make([]byte, sectorSize))
}

// planIdentity changes uuidCreate.
func (vdi) planIdentity(s *source, uuid string) (*Edit, error) {
	img, err := openVDI(s)
	if err != nil {
		return nil, err
	}
	frame, err := img.label()
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		return nil, fmt.Errorf("plan identity: %w", err)
	}
	e := img.newEdit()
	e.Want = frame
	e.write(vdiUUIDAt, []byte{
		b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6],
		b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15],
	})
	return e, nil
}
