package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

func (vhdx) planRemove(s *source) (*Edit, error) {
	img, err := openVHDX(s)
	if err != nil {
		return nil, err
	}
	ours := img.present()
	if len(ours) == 0 {
		return nil, fmt.Errorf("plan removal: %w", ErrNoLabel)
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	e, err := img.newEdit([]byte("remove"))
	if err != nil {
		return nil, err
	}
	t := &img.table
	left := len(t.entries) - len(ours)
	last := !slices.ContainsFunc(ours, func(s *vhdxSlot) bool { return s.entry.index < left })
	switch {
	case last:
		e.Steps = append(e.Steps, img.setCount(left), img.clear(ours, Step{Writes: []Write{
			{Offset: t.base + vhdxEntrySize*int64(1+left), Data: make([]byte, vhdxEntrySize*len(ours))},
		}}))
	case len(t.raw) <= sectorSize:
		e.Steps = append(e.Steps, img.closeUp(ours), img.clear(ours, Step{}))
	default:
		return e, img.blank(e, ours)
	}
	return e, nil
}

// present are the slots that have an item.
func (img *vhdxImage) present() []*vhdxSlot {
	var ours []*vhdxSlot
	for i := range img.slots {
		if s := &img.slots[i]; s.entry != nil {
			ours = append(ours, s)
		}
	}
	return ours
}

// closeUp takes our entries out from among those of others. The whole table is in one sector, which is written as one.
func (img *vhdxImage) closeUp(ours []*vhdxSlot) Step {
	raw := img.table.raw
	sector := append(make([]byte, 0, sectorSize), raw[:vhdxEntrySize]...)
	for i := range img.table.entries {
		if !slices.ContainsFunc(ours, func(s *vhdxSlot) bool { return s.entry.index == i }) {
			sector = append(sector, raw[vhdxEntrySize*(1+i):vhdxEntrySize*(2+i)]...)
		}
	}
	binary.LittleEndian.PutUint16(sector[vhdxCountAt:], uint16(len(img.table.entries)-len(ours)))
	sector = append(sector, make([]byte, len(raw)-len(sector))...)
	return Step{Writes: []Write{{Offset: img.table.base, Data: sector}}}
}

// clear adds to step zeros for all that the slots hold.
func (img *vhdxImage) clear(slots []*vhdxSlot, step Step) Step {
	for _, s := range slots {
		if len(s.content) > 0 {
			step.Writes = append(step.Writes, Write{Offset: img.at(s), Data: make([]byte, len(s.content))})
		}
	}
	return step
}

// blank empties the slots and leaves their items, since others follow them in a table of several sectors: to move those
// would show one of them twice, or not at all, for the time between two writes. The spare slot goes first, so that an older label
// never counts again; then the sector that the current one begins in.
func (img *vhdxImage) blank(e *Edit, ours []*vhdxSlot) error {
	said := slices.DeleteFunc(ours, (*vhdxSlot).empty)
	if len(said) == 0 {
		return fmt.Errorf("plan removal: %w: only empty items are left, among those of other tools", ErrNoLabel)
	}
	current := img.current()
	var spares [][]Step
	for _, s := range said {
		if s != current {
			spares = append(spares, refillAt(img.at(s), s.content, make([]byte, len(s.content))))
		}
	}
	e.Steps = append(e.Steps, abreast(spares...)...)
	if current != nil {
		first := bytes.Repeat([]byte{0}, sectorSize-int(img.at(current)%sectorSize))
		e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: img.at(current), Data: first[:min(len(first), len(current.content))]}}},
			img.clear([]*vhdxSlot{current}, Step{}))
	}
	e.Remains = "two empty metadata items of 4,096 bytes, since another tool added items after them"
	return nil
}
