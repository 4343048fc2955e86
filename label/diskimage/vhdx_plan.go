package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/berth-project/berth/label"
)

func (vhdx) planSet(s *source, frame label.Frame) (*Edit, error) {
	img, err := openVHDX(s)
	if err != nil {
		return nil, err
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	if !img.slots[0].sound() || !img.slots[1].sound() {
		return nil, fmt.Errorf("plan label: %w: another tool changed them; remove the label first", ErrDamaged)
	}
	if err := checkFrame(frame, img.info, img.frame()); err != nil {
		return nil, err
	}
	encoded, err := frame.Encode()
	if err != nil {
		return nil, err
	}
	e, err := img.newEdit(encoded)
	if err != nil {
		return nil, err
	}
	e.Want = &frame
	content := make([]byte, vhdxSlotSize)
	copy(content, encoded)
	to := img.spare()
	if to.entry != nil {
		e.Steps = append(e.Steps, refillAt(img.at(to), to.content, content)...)
		return e, nil
	}
	return e, img.addSlots(e, to, content)
}

// newEdit starts an edit with what must not change until it is applied, and with the update of the headers that has to
// come before any other write. Cause is what will be written.
func (img *vhdxImage) newEdit(cause []byte) (*Edit, error) {
	steps, err := img.headers.update(cause)
	if err != nil {
		return nil, err
	}
	e := &Edit{Size: img.src.size, Steps: steps}
	before := func(at int64, b []byte) { e.Before = append(e.Before, Write{Offset: at, Data: bytes.Clone(b)}) }
	for i, b := range img.headers.raw {
		before(vhdxHeaderAt(i), b)
	}
	before(img.regions.at, img.regions.raw)
	before(img.table.base, img.table.raw)
	before(img.table.base+int64(img.window.from), img.window.data)
	for i := range img.slots {
		if s := &img.slots[i]; s.content != nil {
			before(img.at(s), s.content)
		}
	}
	return e, nil
}

// addSlots makes an item of content for to, and an empty one for the other slot if that is missing too: first all that
// lies beyond the table's count, where no reader looks, and then the count, which is in one sector.
func (img *vhdxImage) addSlots(e *Edit, to *vhdxSlot, content []byte) error {
	var missing []*vhdxSlot
	for i := range img.slots {
		if s := &img.slots[i]; s.entry == nil {
			missing = append(missing, s)
		}
	}
	t := &img.table
	count := len(t.entries)
	if count+len(missing) > vhdxMaxEntries || t.users()+len(missing) > vhdxMaxUser {
		return fmt.Errorf("plan label: %w: the metadata table has %d items, %d of them of users", ErrNoRoom, count, t.users())
	}
	places := t.free(len(missing))
	if len(places) < len(missing) {
		return fmt.Errorf("plan label: %w: the metadata region of %d bytes is full", ErrNoRoom, t.length)
	}
	var add Step
	for i, s := range missing {
		data := make([]byte, vhdxSlotSize)
		if s == to {
			data = content
		}
		entry := append(make([]byte, 0, vhdxEntrySize), vhdxGUIDBytes(s.id)...)
		entry = binary.LittleEndian.AppendUint32(entry, places[i])
		entry = binary.LittleEndian.AppendUint32(entry, vhdxSlotSize)
		entry = binary.LittleEndian.AppendUint64(entry, vhdxSlotFlags)
		add.Writes = append(add.Writes,
			Write{Offset: t.base + int64(places[i]), Data: data},
			Write{Offset: t.base + vhdxEntrySize*int64(1+count+i), Data: entry})
	}
	e.Steps = append(e.Steps, add, img.setCount(count+len(missing)))
	return nil
}

func (img *vhdxImage) setCount(n int) Step {
	return Step{Writes: []Write{{Offset: img.table.base + vhdxCountAt, Data: binary.LittleEndian.AppendUint16(nil, uint16(n))}}}
}

// planIdentity gives the disk another page 83 identity. Its label, which may be bound to the one before, stays as it is.
func (vhdx) planIdentity(s *source, uuid string) (*Edit, error) {
	img, err := openVHDX(s)
	if err != nil {
		return nil, err
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	e, err := img.newEdit([]byte(uuid))
	if err != nil {
		return nil, err
	}
	e.Want = img.frame()
	at := img.table.base + int64(img.table.find(vhdxDiskID, false).offset)
	e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at, Data: vhdxGUIDBytes(uuid)}}})
	return e, nil
}
