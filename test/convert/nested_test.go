package convert_test

import (
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label/diskimage"
)

// TestNested: a raw disk into which its guest wrote the header of an overlay on somebody else's file is data, when it is
// declared raw: nothing of that header is followed, and the label is the disk's own.
func TestNested(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder := t.TempDir()
	secret := disk(t, filepath.Join(folder, "secret.raw"), 1<<20)
	src := filepath.Join(folder, "vm-db.raw")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", src)
	command(t, "truncate", "-s", "1M", src)
	want := give(t, src, diskimage.FormatRaw, k, someUUID)
	for _, to := range formats() {
		dst := filepath.Join(folder, "out-"+string(to)+".img")
		run(t, convert.Request{Source: src, SourceFormat: diskimage.FormatRaw, Destination: dst, Format: to, Verify: true})
		back := filepath.Join(folder, "back-"+string(to)+".img")
		run(t, convert.Request{Source: dst, SourceFormat: to, Destination: back, Format: diskimage.FormatRaw, Verify: true})
		command(t, "cmp", src, back)
		f, err := dir.Open(back)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := diskimage.Options{Format: diskimage.FormatRaw}.ReadLabel(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, &want)
	}
	copied := copyTo(t, convert.CopyRequest{Source: src, SourceFormat: diskimage.FormatRaw, Destination: filepath.Join(folder, "copy.raw")})
	same(t, copied.Label, &want)
	// Declared as what it is not.
	_ = fails(t.Context(), t, convert.Request{Source: src, SourceFormat: diskimage.FormatVMDK, Destination: filepath.Join(folder, "x.raw"), Format: diskimage.FormatRaw}, diskimage.ErrCorrupt)
}
