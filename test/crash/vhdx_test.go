package crash_test

import (
	"bytes"
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
)

// makeVHDX lets qemu-img make an image of 3 MiB with some data in it.
func makeVHDX(t *testing.T, folder string, options ...string) string {
	t.Helper()
	raw := filepath.Join(folder, "content.raw")
	content := make([]byte, 3<<20)
	for i := range 1 << 20 {
		content[i] = byte(i>>9) + byte(i)
	}
	copy(content[2<<20:], "the last block holds text")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "vm-db.vhdx")
	crash.MustQEMU(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", strings.Join(append([]string{"block_size=1M"}, options...), ","), raw, path)
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
	return path
}

// vhdxOthers is an image with n items of another tool, changed.
func vhdxOthers(n int, change func(image []byte)) []byte {
	v := crash.VHDX{Size: 3 << 20, UUID: "01020304-0506-4708-890a-0b0c0d0e0f10"}
	for i := range n {
		v.After = append(v.After, crash.VHDXItem{ID: fmt.Sprintf("10000000-0000-4000-8000-%012x", i), Flags: 1, Data: []byte("others'")})
	}
	b := v.Image()
	change(b)
	return b
}

// TestVHDXCrash cuts every edit of a label's life off at every state of the model, header updates included: there is a
// valid header, the tables keep the rules of the format, the label is the old one or the new one, QEMU opens the image,
// finds it clean and its data as it was, and the next change works from there.
func TestVHDXCrash(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{"qemu dynamic": "subformat=dynamic", "qemu fixed, log of 2 MiB": "subformat=fixed,log_size=2M"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vhdxLife(t, read(t, makeVHDX(t, t.TempDir(), options)))
		})
	}
	as := func([]byte) {}
	for name, image := range map[string][]byte{
		"others' items":             vhdxOthers(3, as),
		"entries in two sectors":    vhdxOthers(9, as),
		"entries beyond the first":  vhdxOthers(30, as),
		"one header damaged":        vhdxOthers(0, func(b []byte) { b[64<<10+2000] = 1 }),
		"the current one damaged":   vhdxOthers(0, func(b []byte) { b[128<<10+2000] = 1 }),
		"the damaged one, all over": vhdxOthers(0, func(b []byte) { copy(b[64<<10:68<<10], bytes.Repeat([]byte("x"), 4096)) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vhdxLife(t, image)
		})
	}
}

func vhdxLife(t *testing.T, data []byte) {
	t.Helper()
	original := bytes.Clone(data)
	info, err := diskimage.Inspect(&crash.Mem{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	disk := info.Binding()
	path := filepath.Join(t.TempDir(), "vm-db.vhdx")
	total, looked := 0, 0
	for _, step := range []struct {
		name     string
		old, new uint32
		plan     func(r diskimage.Reader) (*diskimage.Edit, error)
	}{
		{"first", 0, 1, set(crash.Small(t, disk, 1))},
		{"change", 1, 2, set(crash.Small(t, disk, 2))},
		{"grow", 2, 3, set(crash.Large(t, disk, 3))},
		{"change large", 3, 4, set(crash.Large(t, disk, 4))},
		{"shrink", 4, 5, set(crash.Small(t, disk, 5))},
		{"remove", 5, 0, diskimage.PlanRemove},
		{"first after removal", 0, 6, set(crash.Large(t, disk, 6))},
	} {
		e, err := step.plan(&crash.Mem{Data: data})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		states := 0
		var samples [][]byte
		err = crash.States(data, e, func(s crash.State) error {
			if states++; states <= 5 || states%13 == 0 || s.Done {
				samples = append(samples, s.Data)
			}
			return vhdxState(t, s, original, step.old, step.new, disk)
		})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, s := range samples {
			vhdxQEMU(t, path, original, s)
		}
		m := &crash.Mem{Data: data}
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		data, total, looked = m.Data, total+states, looked+len(samples)
	}
	t.Logf("%d states, QEMU opened %d", total, looked)
}

// vhdxState checks one state by itself, and that from it a label can be set and removed.
func vhdxState(t *testing.T, s crash.State, original []byte, before, after uint32, disk label.Binding) error {
	t.Helper()
	got, err := crash.SerialOf(s.Data)
	if err != nil {
		return err
	}
	if got != before && got != after || s.Done && got != after {
		return fmt.Errorf("label %d, expected %d or %d (done: %v)", got, before, after, s.Done)
	}
	if err := crash.VHDXCheck(s.Data); err != nil {
		return err
	}
	m := &crash.Mem{Data: bytes.Clone(s.Data)}
	if err := crash.Set(m, crash.Small(t, disk, 100)); err != nil {
		return fmt.Errorf("set after the crash: %w", err)
	}
	if err := errors.Join(crash.VHDXCheck(m.Data), crash.Remove(m), crash.VHDXCheck(m.Data)); err != nil {
		return fmt.Errorf("remove after the crash: %w", err)
	}
	want := bytes.Clone(original)
	for _, at := range crash.VHDXHeaders {
		// The edit makes a damaged header whole. What the current one says is checked by VHDXSeen's comparison of the rest.
		copy(want[at:at+4096], m.Data[at:at+4096])
	}
	if !bytes.Equal(want, m.Data) {
		return errors.New("set and removed after the crash, the image is not what it was")
	}
	for _, at := range crash.VHDXHeaders {
		if h := m.Data[at : at+4096]; !bytes.Equal(h[32:80], original[128<<10+32:128<<10+80]) && !bytes.Equal(h[32:80], original[64<<10+32:64<<10+80]) {
			return fmt.Errorf("header at %d: %x", at, h[32:80])
		}
	}
	return nil
}

// vhdxQEMU lets QEMU look at a state: clean, and the same data as the original.
func vhdxQEMU(t *testing.T, path string, original, state []byte) {
	t.Helper()
	reference := path + ".raw"
	if _, err := os.Stat(reference); err != nil {
		if err := os.WriteFile(path, original, 0o600); err != nil {
			t.Fatal(err)
		}
		crash.MustQEMU(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, reference)
	}
	if err := os.WriteFile(path, state, 0o600); err != nil {
		t.Fatal(err)
	}
	crash.MustQEMU(t, "qemu-img", "check", "-f", "vhdx", path)
	crash.MustQEMU(t, "qemu-img", "compare", "-f", "vhdx", "-F", "raw", path, reference)
}

// TestVHDXInterop takes images of QEMU through the life of a label with a guest that writes in between, beside a twin
// without a label that gets the same writes.
func TestVHDXInterop(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"dynamic": {"subformat=dynamic"}, "fixed": {"subformat=fixed"}, "large blocks": {"block_size=32M", "log_size=4M"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, twin := makeVHDX(t, t.TempDir(), options...), makeVHDX(t, t.TempDir(), options...)
			healthy := func() {
				t.Helper()
				crash.MustQEMU(t, "qemu-img", "compare", "-f", "vhdx", "-F", "vhdx", path, twin)
				crash.MustQEMU(t, "qemu-img", "check", "-f", "vhdx", path)
				if err := crash.VHDXCheck(read(t, path)); err != nil {
					t.Fatal(err)
				}
			}
			both := func(tool string, args ...string) {
				t.Helper()
				for _, p := range []string{path, twin} {
					if out, err := crash.QEMU(t, tool, append(args, p)...); err != nil || strings.Contains(out, "failed") {
						t.Fatalf("%s %s: %v\n%s", tool, args, err, out)
					}
				}
			}
			guest := func(write string) { t.Helper(); both("qemu-io", "-f", "vhdx", "-c", write, "-c", "flush") }
			mustSet(t, path, crash.Small, 1)
			wantSerial(t, path, 1)
			healthy()
			guest("write -P 0x5a 1280k 64k")
			wantSerial(t, path, 1)
			healthy()
			mustSet(t, path, crash.Small, 2)
			mustSet(t, path, crash.Large, 3)
			guest("write -P 0x77 4k 8k")
			guest("write -z 2m 512")
			wantSerial(t, path, 3)
			healthy()
			mustSet(t, path, crash.Small, 4)
			wantSerial(t, path, 4)
			healthy()
			if err := with(t, path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
				t.Fatal(err)
			}
			wantSerial(t, path, 0)
			healthy()
			// The twin has GUIDs of its own, drawn when it was made and at each opening.
			got, want := vhdxSame(t, read(t, path)), vhdxSame(t, read(t, twin))
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("byte %d differs from the twin's", i)
				}
			}
		})
	}
}

// vhdxSame is an image without what differs between two that QEMU made and wrote in the same way.
func vhdxSame(t *testing.T, image []byte) []byte {
	t.Helper()
	b := crash.VHDXSeen(image)
	for _, at := range crash.VHDXHeaders {
		clear(b[at+32 : at+48]) // DataWriteGuid
	}
	items, err := crash.VHDXItems(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if i.ID == "beca12ab-b2e6-4523-93ef-c309e000c746" {
			clear(i.Data) // page 83; the item is a part of b
		}
	}
	clear(b[1<<20 : 2<<20]) // what is left in the log
	return b
}
