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
