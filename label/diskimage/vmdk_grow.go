package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// growable reports why the descriptor area cannot be made fullArea sectors long. It can where the sectors up to
// there belong to the metadata and are all zero (or hold remains of an attempt to grow): VirtualBox's streams reserve 128 sectors and use one or two.
func (img *vmdkImage) growable() error {
	h := img.header
	if h == nil || h.descSize >= fullArea {
		return fmt.Errorf("plan label: %w: the descriptor area has its full size", ErrNoRoom)
	}
	end := h.descOffset + h.descSize
	if h.overHead < fullArea+1 || overlaps(h.gd, fullArea+1) || overlaps(h.rgd, fullArea+1) {
		return fmt.Errorf("plan label: %w: the descriptor area of %d sectors cannot grow, since metadata follows it at once", ErrNoRoom, h.descSize)
	}
	from := int64(end) * sectorSize
	n := int(fullArea+1-end) * sectorSize
	b, err := img.src.at(from, n)
	if err != nil {
		return err
	}
	if len(b) != n || bytes.ContainsFunc(b, notOurs) {
		return fmt.Errorf("plan label: %w: the sectors behind the descriptor area are not free", ErrNoRoom)
	}
	return nil
}

// notOurs reports a byte that is neither zero nor left by an attempt to grow that a power cut ended.
func notOurs(r rune) bool {
	return r != 0 && !strings.ContainsRune(".= \"\n", r) && (r < 'a' || r > 'z') && (r < '0' || r > '9')
}

// grow adds the step that gives the area its full size in the header, and in the footer when there is one. The
// text still ends where it did, so that it does not matter which of the two is written first.
func (img *vmdkImage) grow(e *Edit) error {
	size := binary.LittleEndian.AppendUint64(nil, fullArea)
	step := Step{Writes: []Write{{Offset: descSizeOff, Data: size}}}
	if img.header.gd == gdAtEnd {
		off, _, err := img.header.footer(img.src)
		if err != nil {
			return err
		}
		b, err := img.src.at(off, sectorSize)
		if err != nil {
			return err
		}
		e.Before = append(e.Before, Write{Offset: off, Data: bytes.Clone(b)})
		step.Writes = append(step.Writes, Write{Offset: off + descSizeOff, Data: size})
	}
	e.Steps = append(e.Steps, step)
	return nil
}
