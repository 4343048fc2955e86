package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// pages is an image of which only pages of 4 KiB that were written take memory: the fuzzer is slow with long inputs.
type pages struct {
	page   map[int64][]byte
	size   int64
	reads  int
	asked  int
	writes int
}

func (p *pages) ReadAt(b []byte, off int64) (int, error) {
	p.reads++
	p.asked += len(b)
	n := 0
	for n < len(b) && off < p.size {
		var k int
		if page := p.page[off>>12]; page != nil {
			k = copy(b[n:], page[off&4095:])
		} else {
			k = min(len(b)-n, int(4096-off&4095))
			clear(b[n : n+k])
		}
		k = min(k, int(p.size-off))
		n, off = n+k, off+int64(k)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (p *pages) WriteAt(b []byte, off int64) (int, error) {
	p.writes++
	for i := 0; i < len(b); {
		at := off + int64(i)
		page := bytes.Clone(p.page[at>>12]) // a copy of the image shares its pages
		if page == nil {
			page = make([]byte, 4096)
		}
		i += copy(page[at&4095:], b[i:])
		p.page[at>>12] = page
	}
	p.size = max(p.size, off+int64(len(b)))
	return len(b), nil
}

func (p *pages) Sync() error { return nil }

func (p *pages) Size() int64 { return p.size }

func (p *pages) clone() *pages { return &pages{page: maps.Clone(p.page), size: p.size} }

// differ names the first page in which two images differ by more than a header update. All ends in zeros.
func (p *pages) differ(q *pages) (int64, bool) {
	seen := func(p *pages, n int64) []byte {
		b := make([]byte, 4096)
		copy(b, p.page[n])
		if n == 16 || n == 32 {
			clear(b[4:32])
		}
		return b
	}
	for _, m := range []map[int64][]byte{p.page, q.page} {
		for n := range m {
			if !bytes.Equal(seen(p, n), seen(q, n)) {
				return n, true
			}
		}
	}
	return 0, p.size != q.size
}

// assemble makes an image of what a fuzzer thought out. The checksums are set right where fix says so, since the fuzzer
// cannot guess them: bit 0 and 1 the headers, 2 and 3 the region tables.
func assemble(header1, header2, regions, table, items []byte, fix uint8) *pages {
	p := &pages{page: map[int64][]byte{}, size: crash.VHDXSize}
	put := func(at int64, b []byte, room int, sum bool) {
		b = append(bytes.Clone(b[:min(len(b), room)]), make([]byte, max(0, room-len(b)))...)
		if sum {
			crash.VHDXSum(b)
		}
		_, _ = p.WriteAt(b, at) // memory does not fail
	}
	put(0, []byte("vhdxfile"), 8, false)
	put(64<<10, header1, 4096, fix&1 != 0)
	put(128<<10, header2, 4096, fix&2 != 0)
	put(192<<10, regions, 64<<10, fix&4 != 0)
	put(256<<10, regions, 64<<10, fix&8 != 0)
	put(crash.VHDXMetadata, table, 64<<10, false)
	put(crash.VHDXMetadata+64<<10, items, max(1, min(len(items), 64<<10)), false)
	return p
}

func vhdxSeeds(f *testing.F) {
	f.Helper()
	add := func(image []byte, fix uint8) {
		cut := func(at, n int) []byte { return bytes.TrimRight(image[at:at+n], "\x00") }
		f.Add(cut(64<<10, 4096), cut(128<<10, 4096), cut(192<<10, 4096), cut(3<<20, 4096), cut(3<<20+64<<10, 64<<10), fix)
	}
	for _, image := range [][]byte{
		vhdxOf(), vhdxOf(func(v *crash.VHDX) { v.Parameters = 1 }), vhdxOf(func(v *crash.VHDX) { v.After = others(20, 0x10, 7) }),
		vhdxOf(func(v *crash.VHDX) { v.Before = others(3, 0x10, 5000) }), vhdxOf(func(v *crash.VHDX) { v.LogGUID[0] = 1 }),
		vhdxOf(func(v *crash.VHDX) {
			v.Parameters, v.Locator = 2, crash.VHDXLocator("parent_linkage", "{"+vhdxUUID+"}", "relative_path", `..\base.vhdx`, "absolute_win32_path", `C:\base.vhdx`)
		}),
	} {
		add(image, 15)
		add(image, 6)
		m := mem(image)
		if err := crash.Set(m, crash.Small(f, label.Binding{UUID: vhdxUUID, Size: 3 << 30}, 1)); err == nil {
			add(m.Data, 15)
		}
	}
	f.Add([]byte("head"), []byte("head"), []byte("regi"), []byte("metadata"), []byte("BLB1"), uint8(255))
}

// FuzzVHDXRead: no image panics, costs more than a bounded number of bytes, or gives an error that is none of the package's.
func FuzzVHDXRead(f *testing.F) {
	vhdxSeeds(f)
	f.Fuzz(func(t *testing.T, header1, header2, regions, table, items []byte, fix uint8) {
		p := assemble(header1, header2, regions, table, items, fix)
		frame, info, err := diskimage.ReadLabel(p)
		// All tables at full length, the locator, and what is read twice since the first part of it told its length.
		if p.reads > 20 || p.asked > 512<<10 {
			t.Fatalf("%d reads of %d bytes", p.reads, p.asked)
		}
		if info == nil || info.Format != diskimage.FormatVHDX {
			t.Fatalf("info %+v", info)
		}
		switch {
		case err == nil:
			if info.HasLabel != (frame != nil) || info.VirtualSize < 0 || info.VirtualSize > 64<<40 {
				t.Fatalf("label %v, info %+v", frame, info)
			}
			if (info.Subformat == "differencing") != info.Parent.Exists() {
				t.Fatalf("info %+v", info)
			}
		case !errors.Is(err, diskimage.ErrCorrupt) && !errors.Is(err, diskimage.ErrUnsupported):
			t.Fatalf("error %v is none of the package's", err)
		}
	})
}

// FuzzVHDXEdit: an image that takes a label gives back every byte when it is removed, but for the sequence numbers, the
// FileWriteGuids and the checksums of the headers, and a header that was damaged. One that takes none is not touched.
func FuzzVHDXEdit(f *testing.F) {
	vhdxSeeds(f)
	f.Fuzz(func(t *testing.T, header1, header2, regions, table, items []byte, fix uint8) {
		original := assemble(header1, header2, regions, table, items, fix)
		p := original.clone()
		info, err := diskimage.Inspect(p)
		if err != nil || info.VirtualSize == 0 {
			return
		}
		fresh := !info.HasLabel && !bytes.Contains(table, crash.VHDXGUID(vhdxA)) && !bytes.Contains(table, crash.VHDXGUID(vhdxB))
		for i, frame := range []label.Frame{crash.Small(t, info.Binding(), ^uint32(0)-1), crash.Large(t, info.Binding(), ^uint32(0))} {
			writes := p.writes
			if err := crash.Set(p, frame); err != nil {
				if p.writes != writes || i == 1 && fresh && !errors.Is(err, diskimage.ErrCorrupt) { // no sequence number is left
					t.Fatalf("label %d: %v after %d writes", i, err, p.writes-writes)
				}
				break
			}
		}
		if p.writes == 0 {
			return
		}
		if err := crash.Remove(p); err != nil {
			if !errors.Is(err, diskimage.ErrCorrupt) {
				t.Fatalf("remove: %v", err)
			}
			return // no sequence number is left
		}
		if !fresh || !unreferencedZero(original) {
			return
		}
		one, two := original.page[16], original.page[32]
		if !wholeHeader(one) || !wholeHeader(two) || !bytes.Equal(one[32:], two[32:]) { // a header that was damaged is whole now
			for _, q := range []*pages{original, p} {
				delete(q.page, 16)
				delete(q.page, 32)
			}
		}
		if n, differ := p.differ(original); differ {
			t.Fatalf("after the removal page %d is not what it was", n)
		}
	})
}

func wholeHeader(h []byte) bool {
	b := bytes.Clone(h)
	crash.VHDXSum(b)
	return bytes.HasPrefix(h, []byte("head")) && bytes.Equal(b, h)
}

// unreferencedZero reports that nothing lies beyond the metadata table's count or where no item is: only then are all
// bytes those of before.
func unreferencedZero(p *pages) bool {
	region := make([]byte, crash.VHDXMiB)
	_, _ = p.ReadAt(region, crash.VHDXMetadata) // memory does not fail
	n := int(binary.LittleEndian.Uint16(region[10:]))
	for i := range n {
		e := region[32*(i+1):]
		at, size := int(binary.LittleEndian.Uint32(e[16:])), int(binary.LittleEndian.Uint32(e[20:]))
		clear(region[min(at, len(region)):min(at+size, len(region))])
	}
	return len(bytes.Trim(region[32*(n+1):], "\x00")) == 0
}

// stuck is an image that takes only so many writes before one fails.
type stuck struct {
	*pages
	left int
}

func (s *stuck) WriteAt(b []byte, off int64) (int, error) {
	if s.left--; s.left == 0 {
		n, _ := s.pages.WriteAt(b[:len(b)/2], off) // memory does not fail
		return n, errors.New("no space left on device")
	}
	return s.pages.WriteAt(b, off)
}

// TestVHDXTakenBack: whichever write of an edit fails, half done, the image is afterwards what it was, headers included.
func TestVHDXTakenBack(t *testing.T) {
	t.Parallel()
	image := vhdxOf(func(v *crash.VHDX) { v.After = others(9, 0x10, 30) })
	disk := label.Binding{UUID: vhdxUUID, Size: 3 << 30}
	fresh := &pages{page: map[int64][]byte{}}
	_, _ = fresh.WriteAt(image, 0)
	labelled := fresh.clone()
	if err := errors.Join(crash.Set(labelled, crash.Small(t, disk, 1)), crash.Set(labelled, crash.Small(t, disk, 2))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		before *pages
		plan   func(diskimage.Reader) (*diskimage.Edit, error)
	}{
		"first": {fresh, func(r diskimage.Reader) (*diskimage.Edit, error) {
			return diskimage.PlanSet(r, crash.Large(t, disk, 3))
		}},
		"change": {labelled, func(r diskimage.Reader) (*diskimage.Edit, error) {
			return diskimage.PlanSet(r, crash.Large(t, disk, 3))
		}},
		"remove": {labelled, diskimage.PlanRemove},
		"identity": {labelled, func(r diskimage.Reader) (*diskimage.Edit, error) {
			return diskimage.Options{}.PlanIdentity(r, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
		}},
	} {
		e, err := c.plan(c.before)
		if err != nil {
			t.Fatal(err)
		}
		writes := 0
		for _, s := range e.Steps {
			writes += len(s.Writes)
		}
		for n := range writes {
			s := &stuck{pages: c.before.clone(), left: n + 1}
			if err := diskimage.Apply(s, e); err == nil {
				t.Fatalf("%s: write %d of %d failed, and the edit did not", name, n+1, writes)
			}
			for at := range s.page {
				if !bytes.Equal(s.page[at], append(c.before.page[at], make([]byte, 4096-len(c.before.page[at]))...)) {
					t.Errorf("%s: write %d of %d failed: page %d is not what it was", name, n+1, writes, at)
				}
			}
		}
	}
}
