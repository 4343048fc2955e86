package diskimage_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestRemoveBesideCut cuts the power in the removal of a label of which an older one is left in the other place, as a power cut
// before has left it: the older one never shows.
func TestRemoveBesideCut(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"raw": rawImage(), "vhd": crash.VHDDynamic("", ""), "vdi with a comment": smallVDI(512, 1024, "our mail server"),
	} {
		disk := binding(t, data)
		envelope := func(serial uint32) []byte {
			b, err := crash.Small(t, disk, serial).Envelope()
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		for _, at := range [][2]uint32{{5, 3}, {3, 5}, {5, 5}} { // sidecar, attribute
			for left := 1; ; left++ {
				m := &besideMem{Mem: *mem(data), sidecar: envelope(at[0]), left: left}
				m.attributes = map[string][]byte{diskimage.AttributeLabel: envelope(at[1]), diskimage.AttributeLevel: []byte("gold")}
				done := cut(t, func() error { return crash.Remove(m) })
				frame, _, err := diskimage.ReadLabel(m)
				if err != nil || frame != nil && (done || frame.Serial != 5) {
					t.Errorf("%s, serials %v, cut before change %d: label %+v, %v", name, at, left, frame, err)
				}
				if done {
					break
				}
			}
		}
	}
}

// TestRemoveImageCut: nor does it when the label is in the image and an older one is left beside it.
func TestRemoveImageCut(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"dynamic vhd": crash.VHDDynamic("", ""), "fixed vhd": crash.VHDFixed(), "vdi": smallVDI(512, 1024, ""),
	} {
		disk := binding(t, data)
		stale, err := crash.Small(t, disk, 3).Envelope()
		if err != nil {
			t.Fatal(err)
		}
		set := func() *besideMem {
			m := &besideMem{Mem: *mem(data)}
			e, err := diskimage.Options{VHDFooter: true}.PlanSet(m, unsigned(t, disk, 5))
			if err == nil {
				err = diskimage.Apply(m, e)
			}
			if err != nil {
				t.Fatal(err)
			}
			m.sidecar, m.attributes[diskimage.AttributeLabel] = stale, stale
			return m
		}
		check := func(m *besideMem, what string, counts func(serial uint32) bool) {
			t.Helper()
			frame, _, err := diskimage.ReadLabel(m)
			var serial uint32
			if frame != nil {
				serial = frame.Serial
			}
			if err != nil || !counts(serial) {
				t.Errorf("%s, %s: label %d, %v", name, what, serial, err)
			}
		}
		for left := 1; ; left++ {
			m := set()
			m.left = left
			done := cut(t, func() error { return crash.Remove(m) })
			check(m, "beside cut off", func(serial uint32) bool { return serial == 0 || serial == 5 && !done })
			if done {
				break
			}
		}
		m := set()
		e, err := diskimage.PlanRemove(m)
		if err != nil {
			t.Fatal(err)
		}
		m.sidecar, m.attributes = nil, nil // as they are when the steps begin
		if err := crash.States(m.Data, e, func(s crash.State) error {
			check(&besideMem{Mem: *mem(s.Data)}, s.Name, func(serial uint32) bool { return serial == 0 || serial == 5 && !s.Done })
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		read := &readOnlyMem{besideMem: *set()}
		if err := crash.Remove(read); err == nil || !bytes.Equal(read.sidecar, stale) || !bytes.Equal(read.attributes[diskimage.AttributeLabel], stale) {
			t.Errorf("%s: the image cannot be written: %v, sidecar %q", name, err, read.sidecar)
		}
	}
}

// readOnlyMem refuses every write of the image itself.
type readOnlyMem struct{ besideMem }

func (m *readOnlyMem) WriteAt([]byte, int64) (int, error) { return 0, errors.New("bad disk") }

// TestBesideFails: when the change beside the image fails, that in the image is taken back, whether it sets a label or removes it.
func TestBesideFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data []byte
		opts diskimage.Options
	}{
		"vhd footer":  {crash.VHDDynamic("", ""), diskimage.Options{VHDFooter: true}},
		"vdi comment": {smallVDI(512, 1024, ""), diskimage.Options{}},
	} {
		disk := binding(t, c.data)
		stale, err := crash.Small(t, disk, 1).Envelope()
		if err != nil {
			t.Fatal(err)
		}
		m := &besideMem{Mem: *mem(c.data), sidecar: stale, sidecarFails: errors.New("read-only folder")}
		e, err := c.opts.PlanSet(m, unsigned(t, disk, 2))
		if err != nil || len(e.Steps) == 0 {
			t.Fatalf("%s: %+v, %v", name, e, err)
		}
		if err := diskimage.Apply(m, e); err == nil || !strings.Contains(err.Error(), "read-only folder") || !bytes.Equal(m.Data, c.data) {
			t.Errorf("%s: %v; the image has changed: %v", name, err, !bytes.Equal(m.Data, c.data))
		}
		m.sidecarFails = nil
		if err := diskimage.Apply(m, e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m.sidecar, m.sidecarFails = stale, errors.New("read-only folder")
		before := bytes.Clone(m.Data)
		if err := crash.Remove(m); err == nil || !bytes.Equal(m.Data, before) {
			t.Errorf("%s: remove: %v; the image has changed: %v", name, err, !bytes.Equal(m.Data, before))
		}
	}
}

// TestBesideChanged: a label that lies beside an image is not put beside another one that came in its place meanwhile.
func TestBesideChanged(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"vhd": crash.VHDDynamic("", ""), "fixed vhd": crash.VHDFixed(), "vdi with a comment": smallVDI(512, 1024, "our mail server"),
	} {
		m := &besideMem{Mem: *mem(data)}
		e, err := diskimage.PlanSet(m, crash.Small(t, binding(t, data), 1))
		if err != nil || len(e.Steps) > 0 {
			t.Fatalf("%s: %+v, %v", name, e, err)
		}
		other, err := diskimage.Options{}.PlanIdentity(m, "00112233-4455-6677-8899-aabbccddeeff")
		if err == nil {
			err = diskimage.Apply(m, other)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := diskimage.Apply(m, e); !errors.Is(err, diskimage.ErrChanged) || m.sidecar != nil {
			t.Errorf("%s: error %v, expected ErrChanged; sidecar %q", name, err, m.sidecar)
		}
	}
}

// TestStrip: attributes that show a label which is gone are taken away by strip alone.
func TestStrip(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{"vmdk": stream(), "qcow2": usualQcow2().bytes(), "vhd": crash.VHDFixed(), "raw": rawImage()} {
		m := &besideMem{Mem: *mem(data), attributes: map[string][]byte{diskimage.AttributeLevel: []byte("gold")}}
		if name == "vmdk" {
			m.attributes[diskimage.AttributeLabel] = []byte("{}")
		}
		if _, err := diskimage.PlanRemove(m); !errors.Is(err, diskimage.ErrNoLabel) {
			t.Errorf("%s: remove: %v", name, err)
		}
		e, err := diskimage.Options{}.PlanStrip(m)
		if err == nil {
			err = diskimage.Apply(m, e)
		}
		if err != nil || len(m.attributes) > 0 || m.Writes > 0 {
			t.Errorf("%s: %v, attributes %q", name, err, m.attributes)
		}
		if _, err := (diskimage.Options{}).PlanStrip(m); !errors.Is(err, diskimage.ErrNoLabel) {
			t.Errorf("%s: again: %v", name, err)
		}
	}
}
