package ovf_test

import (
	"crypto"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/test/ovf"
)

// TestOrder: what a power cut can leave of an OVF's change is bounded by what was synced before: the whole change is on disk,
// under its name, before the first file is touched, and every file is before that is taken away.
func TestOrder(t *testing.T) {
	t.Parallel()
	strace := program(t, "strace")
	disks, _ := realDisks(t)
	folder := t.TempDir()
	for _, f := range ovf.Package(ovf.Ovftool, crypto.SHA256, disks) {
		write(t, filepath.Join(folder, f.Name), f.Content)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	out, code := run(t, folder, strace, "-f", "-y", "-s", "0", "-e", "trace=pwrite64,write,fsync,renameat,renameat2,unlinkat", "-o", trace,
		self(), "label", "set", "--level", "gold", "vm-web.ovf")
	if code != 0 {
		if strings.Contains(out, "ptrace") || strings.Contains(out, "PTRACE") {
			t.Skipf("processes cannot be traced here: %s", out)
		}
		t.Fatalf("exit code %d: %s", code, out)
	}
	var calls []string
	for line := range strings.Lines(string(read(t, trace))) {
		if c := event(line, folder); c != "" && (len(calls) == 0 || calls[len(calls)-1] != c) {
			calls = append(calls, c)
		}
	}
	t.Log(strings.Join(calls, ", "))
	begun := slices.Index(calls, "name redo")
	first := slices.IndexFunc(calls, func(c string) bool { return strings.HasPrefix(c, "write vm-web-disk") })
	ended := slices.Index(calls, "remove redo")
	if begun < 2 || calls[begun-1] != "sync temp" || calls[begun+1] != "sync folder" || first < begun+2 {
		t.Errorf("the change is not on disk before the first file is touched: %v", calls)
	}
	if ended < first || calls[ended-1] != "sync folder" {
		t.Errorf("the change is taken away before all files are on disk: %v", calls)
	}
	for i, c := range calls {
		if name, ok := strings.CutPrefix(c, "write vm-web-disk"); ok && calls[i+1] != "sync vm-web-disk"+name {
			t.Errorf("after %q comes %q", c, calls[i+1])
		}
		if strings.HasPrefix(c, "name ") && (calls[i-1] != "sync temp" || calls[i+1] != "sync folder") {
			t.Errorf("%q stands between %q and %q", c, calls[i-1], calls[i+1])
		}
	}
	if n := len(calls) - 1; ended != n-1 || calls[n] != "sync folder" {
		t.Errorf("something follows the end: %v", calls[ended:])
	}
}

// event is what a traced call does to the package; empty: nothing.
func event(line, folder string) string {
	file := func(s string) string {
		switch name := filepath.Base(strings.Trim(s, `<>"`)); {
		case strings.HasPrefix(name, ".berth-"):
			return "temp"
		case strings.HasSuffix(name, ".berth-redo"):
			return "redo"
		case s == "<"+folder+">":
			return "folder"
		default:
			return name
		}
	}
	between := func(open, end string) string {
		i := strings.Index(line, open)
		if i < 0 {
			return ""
		}
		rest := line[i:]
		if j := strings.Index(rest[1:], end); j >= 0 {
			return rest[:j+1+len(end)]
		}
		return ""
	}
	if !strings.Contains(line, folder) && !strings.Contains(line, ".berth-") && !strings.Contains(line, "vm-web") {
		return ""
	}
	_, call, _ := strings.Cut(line, " ")
	switch call = strings.TrimSpace(call); {
	case strings.HasPrefix(call, "fsync("):
		return "sync " + file(between("<", ">"))
	case strings.HasPrefix(call, "pwrite64("), strings.HasPrefix(call, "write("):
		return "write " + file(between("<", ">"))
	case strings.HasPrefix(call, "rename"):
		quoted := strings.Split(call, `"`)
		return "name " + file(quoted[len(quoted)-2])
	case strings.HasPrefix(call, "unlinkat("):
		return "remove " + file(strings.Split(call, `"`)[1])
	}
	return ""
}
