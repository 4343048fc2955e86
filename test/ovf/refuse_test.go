package ovf_test

import (
	"archive/tar"
	"bytes"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/test/ovf"
)

// lay writes an OVF and, as web.ova, the OVA of the same files.
func lay(t *testing.T, folder string, files []ovf.File) []ovf.File {
	t.Helper()
	ova, err := ovf.OVA(tar.FormatUSTAR, files)
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, ovf.File{Name: "web.ova", Content: ova})
	for _, f := range files {
		write(t, filepath.Join(folder, f.Name), f.Content)
	}
	return files
}

func checkUntouched(t *testing.T, folder string, files []ovf.File) {
	t.Helper()
	for _, f := range files {
		if !bytes.Equal(read(t, filepath.Join(folder, f.Name)), f.Content) {
			t.Errorf("%s was changed", f.Name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInUse: an appliance is refused when somebody has it, or one of its disks, open.
func TestInUse(t *testing.T) {
	t.Parallel()
	disks, _ := realDisks(t)
	folder := t.TempDir()
	files := lay(t, folder, ovf.Package(ovf.Ovftool, crypto.SHA256, disks))
	for _, tt := range [][2]string{{"web.ova", "web.ova"}, {"vm-web.ovf", "vm-web.ovf"}, {"vm-web-disk2.vmdk", "vm-web.ovf"}} {
		f, err := dir.OpenWrite(filepath.Join(folder, tt[0]))
		if err != nil {
			t.Fatal(err)
		}
		out, code := run(t, folder, self(), "label", "set", "--level", "gold", tt[1])
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if code != 4 || !strings.Contains(out, "in use") {
			t.Errorf("%s in use: exit code %d, expected 4: %s", tt[0], code, out)
		}
		checkUntouched(t, folder, files)
	}
}

// TestFullDisk: what has no room on the disk is as if nothing had been tried.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disks, _ := realDisks(t)
	folder := t.TempDir()
	if err := unix.Mount("none", folder, "tmpfs", 0, "size=720k"); errors.Is(err, unix.EPERM) {
		t.Skip("only root can mount a small disk")
	} else if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	files := lay(t, folder, ovf.Package(ovf.Ovftool, crypto.SHA256, disks))
	fill, err := os.Create(filepath.Join(folder, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	if cerr := fill.Close(); !errors.Is(err, unix.ENOSPC) || cerr != nil {
		t.Fatal(err, cerr)
	}
	for _, name := range []string{"web.ova", "vm-web.ovf"} {
		out, code := run(t, folder, self(), "label", "set", "--level", "gold", name)
		if code != 1 || !strings.Contains(out, "no space") {
			t.Errorf("%s: exit code %d, expected 1: %s", name, code, out)
		}
		checkUntouched(t, folder, files)
	}
}

// TestExchanged: a change that was begun on another package is not completed on this one.
func TestExchanged(t *testing.T) {
	t.Parallel()
	disks, _ := realDisks(t)
	folder := t.TempDir()
	files := lay(t, folder, ovf.Package(ovf.Ovftool, crypto.SHA256, disks))
	set := []string{"label", "set", "--level", "gold", "vm-web.ovf"}
	redo := filepath.Join(folder, ".vm-web.ovf.berth-redo")
	for n := 1; ; n++ {
		if n > maxKills || !killAt(t, folder, "fsync", n, set...) {
			t.Fatal("no kill left a change that was begun")
		}
		if _, err := os.Stat(redo); err == nil {
			break
		}
	}
	begun := read(t, redo)
	lay(t, folder, files[:len(files)-1])
	other := bytes.Replace(files[0].Content, []byte("512 MB"), []byte("640 MB"), 1)
	write(t, filepath.Join(folder, "vm-web.ovf"), other)
	out, code := run(t, folder, self(), set...)
	if code != 4 || !strings.Contains(out, "hint: if the package was exchanged meanwhile, remove ") {
		t.Errorf("exit code %d, expected 4: %s", code, out)
	}
	if !bytes.Equal(read(t, filepath.Join(folder, "vm-web.ovf")), other) || !bytes.Equal(read(t, redo), begun) {
		t.Error("the package that took the other's place was changed")
	}
	checkSame(t, folder, files[1:4])
}

func checkSame(t *testing.T, folder string, files []ovf.File) {
	t.Helper()
	for _, f := range files {
		if !bytes.Equal(read(t, filepath.Join(folder, f.Name)), f.Content) {
			t.Errorf("%s was changed", f.Name)
		}
	}
}
