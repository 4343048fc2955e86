package hazard_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func command(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), words[0], words[1:]...)
}

// fault is one error of one system call, at its k-th time from the first call of berth that concerns the image on.
type fault struct{ call, errno string }

// faults are the calls with which an image is changed, and what can befall them: a signal's interruption, which has to be
// survived, and errors, which have to be told.
func faults() []fault {
	var all []fault
	for _, call := range []struct {
		name  string
		grows bool // a quota stops what takes room
	}{{"pread64", false}, {"pwrite64", true}, {"fsync", false}, {"fcntl", false}, {"fgetxattr", false}, {"fsetxattr", true}, {"renameat,renameat2,rename", true}} {
		all = append(all, fault{call.name, "EINTR"}, fault{call.name, "EIO"})
		if call.grows {
			all = append(all, fault{call.name, "EDQUOT"})
		}
	}
	return all
}

// TestFailingCalls lets each system call of a change fail at its first, second, third... time (strace makes it fail):
// the label is the old or the new one, the guest's data is as it was, and success is said only of the new one.
func TestFailingCalls(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	if !canTrace(t.Context()) {
		t.Skip("strace may not trace here")
	}
	each(t, func(t *testing.T, f format, path string, healthy func()) {
		t.Helper()
		if _, errs, code := call(t, nil, f.words("first", path)...); code != 0 {
			t.Fatal(errs)
		}
		now, runs := "first", 0
		for _, fl := range faults() {
			for k := 1; k <= 12; k++ {
				name := fmt.Sprintf("level-%d", runs)
				log := filepath.Join(t.TempDir(), "strace")
				// -P: only calls on the image, its sidecar or the temporary file count.
				before := []string{"strace", "-f", "-qq", "-o", log, "-e", "trace=" + fl.call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d", fl.call, fl.errno, k),
					"-P", path, "-P", path + ".berth", "-P", filepath.Dir(path)}
				_, errs, code := call(t, before, f.words(name, path)...)
				runs++
				hit := injected(t, log)
				got := level(t, path)
				switch {
				case code == 0 && got != name:
					t.Fatalf("%s %s at call %d: success was said, and the label is %q, not %q", fl.call, fl.errno, k, got, name)
				case code != 0 && got != now && got != name:
					t.Fatalf("%s %s at call %d: label %q, expected %q or %q\n%s", fl.call, fl.errno, k, got, now, name, errs)
				case code != 0 && fl.errno == "EINTR":
					t.Errorf("%s interrupted at call %d: exit code %d: %s", fl.call, k, code, errs)
				case code != 0:
					told(t, errs, path)
				}
				now = got
				healthy()
				clean(t, path)
				if !hit {
					break
				}
			}
		}
		t.Logf("%d runs", runs)
	})
}

func canTrace(ctx context.Context) bool {
	return exec.CommandContext(ctx, "strace", "-qq", "-o", os.DevNull, "-e", "inject=pread64:error=EIO:when=9999", "true").Run() == nil
}

func injected(t *testing.T, log string) bool {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), "(INJECTED)")
}
