package dir_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

var _ diskimage.Beside = (*dir.File)(nil)

// rawSize is the size of the raw images here.
const rawSize = 64 << 10

func rawImage(t *testing.T, path string) string {
	t.Helper()
	return write(t, path, strings.Repeat("\x55\xaa", rawSize/2))
}

// mount mounts a file system on a new folder; the test is skipped where that is not allowed.
func mount(t *testing.T, kind string, flags uintptr, source string) string {
	t.Helper()
	folder := t.TempDir()
	if err := unix.Mount(source, folder, kind, flags, ""); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// attributed reports whether the file system has user attributes.
func attributed(t *testing.T, folder string) bool {
	t.Helper()
	probe := write(t, filepath.Join(folder, "probe"), "x")
	return unix.Setxattr(probe, "user.probe", []byte("x"), 0) == nil
}

func openRead(t *testing.T, path string) *dir.File {
	t.Helper()
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // it is read only
	return f
}

// change opens an image for writing, and closes it when do is done.
func change(t *testing.T, path string, do func(f *dir.File) error) error {
	t.Helper()
	f := openWrite(t, path)
	return errors.Join(do(f), f.Close())
}

func setSmall(t *testing.T, path string, serial uint32) error {
	t.Helper()
	return change(t, path, func(f *dir.File) error { return crash.Set(f, crash.Small(t, label.Binding{Size: rawSize}, serial)) })
}

func removeLabel(t *testing.T, path string) error {
	t.Helper()
	return change(t, path, func(f *dir.File) error { return crash.Remove(f) })
}

func serialOf(t *testing.T, path string) (uint32, diskimage.Place) {
	t.Helper()
	frame, info, err := diskimage.ReadLabel(openRead(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if frame == nil {
		return 0, ""
	}
	return frame.Serial, info.Place
}

// TestRawLabel: set, change, remove on a real file system, with attributes and without.
func TestRawLabel(t *testing.T) {
	t.Parallel()
	for name, folder := range map[string]func(t *testing.T) string{
		"here":  func(t *testing.T) string { t.Helper(); return t.TempDir() },
		"tmpfs": func(t *testing.T) string { t.Helper(); return mount(t, "tmpfs", 0, "none") },
		"ramfs": func(t *testing.T) string { t.Helper(); return mount(t, "ramfs", 0, "none") }, // no attributes
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := folder(t)
			has := attributed(t, folder)
			if name == "ramfs" && has {
				t.Error("ramfs has attributes: this tests nothing new")
			}
			path := rawImage(t, filepath.Join(folder, "vm-db.img"))
			before := content(t, path)
			for serial := range uint32(3) {
				if err := change(t, path, func(f *dir.File) error {
					return crash.Set(f, crash.Large(t, label.Binding{Size: rawSize}, serial+1))
				}); err != nil {
					t.Fatal(err)
				}
				if got, place := serialOf(t, path); got != serial+1 || place != diskimage.PlaceSidecar {
					t.Fatalf("label %d in %s, expected %d", got, place, serial+1)
				}
				var value [4096]byte
				n, err := unix.Getxattr(path, "user.berth.label", value[:])
				if has != (err == nil) || has && string(value[:n]) != content(t, path+".berth") {
					t.Errorf("attribute %q (%v), sidecar %q", value[:max(n, 0)], err, content(t, path+".berth"))
				}
			}
			if has { // the sidecar is lost: the attribute is as good
				if err := os.Rename(path+".berth", filepath.Join(folder, "away")); err != nil {
					t.Fatal(err)
				}
				if got, place := serialOf(t, path); got != 3 || place != diskimage.PlaceAttribute {
					t.Errorf("without the sidecar: label %d in %s", got, place)
				}
				if err := os.Rename(filepath.Join(folder, "away"), path+".berth"); err != nil {
					t.Fatal(err)
				}
			}
			if err := removeLabel(t, path); err != nil {
				t.Fatal(err)
			}
			if n, err := unix.Listxattr(path, nil); err == nil && n > 0 {
				t.Errorf("%d bytes of attributes are left", n)
			}
			if _, err := os.Lstat(path + ".berth"); !errors.Is(err, os.ErrNotExist) || content(t, path) != before {
				t.Errorf("sidecar: %v; image as before: %v", err, content(t, path) == before)
			}
		})
	}
}

// TestSidecarKept: the sidecar is as readable as its image, never more, and belongs to the same user.
func TestSidecarKept(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode]os.FileMode{0o600: 0o600, 0o640: 0o640, 0o666: 0o644, 0o755: 0o644, 0o400: 0o400} {
		path := rawImage(t, filepath.Join(t.TempDir(), "vm-db.img"))
		f := openWrite(t, path)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		root := os.Geteuid() == 0
		if root {
			if err := os.Chown(path, 1234, 5678); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.SetSidecar([]byte("x")); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path+".berth", &st); err != nil {
			t.Fatal(err)
		}
		if os.FileMode(st.Mode&0o7777) != want || root && (st.Uid != 1234 || st.Gid != 5678) {
			t.Errorf("image %o: sidecar %o of %d:%d, expected %o", mode, st.Mode&0o7777, st.Uid, st.Gid, want)
		}
	}
}

// TestSidecarHostile: what lies there may be anything.
func TestSidecarHostile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(path string) error
		want string // of the error; empty: none
	}{
		"symlink":        {func(p string) error { return os.Symlink("/etc/hostname", p) }, "symbolic link"},
		"dangling":       {func(p string) error { return os.Symlink("nowhere", p) }, "symbolic link"},
		"fifo":           {func(p string) error { return unix.Mkfifo(p, 0o600) }, "not a regular file"},
		"folder":         {func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		"socket":         {func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) }, "not a regular file"},
		"too long":       {func(p string) error { return os.WriteFile(p, make([]byte, diskimage.MaxBeside+1), 0o600) }, "more than 4000 bytes"},
		"huge and empty": {func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, 1<<40)) }, "more than 4000 bytes"},
		"as long as can be": {func(p string) error {
			return os.WriteFile(p, make([]byte, diskimage.MaxBeside), 0o600)
		}, ""},
	} {
		path := rawImage(t, filepath.Join(t.TempDir(), "vm-db.img"))
		if err := c.make(path + ".berth"); err != nil {
			t.Fatal(err)
		}
		got, err := openRead(t, path).Sidecar()
		if c.want == "" && (err != nil || len(got) != diskimage.MaxBeside) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %d bytes, error %v, expected %q", name, len(got), err, c.want)
		}
		if c.want == "" {
			continue
		}
		if !errors.Is(err, dir.ErrBeside) {
			t.Errorf("%s: error %v, expected ErrBeside", name, err)
		}
		before, _ := os.Lstat(path + ".berth")
		if err := setSmall(t, path, 1); err == nil {
			t.Errorf("%s: a label is set over it", name)
		}
		if after, err := os.Lstat(path + ".berth"); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: it was replaced (%v)", name, err)
		}
	}
}

// TestBesideLimits: too much is refused, there and here, and nothing is not the same as empty.
func TestBesideLimits(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if !attributed(t, folder) {
		t.Skip("the file system has no attributes")
	}
	path := rawImage(t, filepath.Join(folder, "vm-db.img"))
	f := openWrite(t, path)
	if got, err := f.Attribute("user.berth.label"); got != nil || err != nil {
		t.Errorf("no attribute: %q, %v", got, err)
	}
	if got, err := f.Sidecar(); got != nil || err != nil {
		t.Errorf("no sidecar: %q, %v", got, err)
	}
	for _, size := range []int{0, 1, 3000} {
		value := bytes.Repeat([]byte("x"), size)
		if err := errors.Join(f.SetAttribute("user.berth.label", value), f.SetSidecar(value)); err != nil {
			t.Fatal(err)
		}
		for name, read := range map[string]func() ([]byte, error){
			"sidecar": f.Sidecar, "attribute": func() ([]byte, error) { return f.Attribute("user.berth.label") },
		} {
			if got, err := read(); err != nil || got == nil || !bytes.Equal(got, value) {
				t.Errorf("%s of %d bytes: %d, %v", name, size, len(got), err)
			}
		}
	}
	long := make([]byte, diskimage.MaxBeside+1)
	if f.SetAttribute("user.berth.label", long) == nil || f.SetSidecar(long) == nil {
		t.Error("more than MaxBeside is written")
	}
	for range 2 { // the second time there is nothing to remove
		if err := errors.Join(f.SetAttribute("user.berth.label", nil), f.SetSidecar(nil)); err != nil {
			t.Error(err)
		}
	}
	reading := openRead(t, path)
	for what, err := range map[string]error{"attribute": reading.SetAttribute("user.x", []byte("x")), "sidecar": reading.SetSidecar([]byte("x"))} {
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s of a file open for reading: error %v", what, err)
		}
	}
}

// TestSidecarNames: the file linked to has the sidecar; of a name without room for the suffix the attribute has the label.
func TestSidecarNames(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	path := rawImage(t, filepath.Join(folder, "vm-db.img"))
	link := filepath.Join(other, "disk")
	for to, name := range map[string]string{path: link + "1", link + "1": link + "2"} {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	write(t, link+"1.berth", "not this one")
	if err := setSmall(t, link+"2", 7); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link + "1", link + "2"} {
		if got, place := serialOf(t, p); got != 7 || place != diskimage.PlaceSidecar {
			t.Errorf("%s: label %d in %s", p, got, place)
		}
	}
	if _, err := os.Stat(path + ".berth"); err != nil {
		t.Error(err)
	}
	fits := rawImage(t, filepath.Join(folder, strings.Repeat("x", unix.NAME_MAX-len(".berth"))))
	long := rawImage(t, filepath.Join(folder, strings.Repeat("y", unix.NAME_MAX-len(".berth")+1)))
	if _, err := openRead(t, long).Sidecar(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "too long") {
		t.Errorf("long name: error %v", err)
	}
	for p, want := range map[string]diskimage.Place{fits: diskimage.PlaceSidecar, long: diskimage.PlaceAttribute} {
		if want == diskimage.PlaceAttribute && !attributed(t, folder) {
			continue
		}
		if err := setSmall(t, p, 7); err != nil {
			t.Fatal(err)
		}
		if got, place := serialOf(t, p); got != 7 || place != want {
			t.Errorf("name of %d bytes: label %d in %s, expected %s", len(filepath.Base(p)), got, place, want)
		}
		if err := removeLabel(t, p); err != nil {
			t.Error(err)
		}
	}
}

// TestSidecarReadOnly: a folder that takes no file is an error that says so, and the label is what it was.
func TestSidecarReadOnly(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := rawImage(t, filepath.Join(folder, "vm-db.img"))
	if err := setSmall(t, path, 1); err != nil {
		t.Fatal(err)
	}
	flags, err := inodeFlags(folder, 0)
	if err != nil {
		t.Skipf("a folder cannot be made unchangeable here: %v", err)
	}
	if _, err := inodeFlags(folder, flags|unix.STATX_ATTR_IMMUTABLE); err != nil {
		t.Skipf("a folder cannot be made unchangeable here: %v", err)
	}
	defer func() {
		if _, err := inodeFlags(folder, flags); err != nil {
			t.Error(err)
		}
	}()
	f := openWrite(t, path)
	for what, err := range map[string]error{"change": crash.Set(f, crash.Small(t, label.Binding{Size: rawSize}, 2)), "remove": crash.Remove(f)} {
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), path+".berth") {
			t.Errorf("%s: error %v, expected one of permission that names the sidecar", what, err)
		}
	}
	if got, _ := serialOf(t, path); got != 1 {
		t.Errorf("label %d, expected 1", got)
	}
}

// TestSidecarFullDisk: no room for the sidecar leaves the old label, and nothing else.
func TestSidecarFullDisk(t *testing.T) {
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
	path := rawImage(t, filepath.Join(folder, "vm-db.img"))
	fill(t, filepath.Join(folder, "fill"))
	if err := setSmall(t, path, 1); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, expected no space", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v in the folder (%v), expected the image and what fills the disk", entries, err)
	}
	if got, _ := serialOf(t, path); got != 0 {
		t.Errorf("label %d, expected none", got)
	}
}

// inodeFlags gives the flags of an inode, and sets them when they are not zero.
func inodeFlags(path string, set uint32) (uint32, error) {
	d, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = d.Close() }()
	if set != 0 {
		return set, unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, int(set))
	}
	return unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
}

// TestSidecarRace: of many that set a label at once each is refused or done, and the sidecar is always whole.
func TestSidecarRace(t *testing.T) {
	t.Parallel()
	path := rawImage(t, filepath.Join(t.TempDir(), "vm-db.img"))
	var wg sync.WaitGroup
	done := make([]bool, 20)
	for i := range done {
		wg.Go(func() {
			f, err := dir.OpenWrite(path)
			var locked *dir.LockedError
			if errors.As(err, &locked) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			err = crash.Set(f, crash.Small(t, label.Binding{Size: rawSize}, uint32(i)+1))
			if done[i] = err == nil; err != nil && !errors.Is(err, diskimage.ErrSerial) {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			f, err := dir.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, err := diskimage.ReadLabel(f); err != nil {
				t.Error(err)
			}
			_ = f.Close() // it was only read
		})
	}
	wg.Wait()
	last := uint32(0)
	for i, ok := range done {
		if ok {
			last = uint32(i) + 1
		}
	}
	if got, _ := serialOf(t, path); got != last || last == 0 {
		t.Errorf("label %d, expected %d", got, last)
	}
	if got := content(t, path)[:4]; got != "\x55\xaa\x55\xaa" {
		t.Errorf("image begins with %q", got)
	}
}
