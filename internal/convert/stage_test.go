package convert

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
)

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree is what the folder holds but for temporary folders.
func tree(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + "=" + string(content) + " ")
	}
	return b.String()
}

// TestPublishTakesBack lets each rename of a publication fail in turn: what was there is there again, and nothing else.
func TestPublishTakesBack(t *testing.T) {
	t.Parallel()
	for _, old := range []map[string]string{
		{}, {"x.vmdk": "old image", "x-flat.vmdk": "old part", "x.vmdk.berth": "old sidecar"}, {"x-flat.vmdk": "somebody's part"},
	} {
		for _, obstacle := range []string{"x.vmdk.berth", "x-flat.vmdk", "x.vmdk"} {
			folder := t.TempDir()
			for name, content := range old {
				put(t, filepath.Join(folder, name), content)
			}
			s, err := newStage(filepath.Join(folder, "x.vmdk"), true, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"x.vmdk", "x-flat.vmdk", "x.vmdk.berth"} {
				put(t, filepath.Join(s.path, name), "new")
			}
			names, err := s.files()
			if err != nil {
				t.Fatal(err)
			}
			present, err := s.present(names)
			if err != nil {
				t.Fatal(err)
			}
			// Somebody puts a file there between the look and the rename.
			if _, there := old[obstacle]; there {
				present = without(present, obstacle) // or it came just now
			} else {
				put(t, filepath.Join(folder, obstacle), "in the way")
			}
			before := tree(t, folder)
			if err := s.rename(names, present); !errors.Is(err, ErrExists) {
				t.Errorf("obstacle %s: error %v, expected ErrExists", obstacle, err)
			}
			if err := s.takeBack(); err != nil {
				t.Error(err)
			}
			if after := tree(t, folder); after != before {
				t.Errorf("obstacle %s: %s\nexpected %s", obstacle, after, before)
			}
			if err := s.discard(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(s.path); err == nil {
				t.Error("the temporary folder is left")
			}
		}
	}
}

func without(list []string, name string) []string {
	var out []string
	for _, n := range list {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// TestStuck: what could not be brought back is kept, and named.
func TestStuck(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	put(t, filepath.Join(folder, "x.vmdk"), "old image")
	s, err := newStage(filepath.Join(folder, "x.vmdk"), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.setAside([]string{"x.vmdk"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "x.vmdk"), 0o700); err != nil { // nothing can be renamed over it
		t.Fatal(err)
	}
	if err := s.takeBack(); err == nil {
		t.Error("a file took the place of a folder")
	}
	if err := s.discard(); err == nil || !strings.Contains(err.Error(), s.path) {
		t.Errorf("error %v, expected one that names %s", err, s.path)
	}
	if b, err := os.ReadFile(filepath.Join(s.path, asideFolder, "x.vmdk")); err != nil || string(b) != "old image" {
		t.Errorf("what was replaced is lost: %q, %v", b, err)
	}
}

// TestRenameByLink: where the kernel cannot rename without replacing, nothing is replaced either.
func TestRenameByLink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	from, to := filepath.Join(folder, "from"), filepath.Join(folder, "to")
	put(t, from, "new")
	put(t, to, "old")
	before := tree(t, folder)
	if err := renameByLink(from, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if after := tree(t, folder); after != before {
		t.Errorf("%s\nexpected %s", after, before)
	}
	if err := os.Remove(to); err != nil {
		t.Fatal(err)
	}
	if err := renameByLink(from, to); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Lstat(from); err == nil {
		t.Error("it has two names")
	}
}

// TestLockFolder: two publications in one folder come one after the other.
func TestLockFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	unlock, err := lockFolder(folder, 0)
	if err != nil {
		t.Fatal(err)
	}
	var locked *dir.LockedError
	if _, err := lockFolder(folder, 0); !errors.As(err, &locked) {
		t.Errorf("locked twice: %v", err)
	}
	s, err := newStage(filepath.Join(folder, "x.raw"), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s.image(), "new")
	put(t, s.image()+".berth", "new sidecar")
	done := make(chan error)
	go func() {
		_, err := s.publish()
		done <- err
	}()
	select { // a publication that does not wait ends here, sooner or later
	case err := <-done:
		t.Fatalf("published in a locked folder: %v", err)
	default:
	}
	if _, err := os.Stat(filepath.Join(folder, "x.raw")); err == nil {
		t.Error("published in a locked folder")
	}
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(folder, "x.raw")); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if err := s.discard(); err != nil {
		t.Error(err)
	}
}
