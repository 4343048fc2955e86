package hook_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/hook"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

const size = 1 << 20

func envelope(t *testing.T, serial uint32, bytes label.Bytes) string {
	t.Helper()
	f, err := label.Seal(label.Document{Level: "gold", Disk: label.Binding{Size: bytes}, Serial: serial, Issued: time.Unix(1.7e9, 0).UTC()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.Envelope()
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(e)
}

// domain is what libvirt writes to a hook's standard input, cut to what matters here.
func domain(labels, disks string) string {
	return `<domain type='qemu' id='3'><name>vm-db</name><uuid>7a1f2b0c-0000-4000-8000-000000000001</uuid><metadata>` +
		`<other:x xmlns:other="https://example.com/"><label disk="vda">bm8=</label></other:x>` +
		`<berth:labels xmlns:berth="https://berth-project.org/xmlns/label/1">` + labels + `</berth:labels></metadata>` +
		`<memory unit='KiB'>16384</memory><devices>` + disks + `</devices></domain>`
}

func kept(disk, text string) string {
	return fmt.Sprintf(`<berth:label disk="%s">%s</berth:label>`, disk, text)
}

func disk(dev, format, file string) string {
	return fmt.Sprintf(`<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s' index='1'/>`+
		`<backingStore type='file'><format type='raw'/><source file='/etc/hostname'/></backingStore><target dev='%s' bus='virtio'/></disk>`, format, file, dev)
}

// image makes a file in a folder of its own and says what label it has.
func image(t *testing.T, format string) (path string, serial func() uint32) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "vm-db."+format)
	if format == "raw" {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		if _, err := exec.LookPath("qemu-img"); err != nil {
			t.Skip("needs qemu-img")
		}
		if out, err := exec.Command("qemu-img", "create", "-q", "-f", format, path, "1M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return path, func() uint32 {
		t.Helper()
		f, err := dir.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		frame, _, err := diskimage.Options{Format: diskimage.Format(format)}.ReadLabel(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if frame == nil {
			return 0
		}
		return frame.Serial
	}
}

func release(t *testing.T, xml string) string {
	t.Helper()
	var said []string
	if err := hook.Release(strings.NewReader(xml), func(line string) { said = append(said, line) }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(said, "\n")
}

func TestRelease(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			path, serial := image(t, format)
			for _, c := range []struct {
				text string
				want uint32
				said string
			}{
				{envelope(t, 2, size), 2, "written into " + path},
				{envelope(t, 2, size), 2, "has as new a label"},
				{envelope(t, 1, size), 2, "has as new a label"},
				{envelope(t, 3, 2*size), 2, "label of another disk"},
				{"AAAA", 2, "not written"},
				{"*", 2, "not the base64"},
				{envelope(t, 5, size), 5, "written into"},
			} {
				said := release(t, domain(kept("vda", c.text), disk("vda", format, path)))
				if serial() != c.want || !strings.Contains(said, c.said) || !strings.HasPrefix(said, `vm "vm-db" disk "vda": `) {
					t.Errorf("serial %d, expected %d; said %q, expected %q", serial(), c.want, said, c.said)
				}
			}
		})
	}
}

// TestReleaseRefuses has what may be wrong with a disk; its image is not touched and the guest's stop not stood in the way of.
func TestReleaseRefuses(t *testing.T) {
	t.Parallel()
	path, serial := image(t, "raw")
	good := envelope(t, 2, size)
	for _, c := range []struct{ name, labels, disks, said string }{
		{"no such disk", kept("vdb", good), disk("vda", "raw", path), "no such disk"},
		{"twice", kept("vda", good) + kept("vda", good), disk("vda", "raw", path), "two labels"},
		{"relative path", kept("vda", good), disk("vda", "raw", "vm-db.raw"), "no file"},
		{"no file", kept("vda", good), "<disk type='block' device='disk'><source dev='/dev/vg/vm-db'/><target dev='vda'/></disk>", "no file"},
		{"cdrom", kept("vda", good), strings.Replace(disk("vda", "raw", path), "'disk'", "'cdrom'", 1), "no such disk"},
		{"gone", kept("vda", good), disk("vda", "raw", path+".not"), "no such file"},
		{"format without labels", kept("vda", good), disk("vda", "luks", path), "no place"},
		{"declared as what it is not", kept("vda", good), disk("vda", "qcow2", path), "not written"},
		{"a folder", kept("vda", good), disk("vda", "raw", filepath.Dir(path)), "a folder"},
		{"read-only", kept("vda", good), strings.Replace(disk("vda", "raw", path), "<target", "<readonly/><target", 1), "read-only"},
		{"shared", kept("vda", good), strings.Replace(disk("vda", "raw", path), "<target", "<shareable/><target", 1), "shared with other domains"},
		{"transient", kept("vda", good), strings.Replace(disk("vda", "raw", path), "<target", "<transient/><target", 1), "forgets"},
		{"label file is a disk", kept("vda", good), disk("vda", "raw", path) + disk("vdb", "raw", filepath.Dir(path)+"/./"+filepath.Base(path)+".berth"), "another disk"},
		{"in the name of another namespace", strings.ReplaceAll(kept("vda", good), "berth:label ", `label xmlns="urn:x" `), disk("vda", "raw", path), ""},
	} {
		xml := strings.ReplaceAll(domain(c.labels, c.disks), "urn:x\" disk=\"vda\">"+good+"</berth:label>", "urn:x\" disk=\"vda\">"+good+"</label>")
		if said := release(t, xml); !strings.Contains(said, c.said) || c.said == "" && said != "" {
			t.Errorf("%s: said %q, expected %q", c.name, said, c.said)
		}
	}
	if serial() != 0 {
		t.Errorf("a label was written: serial %d", serial())
	}
	for _, xml := range []string{"", "<domain>", "<domain><name/></domain>", strings.Repeat("<a>", 2<<20)} {
		if err := hook.Release(strings.NewReader(xml), func(string) { t.Error("said something") }); err == nil {
			t.Errorf("XML %.20q: no error", xml)
		}
	}
}

// TestReleaseOfImageInUse: the guest runs elsewhere, or again, and holds the image's locks.
func TestReleaseOfImageInUse(t *testing.T) {
	t.Parallel()
	path, serial := image(t, "raw")
	held, err := dir.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	said := release(t, domain(kept("vda", envelope(t, 2, size)), disk("vda", "raw", path)))
	if !strings.Contains(said, "in use") || serial() != 0 {
		t.Errorf("said %q, serial %d", said, serial())
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReleaseThroughLinks: root's links are followed, such as those of folders; another user's could lead anywhere.
func TestReleaseThroughLinks(t *testing.T) {
	t.Parallel()
	path, serial := image(t, "raw")
	folder := t.TempDir()
	link := func(name, target string, owner int) string {
		t.Helper()
		full := filepath.Join(folder, name)
		if err := errors.Join(os.Symlink(target, full), os.Lchown(full, owner, owner)); err != nil {
			t.Skipf("needs to give links away: %v", err)
		}
		return full
	}
	mine := os.Geteuid()
	images := link("images", filepath.Dir(path), mine)
	theirs := link("theirs", filepath.Dir(path), 4711)
	loop := link("loop", "loop", mine)
	relative := link("relative", "./images/./"+filepath.Base(path), mine)
	for i, c := range []struct{ path, said string }{
		{filepath.Join(theirs, filepath.Base(path)), "is a link that neither root"},
		{link("image", path, 4711), "is a link that neither root"},
		{link("behind", theirs+"/"+filepath.Base(path), mine), "is a link that neither root"},
		{loop, "more than 40 links"},
		{filepath.Join(images, "none"), "no such file"},
		{filepath.Join(images, filepath.Base(path)), "written into"},
		{relative, "written into"},
	} {
		before, n := serial(), uint32(i+1)
		said := release(t, domain(kept("vda", envelope(t, n, size)), disk("vda", "raw", c.path)))
		want := before
		if c.said == "written into" {
			want = n
		}
		if !strings.Contains(said, c.said) || serial() != want {
			t.Errorf("%s: said %q, serial %d, expected %q and %d", c.path, said, serial(), c.said, want)
		}
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op, sub, extra string
		want           bool
	}{
		{"release", "end", "-", true}, {"release", "end", "destroyed", true}, {"release", "end", "migrated", false},
		{"stopped", "end", "-", false}, {"release", "begin", "-", false}, {"", "", "", false},
	} {
		if hook.Wanted(c.op, c.sub, c.extra) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	script, err := hook.Script("/opt/it's here/berth")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		path, changed, err := hook.Install(root, script)
		if err != nil || changed != want || path != filepath.Join(root, hook.Path) {
			t.Fatalf("%d: %s, changed %t, %v", i, path, changed, err)
		}
	}
	newer := strings.ReplaceAll(script, "/opt", "/usr")
	path, changed, err := hook.Install(root, newer)
	if err != nil || !changed {
		t.Fatalf("newer: %t, %v", changed, err)
	}
	got, err := os.ReadFile(path)
	st, serr := os.Stat(path)
	if err = errors.Join(err, serr); err != nil || string(got) != newer || st.Mode() != 0o755 {
		t.Errorf("%q, mode %v, %v", got, st.Mode(), err)
	}
	for _, folder := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if list, err := os.ReadDir(folder); err != nil || len(list) != 1 {
			t.Errorf("left in %s: %v, %v", folder, list, err)
		}
	}
	foreign := filepath.Join(t.TempDir(), "foreign")
	if err := errors.Join(os.WriteFile(foreign, []byte("#!/bin/sh\necho mine\n"), 0o700), os.Remove(path), os.Symlink(foreign, path)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := hook.Install(root, script); !errors.Is(err, hook.ErrForeign) {
		t.Errorf("over a link: %v", err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(foreign, path)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := hook.Install(root, script); !errors.Is(err, hook.ErrForeign) {
		t.Errorf("over a foreign file: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !strings.Contains(string(got), "mine") {
		t.Errorf("the foreign file: %q, %v", got, err)
	}
}

// TestScript runs the script with a program in berth's place.
func TestScript(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "it's here")
	berth := filepath.Join(folder, "berth")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(berth, []byte("#!/bin/sh\necho \"$@\"; cat; exit 9\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	script, err := hook.Script(berth)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ op, sub, want string }{
		{"release", "end", "hook libvirt -- -vm release end -\n<domain/>"}, {"prepare", "begin", ""}, {"stopped", "end", ""}, {"release", "begin", ""},
	} {
		cmd := exec.Command("sh", "-c", script, "hook", "-vm", c.op, c.sub, "-")
		cmd.Stdin = strings.NewReader("<domain/>")
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("%s %s: %q, %v", c.op, c.sub, out, err)
		}
	}
	for _, path := range []string{"berth", "", "/a\nb"} {
		if _, err := hook.Script(path); err == nil {
			t.Errorf("script for %q", path)
		}
	}
}
