package crash_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// vhds are the images that the tests of the format go through.
func vhds() map[string]func(t *testing.T) []byte {
	return map[string]func(t *testing.T) []byte{
		"hyper-v, fixed, constructed":   func(*testing.T) []byte { return crash.VHDFixed() },
		"hyper-v, dynamic, constructed": func(*testing.T) []byte { return crash.VHDDynamic("", "") },
		"qemu, dynamic":                 func(t *testing.T) []byte { t.Helper(); return read(t, qemuImage(t, "vpc")) },
		"qemu, fixed":                   func(t *testing.T) []byte { t.Helper(); return read(t, qemuImage(t, "vpc", "subformat=fixed")) },
	}
}

func TestCrashVHD(t *testing.T) {
	t.Parallel()
	for name, data := range vhds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life{format: "vpc", data: data(t), options: diskimage.Options{VHDFooter: true}}.run(t)
		})
	}
}

// TestVHD takes each image through the life of a label, in the footer and beside the image.
func TestVHD(t *testing.T) {
	t.Parallel()
	for name, data := range vhds() {
		for _, footer := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, footer %v", name, footer), func(t *testing.T) {
				t.Parallel()
				folder := t.TempDir()
				w := twins{"vpc", filepath.Join(folder, "vm-db.vhd"), filepath.Join(folder, "twin.vhd")}
				content := data(t)
				for _, p := range []string{w.path, w.twin} {
					if err := os.WriteFile(p, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				w.live(t, func(serial uint32) {
					setVHD(t, w.path, diskimage.Options{VHDFooter: footer}, serial)
					vhdinfo(t, w.path)
					if _, err := os.Stat(w.path + diskimage.SidecarSuffix); (err == nil) == footer {
						t.Errorf("footer %v, sidecar: %v", footer, err)
					}
				})
			})
		}
	}
}

func setVHD(t *testing.T, path string, options diskimage.Options, serial uint32) {
	t.Helper()
	err := with(t, path, func(f *dir.File) error {
		info, err := diskimage.Inspect(f)
		if err != nil {
			return err
		}
		e, err := options.PlanSet(f, crash.Small(t, info.Binding(), serial))
		if err != nil {
			return err
		}
		return diskimage.Apply(f, e)
	})
	if err != nil {
		t.Fatalf("set label %d: %v", serial, err)
	}
}

// vhdinfo lets libvhdi read the image, where it is installed. It gives the identity that libvhdi tells.
func vhdinfo(t *testing.T, path string) string {
	t.Helper()
	tool, err := exec.LookPath("vhdiinfo")
	if err != nil {
		return ""
	}
	out, err := exec.CommandContext(t.Context(), tool, path).CombinedOutput()
	if err != nil {
		t.Fatalf("vhdiinfo: %v\n%s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "Identifier")
	_, after, _ = strings.Cut(after, ": ")
	id, _, _ := strings.Cut(after, "\n")
	return id
}

// TestVHDIdentity: libvhdi tells the same identity as we, before and after a change.
func TestVHDIdentity(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("vhdiinfo"); err != nil {
		t.Skip("vhdiinfo is not installed")
	}
	for name, data := range vhds() {
		path := filepath.Join(t.TempDir(), "vm-db.vhd")
		if err := os.WriteFile(path, data(t), 0o600); err != nil {
			t.Fatal(err)
		}
		const want = "00112233-4455-6677-8899-aabbccddeeff"
		var before string
		if err := with(t, path, func(f *dir.File) error {
			info, err := diskimage.Inspect(f)
			if err != nil {
				return err
			}
			before = info.UUID
			if got := vhdinfo(t, path); got != before {
				t.Errorf("%s: %s, libvhdi says %s", name, before, got)
			}
			e, err := diskimage.Options{}.PlanIdentity(f, want)
			if err != nil {
				return err
			}
			return diskimage.Apply(f, e)
		}); err != nil {
			t.Fatal(err)
		}
		if got := vhdinfo(t, path); got != want {
			t.Errorf("%s: libvhdi says %s, expected %s", name, got, want)
		}
		out := crash.MustQEMU(t, "qemu-img", "info", "-f", "vpc", path)
		if strings.Contains(out, "checksum") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestVHDSize: the size that a label is bound to is that of QEMU's disk, for every creator that QEMU 7.2 knows and some others.
func TestVHDSize(t *testing.T) {
	t.Parallel()
	for _, creator := range []string{"win ", "qem2", "d2v ", "CTXS", "tap\x00", "vpc ", "qemu", "vbox", "vs  ", "\x00\x00\x00\x00"} {
		for _, geometry := range []string{"\x00\x60\x04\x10", "\x00\x5f\x04\x10", "\xff\xff\x10\xff"} {
			data := crash.VHDDynamic("", "")
			for _, at := range []int{0, len(data) - 512} {
				copy(data[at+28:], creator)
				copy(data[at+56:], geometry)
				binary.BigEndian.PutUint64(data[at+48:], crash.VHDSize+512*7)
				crash.VHDSum(data[:at+512])
			}
			path := filepath.Join(t.TempDir(), "vm-db.vhd")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			out := crash.MustQEMU(t, "qemu-img", "info", "--output=json", "-f", "vpc", path)
			if got := sizeOf(t, path); !strings.Contains(out, fmt.Sprintf(`"virtual-size": %d,`, got)) {
				t.Errorf("creator %q, geometry % x: %d bytes, QEMU says\n%s", creator, geometry, got, out)
			}
		}
	}
}

// TestVHDFooterGrows: QEMU writes a footer anew when a block is added, from the copy at the beginning: the label comes with it even
// where a power cut had kept it from the end.
func TestVHDFooterGrows(t *testing.T) {
	t.Parallel()
	path := qemuImage(t, "vpc")
	data := read(t, path)
	var disk label.Binding
	if err := with(t, path, func(f *dir.File) error {
		info, err := diskimage.Inspect(f)
		disk = info.Binding()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	e, err := diskimage.Options{VHDFooter: true}.PlanSet(&crash.Mem{Data: data}, crash.Small(t, disk, 1))
	if err != nil || len(e.Steps) != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	m := &crash.Mem{Data: bytes.Clone(data)}
	for _, w := range e.Steps[0].Writes {
		_, _ = m.WriteAt(w.Data, w.Offset) // memory does not fail
	}
	if err := os.WriteFile(path, m.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSerial(t, path, 1)
	crash.MustQEMU(t, "qemu-io", "-f", "vpc", "-c", "write 2560k 4k", path)
	after := read(t, path)
	if end := after[len(after)-512:]; !bytes.HasPrefix(end[96:], []byte("BLB1")) || len(after) == len(data) {
		t.Errorf("%d bytes, were %d; the footer at the end has no label", len(after), len(data))
	}
	wantSerial(t, path, 1)
}
