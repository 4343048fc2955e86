package dir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestFullDisk: a label that does not fit on the disk leaves the image as it was: a text descriptor that would be replaced,
// one of two names that grows in place, and a sparse file whose descriptor area is a hole.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := unix.Mount("none", folder, "tmpfs", 0, "size=256k"); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount a small disk")
	} else if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	text := crash.Text("vmfs", `VMFS "vm-db-flat.vmdk"`)
	images := map[string]string{
		"replaced": write(t, filepath.Join(folder, "a.vmdk"), text),
		"grows":    write(t, filepath.Join(folder, "b.vmdk"), text),
		"hole":     filepath.Join(folder, "c.vmdk"),
	}
	if err := os.Link(images["grows"], filepath.Join(folder, "other-name")); err != nil {
		t.Fatal(err)
	}
	stream := crash.Stream(crash.StreamText(false), 20, 1)
	holed(t, images["hole"], stream)
	fill(t, filepath.Join(folder, "fill"))
	for name, path := range images {
		before := content(t, path)
		f := openWrite(t, path)
		info, err := diskimage.Inspect(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := crash.Set(f, crash.Large(t, info.Binding(), 1)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: error %v, expected no space", name, err)
		}
		if content(t, path) != before || f.Size() != int64(len(before)) {
			t.Errorf("%s: the image was changed", name)
		}
	}
}

// holed writes data without its pages of zeros.
func holed(t *testing.T, path string, data []byte) {
	t.Helper()
	const page = 4096
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Truncate(int64(len(data)))
	for off := 0; off < len(data); off += page {
		part := data[off:min(off+page, len(data))]
		for _, c := range part {
			if c != 0 {
				_, werr := f.WriteAt(part, int64(off))
				err = errors.Join(err, werr)
				break
			}
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// fill takes all the room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
