package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
	"pgregory.net/rapid"
)

// ext is a header extension of a constructed image.
type ext struct {
	kind uint32
	data string
}

const (
	extFormat  = 0xE2792ACA
	extBitmaps = 0x23852875
	extBerth   = 0x9D4E6B27
)

// qcow2Spec says what a constructed first cluster holds.
type qcow2Spec struct {
	version, bits uint32
	length        uint32 // of the header, 0: the least
	size          uint64
	exts          []ext
	name          string
	gap           int // bytes before the name
}

func (q qcow2Spec) bytes() []byte {
	b := make([]byte, 1<<q.bits)
	be := binary.BigEndian
	copy(b, "QFI\xfb")
	be.PutUint32(b[4:], q.version)
	be.PutUint32(b[20:], q.bits)
	be.PutUint64(b[24:], q.size)
	be.PutUint64(b[40:], 3<<q.bits)
	be.PutUint64(b[48:], 1<<q.bits)
	length := uint32(72)
	if q.version == 3 {
		length = max(q.length, 104)
		be.PutUint32(b[96:], 4)
		be.PutUint32(b[100:], length)
	}
	at := int(length)
	for _, e := range q.exts {
		be.PutUint32(b[at:], e.kind)
		be.PutUint32(b[at+4:], uint32(len(e.data)))
		copy(b[at+8:], e.data)
		at += 8 + (len(e.data)+7)&^7
	}
	if q.name != "" {
		at += 8 + q.gap
		be.PutUint64(b[8:], uint64(at))
		be.PutUint32(b[16:], uint32(len(q.name)))
		copy(b[at:], q.name)
	}
	return b
}

func usualQcow2() qcow2Spec {
	return qcow2Spec{version: 3, bits: 16, length: 112, size: 3 << 20, name: "base.qcow2", exts: []ext{
		{extFormat, "qcow2"}, {0x6803f857, strings.Repeat("feature name....", 24)},
	}}
}

func patched(data []byte, patches map[int]uint64) []byte {
	b := bytes.Clone(data)
	for at, v := range patches {
		binary.BigEndian.PutUint64(b[at:], v)
	}
	return b
}

// TestQcow2Hostile: what contradicts itself is an error of the right kind, without a panic and with few reads.
func TestQcow2Hostile(t *testing.T) {
	t.Parallel()
	usual := usualQcow2().bytes()
	bits := func(n uint64) map[int]uint64 { return map[int]uint64{16: 10<<32 | n} }
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"usual":                    {usual, nil},
		"cut in the header":        {usual[:100], diskimage.ErrCorrupt},
		"cut in the extensions":    {usual[:300], diskimage.ErrCorrupt},
		"cut in the name":          {usual[:usual[15]], diskimage.ErrCorrupt},
		"version 1":                {patched(usual, map[int]uint64{0: 0x514649fb00000001}), diskimage.ErrUnsupported},
		"version 4":                {patched(usual, map[int]uint64{0: 0x514649fb00000004}), diskimage.ErrUnsupported},
		"clusters of 256 bytes":    {patched(usual, bits(8)), diskimage.ErrCorrupt},
		"clusters of 4 MiB":        {patched(usual, bits(22)), diskimage.ErrCorrupt},
		"clusters of 2^64":         {patched(usual, bits(64)), diskimage.ErrCorrupt},
		"clusters of 2^4294967295": {patched(usual, bits(1<<32-1)), diskimage.ErrCorrupt},
		"size 2^63":                {patched(usual, map[int]uint64{24: 1 << 63}), diskimage.ErrCorrupt},
		"header of 16 bytes":       {patched(usual, map[int]uint64{96: 4<<32 | 16}), diskimage.ErrCorrupt},
		"header of 2^32-1 bytes":   {patched(usual, map[int]uint64{96: 4<<32 | 1<<32 - 1}), diskimage.ErrCorrupt},
		"name at 2^63":             {patched(usual, map[int]uint64{8: 1 << 63}), diskimage.ErrCorrupt},
		"name behind the cluster":  {patched(usual, map[int]uint64{8: 1<<16 - 9}), diskimage.ErrCorrupt},
		"name of 1 MiB":            {patched(usual, map[int]uint64{16: 1<<52 | 16}), diskimage.ErrCorrupt},
		"name in the header":       {patched(usual, map[int]uint64{8: 40}), nil}, // QEMU reads it so
		"extension over the name":  {patched(usual, map[int]uint64{112: extFormat<<32 | 600}), diskimage.ErrCorrupt},
		"extension of 2^32-1":      {patched(usual, map[int]uint64{112: extFormat<<32 | 1<<32 - 1}), diskimage.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mem(c.data)
			frame, info, err := diskimage.ReadLabel(m)
			if !errors.Is(err, c.want) || frame != nil || info == nil || info.Format != diskimage.FormatQcow2 {
				t.Errorf("%v, %+v, %v, expected %v", frame, info, err, c.want)
			}
			if m.Reads > 3 {
				t.Errorf("%d reads", m.Reads)
			}
			if info != nil && c.want != nil {
				if err := crash.Set(m, crash.Small(t, label.Binding{Size: 3 << 20}, 1)); !errors.Is(err, c.want) || m.Writes > 0 {
					t.Errorf("set: %v after %d writes", err, m.Writes)
				}
			}
		})
	}
}

func TestQcow2Info(t *testing.T) {
	t.Parallel()
	usual := usualQcow2()
	m := mem(usual.bytes())
	info, err := diskimage.Inspect(m)
	if err != nil || m.Reads != 1 {
		t.Fatalf("%d reads, %v", m.Reads, err)
	}
	want := diskimage.Info{
		Format: diskimage.FormatQcow2, Subformat: "v3, 64 KiB clusters", VirtualSize: 3 << 20, Place: diskimage.PlaceImage,
		Parent: diskimage.Parent{Ref: "base.qcow2", Format: diskimage.FormatQcow2},
	}
	if fmt.Sprintf("%+v", *info) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v\nexpected\n%+v", *info, want)
	}
	for subformat, patch := range map[string]map[int]uint64{
		"v3, 64 KiB clusters, AES":                             {32: 1<<32 | 1},
		"v3, 64 KiB clusters, LUKS":                            {32: 2<<32 | 1},
		"v3, 64 KiB clusters, encryption 9":                    {32: 9<<32 | 1},
		"v3, 64 KiB clusters, external data file":              {72: 4},
		"v3, 64 KiB clusters, external data file, extended L2": {72: 4 | 16},
		"v3, 64 KiB clusters, zstd":                            {72: 8, 104: 1 << 56},
	} {
		if info, err := diskimage.Inspect(mem(patched(usual.bytes(), patch))); err != nil || info.Subformat != subformat {
			t.Errorf("%q, %v, expected %q", info.Subformat, err, subformat)
		}
	}
	for name, want := range map[string]diskimage.Format{"raw": "raw", "vpc": diskimage.FormatVHD, "": "", "luks": "luks"} {
		s := usual
		s.exts = []ext{{extFormat, name}}
		if info, err := diskimage.Inspect(mem(s.bytes())); err != nil || info.Parent.Format != want {
			t.Errorf("%q: %+v, %v", name, info.Parent, err)
		}
	}
}

// TestQcow2FarExtensions: what lies beyond the first read costs one more, and what lies too far is refused.
func TestQcow2FarExtensions(t *testing.T) {
	t.Parallel()
	s := usualQcow2()
	s.name = ""
	s.exts = []ext{{0x11111111, strings.Repeat("x", 20<<10)}}
	m := mem(s.bytes())
	disk := label.Binding{Size: 3 << 20}
	if err := crash.Set(m, crash.Large(t, disk, 1)); err != nil {
		t.Fatal(err)
	}
	again := mem(m.Data)
	if frame, _, err := diskimage.ReadLabel(again); err != nil || frame == nil || again.Reads != 2 {
		t.Errorf("%v after %d reads, %v", frame, again.Reads, err)
	}
	if err := crash.Remove(m); err != nil || !bytes.Equal(m.Data, s.bytes()) {
		t.Errorf("remove: %v, equal: %v", err, bytes.Equal(m.Data, s.bytes()))
	}
	s.bits, s.exts[0].data = 17, strings.Repeat("x", 63<<10)
	if err := crash.Set(mem(s.bytes()), crash.Small(t, disk, 1)); !errors.Is(err, diskimage.ErrNoRoom) {
		t.Errorf("set behind 63 KiB: %v", err)
	}
	s.exts[0].data = strings.Repeat("x", 70<<10)
	if _, _, err := diskimage.ReadLabel(mem(s.bytes())); !errors.Is(err, diskimage.ErrUnsupported) {
		t.Errorf("read 70 KiB of extensions: %v", err)
	}
}

// TestQcow2Room: slots are as large as the first cluster lets them be, and no less than useful.
func TestQcow2Room(t *testing.T) {
	t.Parallel()
	disk := label.Binding{Size: 3 << 20}
	for _, c := range []struct {
		bits         uint32 // of the cluster's size; a label with every override at full length needs 8 KiB
		used         int    // bytes of other extensions
		small, large error
	}{
		{13, 0, nil, nil},
		{12, 0, nil, diskimage.ErrNoRoom},
		{12, 400, nil, diskimage.ErrNoRoom},
		{12, 1200, nil, diskimage.ErrNoRoom},
		{12, 1700, diskimage.ErrNoRoom, diskimage.ErrNoRoom},
		{12, 3900, diskimage.ErrNoRoom, diskimage.ErrNoRoom},
	} {
		s := qcow2Spec{version: 3, bits: c.bits, size: 3 << 20, exts: []ext{{0x11111111, strings.Repeat("x", c.used)}}}
		if err := crash.Set(mem(s.bytes()), crash.Small(t, disk, 1)); !errors.Is(err, c.small) {
			t.Errorf("%d bits, %d used, small: %v", c.bits, c.used, err)
		}
		if err := crash.Set(mem(s.bytes()), crash.Large(t, disk, 1)); !errors.Is(err, c.large) {
			t.Errorf("%d bits, %d used, large: %v", c.bits, c.used, err)
		}
	}
	s := qcow2Spec{version: 3, bits: 12, size: 3 << 20, exts: []ext{{0x11111111, strings.Repeat("x", 400)}}}
	m := mem(s.bytes())
	if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil {
		t.Fatal(err)
	}
	writes := m.Writes
	if err := crash.Set(m, crash.Large(t, disk, 2)); !errors.Is(err, diskimage.ErrNoRoom) || m.Writes != writes {
		t.Errorf("change to a large one: %v", err)
	}
}

// TestQcow2Odd: images that QEMU no longer writes, or nobody should.
func TestQcow2Odd(t *testing.T) {
	t.Parallel()
	disk := label.Binding{Size: 3 << 20}
	slot := func(name, rest string) ext {
		return ext{extBerth, strings.Repeat("\x00", 504) + "BERTHQ1" + name + rest}
	}
	other := ext{0x11111111, "other"}
	noEnd := usualQcow2()
	noEnd.exts, noEnd.gap = nil, -8 // very old: the name follows the header
	for name, c := range map[string]struct {
		spec        qcow2Spec
		set, remove error
	}{
		"name right behind the header":  {noEnd, diskimage.ErrUnsupported, diskimage.ErrNoLabel},
		"name over the end mark":        {qcow2Spec{version: 2, bits: 16, size: 3 << 20, name: "base", gap: -4}, diskimage.ErrUnsupported, diskimage.ErrNoLabel},
		"one slot":                      {qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{slot("a", "")}}, diskimage.ErrDamaged, nil},
		"two of one name":               {qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{slot("a", ""), slot("a", "")}}, diskimage.ErrDamaged, nil},
		"three":                         {qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{slot("a", ""), slot("b", ""), slot("c", "")}}, diskimage.ErrDamaged, nil},
		"empty, not one block":          {qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{slot("a", ""), other, slot("b", "")}}, nil, diskimage.ErrNoLabel},
		"our type without the mark":     {qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{slot("a", "x")}}, nil, diskimage.ErrNoLabel},
		"our type, shorter than a mark": {qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{{extBerth, "BERTHQ1"}}}, nil, diskimage.ErrNoLabel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := c.spec.bytes()
			if err := crash.Set(mem(data), crash.Small(t, disk, 1)); !errors.Is(err, c.set) {
				t.Errorf("set: %v, expected %v", err, c.set)
			}
			m := mem(data)
			err := crash.Remove(m)
			if !errors.Is(err, c.remove) {
				t.Errorf("remove: %v, expected %v", err, c.remove)
			}
			if err == nil && bytes.Contains(m.Data, []byte("BERTHQ")) {
				t.Error("something is left")
			}
		})
	}
}

// TestQcow2Contradiction: a table in the first cluster, or a file that ends in it, could be hit by a label.
func TestQcow2Contradiction(t *testing.T) {
	t.Parallel()
	usual := usualQcow2().bytes()
	for name, data := range map[string][]byte{
		"L1 table":       patched(usual, map[int]uint64{40: 1 << 12}),
		"refcount table": patched(usual, map[int]uint64{48: 1<<16 - 8}),
		"snapshots":      patched(usual, map[int]uint64{64: 1}),
		"L1 at 0":        patched(usual, map[int]uint64{40: 0, 36: 1 << 32}),
		"refcounts at 0": patched(usual, map[int]uint64{48: 0, 56: 1 << 32}),
		"snapshots at 0": patched(usual, map[int]uint64{60: 1 << 32}),
		"end of file":    usual[:1<<15],
	} {
		m := mem(data)
		if _, _, err := diskimage.ReadLabel(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := crash.Set(m, crash.Small(t, label.Binding{Size: 3 << 20}, 1)); !errors.Is(err, diskimage.ErrCorrupt) || m.Writes > 0 {
			t.Errorf("%s: %v after %d writes", name, err, m.Writes)
		}
	}
}

// TestQcow2Apart: another tool's extension between the slots cannot be moved; they stay, empty, and are used again.
func TestQcow2Apart(t *testing.T) {
	t.Parallel()
	disk := label.Binding{Size: 3 << 20}
	slot := func(name string) ext { return ext{extBerth, strings.Repeat("\x00", 504) + "BERTHQ1" + name} }
	s := qcow2Spec{version: 3, bits: 16, size: 3 << 20, exts: []ext{slot("b"), {0x11111111, "other"}, slot("a")}}
	m := mem(s.bytes())
	for serial := range uint32(3) {
		if err := crash.Set(m, crash.Small(t, disk, serial+1)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := diskimage.PlanRemove(m)
	if err != nil || !strings.Contains(e.Remains, "2 empty header extensions") {
		t.Fatalf("%+v, %v", e, err)
	}
	err = crash.States(m.Data, e, func(s crash.State) error {
		if got, err := crash.SerialOf(s.Data); err != nil || got != 3 && got != 0 || s.Done && got != 0 {
			return fmt.Errorf("label %d, %w", got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := diskimage.Apply(m, e); err != nil || !bytes.Equal(m.Data, s.bytes()) {
		t.Errorf("%v, equal: %v", err, bytes.Equal(m.Data, s.bytes()))
	}
}

// TestQcow2Small: clusters of less than 4 KiB have no room; the label lies beside the image.
func TestQcow2Small(t *testing.T) {
	t.Parallel()
	for bits := uint32(9); bits < 12; bits++ {
		s := qcow2Spec{version: 3, bits: bits, size: 3 << 20, name: "base.raw"}
		path := filepath.Join(t.TempDir(), "vm-db.qcow2")
		if err := os.WriteFile(path, s.bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := dir.OpenWrite(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		for serial := range uint32(2) {
			if err := crash.Set(f, crash.Large(t, label.Binding{Size: 3 << 20}, serial+1)); err != nil {
				t.Fatal(err)
			}
		}
		frame, info, err := diskimage.ReadLabel(f)
		if err != nil || frame == nil || frame.Serial != 2 || info.Place != diskimage.PlaceSidecar || !info.HasLabel {
			t.Errorf("%v, %+v, %v", frame, info, err)
		}
		if err := crash.Remove(f); err != nil {
			t.Error(err)
		}
		if err := crash.Remove(f); !errors.Is(err, diskimage.ErrNoLabel) {
			t.Errorf("remove twice: %v", err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, s.bytes()) {
			t.Errorf("the image was touched, %v", err)
		}
		if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestQcow2Life: whatever extensions and name an image has, and however a foreign tool orders them in between, the label is
// the last one set, and after its removal the image is what it was.
func TestQcow2Life(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := qcow2Spec{version: rapid.SampledFrom([]uint32{2, 3}).Draw(t, "version"), bits: rapid.Uint32Range(13, 17).Draw(t, "bits"), size: 3 << 20}
		s.length = rapid.SampledFrom([]uint32{104, 112, 160}).Draw(t, "length")
		s.name = rapid.StringOfN(rapid.RuneFrom([]rune("ab/.")), 0, 1023, -1).Draw(t, "name")
		s.gap = rapid.SampledFrom([]int{0, 0, 8, 4000, 5000}).Draw(t, "gap")
		if s.bits == 13 {
			s.gap = 0
		}
		for range rapid.IntRange(0, 4).Draw(t, "extensions") {
			s.exts = append(s.exts, ext{rapid.Uint32Range(1, 1<<31).Draw(t, "type"), rapid.StringN(0, 100, 100).Draw(t, "data")})
		}
		m := mem(s.bytes())
		serial := uint32(0)
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			serial++
			if err := crash.Set(m, unsigned(t, label.Binding{Size: 3 << 20}, serial)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := crash.SerialOf(m.Data); err != nil || got != serial {
			t.Fatalf("label %d, %v, expected %d", got, err, serial)
		}
		if err := crash.Remove(m); err != nil {
			t.Fatal(err)
		}
		info, err := diskimage.Inspect(m)
		if err != nil || info.Parent.Ref != s.name {
			t.Fatalf("%+v, %v", info, err)
		}
		switch s.gap {
		case 4000: // the name was in the way, and where it ended something else had to be left free
			return
		case 8: // it stood apart, but in the way: now it is right behind the extensions
			s.gap = 0
		}
		if !bytes.Equal(m.Data, s.bytes()) {
			t.Fatal("after removal the image is not what it was")
		}
	})
}

// unsigned makes a label fast.
func unsigned(t rapid.TB, disk label.Binding, serial uint32) label.Frame {
	f, err := label.Seal(label.Document{Level: strings.Repeat("g", 1+int(serial%8)), Disk: disk, Serial: serial, Issued: crashTime()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// FuzzQcow2: an image that takes a label gives it back, and is, once it is removed, what it was; or is refused untouched.
func FuzzQcow2(f *testing.F) {
	for _, s := range []qcow2Spec{
		usualQcow2(),
		{version: 2, bits: 13, size: 1 << 20},
		{version: 3, bits: 12, size: 1 << 20, exts: []ext{{extBitmaps, strings.Repeat("\x01", 24)}}},
		{version: 3, bits: 13, size: 1 << 20, name: "json:{}", gap: 16},
	} {
		f.Add(bytes.TrimRight(s.bytes(), "\x00"), byte(s.bits))
		m := mem(s.bytes())
		if err := crash.Set(m, crash.Small(f, label.Binding{Size: label.Bytes(s.size)}, 1)); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.TrimRight(m.Data, "\x00"), byte(s.bits))
	}
	f.Fuzz(func(t *testing.T, data []byte, bits byte) {
		// The fuzzer is slow with long inputs: the rest of the cluster is zero.
		if len(data) > 1<<13 || len(data) < 104 {
			return
		}
		image := make([]byte, 1<<max(13, bits%18))
		copy(image, data)
		copy(image, "QFI\xfb\x00\x00\x00")
		fuzzEdit(t, image)
	})
}

// fuzzEdit sets, changes and removes a label.
func fuzzEdit(t *testing.T, image []byte) {
	t.Helper()
	m := mem(image)
	info, err := diskimage.Inspect(m)
	if err != nil || info.VirtualSize == 0 {
		return
	}
	for _, serial := range []uint32{1<<32 - 2, 1<<32 - 1} {
		writes := m.Writes
		if err := crash.Set(m, unsigned(t, info.Binding(), serial)); err != nil {
			if m.Writes != writes {
				t.Fatalf("refused with %v after %d writes", err, m.Writes-writes)
			}
			return
		}
	}
	after, err := diskimage.Inspect(m)
	if err != nil || after.Parent != info.Parent || after.Subformat != info.Subformat || after.VirtualSize != info.VirtualSize {
		t.Fatalf("%+v, %v, before %+v", after, err, info)
	}
	if err := crash.Remove(m); err != nil {
		t.Fatalf("remove: %v", err)
	}
	after, err = diskimage.Inspect(m)
	if err != nil || after.Parent != info.Parent || after.HasLabel {
		t.Fatalf("after removal %+v, %v", after, err)
	}
	// Once more: whatever odd place things had, they now have their usual one, and it does not change any more.
	settled := bytes.Clone(m.Data)
	if err := crash.Set(m, unsigned(t, info.Binding(), 1)); err != nil {
		t.Fatalf("set again: %v", err)
	}
	if err := crash.Remove(m); err != nil || !bytes.Equal(m.Data, settled) {
		t.Fatalf("remove again: %v, equal: %v", err, bytes.Equal(m.Data, settled))
	}
}
