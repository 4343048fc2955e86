package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
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

// readVHDXRegions reads the first region table that is valid.
func readVHDXRegions(s *source) (vhdxRegions, error) {
	for i := range 2 {
		b, err := s.at(vhdxRegionTableAt(i), vhdxTableSize)
		if err != nil {
			return vhdxRegions{}, err
		}
		if validVHDXRegions(b) {
			return parseVHDXRegions(vhdxRegionTableAt(i), b)
		}
	}
	return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: neither of the two is valid", ErrCorrupt)
}

func validVHDXRegions(b []byte) bool {
	return len(b) == vhdxTableSize && bytes.HasPrefix(b, []byte("regi")) && vhdxSum(b) == binary.LittleEndian.Uint32(b[4:])
}

func parseVHDXRegions(at int64, b []byte) (vhdxRegions, error) {
	n := binary.LittleEndian.Uint32(b[8:])
	if n > vhdxMaxEntries {
		return vhdxRegions{}, fmt.Errorf("read vhdx region table: %w: %d entries, expected at most %d", ErrCorrupt, n, vhdxMaxEntries)
	}
	t := vhdxRegions{at: at, raw: b[:16+32*n]}
	found := map[string]bool{}
	for e := range int(n) {
		b := b[16+32*e:]
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

// writable reports why nothing may be written to an image with these regions and this log.
func (t *vhdxRegions) writable(s *source, h vhdxHeader) error {
	var tables [2][]byte
	for i := range tables {
		b, err := s.at(vhdxRegionTableAt(i), vhdxTableSize)
		if err != nil {
			return err
		}
		if validVHDXRegions(b) {
			tables[i] = b
		}
	}
	if tables[0] != nil && tables[1] != nil && !bytes.Equal(tables[0], tables[1]) {
		return fmt.Errorf("plan label: %w: the two region tables differ", ErrCorrupt)
	}
	if h.logOffset()%vhdxMiB != 0 || h.logOffset() < vhdxMiB || h.logOffset() > 1<<62 || h.logLength()%vhdxMiB != 0 {
		return fmt.Errorf("plan label: %w: log of %d bytes at %d", ErrCorrupt, h.logLength(), h.logOffset())
	}
	// The log counts as one more region: nothing may overlap it either.
	all := append([]vhdxRegion{{id: "of the log", offset: h.logOffset(), length: h.logLength()}}, t.all...)
	bat := false
	for _, r := range all {
		bat = bat || r.id == vhdxBAT
		if r.required && r.id != vhdxBAT && r.id != vhdxMetadata {
			return fmt.Errorf("plan label: %w: required region %s", ErrUnsupported, r.id)
		}
		// Against the metadata region alone, since it is all that is written to: the table may have 2,047 entries.
		if m := t.metadata; r.id != m.id && r.offset < m.end() && m.offset < r.end() {
			return fmt.Errorf("plan label: %w: the metadata region overlaps region %s", ErrCorrupt, r.id)
		}
	}
	if !bat {
		return fmt.Errorf("plan label: %w: no block allocation table", ErrCorrupt)
	}
	if t.metadata.end() > uint64(s.size) {
		return fmt.Errorf("plan label: %w: the metadata region ends at %d, the file at %d", ErrCorrupt, t.metadata.end(), s.size)
	}
	return nil
}
