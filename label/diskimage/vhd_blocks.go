package diskimage

import (
	"encoding/binary"
	"fmt"
)

// Offsets in the dynamic header, and what it is read with. The block allocation table has the first sector of each block.
const (
	vhdTableAt     = 16
	vhdEntriesAt   = 28
	vhdBlockSizeAt = 32

	vhdNoBlock    = 1<<32 - 1
	maxVHDEntries = 8 << 20 // 2,040 GiB in blocks of 256 KiB
	vhdTableRead  = 64 << 10
)

// apart refuses to write into the footers of a dynamic disk when anything else lies where they are. So it is in a file that was cut
// off: it ends in a block of the guest's, who may have written there what looks like a footer.
func (img *vhdImage) apart() error {
	if img.kind == vhdFixed {
		return nil
	}
	at := binary.BigEndian.Uint64(img.main().data[vhdHeaderAt:])
	h, err := img.dynamicHeader(int64(at))
	if err != nil {
		return err
	}
	table, n := binary.BigEndian.Uint64(h[vhdTableAt:]), binary.BigEndian.Uint32(h[vhdEntriesAt:])
	block := uint64(binary.BigEndian.Uint32(h[vhdBlockSizeAt:]))
	if n > maxVHDEntries || block == 0 || block%sectorSize != 0 {
		return fmt.Errorf("plan label: %w: a vhd of %d blocks of %d bytes", ErrUnsupported, n, block)
	}
	bitmap := (block/sectorSize + 8*sectorSize - 1) / (8 * sectorSize) * sectorSize // one bit a sector, in whole sectors
	if err := img.between("dynamic header", at, vhdDynSize); err != nil {
		return err
	}
	if err := img.between("block allocation table", table, 4*uint64(n)); err != nil {
		return err
	}
	for done := uint64(0); done < 4*uint64(n); done += vhdTableRead {
		b, err := img.src.at(int64(table+done), int(min(vhdTableRead, 4*uint64(n)-done)))
		if err != nil {
			return err
		}
		for ; len(b) >= 4; b = b[4:] {
			first := uint64(binary.BigEndian.Uint32(b))
			if first == vhdNoBlock {
				continue
			}
			if err := img.between("block", first*sectorSize, bitmap+block); err != nil {
				return err
			}
		}
	}
	return nil
}

// between reports what does not lie between the footers.
func (img *vhdImage) between(what string, from, size uint64) error {
	end := uint64(img.src.size - sectorSize)
	if from < sectorSize || from > end || size > end-from {
		return fmt.Errorf("plan label: %w: a %s of %d bytes at %d, its footers are at 0 and %d", ErrCorrupt, what, size, from, end)
	}
	return nil
}
