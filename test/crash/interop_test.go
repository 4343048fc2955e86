package crash_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// with opens an image for writing, as the command line does, and calls do.
func with(t *testing.T, path string, do func(f *dir.File) error) error {
	t.Helper()
	f, err := dir.OpenWrite(path)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func mustSet(t *testing.T, path string, frame func(testing.TB, label.Binding, uint32) label.Frame, serial uint32) {
	t.Helper()
	err := with(t, path, func(f *dir.File) error {
		info, err := diskimage.Inspect(f)
		if err != nil {
			return err
		}
		return crash.Set(f, frame(t, info.Binding(), serial))
	})
	if err != nil {
		t.Fatalf("set label %d: %v", serial, err)
	}
}

func wantSerial(t *testing.T, path string, want uint32) {
	t.Helper()
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	frame, info, err := diskimage.ReadLabel(f)
	if err != nil {
		t.Fatal(err)
	}
	var got uint32
	if frame != nil {
		got = frame.Serial
		var trust *label.TrustFile
		if v := trust.Verify(*frame, info.Binding(), time.Unix(1_800_000_000, 0)); v.Trust == label.TrustInvalid {
			t.Fatalf("label %d: %+v", got, v)
		}
	}
	if got != want {
		t.Fatalf("label %d, expected %d", got, want)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestQEMU takes an image of every subformat that QEMU makes through the life of a label with a guest that writes
// in between, beside a twin without a label that gets the same writes.
func TestQEMU(t *testing.T) {
	t.Parallel()
	for _, subformat := range crash.Subformats() {
		t.Run(subformat, func(t *testing.T) {
			t.Parallel()
			path, twin := crash.Make(t, t.TempDir(), subformat), crash.Make(t, t.TempDir(), subformat)
			text := crash.DescriptorText(read(t, path))
			healthy := func() {
				t.Helper()
				crash.MustQEMU(t, "qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", path, twin)
				if out, err := crash.QEMU(t, "qemu-img", "check", "-f", "vmdk", path); err != nil && !strings.Contains(out, "does not support checks") {
					t.Fatalf("qemu-img check: %v\n%s", err, out)
				}
			}
			guest := func(write string) {
				t.Helper()
				for _, p := range []string{path, twin} {
					if out, err := crash.QEMU(t, "qemu-io", "-f", "vmdk", "-c", write, "-c", "flush", p); err != nil || strings.Contains(out, "failed") {
						t.Fatalf("qemu-io %s: %v\n%s", write, err, out)
					}
				}
			}
			mustSet(t, path, crash.Small, 1)
			wantSerial(t, path, 1)
			healthy()
			// A whole grain that nothing was written to: all that a compressed image lets a guest write.
			guest("write -P 0x5a 1280k 64k")
			wantSerial(t, path, 1)
			healthy()
			mustSet(t, path, crash.Small, 2)
			mustSet(t, path, crash.Large, 3)
			wantSerial(t, path, 3)
			healthy()
			if subformat != "streamOptimized" {
				guest("write -P 0x77 4k 8k")
				guest("write -P 0x78 2m 512")
			}
			guest("write -P 0x5b 1536k 64k")
			wantSerial(t, path, 3)
			mustSet(t, path, crash.Small, 4)
			wantSerial(t, path, 4)
			healthy()
			if err := with(t, path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
				t.Fatal(err)
			}
			wantSerial(t, path, 0)
			healthy()
			// The guest's first write gave the image a new CID; all else is as QEMU made it.
			cid := func(s string) string {
				i := strings.Index(s, "CID=")
				return s[:i] + s[i+4+strings.IndexByte(s[i+4:], '\n'):]
			}
			if got := crash.DescriptorText(read(t, path)); cid(got) != cid(text) {
				t.Errorf("after removal other tools see\n%s\nexpected\n%s", got, text)
			}
		})
	}
}

// TestStream reads constructed streams with QEMU: they are what they are taken for, labelled and not.
func TestStream(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"two sectors": crash.Stream(crash.StreamText(false), 2, 0, 3, 15),
		"one sector":  crash.Stream(crash.StreamText(true), 1, 1, 2),
	} {
		path := filepath.Join(t.TempDir(), "vm-db.vmdk")
		twin := filepath.Join(t.TempDir(), "twin.vmdk")
		for _, p := range []string{path, twin} {
			if err := os.WriteFile(p, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		crash.MustQEMU(t, "qemu-io", "-r", "-f", "vmdk", "-c", map[string]string{
			"two sectors": "read -P 4 192k 64k", "one sector": "read -P 3 128k 64k",
		}[name], twin)
		mustSet(t, path, crash.Large, 1)
		wantSerial(t, path, 1)
		crash.MustQEMU(t, "qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", path, twin)
		crash.MustQEMU(t, "qemu-img", "check", "-f", "vmdk", path)
		if err := with(t, path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
			t.Fatal(err)
		}
		if got, want := crash.DescriptorText(read(t, path)), crash.DescriptorText(data); got != want {
			t.Errorf("%s: after removal other tools see\n%s\nexpected\n%s", name, got, want)
		}
	}
}

// TestBackingFile: a label does not change what QEMU takes for the parent, and a child has no label of its own.
func TestBackingFile(t *testing.T) {
	t.Parallel()
	parent := crash.Make(t, t.TempDir(), "monolithicSparse")
	child := filepath.Join(filepath.Dir(parent), "child.vmdk")
	mustSet(t, parent, crash.Small, 1)
	crash.MustQEMU(t, "qemu-img", "create", "-q", "-f", "vmdk", "-b", parent, "-F", "vmdk", child)
	wantSerial(t, child, 0)
	mustSet(t, child, crash.Large, 1)
	mustSet(t, parent, crash.Large, 2)
	f, err := dir.Open(child)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := diskimage.Inspect(f)
	if err != nil || info.Parent.Ref != parent {
		t.Errorf("parent %q (%v), expected %q", info.Parent.Ref, err, parent)
	}
	crash.MustQEMU(t, "qemu-img", "compare", "-f", "vmdk", "-F", "vmdk", child, parent)
}
