package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// smallVDI is a constructed image without its blocks: what the codec looks at.
func smallVDI(begin, data int, comment string) []byte {
	return crash.VDI(begin, data, comment)[:data]
}

// comment is what other tools see of it.
func comment(image []byte) string {
	text, _, _ := bytes.Cut(image[84:340], []byte{0})
	return string(text)
}

func TestVDIInspect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(b []byte)
		want   diskimage.Info
		err    error
	}{
		"dynamic": {func([]byte) {}, diskimage.Info{Subformat: "dynamic", VirtualSize: crash.VDISize, UUID: crash.VDIUUID}, nil},
		"fixed":   {u32(76, 2), diskimage.Info{Subformat: "fixed", VirtualSize: crash.VDISize, UUID: crash.VDIUUID}, nil},
		"differencing": {func(b []byte) {
			u32(76, 4)(b)
			copy(b[424:], b[392:408])
			clear(b[392:408])
		}, diskimage.Info{Subformat: "differencing", VirtualSize: crash.VDISize, Parent: diskimage.Parent{UUID: crash.VDIUUID}}, nil},
		"odd size":        {u32(368, 3<<20-100), diskimage.Info{Subformat: "dynamic", VirtualSize: crash.VDISize, UUID: crash.VDIUUID}, nil},
		"version 0":       {u32(68, 1), diskimage.Info{}, diskimage.ErrUnsupported},
		"version 1.2":     {u32(68, 1<<16|2), diskimage.Info{}, diskimage.ErrUnsupported},
		"short header":    {u32(72, 300), diskimage.Info{}, diskimage.ErrCorrupt},
		"long header":     {u32(72, 441), diskimage.Info{}, diskimage.ErrCorrupt},
		"sectors of 4096": {u32(360, 4096), diskimage.Info{}, diskimage.ErrUnsupported},
		"type 5":          {u32(76, 5), diskimage.Info{}, diskimage.ErrUnsupported},
		"no size":         {u32(368, 0), diskimage.Info{}, diskimage.ErrCorrupt},
		"huge size":       {u32(372, 1<<30), diskimage.Info{}, diskimage.ErrCorrupt},
		"too few blocks":  {u32(384, 2), diskimage.Info{}, diskimage.ErrCorrupt},
		"map over data":   {u32(344, 16<<10+4), diskimage.Info{}, diskimage.ErrCorrupt},
		"map over header": {u32(340, 256), diskimage.Info{}, diskimage.ErrCorrupt},
		"data in header":  {u32(344, 0), diskimage.Info{}, diskimage.ErrCorrupt},
	} {
		b := smallVDI(16<<10, 20<<10, "")
		c.change(b)
		info, err := diskimage.Inspect(mem(b))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, expected %v", name, err, c.err)
		}
		c.want.Format = diskimage.FormatVDI
		if c.err == nil {
			c.want.Place = diskimage.PlaceImage
		}
		if info == nil || !equalInfo(*info, c.want) {
			t.Errorf("%s: %+v, expected %+v", name, info, c.want)
		}
		if c.err != nil {
			m := mem(b)
			if err := crash.Set(m, crash.Small(t, label.Binding{Size: crash.VDISize}, 1)); !errors.Is(err, c.err) || m.Writes > 0 {
				t.Errorf("%s: set gives %v after %d writes", name, err, m.Writes)
			}
		}
	}
	if _, err := diskimage.Inspect(mem(smallVDI(16<<10, 20<<10, "")[:400])); !errors.Is(err, diskimage.ErrCorrupt) {
		t.Errorf("header cut off: error %v", err)
	}
}

func equalInfo(a, b diskimage.Info) bool {
	return len(a.Extents) == 0 && len(b.Extents) == 0 && a.Format == b.Format && a.Subformat == b.Subformat && a.VirtualSize == b.VirtualSize &&
		a.UUID == b.UUID && a.Parent == b.Parent && a.HasLabel == b.HasLabel && a.Place == b.Place && a.Damaged == b.Damaged &&
		a.Unclean == b.Unclean && a.Trace == b.Trace
}

func u32(at int, v uint32) func([]byte) {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
}

// TestVDIPlaces: where the label goes, by what the image has room for and what is in it.
func TestVDIPlaces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data         []byte
		small, large string // place of a short and a long label; or what the error says
		comment      string // what the comment begins with after a small label
	}{
		"virtualbox":          {smallVDI(1<<20, 2<<20, ""), "gap", "gap", "berth1 "},
		"least gap":           {smallVDI(16<<10, 20<<10, ""), "gap", "gap", "berth1 "},
		"gap too small":       {smallVDI(8<<10, 12<<10, ""), "image", "sidecar", "berth1 "},
		"behind the map":      {smallVDI(512, 64<<10, ""), "behind", "behind", "berth1 "},
		"qemu":                {smallVDI(512, 1024, ""), "image", "sidecar", "berth1 "},
		"qemu, own comment":   {smallVDI(512, 1024, "our mail server"), "sidecar", "sidecar", "our mail server"},
		"own comment":         {smallVDI(16<<10, 20<<10, "our mail server"), "gap", "gap", "our mail server"},
		"comment without end": {smallVDI(512, 1024, strings.Repeat("x", 255)), "sidecar", "sidecar", "xxx"},
		"gap in use":          {put(smallVDI(16<<10, 20<<10, ""), 9000, "x"), "image", "sidecar", "berth1 "},
		"file ends in gap":    {smallVDI(16<<10, 20<<10, "")[:12<<10-1], "image", "sidecar", "berth1 "},
	} {
		for size, want := range map[string]string{"small": c.small, "large": c.large} {
			m := &besideMem{Mem: *mem(c.data)}
			disk := binding(t, c.data)
			frame := crash.Small(t, disk, 1)
			if size == "large" {
				frame = crash.Large(t, disk, 1)
			}
			if err := crash.Set(m, frame); err != nil {
				t.Errorf("%s, %s: %v", name, size, err)
				continue
			}
			got := "image"
			switch {
			case m.sidecar != nil:
				got = "sidecar"
			case bytes.HasPrefix(m.Data[min(4096, len(m.Data)):], []byte("BLB1")):
				got = "gap"
			case len(m.Data) == 64<<10 && bytes.HasPrefix(m.Data[56<<10:], []byte("BLB1")):
				got = "behind"
			}
			if got != want || size == "small" && !strings.HasPrefix(comment(m.Data), c.comment) {
				t.Errorf("%s, %s: in %s, comment %q, expected %s, %q", name, size, got, comment(m.Data), want, c.comment)
			}
			place := diskimage.PlaceImage
			if want == "sidecar" {
				place = diskimage.PlaceSidecar
			}
			found, info, err := diskimage.ReadLabel(m)
			if err != nil || found == nil || !bytes.Equal(found.Payload, frame.Payload) || info.Place != place {
				t.Errorf("%s, %s: label %v in %v (%v)", name, size, found, info, err)
			}
			if err := crash.Remove(m); err != nil || !bytes.Equal(m.Data, c.data) || m.sidecar != nil || len(m.attributes) > 0 {
				t.Errorf("%s, %s: removal leaves something (%v)", name, size, err)
			}
		}
	}
}

// TestVDIClone: VirtualBox gives a clone another UUID and keeps the comment. A short label is all there and judged as that of another
// disk; of a long one there is a trace.
func TestVDIClone(t *testing.T) {
	t.Parallel()
	data := smallVDI(16<<10, 20<<10, "")
	disk := binding(t, data)
	clone := func(frame label.Frame) (*label.Frame, *diskimage.Info) {
		m := mem(data)
		if err := crash.Set(m, frame); err != nil {
			t.Fatal(err)
		}
		clear(m.Data[4096:12288])
		m.Data[392]++
		found, info, err := diskimage.ReadLabel(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := crash.Remove(m); err != nil || comment(m.Data) != "" {
			t.Fatalf("remove: %v, comment %q", err, comment(m.Data))
		}
		return found, info
	}
	if found, info := clone(crash.Small(t, disk, 7)); found == nil || found.Serial != 7 || !info.HasLabel || info.Trace != "" {
		t.Errorf("short label: %v, %+v", found, info)
	} else if doc, err := found.Document(); err != nil || doc.Disk != disk || info.UUID == disk.UUID {
		t.Errorf("short label: %+v, %v", doc, err)
	}
	if found, info := clone(crash.Large(t, disk, 7)); found != nil || info.HasLabel || info.Damaged || !strings.Contains(info.Trace, "serial 7") {
		t.Errorf("long label: %v, %+v", found, info)
	}
}

// TestVDIDamaged: remains of a label are told from somebody else's bytes, and can be removed or set over.
func TestVDIDamaged(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"slot":    put(smallVDI(16<<10, 20<<10, ""), 4096, "BLB1\x01"),
		"comment": smallVDI(512, 1024, "berth1 nonsense"),
	} {
		m := mem(data)
		frame, info, err := diskimage.ReadLabel(m)
		if err != nil || frame != nil || !info.Damaged {
			t.Errorf("%s: %v, %+v, %v", name, frame, info, err)
		}
		if err := crash.Remove(mem(data)); err != nil {
			t.Errorf("%s: remove: %v", name, err)
		}
		if err := crash.Set(m, crash.Small(t, info.Binding(), 1)); err != nil {
			t.Errorf("%s: set: %v", name, err)
		}
	}
	m := mem(smallVDI(16<<10, 20<<10, ""))
	disk := binding(t, m.Data)
	for serial := range uint32(2) {
		if err := crash.Set(m, crash.Small(t, disk, 1+serial)); err != nil {
			t.Fatal(err)
		}
	}
	put(m.Data, 4096, "xxxx")
	if err := crash.Set(m, crash.Small(t, disk, 3)); !errors.Is(err, diskimage.ErrDamaged) {
		t.Errorf("something else in one slot: error %v, expected ErrDamaged", err)
	}
	if frame, _, err := diskimage.ReadLabel(m); err != nil || frame == nil || frame.Serial != 2 {
		t.Errorf("something else in one slot: %v, %v", frame, err)
	}
	m = mem(smallVDI(512, 1024, ""))
	if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil {
		t.Fatal(err)
	}
	if err := crash.Set(m, crash.Large(t, disk, 2)); !errors.Is(err, diskimage.ErrNoRoom) || !strings.Contains(err.Error(), "remove") {
		t.Errorf("a long label after a short one in the comment: error %v, expected ErrNoRoom", err)
	}
}

func TestVDIIdentity(t *testing.T) {
	t.Parallel()
	m := mem(smallVDI(16<<10, 20<<10, ""))
	const want = "00112233-4455-6677-8899-aabbccddeeff"
	checkIdentity(t, m, want)
	if got := m.Data[392:408]; !bytes.Equal(got, []byte("\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff")) {
		t.Errorf("bytes % x", got)
	}
}

// checkIdentity changes the identity of an image without and with a label.
func checkIdentity(t *testing.T, m *crash.Mem, want string) {
	t.Helper()
	for _, uuid := range []string{"6f1b1c2e-0000-4c1c-9f5b-0a6f6d1f6b11", want} {
		e, err := diskimage.Options{}.PlanIdentity(m, uuid)
		if err != nil {
			t.Fatal(err)
		}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatal(err)
		}
		if got := binding(t, m.Data).UUID; got != uuid {
			t.Fatalf("uuid %s, expected %s", got, uuid)
		}
		if uuid == want {
			return
		}
		options := diskimage.Options{VHDFooter: true}
		e, err = options.PlanSet(m, crash.Small(t, binding(t, m.Data), 1))
		if err == nil {
			err = diskimage.Apply(m, e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestVDIShort: every label that fits the comment comes back from it as it was, and no changed character is overlooked.
func TestVDIShort(t *testing.T) {
	t.Parallel()
	data := smallVDI(512, 1024, "")
	rapid.Check(t, func(rt *rapid.T) {
		doc := label.Document{
			Level: rapid.StringMatching(`[a-z0-9._-]{1,40}`).Draw(rt, "level"), Serial: rapid.Uint32Min(1).Draw(rt, "serial"),
			Issuer: rapid.StringMatching(`[a-zä "\\]{0,12}`).Draw(rt, "issuer"), Disk: label.Binding{Size: crash.VDISize}, Issued: time.Unix(1_800_000_000, 0).UTC(),
		}
		if rapid.Bool().Draw(rt, "uuid") {
			doc.Disk.UUID = crash.VDIUUID
		}
		key := crash.Key(t)
		if rapid.Bool().Draw(rt, "unsigned") {
			key = nil
		}
		frame, err := label.Seal(doc, key)
		if err != nil {
			rt.Skip(err)
		}
		m := mem(data)
		if err := crash.Set(m, frame); errors.Is(err, diskimage.ErrUnsupported) {
			rt.Skip("too long")
		} else if err != nil {
			rt.Fatal(err)
		}
		got, _, err := diskimage.ReadLabel(m)
		if err != nil || got == nil || !bytes.Equal(got.Payload, frame.Payload) || got.Signature != frame.Signature || got.KeyID != frame.KeyID {
			rt.Fatalf("label %+v (%v), expected %+v", got, err, frame)
		}
		at := 84 + rapid.IntRange(0, len(comment(m.Data))-1).Draw(rt, "changed")
		m.Data[at] ^= rapid.ByteRange(1, 255).Draw(rt, "bits")
		if got, _, err := diskimage.ReadLabel(m); err != nil || got != nil {
			rt.Fatalf("comment changed at %d: label %+v, %v", at, got, err)
		}
	})
}
