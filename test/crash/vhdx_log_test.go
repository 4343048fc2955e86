package crash_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// logZeros puts an entry into the log that is not yet applied: zeros for 4 KiB at an offset of the file ([MS-VHDX] 2.3).
func logZeros(image []byte, at int) {
	le := binary.LittleEndian
	guid := crash.VHDXGUID("12345678-9abc-4def-8012-3456789abcde")
	entry := make([]byte, 4096)
	copy(entry, "loge")
	le.PutUint32(entry[8:], 4096) // length; the tail is this entry
	le.PutUint64(entry[16:], 1)   // sequence number
	le.PutUint32(entry[24:], 1)   // descriptors
	copy(entry[32:], guid)
	le.PutUint64(entry[48:], uint64(len(image)))
	le.PutUint64(entry[56:], uint64(len(image)))
	copy(entry[64:], "zero")
	le.PutUint64(entry[72:], 4096)
	le.PutUint64(entry[80:], uint64(at))
	le.PutUint64(entry[88:], 1)
	crash.VHDXSum(entry)
	copy(image[crash.VHDXLog:], entry)
	for _, h := range crash.VHDXHeaders {
		copy(image[h+48:], guid)
		crash.VHDXSum(image[h : h+4096])
	}
}

// TestVHDXLog: an image with a log to be replayed. What it holds of a label is read and called unclean, nothing is
// written; when QEMU has replayed the log the label is another one, which shows why.
func TestVHDXLog(t *testing.T) {
	t.Parallel()
	path := makeVHDX(t, t.TempDir())
	mustSet(t, path, crash.Small, 1)
	mustSet(t, path, crash.Small, 2)
	image := read(t, path)
	items, err := crash.VHDXItems(image)
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 7 {
		t.Fatalf("%d items", len(items))
	}
	logZeros(image, crash.VHDXMetadata+int(items[6].Offset))
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	frame, info, err := diskimage.ReadLabel(&crash.Mem{Data: image})
	if err != nil || frame == nil || frame.Serial != 2 || !info.Unclean {
		t.Fatalf("label %+v, info %+v, %v", frame, info, err)
	}
	change := func(f *dir.File) error { return crash.Set(f, crash.Small(t, info.Binding(), 3)) }
	if err := with(t, path, change); !errors.Is(err, diskimage.ErrUnclean) {
		t.Fatalf("set: %v", err)
	}
	if string(read(t, path)) != string(image) {
		t.Fatal("the refusal changed the image")
	}
	// QEMU takes the log for one as well.
	if out, err := crash.QEMU(t, "qemu-img", "info", "-f", "vhdx", path); err == nil || !strings.Contains(out, "log that needs to be replayed") {
		t.Fatalf("qemu-img info: %v\n%s", err, out)
	}
	crash.MustQEMU(t, "qemu-img", "check", "-r", "all", "-f", "vhdx", path)
	wantSerial(t, path, 1)
	if err := with(t, path, change); err != nil {
		t.Fatal(err)
	}
	wantSerial(t, path, 3)
	crash.MustQEMU(t, "qemu-img", "check", "-f", "vhdx", path)
}

// TestVHDXInfo: libvhdi sees the same image with a label and without, its identifier (DataWriteGuid) included.
func TestVHDXInfo(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("vhdiinfo")
	if err != nil {
		t.Skip("vhdiinfo is not installed")
	}
	for _, subformat := range []string{"dynamic", "fixed"} {
		path := makeVHDX(t, t.TempDir(), "subformat="+subformat)
		look := func() string {
			out, err := exec.CommandContext(t.Context(), tool, path).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "3145728 bytes") {
				t.Fatalf("vhdiinfo: %v\n%s", err, out)
			}
			return string(out)
		}
		before := look()
		mustSet(t, path, crash.Large, 1)
		mustSet(t, path, crash.Small, 2)
		if after := look(); after != before {
			t.Errorf("%s: vhdiinfo says\n%s\nit said\n%s", subformat, after, before)
		}
	}
}

// TestVHDXMount reads the data of a labelled image by libvhdi, which shares nothing with QEMU.
func TestVHDXMount(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("vhdimount")
	if err != nil || os.Getuid() != 0 {
		t.Skip("vhdimount is not installed, or this is not root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	path := makeVHDX(t, t.TempDir())
	raw := path + ".raw"
	crash.MustQEMU(t, "qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, raw)
	mustSet(t, path, crash.Small, 1)
	mustSet(t, path, crash.Large, 2)
	folder := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), tool, path, folder).CombinedOutput(); err != nil {
		t.Fatalf("vhdimount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", folder).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	if !bytes.Equal(read(t, filepath.Join(folder, "vhdi1")), read(t, raw)) {
		t.Error("libvhdi reads other data of the labelled image")
	}
}

// TestVHDXHuge labels disks of more than 2 TiB, where other formats end, up to the format's 64 TiB.
func TestVHDXHuge(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"2049G", "63T", "64T"} {
		path := filepath.Join(t.TempDir(), "vm-archive.vhdx")
		crash.MustQEMU(t, "qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=256M", path, size)
		mustSet(t, path, crash.Small, 1)
		if out, err := crash.QEMU(t, "qemu-io", "-f", "vhdx", "-c", "write -P 0x5a 2048G 64k", "-c", "flush", path); err != nil || strings.Contains(out, "failed") {
			t.Fatalf("%s: qemu-io: %v\n%s", size, err, out)
		}
		mustSet(t, path, crash.Large, 2)
		wantSerial(t, path, 2)
		crash.MustQEMU(t, "qemu-img", "check", "-f", "vhdx", path)
		if out, err := crash.QEMU(t, "qemu-io", "-f", "vhdx", "-c", "read -P 0x5a 2048G 64k", path); err != nil || strings.Contains(out, "failed") {
			t.Fatalf("%s: qemu-io: %v\n%s", size, err, out)
		}
		if err := with(t, path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
			t.Fatal(err)
		}
		crash.MustQEMU(t, "qemu-img", "check", "-f", "vhdx", path)
	}
}
