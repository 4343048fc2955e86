package dir_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/test/crash"
)

// TestLockedByQEMU: an image that a QEMU process has open, for writing or for reading only, is refused and
// untouched, whatever its subformat; the extents of a flat one lock the descriptor too.
func TestLockedByQEMU(t *testing.T) {
	t.Parallel()
	qemuIO, err := exec.LookPath("qemu-io")
	if err != nil {
		t.Skip("qemu-io is not installed")
	}
	for _, subformat := range crash.Subformats() {
		for _, mode := range []string{"", "-r"} {
			t.Run(subformat+mode, func(t *testing.T) {
				t.Parallel()
				path := crash.Make(t, t.TempDir(), subformat)
				args := append(strings.Fields(mode), "-f", "vmdk", path)
				cmd := exec.CommandContext(t.Context(), qemuIO, args...)
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// The answer to a command shows that the image is open.
				if _, err := fmt.Fprintln(in, "length"); err != nil {
					t.Fatal(err)
				}
				for s := bufio.NewScanner(out); s.Scan() && !strings.Contains(s.Text(), "MiB"); {
					continue
				}
				before := content(t, path)
				_, err = dir.OpenWrite(path)
				var locked *dir.LockedError
				if !errors.As(err, &locked) || !strings.Contains(err.Error(), "QEMU") || !strings.Contains(err.Error(), path) {
					t.Errorf("error %v, expected a LockedError that names QEMU", err)
				}
				if f, err := dir.Open(path); err != nil {
					t.Errorf("open for reading: %v", err)
				} else {
					_ = f.Close()
				}
				if content(t, path) != before {
					t.Error("the image was changed")
				}
				_ = in.Close() // ends qemu-io
				if err := cmd.Wait(); err != nil {
					t.Errorf("qemu-io: %v", err)
				}
				openWrite(t, path)
			})
		}
	}
}

// TestKeepsQEMUOut: while we have an image open for writing QEMU does not open it, and does so again after.
func TestKeepsQEMUOut(t *testing.T) {
	t.Parallel()
	for _, subformat := range crash.Subformats() {
		path := crash.Make(t, t.TempDir(), subformat)
		f := openWrite(t, path)
		for _, args := range [][]string{{"-f", "vmdk", "-c", "length", path}, {"-r", "-f", "vmdk", "-c", "length", path}} {
			if out, err := crash.QEMU(t, "qemu-io", args...); err == nil || !strings.Contains(out, "lock") {
				t.Errorf("%s: qemu-io %v: %v\n%s", subformat, args, err, out)
			}
		}
		crash.MustQEMU(t, "qemu-img", "info", "-U", "-f", "vmdk", path)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		crash.MustQEMU(t, "qemu-io", "-f", "vmdk", "-c", "length", path)
	}
}

// TestLockedByOthers: any lock of another process or file description counts, wherever it is.
func TestLockedByOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lk unix.Flock_t
	}{
		"write lock on byte 0": {unix.Flock_t{Type: unix.F_WRLCK, Len: 1}},
		"read lock far off":    {unix.Flock_t{Type: unix.F_RDLCK, Start: 1 << 40, Len: 1}},
		"read lock on 103":     {unix.Flock_t{Type: unix.F_RDLCK, Start: 103, Len: 1}},
	} {
		path := write(t, filepath.Join(t.TempDir(), "a.vmdk"), "old")
		other, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &c.lk); err != nil {
			t.Fatal(err)
		}
		var locked *dir.LockedError
		if _, err := dir.OpenWrite(path); !errors.As(err, &locked) {
			t.Errorf("%s: error %v, expected LockedError", name, err)
		}
		c.lk.Type = unix.F_UNLCK // closing alone would not do while another test forks
		if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &c.lk); err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		openWrite(t, path)
	}
}

func TestLockedByVMware(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "a.vmdk"), "old")
	if err := os.Mkdir(path+".lck", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := openWrite(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path+".lck", "M12345.lck"), "x")
	var locked *dir.LockedError
	if _, err := dir.OpenWrite(path); !errors.As(err, &locked) || !strings.Contains(err.Error(), "M12345.lck") {
		t.Errorf("error %v, expected one that names M12345.lck", err)
	}
}
