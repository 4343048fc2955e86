package compat_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// layout is one place for a label: a column of the table.
type layout struct {
	name    string
	file    string   // name of the image; tools look at the extension
	format  string   // as QEMU calls it
	create  []string // options of qemu-img convert
	options diskimage.Options
}

func layouts() []layout {
	return []layout{
		{name: "VMDK sparse", file: "vm-db.vmdk", format: "vmdk"},
		{name: "VMDK flat", file: "vm-db.vmdk", format: "vmdk", create: []string{"-o", "subformat=monolithicFlat"}},
		{name: "VMDK stream", file: "vm-db.vmdk", format: "vmdk", create: []string{"-o", "subformat=streamOptimized"}},
		{name: "qcow2", file: "vm-db.qcow2", format: "qcow2"},
		{name: "VHDX", file: "vm-db.vhdx", format: "vhdx"},
		{name: "VDI", file: "vm-db.vdi", format: "vdi"},
		{name: "VHD footer", file: "vm-db.vhd", format: "vpc", options: diskimage.Options{VHDFooter: true}},
		{name: "VHD sidecar", file: "vm-db.vhd", format: "vpc"},
		{name: "raw", file: "vm-db.raw", format: "raw", options: diskimage.Options{Format: diskimage.FormatRaw}},
	}
}

// needTools skips a test where only our own code is to be tested, or QEMU's tools are missing.
func needTools(t *testing.T) {
	t.Helper()
	if os.Getenv("BERTH_NO_LAB") != "" {
		t.Skip("BERTH_NO_LAB: no tests with other programs")
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed: no image to try anything on")
	}
}

// missing notes a tool that is not installed; where all have to be there, as in CI, that is a failure.
func missing(t *testing.T, tool, row string) {
	t.Helper()
	if os.Getenv("BERTH_LAB") == "must" {
		t.Errorf("%s is not installed: row %q cannot be checked", tool, row)
	}
	t.Logf("%s is not installed: row %q is not checked", tool, row)
}

// content is what the guest has on its disk: 8 MiB with data at the start, in the middle and at the end.
func content(t *testing.T) string {
	t.Helper()
	b := make([]byte, 8<<20)
	for i := range 1 << 20 {
		b[i] = byte(i>>9) + byte(i)
	}
	copy(b[4<<20:], "the middle")
	copy(b[len(b)-512:], "the end")
	path := filepath.Join(t.TempDir(), "content.img")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pair is a labelled image and its twin, each in a folder of its own under the same name.
type pair struct {
	layout
	labelled, twin string
}

// make lets QEMU make the image once, copies it, and labels the one.
func makePair(t *testing.T, l layout, raw string) pair {
	t.Helper()
	p := pair{l, filepath.Join(t.TempDir(), l.file), filepath.Join(t.TempDir(), l.file)}
	args := append([]string{"convert", "-f", "raw", "-O", l.format}, l.create...)
	crash.MustQEMU(t, "qemu-img", append(args, raw, p.labelled)...)
	copyFolder(t, filepath.Dir(p.labelled), filepath.Dir(p.twin))
	setLabel(t, p.labelled, l.options, 1)
	if got := serial(t, p.labelled, l.options); got != 1 {
		t.Fatalf("%s: label %d after set", l.name, got)
	}
	return p
}

// clone is a copy of the pair in folders of its own, with all that lies beside the images.
func (p pair) clone(t *testing.T) pair {
	t.Helper()
	c := p
	c.labelled, c.twin = filepath.Join(t.TempDir(), p.file), filepath.Join(t.TempDir(), p.file)
	copyFolder(t, filepath.Dir(p.labelled), filepath.Dir(c.labelled))
	copyFolder(t, filepath.Dir(p.twin), filepath.Dir(c.twin))
	return c
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		run(t, "cp", "--preserve=mode,xattr", "--sparse=always", filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
	}
}

func setLabel(t *testing.T, path string, o diskimage.Options, serial uint32) {
	t.Helper()
	change(t, path, func(r diskimage.Reader) (*diskimage.Edit, error) {
		_, info, err := o.ReadLabel(r)
		if err != nil {
			return nil, err
		}
		return o.PlanSet(r, crash.Small(t, info.Binding(), serial))
	})
}

// change plans and makes one change of an image that nobody else has open.
func change(t *testing.T, path string, plan func(diskimage.Reader) (*diskimage.Edit, error)) {
	t.Helper()
	f, err := dir.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := plan(f)
	if err == nil {
		err = diskimage.Apply(f, e)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatalf("change label of %s: %v", path, err)
	}
}

// serial reads an image's label; 0: none. A damaged one fails the test: no tool may leave half a label.
func serial(t *testing.T, path string, o diskimage.Options) uint32 {
	t.Helper()
	f, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	frame, info, err := o.ReadLabel(f)
	if err != nil {
		t.Fatalf("read label of %s: %v", path, err)
	}
	if info.Damaged {
		t.Fatalf("the label of %s is damaged", path)
	}
	if frame == nil {
		return 0
	}
	if _, err := frame.Document(); err != nil {
		t.Fatalf("document of %s: %v", path, err)
	}
	return frame.Serial
}

// equal checks that a guest sees the same in both images.
func (p pair) equal(t *testing.T, format, a, b string) {
	t.Helper()
	if out, err := crash.QEMU(t, "qemu-img", "compare", "-f", format, "-F", format, a, b); err != nil {
		t.Fatalf("%s: the labelled image differs from its twin: %v\n%s", p.name, err, out)
	}
}

// anonymous is a tool's output without what the two folders' names put into it.
func anonymous(out, path string) string {
	return strings.ReplaceAll(out, filepath.Dir(path), "FOLDER")
}
