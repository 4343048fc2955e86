package diskimage_test

import (
	"errors"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestDeclaredVHD: the first sector of a fixed VHD is the guest's. Where the format is declared nothing that he writes there is
// taken for another one: he can neither label his disk nor keep others from doing it.
func TestDeclaredVHD(t *testing.T) {
	t.Parallel()
	disk := label.Binding{UUID: crash.VHDUUID, Size: crash.VHDSize}
	labelled := crash.VDI(1<<20, 2<<20, "")
	if m := mem(labelled); crash.Set(m, crash.Small(t, binding(t, labelled), 9)) == nil {
		labelled = m.Data[:64<<10]
	}
	for name, content := range map[string]string{
		"qcow2": string(usualQcow2().bytes()[:64<<10]), "vmdk": string(stream()[:20<<10]), "vdi": string(labelled), "vhdx": "vhdxfile",
	} {
		m := &besideMem{Mem: *mem(put(crash.VHDFixed(), 0, content))}
		opts := diskimage.Options{Format: diskimage.FormatVHD, VHDFooter: name == "vdi"}
		frame, info, err := opts.ReadLabel(m)
		if err != nil || frame != nil || info.Binding() != disk {
			t.Errorf("%s: label %+v, %+v, %v", name, frame, info, err)
		}
		e, err := opts.PlanSet(m, crash.Small(t, disk, 1))
		if err == nil {
			err = diskimage.Apply(m, e)
		}
		if err != nil {
			t.Errorf("%s: set: %v", name, err)
		}
	}
	_, _, err := diskimage.Options{Format: diskimage.FormatVDI}.ReadLabel(mem(crash.VHDFixed()))
	if !errors.Is(err, diskimage.ErrCorrupt) {
		t.Errorf("declared as what it is not: error %v", err)
	}
}
