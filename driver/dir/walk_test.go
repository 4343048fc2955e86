package dir_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"golang.org/x/sys/unix"
)

var (
	_ diskimage.Reader = (*dir.Glance)(nil)
	_ diskimage.Beside = (*dir.Glance)(nil)
)

func walked(t *testing.T, folder string) (paths []string) {
	t.Helper()
	for p, err := range dir.Walk(folder) {
		if err != nil {
			t.Errorf("%s: %v", p, err)
		}
		paths = append(paths, p)
	}
	return paths
}

// asWalkDir is what Walk has to give, by the standard library's walk.
func asWalkDir(t *testing.T, folder string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
		if n := d.Name(); err == nil && d.Type().IsRegular() && !dir.IsTemp(n) && !strings.HasSuffix(n, diskimage.SidecarSuffix) {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestWalkOrder compares with filepath.WalkDir over random trees: names of any bytes and length, folders in between.
func TestWalkOrder(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		root := t.TempDir()
		folders := []string{root}
		for range r.IntN(400) {
			name := make([]byte, 1+r.IntN(1<<r.IntN(8)))
			for i := range name {
				for name[i] == 0 || name[i] == '/' {
					name[i] = byte(r.Uint32())
				}
			}
			path := filepath.Join(folders[r.IntN(len(folders))], string(name))
			switch r.IntN(8) {
			case 0:
				if os.Mkdir(path, 0o700) == nil && len(path) < 2000 {
					folders = append(folders, path)
				}
			case 1:
				_ = os.Symlink(root, path)
			case 2:
				_ = os.WriteFile(path+".berth", nil, 0o600)
			default:
				_ = os.WriteFile(path, nil, 0o600)
			}
		}
		if got, want := walked(t, root), asWalkDir(t, root); !slices.Equal(got, want) {
			t.Fatalf("round %d: %q, expected %q", round, got, want)
		}
	}
}

// TestWalkLargeFolder: names that fill several blocks, and a small folder after it with what was used before.
func TestWalkLargeFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, sub := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(root, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 9000 {
		write(t, filepath.Join(root, "b", fmt.Sprintf("%05d-%s", (i*7919)%9000, strings.Repeat("x", 90))), "")
	}
	for i := range 300 {
		write(t, filepath.Join(root, "c", fmt.Sprintf("%d-%s", i, strings.Repeat("y", 60))), "")
	}
	got := walked(t, root)
	if want := asWalkDir(t, root); !slices.Equal(got, want) || len(got) != 9300 {
		t.Errorf("%d paths, expected %d, or another order", len(got), len(want))
	}
}

func TestWalkNames(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	for _, f := range []string{"a.vmdk", "a.vmdk.berth", ".berth-1-2.tmp", ".hidden", "a/b/c.vmdk", "a-b", "z"} {
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, f, "x")
	}
	if err := unix.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string][]string{
		".":      {"./.hidden", "./a/b/c.vmdk", "./a-b", "./a.vmdk", "./z"},
		"./":     {"./.hidden", "./a/b/c.vmdk", "./a-b", "./a.vmdk", "./z"},
		"a":      {"a/b/c.vmdk"},
		"a/b///": {"a/b/c.vmdk"},
		"link":   {"link/b/c.vmdk"},
		root:     {root + "/.hidden", root + "/a/b/c.vmdk", root + "/a-b", root + "/a.vmdk", root + "/z"},
	} {
		if got := walked(t, folder); !slices.Equal(got, want) {
			t.Errorf("%s: %q, expected %q", folder, got, want)
		}
	}
	n := 0
	for p, err := range dir.Walk(root) {
		if n++; n == 2 || err != nil {
			t.Logf("stopped at %s", p) // and it must not go on after it
			break
		}
	}
	for p, err := range dir.Walk("nowhere") {
		if p != "nowhere" || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestWalkGoesOn: a folder that cannot be read is an error of its own.
func TestWalkGoesOn(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Log("root reads everything: a folder that vanishes stands for one that cannot be read")
	}
	root := t.TempDir()
	for _, sub := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(root, sub), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, sub, "vm.vmdk"), "x")
	}
	var got []string
	for p, err := range dir.Walk(root) {
		if len(got) == 0 {
			if err := os.RemoveAll(filepath.Join(root, "b")); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, fmt.Sprint(strings.TrimPrefix(p, root), " ", errors.Is(err, fs.ErrNotExist)))
	}
	if want := []string{"/a/vm.vmdk false", "/b true", "/c/vm.vmdk false"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}

// TestGlance: what no image can be is refused as Open does, and a glance can be used again.
func TestGlance(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "disk"), "0123456789")
	if err := unix.Mkfifo(filepath.Join(folder, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("disk", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "empty"), "")
	var g dir.Glance
	for name, want := range map[string]string{"fifo": "a fifo", "link": "too many levels", ".": "a folder", "empty": "an empty file", "nothing": "no such file"} {
		if err := g.Open(filepath.Join(folder, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, expected %q in it", name, err, want)
		}
	}
	for range 2 {
		if err := g.Open(path); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 20)
		if n, err := g.ReadAt(b, 5); n != 5 || err == nil || string(b[:n]) != "56789" || g.Size() != 10 {
			t.Errorf("read %q, %v; size %d", b[:n], err, g.Size())
		}
		lent := g.Lend()[:7] // and what is in it is read from there
		if n, err := g.ReadAt(lent, 0); n != 7 || err != nil || string(lent) != "0123456" {
			t.Errorf("read %q, %v", lent[:n], err)
		}
		copy(lent, "abcdefg")
		for off, want := range map[int64]string{0: "abcde", 2: "cdefg", 3: "34567", 7: "789"} {
			if n, err := g.ReadAt(b[:5], off); string(b[:n]) != want || (err == nil) != (n == 5) {
				t.Errorf("read at %d: %q, %v, expected %q", off, b[:n], err, want)
			}
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGlanceBeside(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "disk"), "0123456789")
	var g dir.Glance
	if err := g.Open(path); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	if b, err := g.Sidecar(); b != nil || err != nil {
		t.Errorf("no sidecar: %q, %v", b, err)
	}
	write(t, path+diskimage.SidecarSuffix, "label")
	if b, err := g.Sidecar(); string(b) != "label" || err != nil {
		t.Errorf("sidecar: %q, %v", b, err)
	}
	write(t, path+diskimage.SidecarSuffix, strings.Repeat("x", diskimage.MaxBeside+1))
	if _, err := g.Sidecar(); err == nil {
		t.Error("a sidecar beyond the limit is read")
	}
	if b, err := g.Attribute(diskimage.AttributeLabel); b != nil || err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no attribute: %q, %v", b, err)
	}
	if err := unix.Setxattr(path, diskimage.AttributeLabel, []byte("label"), 0); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	if b, err := g.Attribute(diskimage.AttributeLabel); string(b) != "label" || err != nil {
		t.Errorf("attribute: %q, %v", b, err)
	}
}
