package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestVHDXRefuses: each reason, by its error, without a write, for setting, removing and giving an identity.
func TestVHDXRefuses(t *testing.T) {
	t.Parallel()
	le := binary.LittleEndian
	headers := func(change func(h []byte)) []byte {
		b := vhdxOf()
		for _, at := range crash.VHDXHeaders {
			change(b[at : at+4096])
			crash.VHDXSum(b[at : at+4096])
		}
		return b
	}
	regions := func(more ...crash.VHDXRegion) []byte {
		b := vhdxOf()
		table := crash.VHDXRegionTable(append([]crash.VHDXRegion{
			{ID: "2dc27766-f623-4200-9d64-115e9bfd4a08", Offset: crash.VHDXBAT, Length: crash.VHDXMiB, Required: true},
			{ID: "8b7ca206-4790-4b9a-b8fe-575f050f886e", Offset: crash.VHDXMetadata, Length: crash.VHDXMiB, Required: true},
		}, more...))
		for _, at := range crash.VHDXRegionTables {
			copy(b[at:], table)
		}
		return b
	}
	entry := func(i int, change func(e []byte)) []byte {
		b := vhdxOf(func(v *crash.VHDX) { v.After = others(1, 0x20, 100) })
		change(b[crash.VHDXMetadata+32*(1+i):])
		return b
	}
	at := func(off int, v byte) []byte { b := vhdxOf(); b[off] = v; return b }
	const other = "00000000-0000-4000-8000-000000000001"
	for name, c := range map[string]struct {
		image []byte
		err   error
	}{
		"log not empty":         {vhdxOf(func(v *crash.VHDX) { v.LogGUID[0] = 1 }), diskimage.ErrUnclean},
		"log version":           {headers(func(h []byte) { h[64] = 1 }), diskimage.ErrUnsupported},
		"version":               {headers(func(h []byte) { h[66] = 2 }), diskimage.ErrUnsupported},
		"log over the metadata": {headers(func(h []byte) { le.PutUint64(h[72:], crash.VHDXMetadata) }), diskimage.ErrCorrupt},
		"log over the table":    {headers(func(h []byte) { le.PutUint64(h[72:], crash.VHDXBAT) }), diskimage.ErrCorrupt},
		"long log":              {headers(func(h []byte) { le.PutUint32(h[68:], 3<<20) }), diskimage.ErrCorrupt},
		"log over the headers":  {headers(func(h []byte) { le.PutUint64(h[72:], 0) }), diskimage.ErrCorrupt},
		"log far away":          {headers(func(h []byte) { le.PutUint64(h[72:], 1<<63) }), diskimage.ErrCorrupt},
		"log not aligned":       {headers(func(h []byte) { le.PutUint64(h[72:], 1<<20+512) }), diskimage.ErrCorrupt},
		"last sequence number":  {lastSequence(^uint64(0) - 1), diskimage.ErrCorrupt},
		"headers differ, no order": {func() []byte {
			b := headers(func(h []byte) { h[8] = 5 })
			b[64<<10+17]++
			crash.VHDXSum(b[64<<10 : 68<<10])
			return b
		}(), diskimage.ErrCorrupt},
		"both headers damaged": {func() []byte { b := at(64<<10+100, 1); b[128<<10+100] = 1; return b }(), diskimage.ErrCorrupt},
		"both tables damaged":  {func() []byte { b := at(192<<10+60000, 1); b[256<<10+60000] = 1; return b }(), diskimage.ErrCorrupt},
		"tables differ": {func() []byte {
			b := vhdxOf()
			copy(b[256<<10:320<<10], regions(crash.VHDXRegion{ID: other, Offset: 8 << 20, Length: 1 << 20})[256<<10:])
			return b
		}(), diskimage.ErrCorrupt},
		"required region":          {regions(crash.VHDXRegion{ID: other, Offset: 8 << 20, Length: 1 << 20, Required: true}), diskimage.ErrUnsupported},
		"region over the metadata": {regions(crash.VHDXRegion{ID: other, Offset: 2 << 20, Length: 2 << 20}), diskimage.ErrCorrupt},
		"two regions overlap":      {regions(crash.VHDXRegion{ID: other, Offset: 8 << 20, Length: 2 << 20}, crash.VHDXRegion{ID: other[:35] + "2", Offset: 9 << 20, Length: 1 << 20}), diskimage.ErrCorrupt},
		"required, without length": {regions(crash.VHDXRegion{ID: other, Offset: 8 << 20, Required: true}), diskimage.ErrUnsupported},
		"region not aligned":       {regions(crash.VHDXRegion{ID: other, Offset: 8<<20 + 1, Length: 1 << 20}), diskimage.ErrCorrupt},
		"region over the headers":  {regions(crash.VHDXRegion{ID: other, Length: 1 << 20}), diskimage.ErrCorrupt},
		"region twice":             {regions(crash.VHDXRegion{ID: other, Offset: 8 << 20}, crash.VHDXRegion{ID: other, Offset: 9 << 20}), diskimage.ErrCorrupt},
		"file cut in the metadata": {vhdxOf()[:4<<20-4096], diskimage.ErrCorrupt},
		"file cut before it":       {vhdxOf()[:3<<20], diskimage.ErrCorrupt},
		"no metadata table":        {at(3<<20, 'x'), diskimage.ErrCorrupt},
		"2,048 items":              {func() []byte { b := at(3<<20+11, 8); b[3<<20+10] = 0; return b }(), diskimage.ErrCorrupt},
		"required item":            {entry(5, func(e []byte) { e[24] = 4 }), diskimage.ErrUnsupported},
		"required item of a user":  {entry(5, func(e []byte) { e[24] = 5 }), diskimage.ErrUnsupported},
		"required, by a user's": {vhdxOf(func(v *crash.VHDX) {
			v.After = []crash.VHDXItem{{ID: "2fa54224-cd1b-4876-b211-5dbed83bf4b8", Flags: 5, Data: make([]byte, 8)}}
		}), diskimage.ErrUnsupported},
		"item in the table":      {entry(5, func(e []byte) { le.PutUint32(e[16:], 60000) }), diskimage.ErrCorrupt},
		"item beyond the region": {entry(5, func(e []byte) { le.PutUint32(e[16:], 1<<20-99) }), diskimage.ErrCorrupt},
		"item too long":          {entry(5, func(e []byte) { le.PutUint32(e[20:], ^uint32(0)) }), diskimage.ErrCorrupt},
		"items overlap":          {entry(5, func(e []byte) { le.PutUint32(e[16:], 64<<10+39) }), diskimage.ErrCorrupt},
		"item twice":             {entry(5, func(e []byte) { copy(e, crash.VHDXGUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")); e[24] = 2 }), diskimage.ErrCorrupt},
		"no virtual size":        {entry(1, func(e []byte) { e[0]++; e[24] = 0 }), diskimage.ErrCorrupt},
		"virtual size of a user": {entry(1, func(e []byte) { e[24] = 7 }), diskimage.ErrCorrupt},
		"no sector size":         {entry(3, func(e []byte) { e[0]++; e[24] = 0 }), diskimage.ErrCorrupt},
		"page 83 too short":      {entry(2, func(e []byte) { e[20] = 15 }), diskimage.ErrCorrupt},
		"1,025 items of users":   {vhdxOf(func(v *crash.VHDX) { v.After = others(1025, 0x10, 1) }), diskimage.ErrCorrupt},
	} {
		m := mem(c.image)
		disk := label.Binding{UUID: vhdxUUID, Size: 3 << 30}
		_, set := diskimage.PlanSet(m, crash.Small(t, disk, 1))
		_, identity := diskimage.Options{}.PlanIdentity(m, "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
		_, remove := diskimage.PlanRemove(m)
		for what, err := range map[string]error{"set": set, "identity": identity, "remove": remove} {
			// With nothing to remove there is nothing to refuse.
			fine := errors.Is(err, c.err) || what == "remove" && errors.Is(err, diskimage.ErrNoLabel)
			if !fine || m.Writes != 0 {
				t.Errorf("%s, %s: error %v, expected %v; %d writes", name, what, err, c.err, m.Writes)
			}
		}
	}
}

// lastSequence is an image whose current header, the first, has that sequence number.
func lastSequence(n uint64) []byte {
	b := vhdxOf()
	h := b[64<<10 : 68<<10]
	binary.LittleEndian.PutUint64(h[8:], n)
	crash.VHDXSum(h)
	return b
}

// TestVHDXLastSequence uses the last two sequence numbers that there are.
func TestVHDXLastSequence(t *testing.T) {
	t.Parallel()
	m := mem(lastSequence(^uint64(0) - 2))
	disk := binding(t, m.Data)
	if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil {
		t.Fatal(err)
	}
	if err := crash.Set(m, crash.Small(t, disk, 2)); !errors.Is(err, diskimage.ErrCorrupt) {
		t.Errorf("set after the last: %v", err)
	}
	if got, err := crash.SerialOf(m.Data); err != nil || got != 1 {
		t.Errorf("label %d, %v", got, err)
	}
}

// TestVHDXUncleanLabel: with a log that is not empty the label can be read, not changed and not removed.
func TestVHDXUncleanLabel(t *testing.T) {
	t.Parallel()
	m := mem(vhdxOf())
	disk := binding(t, m.Data)
	if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil {
		t.Fatal(err)
	}
	h := m.Data[128<<10 : 132<<10] // the current one, as before the edit
	h[50] = 1
	crash.VHDXSum(h)
	frame, info, err := diskimage.ReadLabel(m)
	if err != nil || frame == nil || !info.Unclean || !info.HasLabel {
		t.Fatalf("label %v, info %+v, %v", frame, info, err)
	}
	writes := m.Writes
	if err := crash.Set(m, crash.Small(t, disk, 2)); !errors.Is(err, diskimage.ErrUnclean) || !strings.Contains(err.Error(), "log is not empty") {
		t.Errorf("set: %v", err)
	}
	if err := crash.Remove(m); !errors.Is(err, diskimage.ErrUnclean) || m.Writes != writes {
		t.Errorf("remove: %v", err)
	}
}

// TestVHDXRoom fills table and region up to the last place.
func TestVHDXRoom(t *testing.T) {
	t.Parallel()
	system := func(n int) []crash.VHDXItem {
		items := others(n, 0x30, 0)
		for i := range items {
			items[i].Flags = 0
		}
		return items
	}
	big := func(n int) []crash.VHDXItem {
		items := others(1, 0x31, n)
		items[0].Offset = 68 << 10
		return items
	}
	holes := others(200, 0x32, 1) // an item in every place but two, which are apart
	for i := range holes {
		holes[i].Offset = uint32(68<<10 + 4096*i)
	}
	holes[3].Data, holes[150].Data = nil, nil
	holes = append(holes, crash.VHDXItem{ID: "00000000-0000-4000-8000-000000000001", Flags: 1, Offset: 868 << 10, Data: make([]byte, 156<<10)})
	for name, c := range map[string]struct {
		after []crash.VHDXItem
		err   error
	}{
		"2,045 items":          {system(2040), nil},
		"2,046 items":          {system(2041), diskimage.ErrNoRoom},
		"2,047 items":          {system(2042), diskimage.ErrNoRoom},
		"1,022 of users":       {others(1022, 0x10, 1), nil},
		"1,023 of users":       {others(1023, 0x10, 1), diskimage.ErrNoRoom},
		"two places left":      {big(1<<20 - 76<<10), nil},
		"one byte less":        {big(1<<20 - 76<<10 + 1), diskimage.ErrNoRoom},
		"two places, apart":    {holes, nil},
		"one place left":       {append(holes[:150:150], holes[151:]...), nil},
		"region full to a bit": {big(1<<20 - 68<<10), diskimage.ErrNoRoom},
	} {
		image := vhdxOf(func(v *crash.VHDX) { v.After = c.after })
		m := mem(image)
		err := crash.Set(m, crash.Large(t, binding(t, image), 1))
		if !errors.Is(err, c.err) || err != nil && m.Writes != 0 {
			t.Errorf("%s: %v, expected %v", name, err, c.err)
		}
		if err != nil {
			continue
		}
		vhdxHas(t, m.Data)
		if err := crash.Set(m, crash.Large(t, binding(t, image), 2)); err != nil {
			t.Errorf("%s: change: %v", name, err)
		}
		if err := crash.Remove(m); err != nil || !bytes.Equal(crash.VHDXSeen(m.Data), crash.VHDXSeen(image)) {
			t.Errorf("%s: remove: %v", name, err)
		}
	}
}

// addItem does what another tool does that adds an item after ours.
func addItem(t *testing.T, data []byte, item crash.VHDXItem) []byte {
	t.Helper()
	items, err := crash.VHDXItems(data)
	if err != nil {
		t.Fatal(err)
	}
	item.Offset = 512 << 10
	for _, i := range items {
		item.Offset = max(item.Offset, i.Offset+uint32(len(i.Data)))
	}
	b := bytes.Clone(data)
	crash.VHDXWriteTable(b[crash.VHDXMetadata:], append(items, item))
	return b
}

// TestVHDXOthersAfter: another tool adds items after ours. In a table of one sector the removal closes up; in a larger
// one it leaves two empty items, which the next label uses.
func TestVHDXOthersAfter(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 7, 8, 20} {
		image := vhdxOf(func(v *crash.VHDX) { v.After = others(before, 0x10, 30) })
		disk := binding(t, image)
		m := mem(image)
		for serial := range uint32(2) {
			if err := crash.Set(m, crash.Small(t, disk, serial+1)); err != nil {
				t.Fatal(err)
			}
		}
		added := others(1, 0x40, 600)[0]
		m.Data = addItem(t, m.Data, added)
		want := addItem(t, image, added)
		e, err := diskimage.PlanRemove(m)
		if err != nil {
			t.Fatal(err)
		}
		small := before+5+2+1 <= 15
		if small != (e.Remains == "") {
			t.Errorf("%d before: remains %q", before, e.Remains)
		}
		err = crash.States(m.Data, e, func(s crash.State) error {
			got, err := crash.SerialOf(s.Data)
			if err != nil || got != 2 && got != 0 || s.Done && got != 0 {
				t.Errorf("%s: label %d, %v", s.Name, got, err)
			}
			items := vhdxHas(t, s.Data)
			if len(items) != before+6 && len(items) != before+8 || !bytes.Equal(items[added.ID].Data, added.Data) {
				t.Errorf("%s: %d items", s.Name, len(items))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatal(err)
		}
		if small && !bytes.Equal(crash.VHDXSeen(m.Data), crash.VHDXSeen(want)) {
			t.Errorf("%d before: after the removal the image is not what it was", before)
		}
		if _, err := diskimage.PlanRemove(m); !errors.Is(err, diskimage.ErrNoLabel) {
			t.Errorf("%d before: second removal: %v", before, err)
		}
		if err := crash.Set(m, crash.Large(t, disk, 1)); err != nil {
			t.Fatal(err)
		}
		if got := len(vhdxHas(t, m.Data)); got != before+8 {
			t.Errorf("%d before: %d items after another label", before, got)
		}
	}
}

// TestVHDXDamaged: what another tool made of our items is no label, is not written over where it does not fit, and can
// be removed.
func TestVHDXDamaged(t *testing.T) {
	t.Parallel()
	image := vhdxOf()
	disk := binding(t, image)
	m := mem(image)
	for serial := range uint32(2) {
		if err := crash.Set(m, crash.Small(t, disk, serial+1)); err != nil {
			t.Fatal(err)
		}
	}
	const a, b = 3<<20 + 32*6, 3<<20 + 32*7 // the entries
	const dataA, dataB = 3<<20 + 68<<10, 3<<20 + 72<<10
	for name, c := range map[string]struct {
		change  func(d []byte)
		serial  uint32
		damaged bool
		set     error
	}{
		"newer flipped":   {func(d []byte) { d[dataB+90]++ }, 1, false, nil},
		"older flipped":   {func(d []byte) { d[dataA+90]++ }, 2, false, nil},
		"both flipped":    {func(d []byte) { d[dataA+90]++; d[dataB+90]++ }, 0, true, nil},
		"one shorter":     {func(d []byte) { d[b+21] = 8 }, 2, true, diskimage.ErrDamaged},
		"one empty":       {func(d []byte) { clear(d[b+16 : b+24]) }, 1, true, diskimage.ErrDamaged},
		"entry b lost":    {func(d []byte) { d[3<<20+10] = 6 }, 1, false, nil},
		"entry a lost":    {func(d []byte) { copy(d[a:b], d[b:b+32]); d[3<<20+10] = 6 }, 2, false, nil},
		"order changed":   {func(d []byte) { x := bytes.Clone(d[a:b]); copy(d[a:b], d[b:b+32]); copy(d[b:], x) }, 2, false, nil},
		"not of the disk": {func(d []byte) { d[a+24], d[b+24] = 1, 1 }, 2, false, nil},
		"moved, unaligned": {func(d []byte) {
			copy(d[3<<20+600001:], d[dataB:dataB+4096])
			binary.LittleEndian.PutUint32(d[b+16:], 600001)
		}, 2, false, nil},
	} {
		d := mem(m.Data)
		c.change(d.Data)
		vhdxHas(t, d.Data)
		frame, info, err := diskimage.ReadLabel(d)
		if err != nil || (frame == nil) != (c.serial == 0) || frame != nil && frame.Serial != c.serial || info.Damaged != c.damaged {
			t.Errorf("%s: label %+v, damaged %v, %v", name, frame, info.Damaged, err)
		}
		s := mem(d.Data)
		if err := crash.Set(s, crash.Small(t, disk, 3)); !errors.Is(err, c.set) {
			t.Errorf("%s: set: %v, expected %v", name, err, c.set)
		} else if err == nil {
			if err := crash.Set(s, crash.Large(t, disk, 4)); err != nil {
				t.Errorf("%s: change: %v", name, err)
			}
			if n := len(vhdxHas(t, s.Data)); n != 7 {
				t.Errorf("%s: %d items", name, n)
			}
		}
		for _, s := range []*crash.Mem{s, d} {
			if err := crash.Remove(s); err != nil || len(vhdxHas(t, s.Data)) != 5 {
				t.Errorf("%s: remove: %v", name, err)
			}
		}
	}
}

// TestVHDXLives sets and removes labels of random sizes in random order, among random items of others that come in
// between: every state keeps the rules of the format, and the others find all that they wrote.
func TestVHDXLives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string, n int) int { return rapid.IntRange(0, n).Draw(rt, name) }
		image := vhdxOf(func(v *crash.VHDX) {
			v.Before, v.After = others(draw("before", 6), 0x10, draw("bytes", 9000)), others(draw("after", 12), 0x11, draw("more bytes", 300))
		})
		disk := label.Binding{UUID: vhdxUUID, Size: 3 << 30}
		twin := bytes.Clone(image)
		m := mem(image)
		exact, serial := true, uint32(0)
		for i := range draw("steps", 8) {
			switch kind := draw("kind", 5); {
			case kind == 0 && i < 4:
				added := others(1, byte(0x60+i), 1+draw("size", 400))[0]
				m.Data, twin = addItem(t, m.Data, added), addItem(t, twin, added)
			case kind == 1:
				e, err := diskimage.PlanRemove(m)
				if serial == 0 {
					if !errors.Is(err, diskimage.ErrNoLabel) {
						rt.Fatalf("remove: %v", err)
					}
					continue
				}
				if err == nil {
					err = diskimage.Apply(m, e)
				}
				if err != nil {
					rt.Fatal(err)
				}
				exact, serial = exact && e.Remains == "", 0
			default:
				doc := label.Document{Level: "gold", Disk: disk, Serial: serial + 1, Issued: crashTime(), Overrides: map[string]string{}}
				for _, k := range label.OverrideKeys()[:draw("overrides", 9)] {
					doc.Overrides[k] = strings.Repeat("v", 64)
				}
				frame, err := label.Seal(doc, nil)
				if err != nil {
					rt.Fatal(err)
				}
				if err := crash.Set(m, frame); err != nil {
					rt.Fatal(err)
				}
				serial++
			}
			if err := crash.VHDXCheck(m.Data); err != nil {
				rt.Fatal(err)
			}
			if got, err := crash.SerialOf(m.Data); err != nil || got != serial {
				rt.Fatalf("label %d, %v, expected %d", got, err, serial)
			}
			has := vhdxHas(t, m.Data)
			for id, item := range vhdxHas(t, twin) {
				if got := has[id]; !bytes.Equal(got.Data, item.Data) || got.Flags != item.Flags {
					rt.Fatalf("item %s: %x", id, got.Data)
				}
			}
		}
		// Items that came while the label was there have other places than in the twin; without them it is the same file.
		if exact && serial == 0 && bytes.Equal(twin, image) && !bytes.Equal(crash.VHDXSeen(m.Data), crash.VHDXSeen(image)) {
			rt.Fatal("after the removal the image is not what it was")
		}
	})
}
