package convert_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// TestFetchedSame: before a remote image is removed it has to be, to the byte and with its label, what was fetched.
func TestFetchedSame(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder, to := t.TempDir(), t.TempDir()
	src := filepath.Join(folder, "vm-db.vmdk")
	run(t, convert.Request{
		Source: disk(t, filepath.Join(t.TempDir(), "disk.raw"), diskSize), Destination: src, Format: diskimage.FormatVMDK,
		Options: []string{"subformat=monolithicFlat"},
	})
	give(t, src, diskimage.FormatVMDK, k, "")
	f, err := convert.Fetch(t.Context(), here(folder, 0), "vm-db.vmdk", "", to, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if used := f.Used(); used == 0 || used > diskSize+1<<20 {
		t.Errorf("it takes %d bytes", used)
	}
	var done, total label.Bytes
	if err := f.Same(t.Context(), here(folder, 0), "", func(d, n label.Bytes) { done, total = d, n }); err != nil || done != total || total == 0 {
		t.Fatalf("unchanged: %v, %d of %d", err, done, total)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Same(ctx, here(folder, 0), "", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if err := f.Same(t.Context(), here(folder, 1<<20), "", nil); err == nil {
		t.Error("a source that ends early is the same")
	}
	flat := filepath.Join(folder, "vm-db-flat.vmdk")
	content, err := os.ReadFile(flat)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"last byte": func() error { b := append([]byte{}, content...); b[len(b)-1] ^= 1; return os.WriteFile(flat, b, 0o600) },
		"longer":    func() error { return os.WriteFile(flat, append(content, 0), 0o600) },
		"label":     func() error { give(t, src, diskimage.FormatVMDK, nil, ""); return os.WriteFile(flat, content, 0o600) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := f.Same(t.Context(), here(folder, 0), "", nil); !errors.Is(err, diskimage.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeliver: the source stays, and can still be read only, until the destination was delivered.
func TestDeliver(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	src, dst := disk(t, filepath.Join(folder, "vm-db.raw"), diskSize), filepath.Join(folder, "vm-db.qcow2")
	lost := errors.New("lost on the way")
	r := convert.Request{Source: src, SourceFormat: diskimage.FormatRaw, Destination: dst, Format: diskimage.FormatQcow2, RemoveSource: true}
	r.Deliver = func(_ context.Context, res *convert.Result) error {
		if _, err := os.Stat(res.Files[0]); err != nil || res.Files[0] != dst {
			t.Errorf("%s is not there: %v", res.Files[0], err)
		}
		return lost
	}
	if _, err := convert.Convert(t.Context(), r); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if _, err := os.Stat(src); err != nil {
		t.Fatal(err)
	}
	lost, r.Force = nil, true
	if _, err := convert.Convert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(src); !os.IsNotExist(err) {
		t.Errorf("the source is there: %v", err)
	}
}
