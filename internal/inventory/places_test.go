package inventory

import (
	"context"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// envelope is what a hypervisor keeps, or a sidecar holds, of an unsigned label.
func envelope(t *testing.T, serial uint32, level string) string {
	t.Helper()
	doc := *gold()
	doc.Serial, doc.Level = serial, level
	frame, err := label.Seal(doc, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := frame.Envelope()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestWhichLabelCounts: of the image's label and the hypervisor's the one with the higher serial, of equal ones the image's;
// an ancestor's gives way to the disk's own.
func TestWhichLabelCounts(t *testing.T) {
	t.Parallel()
	inherited := signed()
	inherited.From = "base.vmdk"
	unsigned := fleet.Label{Trust: fleet.TrustUnsigned, Document: gold(), Serial: 3}
	none := fleet.Label{Trust: fleet.TrustNone}
	with := func(d fleet.Disk, metadata string) fleet.Disk {
		d.Metadata = metadata
		return d
	}
	for _, c := range []struct {
		name  string
		disk  fleet.Disk
		place fleet.LabelPlace
		level string
		gap   string
	}{
		{"newer", with(vmdk(signed()), envelope(t, 4, "silver")), fleet.LabelInMetadata, "silver", "(serial 4) is not signed as it should be, and counts over the signed one of the image (serial 3)"},
		{"newer than an unsigned one", with(vmdk(unsigned), envelope(t, 4, "silver")), fleet.LabelInMetadata, "silver", ""},
		{"same", with(vmdk(signed()), envelope(t, 3, "silver")), fleet.LabelInImage, "gold", ""},
		{"older", with(vmdk(signed()), envelope(t, 2, "silver")), fleet.LabelInImage, "gold", ""},
		{"only", with(vmdk(none), envelope(t, 1, "silver")), fleet.LabelInMetadata, "silver", ""},
		{"over an ancestor's", with(vmdk(inherited, link("base.vmdk", "vmdk")), envelope(t, 1, "silver")), fleet.LabelInMetadata, "silver", ""},
		{"of a format without a place", with(fleet.Disk{Format: "qed", Label: none}, envelope(t, 1, "silver")), fleet.LabelInMetadata, "silver", ""},
		{"of a raw disk", with(fleet.Disk{Format: "raw", Label: none}, ""), "", "", ""},
		{"no envelope", with(vmdk(signed()), "gold"), fleet.LabelInImage, "gold", "metadata"},
	} {
		out := take(t, world("lab", c.disk))
		got := out.VMs[0].Disks[0].Label
		level := ""
		if got.Document != nil {
			level = got.Document.Level
		}
		if got.Place != c.place || level != c.level {
			t.Errorf("%s: %+v, expected %q from %q", c.name, got, c.level, c.place)
		}
		if (c.gap == "") != (len(out.Gaps) == 0) || c.gap != "" && !strings.Contains(out.Gaps[0].Cause, c.gap) {
			t.Errorf("%s: gaps %+v, expected %q", c.name, out.Gaps, c.gap)
		}
	}
}

// besides gives every image a sidecar.
type besides struct {
	relabelled
	text string
}

type withSidecar struct {
	fleet.ImageFile
	text string
}

func (b besides) OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error) {
	f, err := b.relabelled.OpenImage(ctx, pool, path)
	return withSidecar{f, b.text}, err
}

func (w withSidecar) Sidecar() ([]byte, error)        { return []byte(w.text), nil }
func (withSidecar) SetSidecar([]byte) error           { return nil }
func (withSidecar) SetAttribute(string, []byte) error { return nil }
func (w withSidecar) Attribute(name string) ([]byte, error) {
	return []byte("not to be asked: " + name), nil
}

// TestSidecar: the label of a raw disk is beside it, bound to its size.
func TestSidecar(t *testing.T) {
	t.Parallel()
	s := world("lab", vmdk(signed()))
	out := take(t, s, besides{relabelled{sim.New(s), "raw"}, envelope(t, 7, "silver")})
	got := out.VMs[0].Disks[0].Label
	if got.Place != fleet.LabelInSidecar || got.Serial != 7 || got.Trust != fleet.TrustInvalid || !strings.Contains(got.Reason, "transplanted") {
		t.Errorf("label %+v, expected the sidecar's, which is that of another disk", got)
	}
}

// TestSidecarThatIsADisk: what a guest writes into a disk with the name of a sidecar is nobody's label.
func TestSidecarThatIsADisk(t *testing.T) {
	t.Parallel()
	none := fleet.Label{Trust: fleet.TrustNone}
	s := world("lab", vmdk(none), vmdk(none))
	s.VMs[0].Disks[1].Path = "./" + s.VMs[0].Disks[0].Path + ".berth"
	out := take(t, s, besides{relabelled{sim.New(s), "raw"}, envelope(t, 7, "silver")})
	if got := out.VMs[0].Disks[0].Label; got.Trust != fleet.TrustUnknown || got.Document != nil {
		t.Errorf("label %+v, expected that it could not be read", got)
	}
	if len(out.Gaps) != 1 || !strings.Contains(out.Gaps[0].Cause, "it is disk vdb of vm vm-db") {
		t.Errorf("gaps %+v", out.Gaps)
	}
}

// TestCopies: one signed label on two disks is shown.
func TestCopies(t *testing.T) {
	t.Parallel()
	s := world("lab", vmdk(signed()))
	twin := s.VMs[0]
	twin.ID, twin.UUID, twin.Ref = "vm-db-copy", "1c1f5d2e-0000-4000-8000-000000000002", "ref-copy"
	twin.Disks = append([]fleet.Disk{}, twin.Disks...)
	twin.Disks[0].Path = "copy.vmdk"
	s.VMs = append(s.VMs, twin)
	s.Sort()
	out := take(t, s)
	if len(out.Gaps) != 1 || out.Gaps[0].Object != "vm vm-db-copy disk vda" || !strings.Contains(out.Gaps[0].Cause, "vm vm-db disk vda") {
		t.Errorf("gaps %+v, expected one on the copy", out.Gaps)
	}
}

// TestSharedDisk: one disk of two VMs is no copy of itself.
func TestSharedDisk(t *testing.T) {
	t.Parallel()
	out := take(t, world("lab", vmdk(signed())))
	standby := out.VMs[0]
	standby.ID = "vm-db-standby"
	out.VMs = append(out.VMs, standby)
	copies(out)
	if len(out.Gaps) != 0 {
		t.Errorf("gaps %+v", out.Gaps)
	}
}
