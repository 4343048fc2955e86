package libvirt

import (
	"path"
	"slices"
	"testing"

	"github.com/berth-project/berth/fleet"
)

func TestInsert(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, want string }{
		{"disk.qcow2", "disk-1.qcow2"}, {"disk", "disk-1"}, {".hidden", ".hidden-1"}, {"debian-12.5", "debian-12.5-1"}, {"vm.db.raw", "vm.db-1.raw"},
		{"disk.", "disk.-1"},
	} {
		if got := insert(c.name, "-1"); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", ".", "..", "../disk", "a/disk", "/disk", "disk\n", string(make([]byte, 300))} {
		if checkName(name) == nil {
			t.Errorf("%q is taken for a file name", name)
		}
	}
	if err := checkName("disk-1.qcow2"); err != nil {
		t.Error(err)
	}
}

// TestNumberedParts: the parts of an image get its number, in their names and in the text that names them; nothing else of the
// text changes.
func TestNumberedParts(t *testing.T) {
	t.Parallel()
	text := "# Disk DescriptorFile\nCID=fffffffe\ncreateType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n" +
		"RW 4192256 FLAT \"disk-f001.vmdk\" 0\r\nRW 1024 FLAT \"disk-f002.vmdk\" 0\nRW 8 ZERO\nddb.name = \"disk-f001.vmdk\"\n"
	info, err := parseVMDK([]byte(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	set := &fileSet{vmdk: info}
	for _, name := range []string{"disk.vmdk", "disk-f001.vmdk", "disk-f002.vmdk"} {
		set.files = append(set.files, &volume{path: "/ssd/" + name})
	}
	dm := diskMove{disk: fleet.Disk{ID: "vda", Path: "/ssd/disk.vmdk", Format: "vmdk"}, to: &poolInfo{path: "/hdd"}}
	for _, c := range []struct {
		name string
		want []string
	}{
		{"disk.vmdk", []string{"disk.vmdk", "disk-f001.vmdk", "disk-f002.vmdk", "disk.vmdk.berth"}},
		{"disk-2.vmdk", []string{"disk-2.vmdk", "disk-f001-2.vmdk", "disk-f002-2.vmdk", "disk-2.vmdk.berth"}},
		{"other.vmdk", []string{"other.vmdk", "disk-f001.vmdk", "disk-f002.vmdk", "other.vmdk.berth"}}, // not of our making
	} {
		at := dm.named(c.name)
		if at.target != path.Join("/hdd", c.name) || !slices.Equal(at.names(set), c.want) {
			t.Errorf("%s: %s, %q, expected %q", c.name, at.target, at.names(set), c.want)
		}
	}
	if got := dm.named("disk.vmdk").descriptor(set); got != nil {
		t.Errorf("the text changes without need: %s", got)
	}
	want := "# Disk DescriptorFile\nCID=fffffffe\ncreateType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n" +
		"RW 4192256 FLAT \"disk-f001-2.vmdk\" 0\r\nRW 1024 FLAT \"disk-f002-2.vmdk\" 0\nRW 8 ZERO\nddb.name = \"disk-f001.vmdk\"\n"
	if got := dm.named("disk-2.vmdk").descriptor(set); string(got) != want {
		t.Errorf("the text is\n%s\nexpected\n%s", got, want)
	}
}
