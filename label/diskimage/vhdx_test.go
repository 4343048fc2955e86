package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

const (
	vhdxA    = "4e0a6466-655a-47b2-9aef-52004147ee9d"
	vhdxB    = "f5a67354-d70b-4e71-ab82-3fbfc1c8f79e"
	vhdxUUID = "01020304-0506-4708-890a-0b0c0d0e0f10"
)

// vhdxOf is an image of 3 GiB, changed.
func vhdxOf(change ...func(*crash.VHDX)) []byte {
	v := crash.VHDX{Size: 3 << 30, UUID: vhdxUUID}
	for _, c := range change {
		c(&v)
	}
	return v.Image()
}

// others are n items of another tool.
func others(n int, first byte, size int) []crash.VHDXItem {
	var items []crash.VHDXItem
	for i := range n {
		items = append(items, crash.VHDXItem{
			ID: fmt.Sprintf("%02x000000-0000-4000-8000-%012x", first, i+1), Flags: 1, Data: bytes.Repeat([]byte{first}, size),
		})
	}
	return items
}

func vhdxHas(t *testing.T, data []byte) map[string]crash.VHDXItem {
	t.Helper()
	if err := crash.VHDXCheck(data); err != nil {
		t.Fatal(err)
	}
	items, err := crash.VHDXItems(data)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]crash.VHDXItem{}
	for _, i := range items {
		m[i.ID] = i
	}
	return m
}

func TestVHDXInfo(t *testing.T) {
	t.Parallel()
	const link = "{83ED0EC3-24c8-49a6-a959-5e4bf1288bfb}"
	const linked = "83ed0ec3-24c8-49a6-a959-5e4bf1288bfb"
	overlay := func(locator []byte) func(*crash.VHDX) {
		return func(v *crash.VHDX) { v.Parameters, v.Locator = 2, locator }
	}
	volume := `\\?\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\base.vhdx`
	is := func(sub string, p diskimage.Parent) diskimage.Info {
		return diskimage.Info{Format: diskimage.FormatVHDX, Subformat: sub, VirtualSize: 3 << 30, UUID: vhdxUUID, Parent: p, Place: diskimage.PlaceImage}
	}
	parent := func(ref, uuid string) diskimage.Info {
		return is("differencing", diskimage.Parent{Ref: ref, Format: diskimage.FormatVHDX, UUID: uuid})
	}
	other := crash.VHDXLocator("parent_linkage", link, "relative_path", "x")
	copy(other, crash.VHDXGUID("00000000-0000-4000-8000-000000000001"))
	locator := func(at int, v byte) []byte {
		b := crash.VHDXLocator("relative_path", "base.vhdx")
		b[at] = v
		return vhdxOf(overlay(b))
	}
	keys := []string{"relative_path", "base.vhdx"}
	for i := range 64 {
		keys = append(keys, fmt.Sprint("key", i), "v")
	}
	bad := is("differencing", diskimage.Parent{})
	for name, c := range map[string]struct {
		image []byte
		want  diskimage.Info
		err   error
	}{
		"dynamic": {vhdxOf(), is("dynamic", diskimage.Parent{}), nil},
		"fixed":   {vhdxOf(func(v *crash.VHDX) { v.Parameters = 1 }), is("fixed", diskimage.Parent{}), nil},
		"63 TiB": {
			vhdxOf(func(v *crash.VHDX) { v.Size = 63 << 40 }),
			func() diskimage.Info { i := is("dynamic", diskimage.Parent{}); i.VirtualSize = 63 << 40; return i }(), nil,
		},
		"64 TiB, no identity": {
			vhdxOf(func(v *crash.VHDX) { v.Size, v.UUID = 64<<40, "00000000-0000-0000-0000-000000000000" }),
			func() diskimage.Info {
				i := is("dynamic", diskimage.Parent{})
				i.VirtualSize, i.UUID = 64<<40, ""
				return i
			}(), nil,
		},
		"over 64 TiB": {vhdxOf(func(v *crash.VHDX) { v.Size = 64<<40 + 512 }), diskimage.Info{Format: diskimage.FormatVHDX, Place: diskimage.PlaceImage}, diskimage.ErrCorrupt},
		"log not empty": {
			vhdxOf(func(v *crash.VHDX) { v.LogGUID[15] = 1 }),
			func() diskimage.Info { i := is("dynamic", diskimage.Parent{}); i.Unclean = true; return i }(), nil,
		},
		"relative path first": {
			vhdxOf(overlay(crash.VHDXLocator("absolute_win32_path", `C:\vms\base.vhdx`, "volume_path", volume, "parent_linkage", link, "relative_path", `..\räum\base.vhdx`))),
			parent("../räum/base.vhdx", linked), nil,
		},
		"volume path":             {vhdxOf(overlay(crash.VHDXLocator("absolute_win32_path", `C:\b.vhdx`, "parent_linkage", link, "volume_path", volume))), parent(volume, linked), nil},
		"absolute path":           {vhdxOf(overlay(crash.VHDXLocator("absolute_win32_path", `C:\b.vhdx`))), parent(`C:\b.vhdx`, ""), nil},
		"relative, yet absolute":  {vhdxOf(overlay(crash.VHDXLocator("relative_path", `\etc\passwd`))), parent(`\etc\passwd`, ""), nil},
		"relative, with a drive":  {vhdxOf(overlay(crash.VHDXLocator("relative_path", `C:b.vhdx`))), parent(`C:b.vhdx`, ""), nil},
		"overlay without locator": {vhdxOf(overlay(nil)), is("differencing", diskimage.Parent{}), diskimage.ErrCorrupt},
		"locator without path":    {vhdxOf(overlay(crash.VHDXLocator("parent_linkage", link))), parent("", linked), diskimage.ErrCorrupt},
		"locator, NUL in a path":  {vhdxOf(overlay(crash.VHDXLocator("relative_path", "a\x00b"))), is("differencing", diskimage.Parent{}), diskimage.ErrCorrupt},
		"locator, key twice":      {vhdxOf(overlay(crash.VHDXLocator("relative_path", "a", "relative_path", "b"))), is("differencing", diskimage.Parent{}), diskimage.ErrCorrupt},
		"locator, empty value":    {vhdxOf(overlay(crash.VHDXLocator("relative_path", ""))), is("differencing", diskimage.Parent{}), diskimage.ErrCorrupt},
		"locator, odd length":     {locator(30, 17), bad, diskimage.ErrCorrupt},
		"locator, 65 keys":        {vhdxOf(overlay(crash.VHDXLocator(keys...))), bad, diskimage.ErrCorrupt},
		"locator, head alone":     {vhdxOf(overlay(crash.VHDXLocator("relative_path", "base.vhdx")[:20])), bad, diskimage.ErrCorrupt},
		"locator, keys cut off":   {locator(18, 8), bad, diskimage.ErrCorrupt},
		"locator, key outside":    {locator(22, 1), bad, diskimage.ErrCorrupt},
		"locator, value outside":  {locator(27, 255), bad, diskimage.ErrCorrupt},
		"locator, value too long": {locator(31, 2), bad, diskimage.ErrCorrupt},
		"locator of another type": {vhdxOf(overlay(other)), is("differencing", diskimage.Parent{}), diskimage.ErrUnsupported},
		"locator too short":       {vhdxOf(overlay(make([]byte, 19))), is("differencing", diskimage.Parent{}), diskimage.ErrCorrupt},
	} {
		info, err := diskimage.Inspect(mem(c.image))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, expected %v", name, err, c.err)
		}
		if d := cmp.Diff(&c.want, info); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestVHDXLife: set, change, change to a large label, remove, over tables of every kind. A change leaves the current
// slot alone; a removal gives the image back.
func TestVHDXLife(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		image []byte
		index int // of the first entry of ours
	}{
		"plain":                {vhdxOf(), 5},
		"differencing":         {vhdxOf(func(v *crash.VHDX) { v.Parameters, v.Locator = 2, crash.VHDXLocator("relative_path", "base.vhdx") }), 6},
		"others before":        {vhdxOf(func(v *crash.VHDX) { v.Before = others(3, 0x10, 5000) }), 8},
		"others after":         {vhdxOf(func(v *crash.VHDX) { v.After = others(9, 0x10, 1) }), 14},
		"others empty":         {vhdxOf(func(v *crash.VHDX) { v.After = others(4, 0x10, 0) }), 9},
		"table of two sectors": {vhdxOf(func(v *crash.VHDX) { v.After = others(10, 0x10, 100) }), 15},
		"across two sectors":   {vhdxOf(func(v *crash.VHDX) { v.After = others(9, 0x10, 7) }), 14},
		"table over 4 KiB":     {vhdxOf(func(v *crash.VHDX) { v.After = others(200, 0x10, 10) }), 205},
		"last place of users":  {vhdxOf(func(v *crash.VHDX) { v.After = others(1022, 0x10, 10) }), 1027},
		"one header damaged":   {func() []byte { b := vhdxOf(); b[64<<10+9] ^= 1; return b }(), 5},
		"the other damaged":    {func() []byte { b := vhdxOf(); b[128<<10+9] ^= 1; return b }(), 5},
		"first table damaged":  {func() []byte { b := vhdxOf(); b[192<<10+9] ^= 1; return b }(), 5},
		"headers the same":     {func() []byte { b := vhdxOf(); copy(b[64<<10:], b[128<<10:132<<10]); return b }(), 5},
		"second region table":  {func() []byte { b := vhdxOf(); b[256<<10] = 0; return b }(), 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mem(c.image)
			disk := binding(t, c.image)
			if disk.UUID != vhdxUUID {
				t.Fatalf("bound to %+v", disk)
			}
			for serial := uint32(1); serial <= 5; serial++ {
				frame := crash.Small(t, disk, serial)
				if serial == 3 {
					frame = crash.Large(t, disk, serial)
				}
				before := bytes.Clone(m.Data)
				if err := crash.Set(m, frame); err != nil {
					t.Fatal(err)
				}
				if got, err := crash.SerialOf(m.Data); err != nil || got != serial {
					t.Fatalf("label %d, %v", got, err)
				}
				items, err := crash.VHDXItems(m.Data)
				if err != nil {
					t.Fatal(err)
				}
				for i, id := range []string{vhdxA, vhdxB} {
					item := items[c.index+i]
					if item.ID != id || item.Flags != 3 || len(item.Data) != 4096 || item.Offset%4096 != 0 {
						t.Fatalf("item %d: %s, flags %d, %d bytes at %d", c.index+i, item.ID, item.Flags, len(item.Data), item.Offset)
					}
					at := 3<<20 + int(item.Offset)
					if changed := !bytes.Equal(before[at:at+4096], m.Data[at:at+4096]); changed != (int(serial-1)%2 == i) {
						t.Errorf("label %d: slot %s changed: %v", serial, item.ID, changed)
					}
				}
			}
			if err := crash.Remove(m); err != nil {
				t.Fatal(err)
			}
			want := bytes.Clone(c.image)
			now := 128 << 10
			if name == "the other damaged" {
				now = 64 << 10
			}
			copy(want[64<<10:68<<10], c.image[now:now+4096]) // a header that was damaged is whole now
			copy(want[128<<10:132<<10], c.image[now:now+4096])
			if !bytes.Equal(crash.VHDXSeen(m.Data), crash.VHDXSeen(want)) {
				t.Error("after the removal the image is not what it was")
			}
			if err := crash.Remove(m); !errors.Is(err, diskimage.ErrNoLabel) {
				t.Errorf("second removal: %v", err)
			}
		})
	}
}

// TestVHDXHeaders: every edit first announces itself in both headers, one after the other, with a new FileWriteGuid and
// the old DataWriteGuid.
func TestVHDXHeaders(t *testing.T) {
	t.Parallel()
	data := vhdxOf()
	m := mem(data)
	disk := binding(t, data)
	plans := []func(diskimage.Reader) (*diskimage.Edit, error){
		func(r diskimage.Reader) (*diskimage.Edit, error) {
			return diskimage.PlanSet(r, crash.Small(t, disk, 1))
		},
		func(r diskimage.Reader) (*diskimage.Edit, error) {
			return diskimage.PlanSet(r, crash.Small(t, disk, 2))
		},
		func(r diskimage.Reader) (*diskimage.Edit, error) {
			return diskimage.Options{}.PlanIdentity(r, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
		},
		diskimage.PlanRemove,
	}
	// Two copies that get different labels have different FileWriteGuids.
	ids := map[string]bool{}
	for _, frame := range []label.Frame{crash.Small(t, disk, 2), crash.Large(t, disk, 1)} {
		e, err := diskimage.PlanSet(m, frame)
		if err != nil {
			t.Fatal(err)
		}
		ids[string(e.Steps[0].Writes[0].Data[16:32])] = true
	}
	if len(ids) != 2 {
		t.Errorf("FileWriteGuids %q", slices.Collect(maps.Keys(ids)))
	}
	for i, plan := range plans {
		e, err := plan(m)
		if err != nil {
			t.Fatal(err)
		}
		var sequence [2]uint64
		for j, at := range []int64{64 << 10, 128 << 10} { // header 2 is the current one at first
			w := e.Steps[j].Writes
			if len(w) != 1 || w[0].Offset != at || len(w[0].Data) != 4096 {
				t.Fatalf("step %d writes at %d", j+1, w[0].Offset)
			}
			h := w[0].Data
			sequence[j] = binary.LittleEndian.Uint64(h[8:])
			if !bytes.Equal(h[32:48], data[at+32:at+48]) || h[23]>>4 != 4 || h[24]>>6 != 2 {
				t.Errorf("header %x", h[16:48])
			}
			if again := ids[string(h[16:32])]; again != (j == 1) {
				t.Errorf("FileWriteGuid %x", h[16:32])
			}
			ids[string(h[16:32])] = true
		}
		if want := [2]uint64{uint64(9 + 2*i), uint64(10 + 2*i)}; sequence != want {
			t.Errorf("sequence numbers %d, expected %d", sequence, want)
		}
		if again, err := plan(m); err != nil || cmp.Diff(e, again) != "" {
			t.Errorf("a plan made twice: %v, %s", err, cmp.Diff(e, again))
		}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatal(err)
		}
		vhdxHas(t, m.Data)
	}
}

// TestVHDXIdentity gives a copy another identity; its label stays and no longer counts.
func TestVHDXIdentity(t *testing.T) {
	t.Parallel()
	const other = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	data := vhdxOf()
	m := mem(data)
	if err := crash.Set(m, crash.Small(t, binding(t, data), 1)); err != nil {
		t.Fatal(err)
	}
	identify := func(m *crash.Mem, uuid string) {
		t.Helper()
		e, err := diskimage.Options{}.PlanIdentity(m, uuid)
		if err != nil {
			t.Fatal(err)
		}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatal(err)
		}
	}
	identify(m, other)
	if got := vhdxHas(t, m.Data)["beca12ab-b2e6-4523-93ef-c309e000c746"].Data; !bytes.Equal(got, crash.VHDXGUID(other)) {
		t.Errorf("page 83 holds %x", got)
	}
	frame, info, err := diskimage.ReadLabel(m)
	if err != nil || frame == nil || info.UUID != other {
		t.Fatalf("label %v, info %+v, %v", frame, info, err)
	}
	if _, err := diskimage.PlanSet(m, crash.Small(t, label.Binding{UUID: vhdxUUID, Size: 3 << 30}, 2)); !errors.Is(err, diskimage.ErrBinding) {
		t.Errorf("a label for the old identity: %v", err)
	}
	identify(m, vhdxUUID)
	if err := crash.Remove(m); err != nil || !bytes.Equal(crash.VHDXSeen(m.Data), crash.VHDXSeen(data)) {
		t.Errorf("back again it is not what it was: %v", err)
	}
	for _, bad := range []string{"", "AAAAAAAA-bbbb-4ccc-8ddd-eeeeeeeeeeee", "aaaaaaaabbbb4ccc8dddeeeeeeeeeeee", strings.Repeat("a", 36)} {
		if _, err := (diskimage.Options{}).PlanIdentity(m, bad); err == nil {
			t.Errorf("identity %q was taken", bad)
		}
	}
}

// TestVHDXReads: what a label costs. The usual image takes six small reads and nothing is read twice.
func TestVHDXReads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		image []byte
		reads int
	}{
		"plain":         {vhdxOf(), 6},
		"others before": {vhdxOf(func(v *crash.VHDX) { v.Before = others(3, 0x10, 5000) }), 6},
		"others after":  {vhdxOf(func(v *crash.VHDX) { v.After = others(2, 0x10, 50000) }), 8}, // the slots are beyond the window
		"overlay":       {vhdxOf(func(v *crash.VHDX) { v.Parameters, v.Locator = 2, crash.VHDXLocator("relative_path", "base.vhdx") }), 6},
		"large table":   {vhdxOf(func(v *crash.VHDX) { v.After = others(1000, 0x10, 1) }), 7},
		"second tables": {func() []byte { b := vhdxOf(); b[192<<10+9] ^= 1; return b }(), 8},
	} {
		m := mem(c.image)
		if err := crash.Set(m, crash.Large(t, binding(t, c.image), 1)); err != nil {
			t.Fatal(err)
		}
		r := &sizedReads{Mem: m}
		if frame, _, err := diskimage.ReadLabel(r); err != nil || frame == nil || r.n != c.reads || r.bytes > 96<<10 {
			t.Errorf("%s: label %v, %v, after %d reads of %d bytes, expected %d", name, frame != nil, err, r.n, r.bytes, c.reads)
		}
	}
}

// sizedReads counts reads and what they ask for.
type sizedReads struct {
	*crash.Mem
	n, bytes int
}

func (r *sizedReads) ReadAt(p []byte, off int64) (int, error) {
	r.n++
	r.bytes += len(p)
	return r.Mem.ReadAt(p, off)
}
