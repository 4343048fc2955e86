package compat_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/label/diskimage"
)

// TestVirtualBoxImages takes images that VirtualBox itself made through the life of a label: set, opened for writing by
// VirtualBox, read, changed, removed; a clone that VirtualBox makes of the labelled image has what one of the twin has.
func TestVirtualBoxImages(t *testing.T) {
	t.Parallel()
	needTools(t)
	v, ok := findVBox(t)
	if !ok {
		t.Skip("no VirtualBox")
	}
	for _, c := range []struct{ format, variant, file, qemu string }{
		{"VDI", "Standard", "vm-db.vdi", "vdi"}, {"VDI", "Fixed", "vm-db.vdi", "vdi"},
		{"VMDK", "Standard", "vm-db.vmdk", "vmdk"}, {"VMDK", "Stream", "vm-db.vmdk", "vmdk"}, {"VMDK", "Split2G", "vm-db.vmdk", "vmdk"},
		{"VMDK", "Fixed", "vm-db.vmdk", "vmdk"}, {"VHD", "Standard", "vm-db.vhd", "vpc"}, {"VHD", "Fixed", "vm-db.vhd", "vpc"},
	} {
		t.Run(c.format+" "+c.variant, func(t *testing.T) {
			t.Parallel()
			l := layout{name: c.format, file: c.file, format: c.qemu, options: diskimage.Options{VHDFooter: true}}
			p := pair{l, filepath.Join(t.TempDir(), c.file), filepath.Join(t.TempDir(), c.file)}
			tool := func(path string, words ...string) string {
				t.Helper()
				out, err := v.with(t, path, fill(words, p, path)...)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			tool(p.labelled, "vbox-img", "createbase", "--filename", "IMAGE", "--size", "8388608", "--format", c.format, "--variant", c.variant)
			copyFolder(t, filepath.Dir(p.labelled), filepath.Dir(p.twin))
			clones := func() {
				t.Helper()
				said := map[string]string{}
				for _, path := range []string{p.labelled, p.twin} {
					if err := os.MkdirAll(filepath.Join(filepath.Dir(path), "out"), 0o700); err != nil {
						t.Fatal(err)
					}
					to := strings.TrimSuffix(output(path), filepath.Ext(path)) + ".raw"
					_ = os.Remove(to)
					tool(path, "VBoxManage", "clonemedium", "disk", "IMAGE", to, "--format", "RAW")
					said[path] = run(t, "sha256sum", to)[:64]
				}
				if said[p.labelled] != said[p.twin] {
					t.Error("VirtualBox reads other content from the labelled image")
				}
			}
			setLabel(t, p.labelled, l.options, 1)
			clones()
			// Opening it for writing is when VirtualBox writes its own lines into a VMDK; a stream cannot be.
			if c.variant != "Stream" {
				for _, path := range []string{p.labelled, p.twin} {
					tool(path, "vbox-img", "setuuid", "--filename", "IMAGE", "--format", c.format, "--uuid", "6f1b1c2e-6a0f-4c1c-9f5b-0a6f6d1f6b11")
				}
			}
			if got := serial(t, p.labelled, l.options); got != 1 {
				t.Fatalf("label %d, expected 1", got)
			}
			setLabel(t, p.labelled, l.options, 2)
			setLabel(t, p.labelled, l.options, 3)
			clones()
			removeLabel(t, p.labelled, l.options)
			clones()
			same := []string{}
			for _, path := range []string{p.labelled, p.twin} {
				same = append(same, stable(tool(path, "VBoxManage", "showmediuminfo", "IMAGE")))
			}
			if !slices.Equal(same[:1], same[1:]) {
				t.Errorf("after the removal VirtualBox says\n%s\nof the twin\n%s", same[0], same[1])
			}
		})
	}
}

func removeLabel(t *testing.T, path string, o diskimage.Options) {
	t.Helper()
	change(t, path, o.PlanRemove)
}
