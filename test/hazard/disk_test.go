package hazard_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mounted makes a small file system of its own over the image's folder, with the image in it.
func mounted(t *testing.T, path, kind, options string) {
	t.Helper()
	folder := filepath.Dir(path)
	kept := filepath.Join(t.TempDir(), "kept")
	shell(t, "cp", "-r", "--sparse=always", folder, kept)
	if err := unix.Mount("none", folder, kind, 0, options); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount a small disk")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	shell(t, "cp", "-r", "--sparse=always", kept+"/.", folder)
}

func shell(t *testing.T, words ...string) {
	t.Helper()
	cmd := command(t, words...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
}

// TestFullDisk: with not a byte left on the disk the label is set where its place has room already, or there is an error that
// says so and the image's files are as before.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f format, path string, healthy func()) {
		t.Helper()
		mounted(t, path, "tmpfs", "size=24m")
		before := files(t, path)
		fill(t, path)
		_, errs, code := call(t, nil, f.words("gold", path)...)
		if code == 0 {
			if level(t, path) != "gold" {
				t.Error("no label after success")
			}
		} else {
			told(t, errs, path)
			if !strings.Contains(errs, "no space left") {
				t.Errorf("the error does not say why: %s", errs)
			}
			unchanged(t, before, path)
		}
		t.Logf("exit code %d", code)
		if err := os.Remove(filepath.Join(filepath.Dir(path), "fill")); err != nil {
			t.Fatal(err)
		}
		healthy()
		clean(t, path)
		if _, errs, code := call(t, nil, f.words("silver", path)...); code != 0 || level(t, path) != "silver" {
			t.Errorf("with room again: exit code %d, %s", code, errs)
		}
		healthy()
	})
}

// fill takes all the room that is left beside the image.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(filepath.Join(filepath.Dir(path), "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// files is the content of all files beside the image.
func files(t *testing.T, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func unchanged(t *testing.T, before map[string]string, path string) {
	t.Helper()
	now := files(t, path)
	delete(now, "fill")
	for name, b := range now {
		if b != before[name] {
			t.Errorf("%s was changed", name)
		}
	}
	if len(now) != len(before) {
		t.Errorf("%d files, expected %d", len(now), len(before))
	}
}

// TestReadOnly: a file system that is mounted read-only, and a file that may not be changed at all.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f format, path string, healthy func()) {
		t.Helper()
		mounted(t, path, "tmpfs", "size=24m")
		before := files(t, path)
		if err := unix.Mount("none", filepath.Dir(path), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		_, errs, code := call(t, nil, f.words("gold", path)...)
		if code == 0 || !strings.Contains(errs, "read-only") {
			t.Errorf("exit code %d: %s", code, errs)
		}
		told(t, errs, path)
		unchanged(t, before, path)
		healthy()
	})
}

// TestVanished: the image is gone, or its folder is, when it is to be labelled.
func TestVanished(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f format, path string, _ func()) {
		t.Helper()
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		_, errs, code := call(t, nil, f.words("gold", path)...)
		if code != 1 || !strings.Contains(errs, "no such file") {
			t.Errorf("exit code %d: %s", code, errs)
		}
		told(t, errs, path)
		if _, err := os.Stat(filepath.Dir(path)); err == nil {
			t.Error("it made the folder anew")
		}
	})
}
