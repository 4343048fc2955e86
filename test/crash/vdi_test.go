package crash_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// life is what happens to the label of one image whose removal gives back every byte.
type life struct {
	format  string // QEMU's name
	data    []byte
	options diskimage.Options
	// large is false where only a short label fits.
	large bool
}

// run cuts every edit off at every state: the label is the old or the new one, a later label and its removal give back the
// image's very bytes, and QEMU finds the guest's data and no fault.
func (l life) run(t *testing.T) {
	t.Helper()
	original := bytes.Clone(l.data)
	path, reference := l.files(t)
	info, err := diskimage.Inspect(&crash.Mem{Data: l.data})
	if err != nil {
		t.Fatal(err)
	}
	big := crash.Small
	if l.large {
		big = crash.Large
	}
	disk, data, total := info.Binding(), bytes.Clone(l.data), 0
	for i, step := range []struct {
		old, new uint32
		make     func(testing.TB, label.Binding, uint32) label.Frame // nil: remove
	}{
		{0, 1, crash.Small}, {1, 2, crash.Small}, {2, 3, big}, {3, 4, big}, {4, 5, crash.Small}, {5, 0, nil}, {0, 6, big}, {6, 7, crash.Small}, {7, 0, nil},
	} {
		plan := diskimage.PlanRemove
		if step.make != nil {
			plan = func(r diskimage.Reader) (*diskimage.Edit, error) {
				return l.options.PlanSet(r, step.make(t, disk, step.new))
			}
		}
		e, err := plan(&crash.Mem{Data: data})
		if err != nil {
			t.Fatalf("edit %d: %v", i, err)
		}
		states := 0
		err = crash.States(data, e, func(s crash.State) error {
			if states++; states%(1+states/4) == 0 {
				l.qemu(t, path, reference, s.Data)
			}
			return l.check(t, s, original, step.old, step.new, disk)
		})
		if err != nil {
			t.Fatalf("edit %d: %v", i, err)
		}
		m := &crash.Mem{Data: data}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatalf("edit %d: %v", i, err)
		}
		data = m.Data
		total += states
	}
	if !bytes.Equal(data, original) {
		t.Error("the last removal did not give back the image's bytes")
	}
	t.Logf("%d states", total)
}

func (l life) files(t *testing.T) (path, reference string) {
	t.Helper()
	folder := t.TempDir()
	path, reference = filepath.Join(folder, "vm-db."+l.format), filepath.Join(folder, "reference.raw")
	if err := os.WriteFile(path, l.data, 0o600); err != nil {
		t.Fatal(err)
	}
	crash.MustQEMU(t, "qemu-img", "convert", "-f", l.format, "-O", "raw", path, reference)
	return path, reference
}

func (l life) check(t *testing.T, s crash.State, original []byte, before, after uint32, disk label.Binding) error {
	t.Helper()
	got, err := crash.SerialOf(s.Data)
	if err != nil {
		return err
	}
	if got != before && got != after || s.Done && got != after {
		return fmt.Errorf("label %d, expected %d or %d (done: %v)", got, before, after, s.Done)
	}
	m := &crash.Mem{Data: bytes.Clone(s.Data)}
	e, err := l.options.PlanSet(m, crash.Small(t, disk, 100))
	if err == nil {
		err = diskimage.Apply(m, e)
	}
	if err != nil {
		return fmt.Errorf("set after the crash: %w", err)
	}
	if err := crash.Remove(m); err != nil {
		return fmt.Errorf("remove after the crash: %w", err)
	}
	if !bytes.Equal(m.Data, original) {
		return errors.New("set and removal after the crash do not give back the image's bytes")
	}
	// Who removes at once what the crash left gets there too, if there is anything.
	m = &crash.Mem{Data: bytes.Clone(s.Data)}
	if err := crash.Remove(m); err != nil && !errors.Is(err, diskimage.ErrNoLabel) {
		return fmt.Errorf("remove at once: %w", err)
	}
	if !bytes.Equal(m.Data, original) {
		return errors.New("removal at once does not give back the image's bytes")
	}
	return nil
}

func (l life) qemu(t *testing.T, path, reference string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out := crash.MustQEMU(t, "qemu-img", "compare", "-f", l.format, "-F", "raw", path, reference)
	if strings.Contains(out, "checksum") {
		t.Fatalf("qemu-img: %s", out)
	}
	if l.format == "vdi" {
		crash.MustQEMU(t, "qemu-img", "check", "-f", "vdi", path)
	}
}

// qemuImage lets qemu-img make an image with some data.
func qemuImage(t *testing.T, format string, options ...string) string {
	t.Helper()
	folder := t.TempDir()
	raw, path := filepath.Join(folder, "content.raw"), filepath.Join(folder, "vm-db."+format)
	content := slices.Concat(bytes.Repeat([]byte("first "), 1<<16), make([]byte, 5<<18), bytes.Repeat([]byte("last"), 1<<16))
	content = append(content, make([]byte, 3<<20-len(content))...)
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"convert", "-f", "raw", "-O", format}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	crash.MustQEMU(t, "qemu-img", append(args, raw, path)...)
	return path
}

func TestCrashVDI(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data  func(t *testing.T) []byte
		large bool
	}{
		"virtualbox, constructed":            {func(*testing.T) []byte { return crash.VDI(16<<10, 20<<10, "") }, true},
		"a comment of its own, constructed":  {func(*testing.T) []byte { return crash.VDI(16<<10, 20<<10, "our mail server") }, true},
		"gap behind the map, constructed":    {func(*testing.T) []byte { return crash.VDI(512, 64<<10, "") }, true},
		"qemu, dynamic, no gap, the comment": {func(t *testing.T) []byte { t.Helper(); return read(t, qemuImage(t, "vdi")) }, false},
		"qemu, fixed, no gap, the comment":   {func(t *testing.T) []byte { t.Helper(); return read(t, qemuImage(t, "vdi", "static=on")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life{format: "vdi", data: c.data(t), large: c.large}.run(t)
		})
	}
}

// twins are an image and its like without a label, which get the same writes.
type twins struct {
	format, path, twin string
}

func (w twins) healthy(t *testing.T) {
	t.Helper()
	out := crash.MustQEMU(t, "qemu-img", "compare", "-f", w.format, "-F", w.format, w.path, w.twin)
	if strings.Contains(out, "checksum") {
		t.Fatalf("qemu-img: %s", out)
	}
	if w.format == "vdi" {
		crash.MustQEMU(t, "qemu-img", "check", "-f", "vdi", w.path)
	}
}

func (w twins) guest(t *testing.T, write string) {
	t.Helper()
	for _, p := range []string{w.path, w.twin} {
		if out, err := crash.QEMU(t, "qemu-io", "-f", w.format, "-c", write, "-c", "flush", p); err != nil || strings.Contains(out, "failed") {
			t.Fatalf("qemu-io %s: %v\n%s", write, err, out)
		}
	}
}

// live takes the image through the life of a label while a guest writes to it. set sets a label.
func (w twins) live(t *testing.T, set func(serial uint32)) {
	t.Helper()
	set(1)
	wantSerial(t, w.path, 1)
	w.healthy(t)
	w.guest(t, "write -P 0x5a 1280k 64k") // a new block
	wantSerial(t, w.path, 1)
	set(2)
	w.guest(t, "write -P 0x77 4k 8k")
	w.guest(t, "write -P 0x78 2m 512")
	set(3)
	wantSerial(t, w.path, 3)
	w.healthy(t)
	if err := with(t, w.path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
		t.Fatal(err)
	}
	wantSerial(t, w.path, 0)
	w.healthy(t)
	if !bytes.Equal(sameImage(w.format, read(t, w.path)), sameImage(w.format, read(t, w.twin))) {
		t.Error("after the removal the image is not like its twin")
	}
	entries, err := os.ReadDir(filepath.Dir(w.path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), diskimage.SidecarSuffix) || dir.IsTemp(e.Name()) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// sameImage is an image without what no two have in common: identities and times.
func sameImage(format string, b []byte) []byte {
	b = bytes.Clone(b)
	if format == "vdi" {
		clear(b[392:456])
	}
	if format == "vpc" {
		for _, at := range []int{0, len(b) - 512} {
			if bytes.HasPrefix(b[at:], []byte("conectix")) {
				clear(b[at+24 : at+28])
				clear(b[at+64 : at+84])
			}
		}
	}
	return b
}

// TestVDI: images of VirtualBox's make and of QEMU's, with a label in the gap, in the comment, and beside the image.
func TestVDI(t *testing.T) {
	t.Parallel()
	constructed := func(t *testing.T) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "vm-db.vdi")
		if err := os.WriteFile(path, crash.VDI(1<<20, 2<<20, ""), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	qemu := func(t *testing.T) string { t.Helper(); return qemuImage(t, "vdi") }
	fixed := func(t *testing.T) string { t.Helper(); return qemuImage(t, "vdi", "static=on") }
	for name, c := range map[string]struct {
		make  func(t *testing.T) string
		frame func(testing.TB, label.Binding, uint32) label.Frame
	}{
		"virtualbox": {constructed, crash.Small}, "virtualbox, long label": {constructed, crash.Large},
		"qemu": {qemu, crash.Small}, "qemu, long label": {qemu, crash.Large},
		"qemu, fixed": {fixed, crash.Small},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twins{"vdi", c.make(t), c.make(t)}
			w.live(t, func(serial uint32) { mustSet(t, w.path, c.frame, serial) })
		})
	}
}

// TestVDIOfQEMU holds to the fact that decides where a label of QEMU's images goes: they have no gap, whatever their size.
func TestVDIOfQEMU(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"1M", "100M", "1G", "100G", "2T"} {
		path := filepath.Join(t.TempDir(), "vm-db.vdi")
		crash.MustQEMU(t, "qemu-img", "create", "-q", "-f", "vdi", path, size)
		le := func(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24 }
		before := read(t, path)
		begin, data, blocks := le(before[340:]), le(before[344:]), le(before[384:])
		if begin != 512 || data-begin-4*blocks < 0 || data-begin-4*blocks >= 512 {
			t.Errorf("%s: map of %d blocks at %d, data at %d: QEMU's images have another form now", size, blocks, begin, data)
		}
		mustSet(t, path, crash.Small, 1)
		wantSerial(t, path, 1)
		after := read(t, path)
		if _, err := os.Stat(path + diskimage.SidecarSuffix); err == nil || !bytes.Equal(before[340:], after[340:]) || !bytes.Equal(before[:84], after[:84]) {
			t.Errorf("%s: more than the comment has changed", size)
		}
		if out := crash.MustQEMU(t, "qemu-img", "info", "--output=json", path); !strings.Contains(out, fmt.Sprintf(`"virtual-size": %d,`, sizeOf(t, path))) {
			t.Errorf("%s: size %d, QEMU says\n%s", size, sizeOf(t, path), out)
		}
	}
}

func sizeOf(t *testing.T, path string) label.Bytes {
	t.Helper()
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := diskimage.Inspect(f)
	if err != nil {
		t.Fatal(err)
	}
	return info.VirtualSize
}
