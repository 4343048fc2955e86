package crash_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// renamed is an image whose label is changed by exchanging whole files: beside it, or the image itself.
type renamed struct {
	name string // of the file
	data []byte
	bare bool // on a file system without attributes
}

func renames() map[string]renamed {
	comment := crash.VDI(16<<10, 20<<10, "our mail server")
	comment[340], comment[341] = 0, 2 // the map follows the header: no gap
	raw := bytes.Repeat([]byte("guest's data, 16"), 1<<12)
	return map[string]renamed{
		"raw":                {"vm-db.img", raw, false},
		"raw, no attributes": {"vm-db.img", raw, true},
		"vhd":                {"vm-db.vhd", crash.VHDDynamic("", ""), false},
		"vdi":                {"vm-db.vdi", comment[:20<<10], false},
		"vmdk descriptor":    {"vm-db.vmdk", []byte(crash.Text("vmfs", `VMFS "vm-db-flat.vmdk"`)), false},
		"padded descriptor": {"vm-db.vmdk", append([]byte(crash.Text("vmfs", `VMFS "vm-db-flat.vmdk"`)),
			make([]byte, 300)...), false},
	}
}

// edits are changes of the serial; 0 is no label. Every second label is a long one.
func edits() [][2]uint32 { return [][2]uint32{{0, 1}, {1, 2}, {2, 3}, {3, 0}} }

// childPath and childSerial tell TestRenameChild what to do.
const (
	childPath   = "BERTH_TEST_RENAME"
	childSerial = "BERTH_TEST_RENAME_SERIAL"
)

// TestRenameChild is no test of its own: the others here run it in a process, to be watched or killed. It stays in one
// thread so that strace counts its calls.
func TestRenameChild(t *testing.T) {
	path := os.Getenv(childPath)
	if path == "" {
		t.Skip("it is run by the other tests here")
	}
	runtime.LockOSThread()
	serial, err := strconv.ParseUint(os.Getenv(childSerial), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	change(t, path, uint32(serial))
}

func change(t *testing.T, path string, serial uint32) {
	t.Helper()
	if serial > 0 {
		frame := crash.Large
		if serial%2 == 1 {
			frame = crash.Small
		}
		mustSet(t, path, frame, serial)
	} else if err := with(t, path, func(f *dir.File) error { return crash.Remove(f) }); err != nil {
		t.Fatal(err)
	}
}

// prepare makes the image with the label of before.
func (r renamed) prepare(t *testing.T, before uint32) string {
	t.Helper()
	folder := t.TempDir()
	if r.bare {
		if err := unix.Mount("none", folder, "ramfs", 0, ""); errors.Is(err, unix.EPERM) {
			t.Skip("only root can mount")
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	path := filepath.Join(folder, r.name)
	if err := os.WriteFile(path, r.data, 0o600); err != nil {
		t.Fatal(err)
	}
	if before > 0 {
		change(t, path, before)
	}
	return path
}

// strace runs the change in a process under strace, and gives the trace and how the process ended.
func strace(t *testing.T, path string, serial uint32, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), tool, append(args, "-f", "-o", trace, os.Args[0], "-test.run", "^TestRenameChild$")...)
	cmd.Env = append(os.Environ(), childPath+"="+path, fmt.Sprintf("%s=%d", childSerial, serial))
	out, err := cmd.CombinedOutput()
	if strings.Contains(strings.ToLower(string(out)), "ptrace") {
		t.Skipf("processes cannot be traced here: %s", out)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return string(read(t, trace)), err
}

// TestCrashRename takes the system calls that each change really makes, and cuts the power after every one of them: whatever of
// what was not synced has reached the disk, the label is the old or the new one, and after the last call it is the new one.
func TestCrashRename(t *testing.T) {
	t.Parallel()
	for name, r := range renames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			total := 0
			for _, edit := range edits() {
				path := r.prepare(t, edit[0])
				disk := diskOf(t, filepath.Dir(path))
				trace, err := strace(t, path, edit[1], "-y", "-x", "-s", "100000", "-e", "trace="+strings.Join(traced(), ","))
				if err != nil {
					t.Fatal(err)
				}
				calls := parseTrace(t, trace, filepath.Dir(path))
				for done := 0; ; done++ {
					total += disk.states(func(s folderState) {
						got, err := s.serial(t, r.name)
						if err == nil && (got != edit[0] && got != edit[1] || done == len(calls) && got != edit[1]) {
							err = fmt.Errorf("label %d", got)
						}
						if err == nil {
							err = s.guest(r)
						}
						if err != nil {
							t.Fatalf("%d to %d, after %d of %d calls (%v), %s: %v", edit[0], edit[1], done, len(calls), calls[:done], s.name, err)
						}
					})
					if done == len(calls) {
						break
					}
					disk.apply(t, calls[done])
				}
			}
			t.Logf("%d states", total)
			if total < 40 {
				t.Error("too few: the calls were not seen")
			}
		})
	}
}

// guest compares the image without its label.
func (s folderState) guest(r renamed) error {
	image := s.files[r.name]
	if image == nil {
		return errors.New("the image is gone")
	}
	if strings.HasSuffix(r.name, ".vmdk") {
		if got, want := crash.Foreign(crash.DescriptorText(image.data)), crash.DescriptorText(r.data); got != want {
			return fmt.Errorf("other tools see\n%q\nexpected\n%q", got, want)
		}
		return nil
	}
	if !bytes.Equal(image.data, r.data) {
		return errors.New("the image was changed")
	}
	return nil
}

// serial lays the state down in a folder and reads the label from there.
func (s folderState) serial(t *testing.T, name string) (uint32, error) {
	t.Helper()
	folder, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		return 0, err
	}
	if err := s.write(folder); err != nil {
		return 0, err
	}
	for n := range s.files {
		if n != name && n != name+diskimage.SidecarSuffix && !dir.IsTemp(n) {
			return 0, fmt.Errorf("%s is left", n)
		}
	}
	f, err := dir.Open(filepath.Join(folder, name))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	frame, info, err := diskimage.ReadLabel(f)
	if err != nil || frame == nil {
		if err == nil && info.Damaged {
			err = errors.New("damaged")
		}
		return 0, err
	}
	if content := s.files[name+diskimage.SidecarSuffix]; content != nil {
		if _, err := label.ParseEnvelope(content.data); err != nil {
			return 0, fmt.Errorf("torn sidecar: %w", err)
		}
	}
	return frame.Serial, nil
}

// TestKillRename kills the process at every system call of every kind that changes something.
func TestKillRename(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some hundred processes")
	}
	for name, r := range renames() {
		if name == "vhd" || r.bare || name == "padded descriptor" {
			continue // the same calls as another
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kills := 0
			for _, edit := range edits() {
				for _, call := range []string{"pwrite64", "write", "fsync", "renameat", "unlink", "unlinkat", "fsetxattr", "fremovexattr", "fchmod", "fchown"} {
					for n := 1; ; n++ {
						path := r.prepare(t, edit[0])
						_, err := strace(t, path, edit[1], "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n))
						got := serialAfterKill(t, path)
						if got != edit[0] && got != edit[1] || err == nil && got != edit[1] {
							t.Fatalf("%d to %d, killed at %s %d (%v): label %d", edit[0], edit[1], call, n, err, got)
						}
						if err == nil {
							break
						}
						kills++
						if change(t, path, 9); serialAfterKill(t, path) != 9 {
							t.Fatalf("%d to %d, killed at %s %d: the next label is not there", edit[0], edit[1], call, n)
						}
					}
				}
			}
			t.Logf("%d kills", kills)
			if kills < 20 {
				t.Error("too few: the calls were not met")
			}
		})
	}
}

func serialAfterKill(t *testing.T, path string) uint32 {
	t.Helper()
	disk := diskOf(t, filepath.Dir(path))
	var got uint32
	disk.states(func(s folderState) { // nothing is pending: the one state that is there
		var err error
		if got, err = s.serial(t, filepath.Base(path)); err != nil {
			t.Fatal(err)
		}
	})
	return got
}
