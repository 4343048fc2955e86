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

// TestQcow2QEMU takes images through all that QEMU does to a qcow2 file, with a label and, beside it, a twin without: the label
// stays, a new one can be set after each operation, and the guest's data are the same.
func TestQcow2QEMU(t *testing.T) {
	t.Parallel()
	for _, m := range qcow2Makes() {
		if m.secret {
			continue // TestQcow2Crash has it: most operations want the secret in a way of their own
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			path := m.make(t)
			twin := twinOf(t, path)
			if strings.Contains(m.name, "data file") { // one file cannot be both images' data
				data := filepath.Join(filepath.Dir(path), "vm-db.data")
				if err := os.WriteFile(data+".twin", read(t, data), 0o600); err != nil {
					t.Fatal(err)
				}
				crash.MustQEMU(t, "qemu-img", "amend", "-q", "-f", "qcow2", "-o", "data_file="+data+".twin", twin)
			}
			mustSet(t, path, crash.Small, 1)
			serial := uint32(1)
			for _, op := range m.operations(t, path) {
				for _, p := range []string{path, twin} {
					op(p)
				}
				wantSerial(t, path, serial)
				m.healthy(t, path, twin)
				serial++
				mustSet(t, path, crash.Small, serial)
				m.healthy(t, path, twin)
			}
			if err := with(t, path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
				t.Fatal(err)
			}
			wantSerial(t, path, 0)
			m.healthy(t, path, twin)
			if got, want := infoOf(t, path), infoOf(t, twin); got != want {
				t.Errorf("after removal qemu-img info says\n%s\nexpected\n%s", got, want)
			}
		})
	}
}

// infoOf is what qemu-img info says, but for the names that differ and what a file system decides.
func infoOf(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(crash.MustQEMU(t, "qemu-img", "info", path)) {
		if !strings.HasPrefix(line, "disk size") {
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(line, "-twin", ""), ".twin", ""))
		}
	}
	return b.String()
}

// operations are what QEMU can do to the image as it was made.
func (m *qcow2Make) operations(t *testing.T, path string) []func(path string) {
	t.Helper()
	tool := func(name string, args ...string) func(string) {
		return func(p string) {
			t.Helper()
			if out, err := crash.QEMU(t, name, append(args, p)...); err != nil || strings.Contains(out, "failed") {
				t.Fatalf("%s %v: %v\n%s", name, args, err, out)
			}
		}
	}
	v2, data := strings.HasPrefix(m.name, "v2"), strings.Contains(m.name, "data file")
	ops := []func(string){
		tool("qemu-io", "-f", "qcow2", "-c", "write -P 0x11 2M 64k", "-c", "discard 512k 128k", "-c", "flush"),
	}
	if !data {
		ops = append(ops, tool("qemu-img", "snapshot", "-c", "before"))
	}
	if v2 {
		ops = append(ops, tool("qemu-img", "amend", "-q", "-f", "qcow2", "-o", "compat=1.1"))
	}
	ops = append(ops,
		func(p string) { crash.MustQEMU(t, "qemu-img", "bitmap", "--add", p, "tonight") },
		tool("qemu-io", "-f", "qcow2", "-c", "write -P 0x12 1M 4k"),
	)
	if !data { // before check: QEMU 7.2's -r all loses the snapshots of an image that has a bitmap, with a label or without
		ops = append(ops, func(p string) { crash.MustQEMU(t, "qemu-img", "snapshot", "-d", "before", p) })
	}
	ops = append(ops,
		tool("qemu-img", "amend", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on"),
		tool("qemu-img", "check", "-q", "-r", "all"),
	)
	base := filepath.Join(filepath.Dir(path), "base.raw")
	long := filepath.Join(filepath.Dir(path), strings.Repeat("./", 440)+"base.raw")
	if strings.Contains(m.name, "backing") {
		ops = append(ops,
			func(p string) { crash.MustQEMU(t, "qemu-img", "rebase", "-u", "-b", long, "-F", "raw", p) },
			func(p string) { crash.MustQEMU(t, "qemu-img", "rebase", "-b", base, "-F", "raw", p) },
			func(p string) { crash.MustQEMU(t, "qemu-img", "rebase", "-b", "", p) },
		)
	} else if !data {
		ops = append(ops, func(p string) { crash.MustQEMU(t, "qemu-img", "rebase", "-u", "-b", long, "-F", "raw", p) },
			func(p string) { crash.MustQEMU(t, "qemu-img", "rebase", "-u", "-b", "", p) })
	}
	return ops
}

// TestQcow2Resize: an image that became larger is another disk. The label stays and is then not obeyed; a new one is.
func TestQcow2Resize(t *testing.T) {
	t.Parallel()
	m := qcow2Makes()[1]
	path := m.make(t)
	mustSet(t, path, crash.Small, 1)
	crash.MustQEMU(t, "qemu-img", "resize", "-q", path, "4M")
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	frame, info, err := diskimage.ReadLabel(f)
	if err = errors.Join(err, f.Close()); err != nil || frame == nil || frame.Serial != 1 || info.VirtualSize != 4<<20 {
		t.Fatalf("%+v, %+v, %v", frame, info, err)
	}
	var trust *label.TrustFile
	if v := trust.Verify(*frame, info.Binding(), time.Unix(1_800_000_000, 0)); v.Trust != label.TrustInvalid {
		t.Errorf("a label of 3 MiB on a disk of 4 MiB: %+v", v)
	}
	mustSet(t, path, crash.Large, 2)
	wantSerial(t, path, 2)
	crash.MustQEMU(t, "qemu-img", "check", "-q", path)
}

// TestQcow2Commit commits a labelled overlay into a labelled base: each keeps its own label.
func TestQcow2Commit(t *testing.T) {
	t.Parallel()
	m := qcow2Makes()[1]
	base := m.make(t)
	top := filepath.Join(filepath.Dir(base), "top.qcow2")
	crash.MustQEMU(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
	mustSet(t, base, crash.Small, 7)
	wantSerial(t, top, 0)
	mustSet(t, top, crash.Large, 3)
	crash.MustQEMU(t, "qemu-io", "-f", "qcow2", "-c", "write -P 0x33 0 256k", top)
	crash.MustQEMU(t, "qemu-img", "commit", "-q", top)
	wantSerial(t, base, 7)
	wantSerial(t, top, 3)
	crash.MustQEMU(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -P 0x33 0 256k", base)
	for _, p := range []string{base, top} {
		crash.MustQEMU(t, "qemu-img", "check", "-q", p)
	}
}

// TestQcow2Refused: what must not be written to stays as it is, byte for byte, and its label can still be read.
func TestQcow2Refused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		offset int64
		bits   byte
		want   error
	}{
		{"dirty", 79, 1, diskimage.ErrUnclean},
		{"corrupt", 79, 2, diskimage.ErrCorrupt},
		{"unknown feature", 76, 1, diskimage.ErrUnsupported},
		{"unknown autoclear feature", 92, 1, diskimage.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := qcow2Makes()[1]
			path := m.make(t)
			mustSet(t, path, crash.Small, 1)
			data := read(t, path)
			data[tt.offset] |= tt.bits
			f := &crash.Mem{Data: data}
			if got, err := crash.SerialOf(data); err != nil || got != 1 {
				t.Errorf("label %d, %v", got, err)
			}
			info, err := diskimage.Inspect(f)
			if err != nil || info.Unclean != (tt.name == "dirty") {
				t.Errorf("%+v, %v", info, err)
			}
			if err := crash.Set(f, crash.Small(t, info.Binding(), 2)); !errors.Is(err, tt.want) {
				t.Errorf("set: %v, expected %v", err, tt.want)
			}
			if err := crash.Remove(f); !errors.Is(err, tt.want) {
				t.Errorf("remove: %v, expected %v", err, tt.want)
			}
			if f.Writes != 0 {
				t.Errorf("%d writes", f.Writes)
			}
		})
	}
}

// TestQcow2Dirty lets a real QEMU crash with lazy refcounts: refused until it is checked, then fine.
func TestQcow2Dirty(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "vm-db.qcow2")
	crash.MustQEMU(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "3M")
	mustSet(t, path, crash.Small, 1)
	_, _ = crash.QEMU(t, "qemu-io", "-f", "qcow2", "-c", "write 0 64k", "-c", "flush", "-c", "sigraise 9", path) // killed: that is the point
	wantSerial(t, path, 1)
	err := with(t, path, func(f *dir.File) error {
		return crash.Set(f, crash.Small(t, label.Binding{Size: 3 << 20}, 2))
	})
	if !errors.Is(err, diskimage.ErrUnclean) {
		t.Fatalf("set on a dirty image: %v", err)
	}
	crash.MustQEMU(t, "qemu-img", "check", "-q", "-r", "all", path)
	wantSerial(t, path, 1)
	mustSet(t, path, crash.Small, 2)
	wantSerial(t, path, 2)
}
