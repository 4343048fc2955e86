package diskimage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The regions of the specification ([MS-VHDX] 2.2.3.2).
const (
	vhdxBAT      = "2dc27766-f623-4200-9d64-115e9bfd4a08"
	vhdxMetadata = "8b7ca206-4790-4b9a-b8fe-575f050f886e"
)

// vhdxMaxEntries bounds the entries of a region table and of the metadata table.
const vhdxMaxEntries = 2047

// vhdxRegion is one part of the file, in bytes.
type vhdxRegion struct {
	id       string
	offset   uint64
	length   uint64
	required bool
}

func (r *vhdxRegion) end() uint64 { return r.offset + r.length }

// vhdxRegions is the region table that counts.
type vhdxRegions struct {
	at       int64  // offset of the table
	raw      []byte // its header and entries
	all      []vhdxRegion
	metadata vhdxRegion
}

func vhdxRegionTableAt(i int) int64 { return [2]int64{192 << 10, 256 << 10}[i] }

// readVHDXRegions reads the first region table that makes sense, and of it as much as is used: its checksum is over
// 64 KiB, and a reader that finds the metadata table at the place named needs no more proof. Writable checks it.
func readVHDXRegions(s *source) (vhdxRegions, error) {
	var first error
	for i := range 2 {
		t, err := readVHDXRegionTable(s, vhdxRegionTableAt(i))
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, ErrCorrupt) {
			return t, err
		}
		first = cmp.Or(first, err)
	}
	return vhdxRegions{}, first
}

func readVHDXRegionTable(s *source, at int64) (vhdxRegions, error) {
	b, err := s.at(at, 4<<10)
	if err != nil {
		return vhdxRegions{}, err
	}
	if len(b) < 16 || !bytes.HasPrefix(b, []byte("regi")) {
		return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: none at %d", ErrCorrupt, at)
	}
	n := int(min(binary.LittleEndian.Uint32(b[8:]), vhdxMaxEntries+1))
	if n > vhdxMaxEntries {
		return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: more than %d entries", ErrCorrupt, vhdxMaxEntries)
	}
	size := 16 + vhdxEntrySize*n
	if len(b) < size {
		if b, err = s.at(at, size); err != nil {
			return vhdxRegions{}, err
		}
	}
	if len(b) < size {
		return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: the file ends in it", ErrCorrupt)
	}
	return parseVHDXRegions(at, b[:size])
}

func validVHDXRegions(b []byte) bool {
	return len(b) == vhdxTableSize && bytes.HasPrefix(b, []byte("regi")) && vhdxSum(b) == binary.LittleEndian.Uint32(b[4:])
}

func parseVHDXRegions(at int64, b []byte) (vhdxRegions, error) {
	t := vhdxRegions{at: at, raw: b}
	found := map[string]bool{}
	for b := range slices.Chunk(b[16:], vhdxEntrySize) {
		r := vhdxRegion{
			id: vhdxGUID(b), offset: binary.LittleEndian.Uint64(b[16:]), length: uint64(binary.LittleEndian.Uint32(b[24:])),
			required: b[28]&1 != 0,
		}
		if found[r.id] {
			return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: region %s twice", ErrCorrupt, r.id)
		}
		// 2^62: what follows cannot overflow.
		if r.offset%vhdxMiB != 0 || r.offset < vhdxMiB || r.offset > 1<<62 || r.length%vhdxMiB != 0 {
			return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: region %s of %d bytes at %d", ErrCorrupt, r.id, r.length, r.offset)
		}
		found[r.id] = true
		t.all = append(t.all, r)
		if r.id == vhdxMetadata {
			t.metadata = r
		}
	}
	if !found[vhdxMetadata] || t.metadata.length == 0 {
		return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: no metadata region", ErrCorrupt)
	}
	return t, nil
}

// check reports what is wrong with the two region tables: one has to be valid, and all that are to be what was read.
func (t *vhdxRegions) check(s *source) error {
	valid := 0
	for i := range 2 {
		b, err := s.at(vhdxRegionTableAt(i), vhdxTableSize)
		if err != nil {
			return err
		}
		if !validVHDXRegions(b) {
			continue
		}
		if valid++; !bytes.HasPrefix(b[8:], t.raw[8:]) {
			return fmt.Errorf("plan label: %w: the two region tables differ", ErrCorrupt)
		}
	}
	if valid == 0 {
		return fmt.Errorf("plan label: %w: neither of the two region tables is valid", ErrCorrupt)
	}
	return nil
}

// writable reports why nothing may be written to an image with these regions and this log.
func (t *vhdxRegions) writable(s *source, h vhdxHeader) error {
	if err := t.check(s); err != nil {
		return err
	}
	if h.logOffset()%vhdxMiB != 0 || h.logOffset() < vhdxMiB || h.logOffset() > 1<<62 || h.logLength()%vhdxMiB != 0 {
		return fmt.Errorf("plan label: %w: log of %d bytes at %d", ErrCorrupt, h.logLength(), h.logOffset())
	}
	// The log counts as one more region: nothing may overlap it either.
	all := append([]vhdxRegion{{id: "of the log", offset: h.logOffset(), length: h.logLength()}}, t.all...)
	slices.SortFunc(all, func(x, y vhdxRegion) int { return cmp.Compare(x.offset, y.offset) })
	bat, end := false, uint64(0)
	for _, r := range all {
		bat = bat || r.id == vhdxBAT
		if r.required && r.id != vhdxBAT && r.id != vhdxMetadata {
			return fmt.Errorf("plan label: %w: required region %s", ErrUnsupported, r.id)
		}
		if r.length > 0 && r.offset < end {
			return fmt.Errorf("plan label: %w: region %s overlaps another", ErrCorrupt, r.id)
		}
		end = max(end, r.end())
	}
	if !bat {
		return fmt.Errorf("plan label: %w: no block allocation table", ErrCorrupt)
	}
	if t.metadata.end() > uint64(s.size) {
		return fmt.Errorf("plan label: %w: the metadata region ends at %d, the file at %d", ErrCorrupt, t.metadata.end(), s.size)
	}
	return nil
}
