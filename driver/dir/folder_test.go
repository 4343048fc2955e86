package dir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestFolderExchanged: the folder of an image that is open for writing becomes a link to another. Nothing is written there.
func TestFolderExchanged(t *testing.T) {
	t.Parallel()
	type file interface {
		SetSidecar(content []byte) error
		Replace(content []byte) error
	}
	for name, write := range map[string]func(f file) error{
		"sidecar":         func(f file) error { return f.SetSidecar([]byte("x")) },
		"sidecar removed": func(f file) error { return f.SetSidecar(nil) },
		"image":           func(f file) error { return f.Replace([]byte("x")) },
	} {
		for _, other := range []string{"", "vm-db.img"} { // what is in the other folder besides its own sidecar
			root := t.TempDir()
			pool, victim := filepath.Join(root, "pool"), filepath.Join(root, "victim")
			if err := errors.Join(os.Mkdir(pool, 0o700), os.Mkdir(victim, 0o700), os.WriteFile(filepath.Join(victim, "vm-db.img.berth"), []byte("its own"), 0o600)); err != nil {
				t.Fatal(err)
			}
			if other != "" {
				rawImage(t, filepath.Join(victim, other))
			}
			f := openWrite(t, rawImage(t, filepath.Join(pool, "vm-db.img")))
			if err := errors.Join(os.Rename(pool, filepath.Join(root, "away")), os.Symlink("victim", pool)); err != nil {
				t.Fatal(err)
			}
			if err := write(f); err == nil || errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: error %v", name, err)
			}
			got, err := os.ReadFile(filepath.Join(victim, "vm-db.img.berth"))
			entries, rerr := os.ReadDir(victim)
			if err := errors.Join(err, rerr); err != nil || string(got) != "its own" || len(entries) != 1+len(other)/len("vm-db.img") {
				t.Errorf("%s: in the other folder %q, %v, %v", name, got, entries, err)
			}
		}
	}
}
