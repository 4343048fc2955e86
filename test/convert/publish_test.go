package convert_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label/diskimage"
)

// TestExists: what is there stays as it is unless it is to be replaced, and then it goes as a whole.
func TestExists(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, _ := key(t)
	folder := t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), diskSize)
	small := disk(t, filepath.Join(folder, "small.raw"), 1<<20)
	out := filepath.Join(folder, "out")
	command(t, "mkdir", out)
	want := give(t, raw, diskimage.FormatRaw, k, someUUID)
	give(t, small, diskimage.FormatRaw, k, someUUID)
	for _, format := range formats() {
		for _, before := range []diskimage.Format{diskimage.FormatQcow2, diskimage.FormatRaw, diskimage.FormatVMDK} {
			dst := filepath.Join(out, "vm-"+string(format)+string(before)+".vmdk")
			old := convert.Request{Source: small, Destination: dst, Format: before}
			if before == diskimage.FormatVMDK {
				old.Options = []string{"subformat=monolithicFlat"}
			}
			run(t, old)
			r := convert.Request{Source: raw, Destination: dst, Format: format}
			if format == diskimage.FormatVMDK {
				r.Options = []string{"subformat=monolithicFlat"}
			}
			_ = fails(t.Context(), t, r, convert.ErrExists)
			r.Force = true
			run(t, r)
			f, info := read(t, dst)
			same(t, f, &want)
			if info.Format != format {
				t.Errorf("%s over %s: it is %s", format, before, info.Format)
			}
			sound(t, dst, format, raw, diskimage.FormatRaw)
			if _, err := os.Stat(dst + ".berth"); (err == nil) != (info.Place == diskimage.PlaceSidecar) {
				t.Errorf("%s over %s: sidecar: %v, the label is in the %s", format, before, err, info.Place)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(out, ".berth-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for dst, target := range map[string]error{
		raw: convert.ErrSame, out: convert.ErrRequest, filepath.Join(folder, ".berth-x.tmp"): convert.ErrRequest, filepath.Join(folder, "nowhere", "x"): os.ErrNotExist,
	} {
		_, err := convert.Convert(t.Context(), convert.Request{Source: raw, Destination: dst, Format: diskimage.FormatQcow2, Force: true})
		if !errors.Is(err, target) {
			t.Errorf("to %s: %v, expected %v", dst, err, target)
		}
	}
	// A link leads to the new image.
	link := filepath.Join(folder, "link.qcow2")
	if err := os.Symlink(filepath.Join(out, "linked.qcow2"), link); err != nil {
		t.Fatal(err)
	}
	run(t, convert.Request{Source: raw, Destination: filepath.Join(out, "linked.qcow2"), Format: diskimage.FormatVDI})
	run(t, convert.Request{Source: raw, Destination: link, Format: diskimage.FormatQcow2, Force: true})
	if _, info := read(t, filepath.Join(out, "linked.qcow2")); info.Format != diskimage.FormatQcow2 {
		t.Errorf("through a link: %s", info.Format)
	}
}

// TestPublishOrder watches the system calls: every file is synced under its temporary name before any gets its own, what is
// replaced goes first, the image comes last, and its folder is synced before and after it.
func TestPublishOrder(t *testing.T) {
	if folder := os.Getenv("BERTH_TEST_PUBLISH"); folder != "" {
		run(t, convert.Request{Source: filepath.Join(folder, "disk.vmdk"), Destination: filepath.Join(folder, "out", "dst.raw"), Format: diskimage.FormatRaw, Force: true})
		return
	}
	t.Parallel()
	need(t, "qemu-img", "strace")
	folder := t.TempDir()
	command(t, "mkdir", filepath.Join(folder, "out"))
	run(t, convert.Request{Source: disk(t, filepath.Join(folder, "disk.raw"), 1<<20), Destination: filepath.Join(folder, "disk.vmdk"), Format: diskimage.FormatVMDK})
	k, _ := key(t)
	give(t, filepath.Join(folder, "disk.vmdk"), diskimage.FormatVMDK, k, "")
	for _, c := range []struct{ name, want string }{
		{"new", `(?s)sync DIR/\.berth-\w+\.tmp/dst\.raw\.berth\n.*sync DIR/\.berth-\w+\.tmp/dst\.raw\n.*sync DIR/\.berth-\w+\.tmp\n` +
			`rename TMP/dst\.raw\.berth DIR/dst\.raw\.berth\nsync DIR\nrename TMP/dst\.raw DIR/dst\.raw\nsync DIR\n$`},
		{"replaced", `(?s)sync DIR/\.berth-\w+\.tmp\nrename DIR/dst\.raw TMP/\S+/dst\.raw\nsync DIR\nrename DIR/dst\.raw\.berth TMP/\S+/dst\.raw\.berth\nsync DIR\n` +
			`rename TMP/dst\.raw\.berth DIR/dst\.raw\.berth\nsync DIR\nrename TMP/dst\.raw DIR/dst\.raw\nsync DIR\n$`},
	} {
		log := filepath.Join(folder, c.name+".strace")
		cmd := exec.CommandContext(t.Context(), "strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=fsync,fdatasync,rename,renameat,renameat2",
			os.Args[0], "-test.run", "^TestPublishOrder$")
		cmd.Env = append(os.Environ(), "BERTH_TEST_PUBLISH="+folder)
		if out, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(string(out), "ptrace") || strings.Contains(string(out), "Operation not permitted") {
				t.Skipf("strace: %s", out)
			}
			t.Fatalf("strace: %v\n%s", err, out)
		}
		if got := calls(t, log, filepath.Join(folder, "out")); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s: the calls were\n%s", c.name, got)
		}
	}
}

// A call that another thread's line interrupts is logged in two parts, the second when it has returned.
var (
	unfinished = regexp.MustCompile(`^(\d+) +(.*) <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
)

var (
	syncCall   = regexp.MustCompile(`f(?:data)?sync\(\d+<([^>]*)>\) += 0`)
	renameCall = regexp.MustCompile(`rename(?:at2?)?\((?:AT_FDCWD\S*, )?"([^"]*)", (?:AT_FDCWD\S*, )?"([^"]*)".*\) += 0`)
	tempFolder = regexp.MustCompile(`DIR/\.berth-\w+\.tmp(/|$)`)
)

// calls are the syncs and renames of the log, one a line, with short names.
func calls(t *testing.T, log, folder string) string {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	short := func(p string) string { return strings.Replace(p, folder, "DIR", 1) }
	var b strings.Builder
	begun := map[string]string{} // by thread
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := unfinished.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[2]
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = m[1] + " " + begun[m[1]] + m[2]
		}
		if m := syncCall.FindStringSubmatch(line); m != nil {
			b.WriteString("sync " + short(m[1]) + "\n")
		} else if m := renameCall.FindStringSubmatch(line); m != nil {
			b.WriteString("rename " + tempFolder.ReplaceAllString(short(m[1]), "TMP$1") + " " + tempFolder.ReplaceAllString(short(m[2]), "TMP$1") + "\n")
		}
	}
	return b.String()
}

// TestInputsStay: what is replaced with the destination is never what is being read, or what that is based on.
func TestInputsStay(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	part := disk(t, filepath.Join(folder, "vm-db-flat.vmdk"), 1<<20)
	side := disk(t, filepath.Join(folder, "vm-web.berth"), 1<<20)
	give(t, part, diskimage.FormatRaw, nil, someUUID)
	base, mid, top := filepath.Join(folder, "base.vmdk"), filepath.Join(folder, "mid.qcow2"), filepath.Join(folder, "top.qcow2")
	run(t, convert.Request{Source: part, SourceFormat: diskimage.FormatRaw, Destination: base, Format: diskimage.FormatVMDK, Options: []string{"subformat=monolithicFlat"}})
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.vmdk", "-F", "vmdk", mid)
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", top)
	before := listing(t, folder)
	for _, r := range []convert.Request{
		{Source: part, Destination: filepath.Join(folder, "vm-db.vmdk"), Format: diskimage.FormatVMDK, Options: []string{"subformat=monolithicFlat"}},
		{Source: side, Destination: filepath.Join(folder, "vm-web"), Format: diskimage.FormatRaw},
		{Source: top, Destination: filepath.Join(folder, "base-flat.vmdk"), Format: diskimage.FormatRaw},
	} {
		r.SourceFormat, r.Force = diskimage.FormatRaw, true
		if r.Source == top {
			r.SourceFormat = ""
		}
		_ = fails(t.Context(), t, r, convert.ErrSame)
	}
	for _, dst := range []string{base, mid, filepath.Join(folder, "base-flat.vmdk")} {
		if _, err := convert.Copy(t.Context(), convert.CopyRequest{Source: top, Destination: dst, Force: true}); !errors.Is(err, convert.ErrSame) {
			t.Errorf("copy over %s, which it is based on: %v", dst, err)
		}
	}
	for _, dst := range []string{filepath.Join(folder, "new") + "/", filepath.Join(folder, "new.berth")} {
		_, err := convert.Convert(t.Context(), convert.Request{Source: part, SourceFormat: diskimage.FormatRaw, Destination: dst, Format: diskimage.FormatRaw})
		if !errors.Is(err, convert.ErrRequest) {
			t.Errorf("to %s: %v", dst, err)
		}
	}
	if after := listing(t, folder); after != before {
		t.Errorf("the folder has changed:\n%s\nbefore:\n%s", after, before)
	}
}
