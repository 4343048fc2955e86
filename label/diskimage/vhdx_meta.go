package diskimage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// The items of the specification ([MS-VHDX] 2.6.2).
const (
	vhdxFileParameters = "caa16737-fa36-4d43-b3b6-33f0aa44e76b"
	vhdxVirtualSize    = "2fa54224-cd1b-4876-b211-5dbed83bf4b8"
	vhdxDiskID         = "beca12ab-b2e6-4523-93ef-c309e000c746" // SCSI page 83
	vhdxLogicalSector  = "8141bf1d-a96f-4709-ba47-f233a8faab5f"
	vhdxPhysicalSector = "cda348c7-445d-4471-9cc9-e9885251c556"
	vhdxParentLocator  = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
)

// The metadata region, in bytes ([MS-VHDX] 2.6.1).
const (
	vhdxItemsFrom  = 64 << 10 // the first item: before it is the table
	vhdxEntrySize  = 32       // of an entry, and of the table's header
	vhdxMaxUser    = 1024     // entries of users
	vhdxCountAt    = 10       // EntryCount in the table's header
	vhdxWindowSize = 12 << 10 // the first read of items: what every image has, and both slots behind it
)

// vhdxEntry is one entry of the metadata table. Offset is from the beginning of the region.
type vhdxEntry struct {
	id             string
	index          int
	offset, length uint32
	user, required bool
}

// vhdxTable is the metadata table.
type vhdxTable struct {
	base    int64  // of the region in the file
	length  uint64 // of the region
	raw     []byte // header and entries
	entries []vhdxEntry
}

func readVHDXTable(s *source, region vhdxRegion) (vhdxTable, error) {
	t := vhdxTable{base: int64(region.offset), length: region.length}
	b, err := s.at(t.base, 4<<10)
	if err != nil {
		return t, err
	}
	if len(b) < vhdxEntrySize || !bytes.HasPrefix(b, []byte("metadata")) {
		return t, fmt.Errorf("read vhdx metadata: %w: no table at %d", ErrCorrupt, t.base)
	}
	n := int(binary.LittleEndian.Uint16(b[vhdxCountAt:]))
	if n > vhdxMaxEntries {
		return t, fmt.Errorf("read vhdx metadata: %w: %d entries, expected at most %d", ErrCorrupt, n, vhdxMaxEntries)
	}
	size := vhdxEntrySize * (1 + n)
	if len(b) < size {
		if b, err = s.at(t.base, size); err != nil {
			return t, err
		}
	}
	if len(b) < size {
		return t, fmt.Errorf("read vhdx metadata: %w: the file ends in the table", ErrCorrupt)
	}
	t.raw = b[:size]
	type key struct {
		id   string
		user bool
	}
	found := make(map[key]bool, n)
	for i := range n {
		b := t.raw[vhdxEntrySize*(1+i):]
		e := vhdxEntry{
			id: vhdxGUID(b), index: i, offset: binary.LittleEndian.Uint32(b[16:]), length: binary.LittleEndian.Uint32(b[20:]),
			user: b[24]&1 != 0, required: b[24]&4 != 0,
		}
		if k := (key{e.id, e.user}); found[k] {
			return t, fmt.Errorf("read vhdx metadata: %w: item %s twice", ErrCorrupt, e.id)
		}
		found[key{e.id, e.user}] = true
		t.entries = append(t.entries, e)
	}
	return t, nil
}

// find gives the entry of an item; nil: there is none. An item of a user is another one than the system's of the same id.
func (t *vhdxTable) find(id string, user bool) *vhdxEntry {
	for i := range t.entries {
		if e := &t.entries[i]; e.id == id && e.user == user {
			return e
		}
	}
	return nil
}

// inside reports whether the item lies where items may: behind the table, in the region.
func (t *vhdxTable) inside(e *vhdxEntry) bool {
	return e.offset >= vhdxItemsFrom && e.length <= vhdxMiB && uint64(e.offset)+uint64(e.length) <= t.length
}

// users is the number of users' entries.
func (t *vhdxTable) users() int {
	n := 0
	for _, e := range t.entries {
		if e.user {
			n++
		}
	}
	return n
}

// writable reports why the table cannot be changed.
func (t *vhdxTable) writable() error {
	known := []string{vhdxFileParameters, vhdxVirtualSize, vhdxDiskID, vhdxLogicalSector, vhdxPhysicalSector, vhdxParentLocator}
	for i := range t.entries {
		e := &t.entries[i]
		if e.required && (e.user || !slices.Contains(known, e.id)) {
			return fmt.Errorf("plan label: %w: required metadata item %s", ErrUnsupported, e.id)
		}
		if !t.inside(e) && (e.offset != 0 || e.length != 0) {
			return fmt.Errorf("plan label: %w: metadata item %s of %d bytes at %d", ErrCorrupt, e.id, e.length, e.offset)
		}
	}
	for _, id := range known[:5] {
		if t.find(id, false) == nil {
			return fmt.Errorf("plan label: %w: no metadata item %s", ErrCorrupt, id)
		}
	}
	used := t.used()
	for i := 1; i < len(used); i++ {
		if x, y := used[i-1], used[i]; uint64(x.offset)+uint64(x.length) > uint64(y.offset) {
			return fmt.Errorf("plan label: %w: metadata items %s and %s overlap", ErrCorrupt, x.id, y.id)
		}
	}
	if n := t.users(); n > vhdxMaxUser {
		return fmt.Errorf("plan label: %w: %d metadata items of users, expected at most %d", ErrCorrupt, n, vhdxMaxUser)
	}
	return nil
}

// used are the entries that take room, in the order of their places.
func (t *vhdxTable) used() []vhdxEntry {
	used := slices.DeleteFunc(slices.Clone(t.entries), func(e vhdxEntry) bool { return e.length == 0 })
	slices.SortFunc(used, func(x, y vhdxEntry) int { return cmp.Compare(x.offset, y.offset) })
	return used
}

// free gives the first n places of a slot's size that no item uses, as offsets in the region, at most n of them.
func (t *vhdxTable) free(n int) []uint32 {
	var places []uint32
	at := uint64(vhdxItemsFrom)
	upTo := func(end uint64) {
		for ; len(places) < n && at+vhdxSlotSize <= end; at += vhdxSlotSize {
			places = append(places, uint32(at))
		}
	}
	for _, e := range t.used() {
		upTo(uint64(e.offset))
		end := uint64(e.offset) + uint64(e.length)
		at = max(at, (end+vhdxSlotSize-1)/vhdxSlotSize*vhdxSlotSize)
	}
	upTo(t.length)
	return places
}

// vhdxWindow is the part of the region that was read ahead.
type vhdxWindow struct {
	from uint32 // offset in the region
	data []byte
}

// newVHDXWindow reads from the first item on that a reader wants. Where it fails, item reads again and reports.
func newVHDXWindow(img *vhdxImage) vhdxWindow {
	w := vhdxWindow{}
	for i := range img.table.entries {
		e := &img.table.entries[i]
		wanted := !e.user && (e.id == vhdxFileParameters || e.id == vhdxVirtualSize || e.id == vhdxDiskID) || e.user && (e.id == vhdxSlotA || e.id == vhdxSlotB)
		if wanted && img.table.inside(e) && (w.from == 0 || e.offset < w.from) {
			w.from = e.offset
		}
	}
	if w.from != 0 {
		n := min(vhdxWindowSize, img.table.length-uint64(w.from))
		w.data, _ = img.src.at(img.table.base+int64(w.from), int(n))
	}
	return w
}

// item gives the first n bytes of an item, or all when it is shorter; fewer at the end of the file.
func (w *vhdxWindow) item(img *vhdxImage, e *vhdxEntry, n int) ([]byte, error) {
	if !img.table.inside(e) {
		return nil, fmt.Errorf("read vhdx metadata: %w: item %s of %d bytes at %d", ErrCorrupt, e.id, e.length, e.offset)
	}
	n = min(n, int(e.length))
	if from := int(e.offset) - int(w.from); w.from != 0 && from >= 0 && from+n <= len(w.data) {
		return w.data[from : from+n], nil
	}
	return img.src.at(img.table.base+int64(e.offset), n)
}
