package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/berth-project/berth/label"
)

// The sparse extent header (VMware Virtual Disk Format 5.0, "Hosted Sparse Extents"): one sector, little endian.
const (
	sparseMagic   = "KDMV"
	cowMagic      = "COWD"                             // ESX vmfsSparse and hosted version 3 extents
	seSparseMagic = "\xbe\xba\xfe\xca\x00\x00\x00\x00" // seSparse constant header
	newlineTest   = "\n \r\n"

	flagNewline   = 1 << 0
	flagRedundant = 1 << 1
	flagZeroGrain = 1 << 2
	flagCompress  = 1 << 16
	flagMarkers   = 1 << 17
	knownFlags    = flagNewline | flagRedundant | flagZeroGrain | flagCompress | flagMarkers

	gdAtEnd     = ^uint64(0) // the footer holds the real header
	footerBack  = 2 * sectorSize
	descSizeOff = 36 // offset of descriptorSize in the header
)

// sparse is what matters here of a sparse extent header. Offsets and sizes are in sectors.
type sparse struct {
	version, flags       uint32
	capacity             uint64
	descOffset, descSize uint64
	rgd, gd, overHead    uint64
	unclean              bool
}

func decodeSparse(b []byte) sparse {
	u64 := func(off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
	return sparse{
		version: binary.LittleEndian.Uint32(b[4:]), flags: binary.LittleEndian.Uint32(b[8:]),
		capacity: u64(12), descOffset: u64(28), descSize: u64(descSizeOff),
		rgd: u64(48), gd: u64(56), overHead: u64(64), unclean: b[72] != 0,
	}
}

// parseSparse checks the header as far as reading the descriptor relies on it.
func parseSparse(s *source) (*sparse, error) {
	if len(s.head) < sectorSize {
		return nil, fmt.Errorf("read vmdk header: %w: %d bytes, expected %d", ErrCorrupt, len(s.head), sectorSize)
	}
	h := decodeSparse(s.head)
	switch {
	case h.version < 1 || h.version > 3:
		return nil, fmt.Errorf("read vmdk header: %w: version %d, expected 1 to 3", ErrUnsupported, h.version)
	case h.flags&flagNewline != 0 && string(s.head[73:77]) != newlineTest:
		return nil, fmt.Errorf("read vmdk header: %w: line ends were changed in transfer", ErrCorrupt)
	case h.capacity > uint64(label.MaxSize)/sectorSize:
		return nil, fmt.Errorf("read vmdk header: %w: capacity of %d sectors", ErrCorrupt, h.capacity)
	case h.descOffset == 0:
		return nil, fmt.Errorf("read vmdk: %w: it has no descriptor of its own; label the image's descriptor file instead (the one that names this file)", ErrExtent)
	case h.descSize == 0:
		return nil, fmt.Errorf("read vmdk header: %w: a descriptor of 0 sectors", ErrCorrupt)
	}
	sectors := uint64(s.size) / sectorSize
	if h.descOffset > sectors || h.descSize > sectors-h.descOffset {
		return nil, fmt.Errorf("read vmdk header: %w: descriptor in sectors %d+%d, the file has %d", ErrCorrupt, h.descOffset, h.descSize, sectors)
	}
	return &h, nil
}

// writable reports why the descriptor area must not be written to, trusting the header in nothing.
func (h *sparse) writable() error {
	end := h.descOffset + h.descSize
	switch {
	case h.unclean:
		return fmt.Errorf("plan label: %w: open and close it with the tool that last wrote it, or check it", ErrUnclean)
	case h.flags&^uint32(knownFlags) != 0:
		return fmt.Errorf("plan label: %w: unknown header flags %#x", ErrUnsupported, h.flags&^uint32(knownFlags))
	case h.descOffset != 1:
		// QEMU writes to sector 1 whatever the header says.
		return fmt.Errorf("plan label: %w: descriptor at sector %d, expected 1", ErrUnsupported, h.descOffset)
	case h.overHead < end:
		return fmt.Errorf("plan label: %w: descriptor ends at sector %d, metadata at %d", ErrCorrupt, end, h.overHead)
	case overlaps(h.rgd, end) || overlaps(h.gd, end):
		return fmt.Errorf("plan label: %w: a grain directory lies in the descriptor", ErrCorrupt)
	}
	return nil
}

// overlaps reports whether a grain directory at sector gd begins before sector end.
func overlaps(gd, end uint64) bool { return gd != 0 && gd != gdAtEnd && gd < end }

// footer finds the copy of the header that a stream ends with (footer, end-of-stream marker), and its descriptor
// size. That may differ from the header's in one way only: a power cut while the area grew.
func (h *sparse) footer(s *source) (off int64, size uint64, err error) {
	off = s.size - footerBack
	b, err := s.at(off, sectorSize)
	if err != nil {
		return 0, 0, err
	}
	if s.size%sectorSize != 0 || len(b) != sectorSize || !bytes.HasPrefix(b, []byte(sparseMagic)) {
		return 0, 0, fmt.Errorf("read vmdk footer: %w: no header at offset %d", ErrCorrupt, off)
	}
	f := decodeSparse(b)
	if f.version != h.version || f.capacity != h.capacity || f.descOffset != h.descOffset || f.overHead != h.overHead ||
		f.descSize != h.descSize && f.descSize != fullArea && h.descSize != fullArea {
		return 0, 0, fmt.Errorf("read vmdk footer: %w: it contradicts the header", ErrCorrupt)
	}
	if end := h.descOffset + max(h.descSize, fullArea); overlaps(f.gd, end) || overlaps(f.rgd, end) {
		return 0, 0, fmt.Errorf("read vmdk footer: %w: a grain directory in the descriptor", ErrCorrupt)
	}
	return off, f.descSize, nil
}
