package crash_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// layout is one kind of place for a label.
type layout struct {
	name string
	// make gives the image's bytes and, for a real one, its path (of its descriptor).
	make func(t *testing.T) ([]byte, string)
}

func layouts() []layout {
	constructed := func(data []byte) func(*testing.T) ([]byte, string) {
		return func(t *testing.T) ([]byte, string) {
			t.Helper()
			path := filepath.Join(t.TempDir(), "vm-db.vmdk")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return bytes.Clone(data), path
		}
	}
	text := func(s string) func(*testing.T) ([]byte, string) {
		return func(*testing.T) ([]byte, string) { return []byte(s), "" } // no extent behind it: not for QEMU
	}
	vmfs := crash.Text("vmfs", `VMFS "vm-db-flat.vmdk"`)
	all := []layout{
		{"virtualbox stream of 2 sectors, constructed", constructed(crash.Stream(crash.StreamText(false), 2, 0, 3, 15))},
		{"virtualbox stream of 1 sector, constructed", constructed(crash.Stream(crash.StreamText(true), 1, 1, 2))},
		{"virtualbox stream, area without NUL, constructed", constructed(crash.Stream(full(crash.StreamText(false), 1024), 2, 5))},
		{"vmfs text", text(vmfs)},
		{"vmfsSparse text without last line feed", text(strings.TrimRight(crash.Text("vmfsSparse", `VMFSSPARSE "vm-db-delta.vmdk"`), "\n"))},
		{"seSparse text, padded", text(crash.Text("seSparse", `SESPARSE "vm-db-sesparse.vmdk"`) + strings.Repeat("\x00", 300))},
	}
	for _, s := range crash.Subformats() {
		all = append(all, layout{"qemu " + s, func(t *testing.T) ([]byte, string) {
			t.Helper()
			path := crash.Make(t, t.TempDir(), s)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return data, path
		}})
	}
	return all
}

// full makes text exactly n bytes long.
func full(text string, n int) string {
	return text + "ddb.comment=\"" + strings.Repeat("x", n-len(text)-15) + "\"\n"
}

// TestCrash cuts every edit of a label's life off at every state of the model: the label is the old one or the
// new one, the text of other tools is as it was, nothing but the place of the label differs, and the next change
// works from there.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, l := range layouts() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			data, path := l.make(t)
			text := crash.DescriptorText(data)
			original := bytes.Clone(data)
			info, err := diskimage.Inspect(&crash.Mem{Data: data})
			if err != nil {
				t.Fatal(err)
			}
			disk := info.Binding()
			life := []struct {
				name string
				old  uint32
				new  uint32
				plan func(r diskimage.Reader) (*diskimage.Edit, error)
			}{
				{"first", 0, 1, set(crash.Small(t, disk, 1))},
				{"change", 1, 2, set(crash.Small(t, disk, 2))},
				{"change again", 2, 3, set(crash.Small(t, disk, 3))},
				{"grow", 3, 4, set(crash.Large(t, disk, 4))},
				{"change large", 4, 5, set(crash.Large(t, disk, 5))},
				{"remove", 5, 0, diskimage.PlanRemove},
				{"first after removal", 0, 6, set(crash.Large(t, disk, 6))},
			}
			total := 0
			for _, step := range life {
				e, err := step.plan(&crash.Mem{Data: data})
				if err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				states := 0
				var samples [][]byte
				err = crash.States(data, e, func(s crash.State) error {
					if states++; states%(1+states/8) == 0 {
						samples = append(samples, s.Data)
					}
					return checkState(t, s, text, original, step.old, step.new, disk)
				})
				if err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				checkQEMU(t, path, original, samples)
				m := &crash.Mem{Data: data}
				if err := diskimage.Apply(m, e); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				data = m.Data
				total += states
			}
			t.Logf("%d states", total)
		})
	}
}

func set(f label.Frame) func(diskimage.Reader) (*diskimage.Edit, error) {
	return func(r diskimage.Reader) (*diskimage.Edit, error) { return diskimage.PlanSet(r, f) }
}

func checkState(t *testing.T, s crash.State, text string, original []byte, before, after uint32, disk label.Binding) error {
	t.Helper()
	got, err := crash.SerialOf(s.Data)
	if err != nil {
		return err
	}
	if got != before && got != after || s.Done && got != after {
		return fmt.Errorf("label %d, expected %d or %d (done: %v)", got, before, after, s.Done)
	}
	seen := crash.DescriptorText(s.Data)
	foreign := crash.Foreign(seen)
	if foreign != text && foreign != text+"\n" {
		return fmt.Errorf("other tools see\n%q\nexpected\n%q", foreign, text)
	}
	if bytes.HasPrefix(original, []byte("KDMV")) {
		if err := errors.Join(sameOutside(original, s.Data), inArea(s.Data)); err != nil {
			return err
		}
	}
	// Whatever was left, life goes on: a new label, and its removal, end in the text of before.
	m := &crash.Mem{Data: bytes.Clone(s.Data)}
	if err := crash.Set(m, crash.Small(t, disk, 100)); err != nil {
		return fmt.Errorf("set after the crash: %w", err)
	}
	if err := inArea(m.Data); err != nil {
		return fmt.Errorf("set after the crash: %w", err)
	}
	if err := crash.Remove(m); err != nil {
		return fmt.Errorf("remove after the crash: %w", err)
	}
	if got := crash.DescriptorText(m.Data); got != text {
		return fmt.Errorf("after removal other tools see\n%q\nexpected\n%q", got, text)
	}
	return nil
}

// sameOutside compares all but the descriptor area and its size in the header and footer.
func sameOutside(x, y []byte) error {
	if len(x) != len(y) {
		return fmt.Errorf("%d bytes, expected %d", len(y), len(x))
	}
	foot := len(x) - 1024
	for i := range x {
		size := i >= 36 && i < 44 || i >= foot+36 && i < foot+44
		if x[i] != y[i] && !size && (i < 512 || i >= 21*512) {
			return fmt.Errorf("byte %d changed", i)
		}
	}
	return nil
}

// inArea holds the text to the size of the descriptor in the header, and in the footer where that is what counts.
func inArea(image []byte) error {
	if !bytes.HasPrefix(image, []byte("KDMV")) {
		return nil
	}
	sectors := binary.LittleEndian.Uint64(image[36:])
	if binary.LittleEndian.Uint64(image[56:]) == ^uint64(0) {
		sectors = min(sectors, binary.LittleEndian.Uint64(image[len(image)-1024+36:]))
	}
	if n := len(crash.DescriptorText(image)); n > int(sectors)*512 {
		return fmt.Errorf("text of %d bytes in %d sectors", n, sectors)
	}
	return nil
}

// checkQEMU lets qemu-img look at some of the states in the place of the image.
func checkQEMU(t *testing.T, path string, original []byte, samples [][]byte) {
	t.Helper()
	if path == "" {
		return
	}
	folder := filepath.Dir(path)
	reference := filepath.Join(folder, "reference.raw")
	if _, err := os.Stat(reference); err != nil {
		if err := os.WriteFile(path, original, 0o600); err != nil {
			t.Fatal(err)
		}
		crash.MustQEMU(t, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, reference)
	}
	for i, s := range samples {
		if i%max(1, len(samples)/3) != 0 && i != len(samples)-1 {
			continue
		}
		if err := os.WriteFile(path, s, 0o600); err != nil {
			t.Fatal(err)
		}
		crash.MustQEMU(t, "qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, reference)
		if out, err := crash.QEMU(t, "qemu-img", "check", "-f", "vmdk", path); err != nil && !strings.Contains(out, "does not support checks") {
			t.Fatalf("qemu-img check: %v\n%s", err, out)
		}
	}
}
