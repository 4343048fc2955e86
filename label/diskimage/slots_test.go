package diskimage_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// replacer is an image in memory whose content can be exchanged.
type replacer struct {
	crash.Mem
	refuse error
}

func (r *replacer) Replace(content []byte) error {
	if r.refuse != nil {
		return r.refuse
	}
	r.Data = bytes.Clone(content)
	return nil
}

// TestReplace: a text descriptor is replaced where it can be, padded as it was, and written in place where not. After
// a removal a replaced one is the very file that it was.
func TestReplace(t *testing.T) {
	t.Parallel()
	disk := binding(t, []byte(vmfs()))
	qemus := vmfs() + strings.Repeat("\x00", 512-len(vmfs())%512)
	for name, r := range map[string]*replacer{
		"replaced": {Mem: *mem([]byte(vmfs()))},
		"padded":   {Mem: *mem([]byte(qemus))},
		"in place": {Mem: *mem([]byte(vmfs())), refuse: errors.ErrUnsupported},
	} {
		for serial := range uint32(4) {
			frame := crash.Small(t, disk, serial+1)
			if serial == 2 {
				frame = crash.Large(t, disk, serial+1)
			}
			if err := crash.Set(r, frame); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if padded := bytes.HasSuffix(r.Data, []byte{0}); padded != (name == "padded") || padded && len(r.Data)%512 != 0 {
				t.Errorf("%s: %d bytes, padded %v", name, len(r.Data), padded)
			}
		}
		if err := crash.Remove(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := map[string]string{"replaced": vmfs(), "padded": qemus}[name]; want != "" && (string(r.Data) != want || r.Writes != 0) {
			t.Errorf("%s: after removal %q, after %d writes", name, r.Data, r.Writes)
		}
		if name == "in place" && string(bytes.TrimRight(r.Data, "\x00")) != vmfs() {
			t.Errorf("after removal %q", r.Data)
		}
	}
	r := &replacer{Mem: *mem([]byte(vmfs())), refuse: errors.New("disk full")}
	if err := crash.Set(r, crash.Small(t, disk, 1)); err == nil || r.Writes != 0 {
		t.Errorf("a replacement that failed: error %v, %d writes", err, r.Writes)
	}
}

// TestRemoveFromLongText: a text that is too long to be labelled is not too long to lose what there is of a label.
func TestRemoveFromLongText(t *testing.T) {
	t.Parallel()
	long := vmfs() + strings.Repeat("ddb.x = \"y\"\n", 5000)
	damaged := long + "ddb.berth.a.00 = \"abc\"\nddb.berth.a.07 = \"\"\n"
	replaced, inPlace := &replacer{Mem: *mem([]byte(damaged))}, mem([]byte(damaged))
	if err := errors.Join(crash.Remove(replaced), crash.Remove(inPlace)); err != nil {
		t.Fatal(err)
	}
	if string(replaced.Data) != long || string(bytes.TrimRight(inPlace.Data, "\x00")) != long {
		t.Errorf("%d and %d bytes are left, expected %d", len(replaced.Data), len(inPlace.Data), len(long))
	}
	e, err := diskimage.PlanRemove(mem([]byte(damaged)))
	if err != nil {
		t.Fatal(err)
	}
	if err := diskimage.Apply(mem([]byte(strings.Replace(damaged, "y\"\nddb.berth", "z\"\nddb.berth", 1))), e); !errors.Is(err, diskimage.ErrChanged) {
		t.Errorf("a change near the end: error %v, expected ErrChanged", err)
	}
}

// TestLinesOfOthers: VirtualBox adds lines after ours. A change goes on in place; a removal leaves empty slots
// where the lines cannot be moved safely, in states that never show an older label, and takes the lines out where
// the file is replaced.
func TestLinesOfOthers(t *testing.T) {
	t.Parallel()
	const added = "ddb.uuid.modification=\"3b0a7f0e-0b0c-4f5e-8a57-7f1f5f2a9c10\"\nddb.comment=\"\"\n"
	for name, data := range map[string][]byte{"stream": stream(), "text": []byte(vmfs())} {
		disk := binding(t, data)
		m := mem(data)
		for serial := range uint32(2) {
			if err := crash.Set(m, crash.Small(t, disk, serial+1)); err != nil {
				t.Fatal(err)
			}
		}
		text := crash.DescriptorText(m.Data)
		if name == "text" {
			m.Data = append(m.Data, added...)
		} else {
			copy(m.Data[512+len(text):], added)
		}
		for serial := uint32(3); serial < 6; serial++ {
			frame := crash.Small(t, disk, serial)
			if serial == 4 {
				frame = crash.Large(t, disk, serial)
			}
			if err := crash.Set(m, frame); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		r := &replacer{Mem: *mem(m.Data)}
		e, err := diskimage.PlanRemove(m)
		if err != nil || e.Remains == "" {
			t.Fatalf("%s: %v, remains %q", name, err, e.Remains)
		}
		err = crash.States(m.Data, e, func(s crash.State) error {
			if got, err := crash.SerialOf(s.Data); err != nil || got != 5 && got != 0 || s.Done && got != 0 {
				t.Errorf("%s: %s: label %d, %v", name, s.Name, got, err)
			}
			if got, want := crash.Foreign(crash.DescriptorText(s.Data)), crash.DescriptorText(data)+added; got != want {
				t.Errorf("%s: %s: other tools see %q, expected %q", name, s.Name, got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "stream" {
			if _, err := diskimage.PlanRemove(m); !errors.Is(err, diskimage.ErrNoLabel) {
				t.Errorf("second removal: %v, expected ErrNoLabel", err)
			}
		} else if err := crash.Remove(r); err != nil || string(r.Data) != vmfs()+added {
			t.Errorf("replaced: %v, %q", err, r.Data)
		}
		if err := crash.Set(m, crash.Large(t, disk, 1)); err != nil {
			t.Errorf("%s: set into empty slots: %v", name, err)
		}
	}
}

// TestDamagedLines: what another tool made of our lines is no label, is not written over, and can be removed.
func TestDamagedLines(t *testing.T) {
	t.Parallel()
	data := []byte(vmfs())
	m := mem(data)
	disk := binding(t, data)
	if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(m.Data)))
	line := func(key string) int {
		return slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key) })
	}
	a0, a1 := line("ddb.berth.a.00"), line("ddb.berth.a.01")
	for name, c := range map[string]struct {
		change func(l []string) []string
		label  bool
		intact bool
	}{
		"value zeroed (VDDK)": {func(l []string) []string { l[a0] = "ddb.berth.a.00 = \"\"\n"; return l }, false, false},
		"value cut":           {func(l []string) []string { l[a0] = l[a0][:200] + "\"\n"; return l }, false, false},
		"quote lost":          {func(l []string) []string { l[a0] = l[a0][:200] + "\n"; return l }, false, false},
		"line lost":           {func(l []string) []string { return slices.Delete(l, a0, a0+1) }, false, false},
		"line twice":          {func(l []string) []string { return slices.Insert(l, a0, l[a0]) }, false, false},
		"letter changed":      {func(l []string) []string { l[a0] = l[a0][:40] + "7" + l[a0][41:]; return l }, false, true},
		"no letter":           {func(l []string) []string { l[a0] = l[a0][:40] + "!" + l[a0][41:]; return l }, false, true},
		"order changed":       {func(l []string) []string { l[a0], l[a1] = l[a1], l[a0]; return l }, true, true},
		"spaces":              {func(l []string) []string { l[a0] = "  " + strings.Replace(l[a0], " = ", "=", 1); return l }, true, true},
		"CR LF": {func(l []string) []string {
			for i := range l {
				l[i] = strings.Replace(l[i], "\n", "\r\n", 1)
			}
			return l
		}, true, true},
		"blank line after": {func(l []string) []string { return append(l, "\n") }, true, true},
	} {
		d := mem([]byte(strings.Join(c.change(slices.Clone(lines)), "")))
		frame, info, err := diskimage.ReadLabel(d)
		if err != nil || (frame != nil) != c.label || info.Damaged != !c.label {
			t.Errorf("%s: label %v, damaged %v, %v", name, frame != nil, info.Damaged, err)
		}
		if _, err := diskimage.PlanSet(d, crash.Small(t, disk, 2)); c.intact != (err == nil) || err != nil && !errors.Is(err, diskimage.ErrDamaged) {
			t.Errorf("%s: set: %v", name, err)
		}
		if err := crash.Remove(d); err != nil {
			t.Errorf("%s: remove: %v", name, err)
		}
		if err := crash.Set(d, crash.Small(t, disk, 2)); err != nil && name != "blank line after" && c.intact {
			t.Errorf("%s: set again: %v", name, err)
		}
	}
}

// TestBase32CannotSpell: whatever is in a frame, the lines hold nothing that QEMU looks for in the text.
func TestBase32CannotSpell(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		doc := label.Document{
			Level: rapid.StringMatching(`[a-z0-9._-]{1,64}`).Draw(rt, "level"), Serial: 1, Disk: binding(t, []byte(vmfs())),
			Issuer: rapid.StringMatching(`[ -~]{0,128}`).Draw(rt, "issuer"), Issued: crashTime(),
		}
		frame, err := label.Seal(doc, nil)
		if err != nil {
			rt.Fatal(err)
		}
		m := mem([]byte(vmfs()))
		if err := crash.Set(m, frame); err != nil {
			rt.Fatal(err)
		}
		ours := string(m.Data[len(vmfs()):])
		for line := range strings.Lines(ours) {
			if len(line) > 481 || !strings.HasPrefix(line, "ddb.berth.") || strings.Trim(line[18:], "abcdefghijklmnopqrstuvwxyz234567\"\n") != "" {
				rt.Fatalf("line %q", line)
			}
		}
		for _, word := range []string{"parentFileNameHint", "parentCID", "CID=", "createType", "RW ", "#"} {
			if strings.Contains(ours, word) {
				rt.Fatalf("the lines spell %q", word)
			}
		}
	})
}

// TestLives sets and removes labels of random sizes in random order, over random descriptors: each label is read
// back, and the removal of the last gives back the text.
func TestLives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := crash.StreamText(true) + rapid.StringMatching(`(ddb\.[a-z.]{1,10} = "[ -~]{0,40}"\n){0,20}[#\r\nx ]{0,3}`).Draw(rt, "lines")
		var data []byte
		switch area := rapid.IntRange(-1, 20).Draw(rt, "area"); {
		case area < 0:
			data = []byte(text)
		case area*512 < len(text):
			return
		default:
			data = crash.Stream(text, area, 0)
		}
		m := mem(data)
		info, err := diskimage.Inspect(m)
		if err != nil {
			rt.Fatal(err)
		}
		for serial := range uint32(rapid.IntRange(1, 6).Draw(rt, "labels")) {
			size := rapid.IntRange(0, 9).Draw(rt, "overrides")
			doc := label.Document{Level: "gold", Disk: info.Binding(), Serial: serial + 1, Issued: crashTime(), Overrides: map[string]string{}}
			for _, k := range label.OverrideKeys()[:size] {
				doc.Overrides[k] = strings.Repeat("v", 64)
			}
			frame, err := label.Seal(doc, nil)
			if err != nil {
				rt.Fatal(err)
			}
			if err := crash.Set(m, frame); err != nil {
				rt.Fatal(err)
			}
			if got, _, err := diskimage.ReadLabel(m); err != nil || !bytes.Equal(got.Payload, frame.Payload) {
				rt.Fatalf("label %v, %v", got, err)
			}
		}
		if err := crash.Remove(m); err != nil {
			rt.Fatal(err)
		}
		if got := crash.DescriptorText(m.Data); got != text {
			rt.Fatalf("after removal\n%q\nexpected\n%q", got, text)
		}
	})
}

// TestRoom fills the descriptor up: a label is stored while the room that other tools need is left, at last in
// slots that are just wide enough, and refused after that.
func TestRoom(t *testing.T) {
	t.Parallel()
	for _, embedded := range []bool{true, false} {
		limit := 10_239
		if embedded {
			limit = 9_727
		}
		const line = 476 // of a slot, with its line feed
		for _, c := range []struct {
			free  int // before the label
			large bool
			lines int // of each slot; 0: refused
		}{
			{5000, false, 2}, {4 * line, false, 2}, {4*line - 1, false, 1}, {2 * line, false, 1}, {2*line - 1, false, 0}, {0, false, 0},
			{10 * line, true, 5}, {10*line - 1, true, 0},
		} {
			text := full(crash.StreamText(true), limit-c.free)
			data := []byte(text)
			if embedded {
				data = crash.Stream(text, 20, 0)
			}
			m := mem(data)
			if got := len(crash.DescriptorText(data)); got != limit-c.free {
				t.Fatalf("descriptor of %d bytes, expected %d: the test is wrong", got, limit-c.free)
			}
			frame := crash.Small(t, binding(t, data), 1)
			if c.large {
				frame = crash.Large(t, binding(t, data), 1)
			}
			err := crash.Set(m, frame)
			after := crash.DescriptorText(m.Data)
			lines := strings.Count(after, "ddb.berth.a.")
			if lines != c.lines || (c.lines == 0) != errors.Is(err, diskimage.ErrNoRoom) || c.lines > 0 && (err != nil || len(after) > limit) {
				t.Errorf("embedded %v, %d bytes free: %d lines of %d bytes, %v, expected %d lines", embedded, c.free, lines, len(after), err, c.lines)
			}
		}
	}
}

// full makes text exactly n bytes long.
func full(text string, n int) string {
	for len(text) < n {
		more := min(n-len(text), 400)
		if n-len(text)-more < 20 && n-len(text) > more {
			more -= 20
		}
		text += "#" + strings.Repeat("x", more-2) + "\n"
	}
	return text
}
