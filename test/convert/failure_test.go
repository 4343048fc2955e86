package convert_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// slow is a conversion that takes a while: compressed noise.
func slow(t *testing.T, folder string) convert.Request {
	t.Helper()
	src := filepath.Join(folder, "src.raw")
	command(t, "sh", "-c", `head -c 67108864 /dev/urandom >"$1"`, "sh", src)
	give(t, src, diskimage.FormatRaw, nil, someUUID)
	if err := os.MkdirAll(filepath.Join(folder, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	return convert.Request{
		Source: src, Destination: filepath.Join(folder, "out", "dst.vmdk"), Format: diskimage.FormatVMDK,
		Options: []string{"subformat=streamOptimized"}, Now: now(),
	}
}

// children are the processes whose command line names path, but for this one.
func children(t *testing.T, path string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		line, err := os.ReadFile(f)
		pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && perr == nil && bytes.HasPrefix(line, []byte("/")) && bytes.Contains(line, []byte("qemu-img")) && bytes.Contains(line, []byte(path)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestToolKilled: a qemu-img that dies leaves an error that says so, and nothing else.
func TestToolKilled(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	r := slow(t, folder)
	killed := 0
	r.Progress = func(done, _ label.Bytes) {
		if done == 0 || killed > 0 {
			return
		}
		for _, pid := range children(t, folder) {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
	}
	var te *convert.ToolError
	if err := fails(t.Context(), t, r, nil); killed == 0 || !errors.As(err, &te) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("killed %d; error %v", killed, err)
	}
}

// TestInterrupt: the end of the context ends qemu-img, and nothing is left.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	r := slow(t, folder)
	ctx, cancel := context.WithCancel(t.Context())
	r.Progress = func(done, _ label.Bytes) {
		if done > 0 {
			cancel()
		}
	}
	_ = fails(ctx, t, r, context.Canceled)
	if left := children(t, folder); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

// TestKilled: qemu-img ends with us, the destination is not there, and what is left says by its name that it is temporary; walks
// pass it over.
func TestKilled(t *testing.T) {
	if folder := os.Getenv("BERTH_TEST_CONVERT"); folder != "" {
		_, err := convert.Convert(t.Context(), convert.Request{
			Source: filepath.Join(folder, "src.raw"), Destination: filepath.Join(folder, "out", "dst.vmdk"), Format: diskimage.FormatVMDK,
			Options: []string{"subformat=streamOptimized"}, Now: now(),
			Progress: func(done, _ label.Bytes) {
				if done > 0 {
					fmt.Println("under way")
				}
			},
		})
		t.Fatal("it ended: ", err)
	}
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	r := slow(t, folder)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilled$")
	cmd.Env = append(os.Environ(), "BERTH_TEST_CONVERT="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if _, err := out.Read(b); err != nil || !strings.Contains(string(b), "under way") {
		t.Errorf("it says %q, %v", b, err)
	}
	if len(children(t, folder)) == 0 {
		t.Error("no qemu-img runs: this tests nothing")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for i := 0; len(children(t, folder)) > 0; i++ {
		if i == 100 {
			t.Fatal("qemu-img goes on without us")
		}
		time.Sleep(50 * time.Millisecond)
	}
	entries, err := os.ReadDir(filepath.Dir(r.Destination))
	if err != nil || len(entries) != 1 || !dir.IsTemp(entries[0].Name()) {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	for path, err := range dir.Walk(filepath.Dir(r.Destination)) {
		t.Errorf("a walk meets %s, %v", path, err)
	}
}

// TestFullDisk: no space at the destination is said as such.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	small := t.TempDir()
	if err := unix.Mount("berth-test", small, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, 0) })
	r := slow(t, t.TempDir())
	for _, format := range formats() {
		r.Destination, r.Format, r.Options = filepath.Join(small, "dst."+string(format)), format, nil
		_ = fails(t.Context(), t, r, syscall.ENOSPC)
	}
	_, err := convert.Copy(t.Context(), convert.CopyRequest{Source: r.Source, Destination: filepath.Join(small, "copy.raw")})
	if !errors.Is(err, syscall.ENOSPC) || listing(t, small) != "" {
		t.Errorf("copy: %v, left: %s", err, listing(t, small))
	}
}

// TestInUse: an image that QEMU writes to is neither converted nor copied nor replaced; one that is only read is.
func TestInUse(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img", "qemu-io")
	folder := t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), diskSize)
	for _, format := range formats() {
		name := filepath.Join(folder, "vm-db."+string(format))
		run(t, convert.Request{Source: raw, Destination: name, Format: format})
		dst := filepath.Join(folder, "out", "x.raw")
		command(t, "mkdir", "-p", filepath.Dir(dst))
		for _, mode := range []string{"", "-r"} {
			stop := hold(t, name, format, mode)
			r := convert.Request{Source: name, SourceFormat: format, Destination: dst, Format: diskimage.FormatRaw, Force: true}
			if mode == "-r" {
				run(t, r)
			} else {
				var locked *dir.LockedError
				if err := fails(t.Context(), t, r, nil); !errors.As(err, &locked) {
					t.Errorf("%s: error %v, expected LockedError", format, err)
				}
				_, err := convert.Copy(t.Context(), convert.CopyRequest{Source: name, SourceFormat: format, Destination: dst + ".copy"})
				if !errors.As(err, &locked) {
					t.Errorf("copy %s: error %v, expected LockedError", format, err)
				}
				r.Source, r.SourceFormat, r.Destination = raw, diskimage.FormatRaw, name
				r.Progress = func(_, _ label.Bytes) { t.Errorf("replace %s: copied before the look at the lock", format) }
				if err := fails(t.Context(), t, r, nil); !errors.As(err, &locked) {
					t.Errorf("replace %s: error %v, expected LockedError", format, err)
				}
			}
			stop()
		}
	}
}

// hold opens an image with QEMU until stop is called.
func hold(t *testing.T, path string, format diskimage.Format, mode string) (stop func()) {
	t.Helper()
	args := []string{"-f", driver(format), path}
	if mode != "" {
		args = append([]string{mode}, args...)
	}
	cmd := exec.CommandContext(t.Context(), "qemu-io", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("read 0 512\n")); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	b := make([]byte, 256)
	for !strings.Contains(got.String(), "read 512/512") {
		n, err := out.Read(b)
		got.Write(b[:n])
		if err != nil {
			t.Fatalf("qemu-io: %s %v", got.String(), err)
		}
	}
	return func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("qemu-io: %v", err)
		}
	}
}
