package ovf_test

import (
	"archive/tar"
	"bytes"
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-project/berth/test/ovf"
)

// deadly are the system calls at which a change is killed: all that make, write, sync, name or remove a file.
func deadly() []string {
	return []string{"openat", "pwrite64", "write", "copy_file_range", "fsync", "fchmod", "fchown", "renameat", "unlinkat", "ftruncate"}
}

// maxKills bounds how often one call is killed: so many of it a change has not.
const maxKills = 200

// killAt runs berth and kills it at the n-th such call; false: it has fewer and came to its end.
func killAt(t *testing.T, folder, call string, n int, arg ...string) bool {
	t.Helper()
	args := append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), self()}, arg...)
	out, code := run(t, folder, program(t, "strace"), args...)
	switch {
	case code == 0:
		return false
	case strings.Contains(out, "PTRACE") || strings.Contains(out, "ptrace"):
		t.Skipf("processes cannot be traced here: %s", out)
	case code != -1 && code != 137:
		t.Fatalf("%s %d: exit code %d: %s", call, n, code, out)
	}
	return true
}

// eachKill kills berth with arg in a fresh copy of the files, at each call in turn, and looks at what is left.
func eachKill(t *testing.T, files []ovf.File, arg []string, look func(t *testing.T, folder, at string)) {
	t.Helper()
	program(t, "strace")
	var mu sync.Mutex
	kills := 0
	t.Run("kill", func(t *testing.T) {
		for _, call := range deadly() {
			t.Run(call, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					if n > maxKills {
						t.Fatalf("more than %d calls of %s", maxKills, call)
					}
					folder := t.TempDir()
					for _, f := range files {
						write(t, filepath.Join(folder, f.Name), f.Content)
					}
					if !killAt(t, folder, call, n, arg...) {
						return
					}
					look(t, folder, fmt.Sprintf("%s %d", call, n))
					mu.Lock()
					kills++
					mu.Unlock()
				}
			})
		}
	})
	if kills < 20 {
		t.Errorf("only %d kills: the test does not test", kills)
	}
	t.Logf("%d kills", kills)
}

// TestKillOVA: an OVA is the old one or the new one whenever its change is killed, and can be changed after it.
func TestKillOVA(t *testing.T) {
	t.Parallel()
	disks, _ := realDisks(t)
	was, err := ovf.OVA(tar.FormatUSTAR, ovf.Package(ovf.Ovftool, crypto.SHA256, disks))
	if err != nil {
		t.Fatal(err)
	}
	set := []string{"label", "set", "--level", "gold", "web.ova"}
	olds, news := 0, 0
	var mu sync.Mutex
	eachKill(t, []ovf.File{{Name: "web.ova", Content: was}}, set, func(t *testing.T, folder, at string) {
		t.Helper()
		path := filepath.Join(folder, "web.ova")
		mu.Lock()
		defer mu.Unlock()
		if bytes.Equal(read(t, path), was) {
			olds++
			must(t, folder, self(), set...)
		} else {
			news++
		}
		x := filepath.Join(folder, "x")
		if err := os.Mkdir(x, 0o755); err != nil {
			t.Fatal(err)
		}
		must(t, x, program(t, "tar"), "xf", "../web.ova")
		checkSums(t, x, ovf.Ovftool)
		if out := must(t, folder, self(), "label", "get", "web.ova"); strings.Count(out, "gold serial=1 ") != 2 {
			t.Errorf("%s: %s", at, out)
		}
		must(t, folder, self(), "label", "rm", "web.ova")
		if !bytes.Equal(read(t, path), was) {
			t.Errorf("%s: the archive without labels is not what it was", at)
		}
	})
	t.Logf("%d times the old one, %d times the new one", olds, news)
	if olds == 0 || news == 0 {
		t.Error("one of the two was never seen")
	}
}

// TestKillOVF: whenever the change of an OVF is killed, a label is the old one or the new one, the guests' data is what it
// was, and the next run leaves all files in step.
func TestKillOVF(t *testing.T) {
	t.Parallel()
	disks, guests := realDisks(t)
	was := ovf.Package(ovf.Ovftool, crypto.SHA256, disks)
	var mu sync.Mutex
	between := 0
	eachKill(t, was, []string{"label", "set", "--level", "gold", "vm-web.ovf"}, func(t *testing.T, folder, at string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		before, code := run(t, folder, self(), "label", "get", "vm-web.ovf")
		if code != 0 && code != 6 || strings.Count(before, "\n") > 2 {
			t.Fatalf("%s: get: exit code %d: %s", at, code, before)
		}
		if left, err := filepath.Glob(filepath.Join(folder, ".*.berth-redo")); err != nil || len(left) > 0 {
			between++
		}
		other := t.TempDir()
		if err := os.CopyFS(other, os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
		must(t, folder, self(), "label", "set", "--level", "silver", "vm-web.ovf")
		checkSums(t, folder, ovf.Ovftool)
		for _, n := range []string{"1", "2"} {
			must(t, folder, program(t, "qemu-img"), "compare", "-q", "-f", "vmdk", "-F", "raw", "vm-web-disk"+n+".vmdk", filepath.Join(guests, "guest."+n))
		}
		if out := must(t, folder, self(), "label", "get", "vm-web.ovf"); strings.Count(out, "silver") != 2 {
			t.Errorf("%s: after the next run: %s", at, out)
		}
		must(t, other, self(), "label", "strip", "vm-web.ovf")
		for _, f := range was {
			if !bytes.Equal(read(t, filepath.Join(other, f.Name)), f.Content) {
				t.Errorf("%s: %s without labels is not what it was", at, f.Name)
			}
		}
		entries, err := os.ReadDir(other)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), "redo") {
				t.Errorf("%s: %s is left", at, e.Name())
			}
		}
	})
	if between == 0 {
		t.Error("no kill between the first and the last file was seen")
	}
	t.Logf("%d kills between the first and the last file", between)
}

// TestTwoAtOnce lets several runs change one appliance: each makes its change or is refused.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	disks, _ := realDisks(t)
	files := ovf.Package(ovf.Ovftool, crypto.SHA256, disks)
	ova, err := ovf.OVA(tar.FormatUSTAR, files)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, f := range append(files, ovf.File{Name: "web.ova", Content: ova}) {
		write(t, filepath.Join(folder, f.Name), f.Content)
	}
	for _, name := range []string{"web.ova", "vm-web.ovf"} {
		codes := make([]int, 6)
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() { _, codes[i] = run(t, folder, self(), "label", "set", "--level", "gold", name) })
		}
		wg.Wait()
		done := 0
		for _, c := range codes {
			if c == 0 {
				done++
			} else if c != 4 {
				t.Errorf("%s: exit codes %v, expected 0 and 4", name, codes)
			}
		}
		out := must(t, folder, self(), "label", "get", name)
		if want := fmt.Sprintf("serial=%d ", done); done == 0 || strings.Count(out, want) != 2 {
			t.Errorf("%s: %d changes made: %s", name, done, out)
		}
	}
	checkSums(t, folder, ovf.Ovftool)
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) > 0 {
		t.Errorf("left: %v", slices.Sorted(slices.Values(left)))
	}
}
