package dir_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label/diskimage"
)

var (
	_ diskimage.File     = (*dir.File)(nil)
	_ diskimage.Replacer = (*dir.File)(nil)
	_ fleet.ImageFile    = (*dir.File)(nil)
)

// write makes a file and gives its path.
func write(tb testing.TB, path, content string) string {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func openWrite(t *testing.T, path string) *dir.File {
	t.Helper()
	f, err := dir.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // some tests have closed it themselves
	return f
}

// TestOpenRefuses: what is no file with content is refused at once (a fifo would block) and stays as it is.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("empty"), "")
	if err := unix.Mkfifo(in("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for name, to := range map[string]string{"to-fifo": "fifo", "to-folder": ".", "to-device": "/dev/null", "dangling": "nothing", "loop": "loop"} {
		if err := os.Symlink(to, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"empty": "empty file", "fifo": "a fifo", "socket": "a socket", ".": "a folder", "/dev/null": "a device", "/dev/zero": "a device",
		"to-fifo": "a fifo", "to-folder": "a folder", "to-device": "a device", "dangling": "no such file", "loop": "too many", "nothing": "no such file",
		"empty/x": "not a directory",
	} {
		path := name
		if !filepath.IsAbs(path) {
			path = in(name)
		}
		for mode, open := range map[string]func(string) (*dir.File, error){"read": dir.Open, "write": dir.OpenWrite} {
			f, err := open(path)
			if err == nil {
				t.Errorf("%s, to %s: it opens", name, mode)
				_ = f.Close()
			} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), filepath.Base(path)) && !strings.HasPrefix(name, "to-") {
				t.Errorf("%s, to %s: error %q, expected %q in it", name, mode, err, want)
			}
		}
	}
	if _, err := os.Lstat(in("nothing")); err == nil {
		t.Error("a file was made through a dangling link")
	}
}

func TestReadOnlyFile(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "disk"), "0123456789")
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if f.Size() != 10 || f.Path() != path {
		t.Errorf("size %d, path %s", f.Size(), f.Path())
	}
	b := make([]byte, 20)
	if n, err := f.ReadAt(b, 5); n != 5 || !errors.Is(err, io.EOF) || string(b[:n]) != "56789" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a file open for reading takes a write")
	}
	if err := f.Replace([]byte("x")); !errors.Is(err, os.ErrPermission) {
		t.Errorf("replace: %v, expected a refusal", err)
	}
}

// TestReplaceKeeps: mode, owner, extended attributes and ACL are the old ones, and no more than those, though the
// folder's default ACL gives new files another.
func TestReplaceKeeps(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "vm-db.vmdk"), "old")
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 1234, 5678); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o4640); err != nil {
		t.Fatal(err)
	}
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x06\x00\xd2\x04\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	xattr := map[string]string{"user.berth.note": "kept", "user.empty": ""}
	for k, v := range xattr {
		if err := unix.Setxattr(path, k, []byte(v), 0); err != nil {
			t.Skipf("no extended attributes here: %v", err)
		}
	}
	withACL := unix.Setxattr(folder, "system.posix_acl_default", []byte(acl), 0) == nil
	other := write(t, filepath.Join(folder, "with-acl.vmdk"), "old")
	var before, after unix.Stat_t
	for _, p := range []string{path, other} {
		if err := unix.Stat(p, &before); err != nil {
			t.Fatal(err)
		}
		was := attributes(t, p)
		f := openWrite(t, p)
		if err := f.Replace([]byte("new content")); err != nil {
			t.Fatal(err)
		}
		if f.Size() != 11 || content(t, p) != "new content" {
			t.Errorf("size %d, content %q", f.Size(), content(t, p))
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(p, &after); err != nil {
			t.Fatal(err)
		}
		if after.Ino == before.Ino {
			t.Error("the file was written in place")
		}
		if after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid {
			t.Errorf("mode %o owner %d:%d, expected %o %d:%d", after.Mode, after.Uid, after.Gid, before.Mode, before.Uid, before.Gid)
		}
		if is := attributes(t, p); is != was {
			t.Errorf("attributes %q, expected %q", is, was)
		}
	}
	if was := attributes(t, other); withACL && !strings.Contains(was, "posix_acl_access") {
		t.Errorf("attributes %q: the test has no ACL to keep", was)
	}
	left, err := filepath.Glob(filepath.Join(folder, ".berth-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func attributes(t *testing.T, path string) string {
	t.Helper()
	list := make([]byte, 4096)
	n, err := unix.Listxattr(path, list)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for name := range bytes.SplitSeq(bytes.TrimRight(list[:n], "\x00"), []byte{0}) {
		v := make([]byte, 4096)
		n, err := unix.Getxattr(path, string(name), v)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(string(name) + "=" + string(v[:n]) + ";")
	}
	return b.String()
}

// TestReplaceHardLink: a file of two names cannot be replaced under both, and is left as it is.
func TestReplaceHardLink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "a.vmdk"), "old")
	if err := os.Link(path, filepath.Join(folder, "b.vmdk")); err != nil {
		t.Fatal(err)
	}
	f := openWrite(t, path)
	if err := f.Replace([]byte("new")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v, expected ErrUnsupported", err)
	}
	if content(t, path) != "old" {
		t.Errorf("content %q", content(t, path))
	}
}

// TestReplaceThroughLink: the file that a symbolic link names is replaced in its own folder, the link stays.
func TestReplaceThroughLink(t *testing.T) {
	t.Parallel()
	folder, other := t.TempDir(), t.TempDir()
	path := write(t, filepath.Join(folder, "a.vmdk"), "old")
	link := filepath.Join(other, "link.vmdk")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f := openWrite(t, link)
	if err := f.Replace([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != path || content(t, path) != "new" {
		t.Errorf("link to %s (%v), content %q", to, err, content(t, path))
	}
}

// TestReplaceTwice: the lock goes over to the new file, so that nobody gets in between two replacements.
func TestReplaceTwice(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "a.vmdk"), "old")
	f := openWrite(t, path)
	for _, s := range []string{"one", "two"} {
		if err := f.Replace([]byte(s)); err != nil {
			t.Fatal(err)
		}
		var locked *dir.LockedError
		if _, err := dir.OpenWrite(path); !errors.As(err, &locked) {
			t.Errorf("after replacing: error %v, expected LockedError", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openWrite(t, path).Close(); err != nil || content(t, path) != "two" {
		t.Errorf("%v, content %q", err, content(t, path))
	}
}

// TestReplaceKilled kills a process that replaces a file over and over, many times: the file is always whole, and
// a temporary file that was left says so by its name.
func TestReplaceKilled(t *testing.T) {
	if path := os.Getenv("BERTH_TEST_REPLACE"); path != "" {
		for i := 0; ; i++ {
			f, err := dir.OpenWrite(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Replace(bytes.Repeat([]byte{byte('a' + i%26)}, 10_000)), f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Parallel()
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "a.vmdk"), strings.Repeat("a", 10_000))
	changed := 0
	for i := range 30 {
		before := content(t, path)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestReplaceKilled$")
		cmd.Env = append(os.Environ(), "BERTH_TEST_REPLACE="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed: an error, always
		got := content(t, path)
		if len(got) != 10_000 || strings.Trim(got, got[:1]) != "" {
			t.Fatalf("kill %d: %d bytes, not of one kind", i, len(got))
		}
		if got != before {
			changed++
		}
	}
	t.Logf("the file had changed at %d of 30 kills", changed)
	if changed == 0 {
		t.Error("the process never replaced anything: this tested nothing")
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "a.vmdk" && !dir.IsTemp(e.Name()) {
			t.Errorf("%s is left, and is no temporary file by name", e.Name())
		}
	}
}

// TestReplaceOrder watches the system calls of a replacement: what a power cut leaves is whole only when the new file
// is synced before the rename, and the folder after it.
func TestReplaceOrder(t *testing.T) {
	if path := os.Getenv("BERTH_TEST_ORDER"); path != "" {
		f := openWrite(t, path)
		if err := f.Replace([]byte("new")); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	folder := t.TempDir()
	path := write(t, filepath.Join(folder, "a.vmdk"), "old")
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-y", "-e", "trace=pwrite64,fsync,rename,renameat,renameat2", "-o", trace,
		os.Args[0], "-test.run", "^TestReplaceOrder$")
	cmd.Env = append(os.Environ(), "BERTH_TEST_ORDER="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "PTRACE") || strings.Contains(string(out), "ptrace") {
			t.Skipf("processes cannot be traced here: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	var calls []string
	for line := range strings.Lines(content(t, trace)) {
		for call, where := range map[string]string{"pwrite64(": tempName, "fsync(": folder, "rename": tempName} {
			if strings.Contains(line, call) && strings.Contains(line, where) {
				what := "folder"
				if strings.Contains(line, tempName) {
					what = "file"
				}
				calls = append(calls, strings.Trim(call, "(64p")+" "+what)
			}
		}
	}
	want := []string{"write file", "fsync file", "rename file", "fsync folder"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %v, expected %v\n%s", calls, want, content(t, trace))
	}
}

// tempName is how names of temporary files begin.
const tempName = ".berth-"
