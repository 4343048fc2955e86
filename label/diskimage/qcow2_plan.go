package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/berth-project/berth/label"
)

const (
	// extUsual is the data of a slot where there is room: the longest frame, and the mark, in whole 8 bytes. More than
	// 4,096 would be too much for go-qcow2reader.
	extUsual = (label.MaxFrame + extTrailer + 7) &^ 7
	// extLeast is the least: a signed label with a few overrides.
	extLeast = 512
	// extReserve stays free in the first cluster for a backing file name that `qemu-img rebase` may write, and for
	// QEMU's own extensions: without room it loses its persistent bitmaps.
	extReserve = qcow2NameMax + 512
)

func (qcow2) planSet(s *source, frame label.Frame) (*Edit, error) {
	img, err := openQcow2(s)
	if err != nil {
		return nil, err
	}
	present, err := img.label()
	if err != nil {
		return nil, err
	}
	if img.beside() {
		return s.planSetBeside(frame, img.info, present)
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	if len(img.slots) > 0 && !img.slots.sound() {
		return nil, fmt.Errorf("plan label: %w: %d header extensions, expected 2; remove the label first", ErrDamaged, len(img.slots))
	}
	if err := checkFrame(frame, img.info, present); err != nil {
		return nil, err
	}
	encoded, err := frame.Encode()
	if err != nil {
		return nil, err
	}
	e := &Edit{Size: s.size, Want: &frame}
	if len(img.slots) == 0 {
		err = img.first(e, encoded)
	} else {
		err = img.change(e, encoded)
	}
	if err != nil {
		return nil, err
	}
	return e, img.remember(e)
}

// remember makes the edit depend on all that was looked at: the first cluster as far as it is parsed or written, and the
// backing file name.
func (img *qcow2Image) remember(e *Edit) error {
	to := img.stop()
	for _, s := range e.Steps {
		for _, w := range s.Writes {
			to = max(to, int(w.Offset)+len(w.Data))
		}
	}
	seen, err := img.src.at(0, to)
	if err != nil {
		return err
	}
	e.Before = []Write{{Offset: 0, Data: bytes.Clone(seen)}}
	if ref := img.info.Parent.Ref; ref != "" {
		e.Before = append(e.Before, Write{Offset: int64(img.name.from), Data: []byte(ref)})
	}
	return nil
}

// first makes both slots where the end mark stands. Up to the last step, which writes the 8 bytes of a type and a
// length over the mark, they are not there for any reader.
func (img *qcow2Image) first(e *Edit, encoded []byte) error {
	at := img.end
	if !img.marked() || at%8 != 0 {
		return fmt.Errorf("plan label: %w: the header extensions have no end mark in its place; 'qemu-img amend -o compat=1.1' writes them anew", ErrUnsupported)
	}
	size := (min(img.cluster, extWalk) - extReserve - at - 3*extHeader) / 2 &^ 7
	if need := max(extLeast, len(encoded)+extTrailer); size < need {
		return fmt.Errorf("plan label: %w: %d bytes are left for it in the first cluster, expected %d", ErrNoRoom, max(0, size), need)
	}
	size = min(size, extUsual)
	body := append(extBytes('a', encoded, size), extBytes('b', nil, size)...)
	body = append(body, make([]byte, extHeader)...) // the new end mark
	if stop := at + len(body); img.named && img.name.from < stop {
		if err := img.moveName(e, max(stop, (img.name.to+7)&^7)); err != nil {
			return err
		}
	}
	e.step(at+extHeader, body[extHeader:])
	e.step(at, body[:extHeader])
	return nil
}

// marked reports that an end mark stands before the backing file name: there alone room can be made and taken away.
func (img *qcow2Image) marked() bool { return img.ended && (!img.named || img.name.from >= img.stop()) }

// moveName copies the backing file name to another place and then switches its offset. The old bytes are not touched.
func (img *qcow2Image) moveName(e *Edit, to int) error {
	n := img.name.to - img.name.from
	if to+n > img.cluster {
		return fmt.Errorf("plan label: %w: none to move the backing file name to", ErrNoRoom)
	}
	if n > 0 {
		e.step(to, []byte(img.info.Parent.Ref))
	}
	e.step(qcow2NameAt, binary.BigEndian.AppendUint64(nil, uint64(to)))
	return nil
}

// step adds a step of one write.
func (e *Edit) step(at int, data []byte) {
	e.write(int64(at), data)
}

// change overwrites the slot that does not count.
func (img *qcow2Image) change(e *Edit, encoded []byte) error {
	to := img.slots.spare()
	if over := len(encoded) - to.room(); over > 0 {
		return fmt.Errorf("plan label: %w: %d bytes are missing in the place of the present one; remove it, then set the new one", ErrNoRoom, over)
	}
	e.Steps = append(e.Steps, to.fill(encoded)...)
	return nil
}

func (qcow2) planRemove(s *source) (*Edit, error) {
	img, err := openQcow2(s)
	if err != nil {
		return nil, err
	}
	if img.beside() {
		if _, err := img.label(); err != nil {
			return nil, err
		}
		return s.planRemoveBeside(img.info)
	}
	if len(img.slots) == 0 {
		return nil, fmt.Errorf("plan removal: %w", ErrNoLabel)
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	e := &Edit{Size: s.size}
	if tail, ok := img.movable(); ok {
		img.cut(e, tail)
	} else if err := img.clear(e); err != nil {
		return nil, err
	}
	return e, img.remember(e)
}

// movable is what has to stand where the slots begin once they are gone: the extensions behind them and the end mark.
// It is not ok when the slots are not one block, or what follows does not fit the data of the first: then the
// others cannot be moved without a moment in which they are not whole.
func (img *qcow2Image) movable() (tail []byte, ok bool) {
	first := img.slots[0]
	at := first.at
	for _, s := range img.slots {
		if s.at != at {
			return nil, false
		}
		at = s.next
	}
	if !img.marked() || first.at%8 != 0 || img.end-at > first.room() {
		return nil, false
	}
	return append(bytes.Clone(img.bytes[at:img.end]), make([]byte, extHeader)...), true
}

// cut takes the slots out. What follows them is first copied over the data of the first slot, behind its type and length, where
// no reader looks; then its own first type and length go over the slot's: 8 bytes, one sector. For the end mark
// alone that is all.
func (img *qcow2Image) cut(e *Edit, tail []byte) {
	at, end := img.slots[0].at, img.slots[0].at+len(tail)
	if len(tail) > extHeader {
		img.clearSpares(e)
		step := Step{Writes: []Write{{Offset: int64(at + extHeader), Data: tail[extHeader:]}}}
		if c := img.slots.current(); c != nil && c.at != at {
			step.Writes = append(step.Writes, Write{Offset: int64(c.at + extHeader), Data: make([]byte, c.room())})
		}
		e.Steps = append(e.Steps, step)
	}
	e.step(at, tail[:extHeader])
	rest := make([]byte, img.stop()-end)
	n := img.name.to - img.name.from
	// Behind the old end mark the name stands because of us, or QEMU put it there: it goes behind the new one.
	back := img.named && img.name.from == img.stop() && end+n <= img.name.from
	if back {
		copy(rest, img.info.Parent.Ref)
	}
	e.step(end, rest)
	if back {
		e.step(qcow2NameAt, binary.BigEndian.AppendUint64(nil, uint64(end)))
		if n > 0 {
			e.step(img.name.from, make([]byte, n))
		}
	}
}

// clearSpares empties the slots that do not count, so that an older label never counts again.
func (img *qcow2Image) clearSpares(e *Edit) {
	c := img.slots.current()
	var each [][]Step
	for _, s := range img.slots {
		if !s.empty && (c == nil || s.at != c.at) {
			each = append(each, s.fill(nil))
		}
	}
	e.Steps = append(e.Steps, abreast(each...)...)
}

// clear empties the slots and leaves them there.
func (img *qcow2Image) clear(e *Edit) error {
	if img.slots.blank() {
		return fmt.Errorf("plan removal: %w: only empty header extensions are left, among those of other tools", ErrNoLabel)
	}
	img.clearSpares(e)
	if c := img.slots.current(); c != nil {
		e.step(c.at+extHeader, make([]byte, c.room()))
	}
	e.Remains = fmt.Sprintf("%d empty header extensions of type %#x, since another tool put its own between or behind them", len(img.slots), uint32(extBerth))
	return nil
}
