package diskimage_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// besideMem is an image in memory on a file system that keeps a sidecar and attributes. It can lack either, and cut its own power
// after so many changes beside the image.
type besideMem struct {
	crash.Mem
	sidecar                  []byte
	attributes               map[string][]byte
	noSidecar, noAttributes  error // what the places say where there are none
	sidecarFails, attrsFails error // of changes
	left                     int   // changes until errPower; 0: any number
}

var errPower = errors.New("power cut")

func (m *besideMem) Sidecar() ([]byte, error) { return m.sidecar, m.noSidecar }

func (m *besideMem) Attribute(name string) ([]byte, error) { return m.attributes[name], m.noAttributes }

func (m *besideMem) power() error {
	if m.left--; m.left == 0 {
		panic(errPower)
	}
	return nil
}

func (m *besideMem) SetSidecar(content []byte) error {
	if err := errors.Join(m.power(), m.noSidecar, m.sidecarFails); err != nil {
		return err
	}
	m.sidecar = bytes.Clone(content)
	return nil
}

func (m *besideMem) SetAttribute(name string, value []byte) error {
	if err := errors.Join(m.power(), m.noAttributes, m.attrsFails); err != nil {
		return err
	}
	if m.attributes == nil {
		m.attributes = map[string][]byte{}
	}
	if m.attributes[name] = bytes.Clone(value); value == nil {
		delete(m.attributes, name)
	}
	return nil
}

func unsupported() error { return fmt.Errorf("not here: %w", errors.ErrUnsupported) }

// rawImage is a boot sector and nothing else.
func rawImage() []byte { return at(1<<16, 510, "\x55\xaa") }

// TestRaw: sidecar and attribute hold the label; the image stays as it is.
func TestRaw(t *testing.T) {
	t.Parallel()
	m := &besideMem{Mem: *mem(rawImage())}
	disk := label.Binding{Size: 1 << 16}
	for serial, frame := range []func(testing.TB, label.Binding, uint32) label.Frame{crash.Small, crash.Large, crash.Small} {
		frame := frame(t, disk, uint32(serial)+1)
		if err := crash.Set(m, frame); err != nil {
			t.Fatal(err)
		}
		envelope, err := frame.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		got, info, err := diskimage.ReadLabel(m)
		if err != nil || got == nil || got.Signature != frame.Signature || info.Place != diskimage.PlaceSidecar {
			t.Fatalf("label %+v, %+v, %v", got, info, err)
		}
		if !bytes.Equal(m.sidecar, envelope) || !bytes.Equal(m.attributes[diskimage.AttributeLabel], envelope) {
			t.Errorf("sidecar %q, attributes %q, expected %q", m.sidecar, m.attributes, envelope)
		}
		if got := string(m.attributes[diskimage.AttributeLevel]); serial != 1 && got != "gold" {
			t.Errorf("level %q", got)
		}
	}
	if _, err := diskimage.PlanSet(m, crash.Small(t, disk, 3)); !errors.Is(err, diskimage.ErrSerial) {
		t.Errorf("same serial: error %v", err)
	}
	if err := crash.Remove(m); err != nil || m.sidecar != nil || len(m.attributes) > 0 {
		t.Errorf("remove: %v, sidecar %q, attributes %q", err, m.sidecar, m.attributes)
	}
	if _, err := diskimage.PlanRemove(m); !errors.Is(err, diskimage.ErrNoLabel) {
		t.Errorf("remove again: error %v, expected ErrNoLabel", err)
	}
	if m.Writes > 0 || !bytes.Equal(m.Data, rawImage()) {
		t.Errorf("the image was written, %d times", m.Writes)
	}
}

// TestRawPlaces: with one of the two places missing, failing, damaged or older, the other counts.
func TestRawPlaces(t *testing.T) {
	t.Parallel()
	disk := label.Binding{Size: 1 << 16}
	envelope := func(serial uint32) []byte {
		b, err := crash.Small(t, disk, serial).Envelope()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	attribute := func(b []byte) map[string][]byte { return map[string][]byte{diskimage.AttributeLabel: b} }
	for name, c := range map[string]struct {
		m       besideMem
		serial  uint32
		place   diskimage.Place
		damaged bool
	}{
		"nothing":           {besideMem{}, 0, diskimage.PlaceSidecar, false},
		"equal":             {besideMem{sidecar: envelope(4), attributes: attribute(envelope(4))}, 4, diskimage.PlaceSidecar, false},
		"newer sidecar":     {besideMem{sidecar: envelope(5), attributes: attribute(envelope(4))}, 5, diskimage.PlaceSidecar, false},
		"newer attribute":   {besideMem{sidecar: envelope(4), attributes: attribute(envelope(5))}, 5, diskimage.PlaceAttribute, false},
		"sidecar damaged":   {besideMem{sidecar: []byte("{}"), attributes: attribute(envelope(5))}, 5, diskimage.PlaceAttribute, false},
		"sidecar empty":     {besideMem{sidecar: []byte{}}, 0, diskimage.PlaceSidecar, true},
		"attribute damaged": {besideMem{sidecar: envelope(5), attributes: attribute([]byte("x"))}, 5, diskimage.PlaceSidecar, false},
		"both damaged":      {besideMem{sidecar: []byte("x"), attributes: attribute([]byte("x"))}, 0, diskimage.PlaceSidecar, true},
		"no attributes":     {besideMem{sidecar: envelope(5), noAttributes: unsupported()}, 5, diskimage.PlaceSidecar, false},
		"no sidecar":        {besideMem{noSidecar: unsupported(), attributes: attribute(envelope(5))}, 5, diskimage.PlaceAttribute, false},
		"no place":          {besideMem{noSidecar: unsupported(), noAttributes: unsupported()}, 0, diskimage.PlaceSidecar, false},
	} {
		m := c.m
		m.Mem = *mem(rawImage())
		frame, info, err := diskimage.ReadLabel(&m)
		if err != nil || info.Place != c.place || info.Damaged != c.damaged || (frame != nil) != (c.serial > 0) || frame != nil && frame.Serial != c.serial {
			t.Errorf("%s: %v, %+v, %v", name, frame, info, err)
		}
		if at := map[string]string{"newer sidecar": "5 and 4", "newer attribute": "4 and 5"}[name]; (at != "") != (info.Trace != "") || !strings.HasSuffix(info.Trace, at) {
			t.Errorf("%s: trace %q, expected one of %q", name, info.Trace, at)
		}
		err = crash.Set(&m, crash.Small(t, disk, 9))
		if name == "no place" {
			if err == nil || !strings.Contains(err.Error(), "no sidecar") {
				t.Errorf("%s: set: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: set: %v", name, err)
		}
		if err := crash.Remove(&m); err != nil || m.sidecar != nil || len(m.attributes) > 0 {
			t.Errorf("%s: remove: %v, sidecar %q, attributes %q", name, err, m.sidecar, m.attributes)
		}
	}
}

// TestRawFails: what cannot be written is an error and the label is the old one; a copy that cannot be written is none.
func TestRawFails(t *testing.T) {
	t.Parallel()
	disk := label.Binding{Size: 1 << 16}
	m := &besideMem{Mem: *mem(rawImage()), sidecarFails: errors.New("read-only folder")}
	if err := crash.Set(m, crash.Small(t, disk, 1)); err == nil || !strings.Contains(err.Error(), "read-only folder") || len(m.attributes) > 0 {
		t.Errorf("sidecar fails: %v, attributes %q", err, m.attributes)
	}
	m.sidecarFails, m.attrsFails = nil, errors.New("quota")
	if err := crash.Set(m, crash.Small(t, disk, 1)); err != nil || m.sidecar == nil {
		t.Errorf("attributes fail: %v", err)
	}
	for what, m := range map[string]diskimage.File{"memory": mem(rawImage())} {
		if err := crash.Set(m, crash.Small(t, disk, 1)); !errors.Is(err, diskimage.ErrUnsupported) {
			t.Errorf("%s: error %v, expected ErrUnsupported", what, err)
		}
	}
	read := &besideMem{Mem: *mem(rawImage()), noSidecar: errors.New("bad disk")}
	if _, _, err := diskimage.ReadLabel(read); err == nil || !strings.Contains(err.Error(), "bad disk") {
		t.Errorf("sidecar cannot be read: %v", err)
	}
}

// TestMirrorFails: an attribute that cannot be read keeps nobody from a label that does not need it.
func TestMirrorFails(t *testing.T) {
	t.Parallel()
	m := &besideMem{Mem: *mem(stream()), noAttributes: errors.New("too long")}
	if err := crash.Set(m, crash.Small(t, binding(t, m.Data), 1)); err != nil {
		t.Errorf("vmdk: %v", err)
	}
	m = &besideMem{Mem: *mem(rawImage()), noAttributes: errors.New("too long")}
	if err := crash.Set(m, crash.Small(t, label.Binding{Size: 1 << 16}, 1)); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("raw: %v", err)
	}
}

// TestRawResized: the size is all that binds the label of a raw image.
func TestRawResized(t *testing.T) {
	t.Parallel()
	m := &besideMem{Mem: *mem(rawImage())}
	if err := crash.Set(m, crash.Small(t, label.Binding{Size: 1 << 16}, 1)); err != nil {
		t.Fatal(err)
	}
	m.Data = append(m.Data, make([]byte, 1<<16)...)
	frame, info, err := diskimage.ReadLabel(m)
	if err != nil || frame == nil {
		t.Fatal(frame, err)
	}
	doc, err := frame.Document()
	if err != nil || doc.Disk == info.Binding() {
		t.Errorf("label for %+v, disk %+v, %v", doc.Disk, info.Binding(), err)
	}
}

// TestBesidePowerCut cuts the power before every change beside the image: the label is the old one or the new one.
func TestBesidePowerCut(t *testing.T) {
	t.Parallel()
	images := map[string][]byte{
		"raw": rawImage(), "vhd": crash.VHDDynamic("", ""), "vdi with a comment": smallVDI(512, 1024, "our mail server"),
	}
	for name, data := range images {
		disk := binding(t, data)
		for _, step := range []struct{ before, after uint32 }{{0, 1}, {1, 2}, {2, 0}} {
			cuts := 0
			for left := 1; ; left++ {
				m := &besideMem{Mem: *mem(data)}
				if step.before > 0 {
					if err := crash.Set(m, crash.Small(t, disk, step.before)); err != nil {
						t.Fatal(err)
					}
				}
				m.left = left
				done := cut(t, func() error {
					if step.after == 0 {
						return crash.Remove(m)
					}
					return crash.Set(m, crash.Large(t, disk, step.after))
				})
				frame, _, err := diskimage.ReadLabel(m)
				var got uint32
				if frame != nil {
					got = frame.Serial
				}
				if err != nil || got != step.before && got != step.after || done && got != step.after {
					t.Errorf("%s, %d to %d, cut before change %d: label %d, %v", name, step.before, step.after, left, got, err)
				}
				if done {
					break
				}
				cuts++
			}
			if cuts != 3 {
				t.Errorf("%s: %d cuts, expected 3", name, cuts)
			}
		}
	}
}

// cut reports whether do came to its end.
func cut(t *testing.T, do func() error) (done bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil && r != errPower { //nolint:errorlint // it is thrown as it is
			panic(r)
		}
	}()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	return true
}
