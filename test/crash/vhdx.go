package crash

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf16"
)

// The places of a constructed VHDX, as Hyper-V and QEMU lay them out: log, block allocation table, metadata region of
// one MiB each behind the header section of one MiB.
const (
	VHDXMiB      = 1 << 20
	VHDXLog      = 1 * VHDXMiB
	VHDXBAT      = 2 * VHDXMiB
	VHDXMetadata = 3 * VHDXMiB
	VHDXSize     = 4 * VHDXMiB // of the file: no block is allocated
)

// VHDXHeaders and VHDXRegionTables are the offsets of what there is twice.
var (
	VHDXHeaders      = [2]int{64 << 10, 128 << 10}
	VHDXRegionTables = [2]int{192 << 10, 256 << 10}
)

// VHDXItem is one item of the metadata table.
type VHDXItem struct {
	ID     string // GUID as 8-4-4-4-12
	Data   []byte
	Flags  uint32 // 1: of a user, 2: of the virtual disk, 4: required
	Offset uint32 // in the region; 0: right behind the item before
}

// VHDX is what a VHDX image is constructed of, without any help of the code under test.
type VHDX struct {
	Size       uint64 // of the virtual disk, in bytes
	UUID       string // page 83
	Parameters uint32 // 1: leave blocks allocated, 2: has a parent
	Locator    []byte // parent locator; nil: none
	LogGUID    [16]byte
	Before     []VHDXItem // items before those of the system
	After      []VHDXItem
}

// Table is the metadata table of the image in its order: before, system, after.
func (v *VHDX) Table() []VHDXItem {
	le := binary.LittleEndian
	items := append([]VHDXItem(nil), v.Before...)
	items = append(items,
		VHDXItem{ID: "caa16737-fa36-4d43-b3b6-33f0aa44e76b", Data: le.AppendUint32(le.AppendUint32(nil, 1<<20), v.Parameters), Flags: 4},
		VHDXItem{ID: "2fa54224-cd1b-4876-b211-5dbed83bf4b8", Data: le.AppendUint64(nil, v.Size), Flags: 6},
		VHDXItem{ID: "beca12ab-b2e6-4523-93ef-c309e000c746", Data: VHDXGUID(v.UUID), Flags: 6},
		VHDXItem{ID: "8141bf1d-a96f-4709-ba47-f233a8faab5f", Data: le.AppendUint32(nil, 512), Flags: 6},
		VHDXItem{ID: "cda348c7-445d-4471-9cc9-e9885251c556", Data: le.AppendUint32(nil, 4096), Flags: 6})
	if v.Locator != nil {
		items = append(items, VHDXItem{ID: "a8d35f2d-b30b-454d-abf7-d3d84834ab0c", Data: v.Locator, Flags: 4})
	}
	return append(items, v.After...)
}

// Image constructs the file.
func (v *VHDX) Image() []byte {
	img := make([]byte, VHDXSize)
	copy(img, "vhdxfile")
	for i, r := range "berth test" {
		img[8+2*i] = byte(r)
	}
	for i, at := range VHDXHeaders {
		copy(img[at:], v.header(uint64(7+i)))
	}
	regions := VHDXRegionTable([]VHDXRegion{
		{ID: "2dc27766-f623-4200-9d64-115e9bfd4a08", Offset: VHDXBAT, Length: VHDXMiB, Required: true},
		{ID: "8b7ca206-4790-4b9a-b8fe-575f050f886e", Offset: VHDXMetadata, Length: VHDXMiB, Required: true},
	})
	for _, at := range VHDXRegionTables {
		copy(img[at:], regions)
	}
	VHDXWriteTable(img[VHDXMetadata:], v.Table())
	return img
}

func (v *VHDX) header(sequence uint64) []byte {
	le := binary.LittleEndian
	h := make([]byte, 4096)
	copy(h, "head")
	le.PutUint64(h[8:], sequence)
	copy(h[16:], VHDXGUID("11111111-2222-4333-8444-555555555555"))
	copy(h[32:], VHDXGUID("66666666-7777-4888-9999-aaaaaaaaaaaa"))
	copy(h[48:], v.LogGUID[:])
	le.PutUint16(h[66:], 1)
	le.PutUint32(h[68:], VHDXMiB)
	le.PutUint64(h[72:], VHDXLog)
	VHDXSum(h)
	return h
}

// VHDXRegion is an entry of the region table.
type VHDXRegion struct {
	ID       string
	Offset   uint64
	Length   uint32
	Required bool
}

// VHDXRegionTable is a region table of 64 KiB with its checksum.
func VHDXRegionTable(regions []VHDXRegion) []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, 64<<10), "regi\x00\x00\x00\x00"...)
	b = le.AppendUint64(b, uint64(len(regions)))
	for _, r := range regions {
		b = le.AppendUint64(append(b, VHDXGUID(r.ID)...), r.Offset)
		b = le.AppendUint32(b, r.Length)
		if r.Required {
			b = le.AppendUint32(b, 1)
		} else {
			b = le.AppendUint32(b, 0)
		}
	}
	b = b[:64<<10]
	VHDXSum(b)
	return b
}

// VHDXWriteTable writes table and items into a metadata region.
func VHDXWriteTable(region []byte, items []VHDXItem) {
	le := binary.LittleEndian
	copy(region, "metadata")
	le.PutUint16(region[10:], uint16(len(items)))
	at := uint32(64 << 10)
	for i, item := range items {
		e := region[32*(i+1):]
		if item.Offset != 0 {
			at = item.Offset
		}
		copy(e, VHDXGUID(item.ID))
		if len(item.Data) > 0 {
			le.PutUint32(e[16:], at)
			le.PutUint32(e[20:], uint32(len(item.Data)))
		}
		le.PutUint32(e[24:], item.Flags)
		copy(region[at:], item.Data)
		at += uint32(len(item.Data))
	}
}

// VHDXSum sets the checksum of a header or of a region table.
func VHDXSum(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], 0)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// VHDXGUID is a GUID as the file has it: the first three groups are little endian.
func VHDXGUID(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		panic("GUID " + text)
	}
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5], b[6], b[7] = b[5], b[4], b[7], b[6]
	return b
}

// VHDXLocator is a parent locator of keys and values in turn.
func VHDXLocator(pairs ...string) []byte {
	le := binary.LittleEndian
	b := append(VHDXGUID("b04aefb7-d19e-4a81-b789-25b8e9445913"), 0, 0, byte(len(pairs)/2), 0)
	var text []byte
	add := func(s string) (at uint32, n uint16) {
		at = uint32(20 + 6*len(pairs) + len(text))
		for _, u := range utf16.Encode([]rune(s)) {
			text = le.AppendUint16(text, u)
		}
		return at, uint16(20 + 6*len(pairs) + len(text) - int(at))
	}
	for i := 0; i < len(pairs); i += 2 {
		keyAt, keyLen := add(pairs[i])
		valueAt, valueLen := add(pairs[i+1])
		b = le.AppendUint32(le.AppendUint32(b, keyAt), valueAt)
		b = le.AppendUint16(le.AppendUint16(b, keyLen), valueLen)
	}
	return append(b, text...)
}

// VHDXSeen is what of an image may not differ when a label has come and gone: all, with the sequence number, the
// FileWriteGuid and the checksum of both headers blanked.
func VHDXSeen(image []byte) []byte {
	b := append([]byte(nil), image...)
	for _, at := range VHDXHeaders {
		for i := range 28 {
			b[at+4+i] = 0
		}
	}
	return b
}

// VHDXCheck reports what of an image breaks the rules of [MS-VHDX] for headers, region tables and the metadata table.
// It shares nothing with the code under test.
func VHDXCheck(image []byte) error {
	valid := func(at, n int, sign string) bool {
		b := append([]byte(nil), image[at:at+n]...)
		sum := binary.LittleEndian.Uint32(b[4:])
		VHDXSum(b)
		return string(b[:4]) == sign && binary.LittleEndian.Uint32(b[4:]) == sum
	}
	if !valid(VHDXHeaders[0], 4096, "head") && !valid(VHDXHeaders[1], 4096, "head") {
		return errors.New("check vhdx: no valid header")
	}
	for _, at := range VHDXRegionTables {
		if !valid(at, 64<<10, "regi") {
			return fmt.Errorf("check vhdx: region table at %d", at)
		}
	}
	items, err := VHDXItems(image)
	if err != nil {
		return err
	}
	users := 0
	seen := map[string]bool{}
	var used []VHDXItem
	for _, i := range items {
		key := fmt.Sprint(i.ID, i.Flags&1)
		if users += int(i.Flags & 1); users > 1024 || seen[key] {
			return fmt.Errorf("check vhdx: item %s twice, or the %dth of users", i.ID, users)
		}
		seen[key] = true
		if len(i.Data) > 0 {
			used = append(used, i)
		}
	}
	slices.SortFunc(used, func(x, y VHDXItem) int { return cmp.Compare(x.Offset, y.Offset) })
	for i := 1; i < len(used); i++ {
		if used[i-1].Offset+uint32(len(used[i-1].Data)) > used[i].Offset {
			return fmt.Errorf("check vhdx: items %s and %s overlap", used[i-1].ID, used[i].ID)
		}
	}
	return nil
}

// VHDXItems reads the metadata table of an image, found by its first region table.
func VHDXItems(image []byte) ([]VHDXItem, error) {
	le := binary.LittleEndian
	base := 0
	for i := range int(le.Uint32(image[VHDXRegionTables[0]+8:])) {
		e := image[VHDXRegionTables[0]+16+32*i:]
		if bytes.Equal(e[:16], VHDXGUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")) {
			base = int(le.Uint64(e[16:]))
		}
	}
	region := image[base : base+VHDXMiB]
	if base == 0 || string(region[:8]) != "metadata" {
		return nil, errors.New("check vhdx: no metadata table")
	}
	var items []VHDXItem
	for i := range int(le.Uint16(region[10:])) {
		e := region[32*(i+1):]
		at, n := le.Uint32(e[16:]), le.Uint32(e[20:])
		if n == 0 && at != 0 || n > 0 && at < 64<<10 || uint64(at)+uint64(n) > VHDXMiB {
			return nil, fmt.Errorf("check vhdx: item %d of %d bytes at %d", i, n, at)
		}
		id := fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(e), le.Uint16(e[4:]), le.Uint16(e[6:]), e[8:10], e[10:16])
		items = append(items, VHDXItem{ID: id, Data: region[at : at+n], Flags: le.Uint32(e[24:]), Offset: at})
	}
	return items, nil
}
