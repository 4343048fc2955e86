package diskimage_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// fuzzLife takes an image of any content through the life of a label: what is refused is not written, what was set is read, and
// the removal gives back the very bytes, unless there was something of a label before.
func fuzzLife(t *testing.T, data []byte, want diskimage.Format, options diskimage.Options) {
	t.Helper()
	first := &besideMem{Mem: *mem(data)}
	frame, info, err := options.ReadLabel(first)
	if err != nil || info.Format != want {
		return
	}
	fresh := frame == nil && !info.Damaged && info.Trace == ""
	m := &besideMem{Mem: *mem(data)}
	set := func(frame func() error) bool {
		before, writes := bytes.Clone(m.Data), m.Writes
		err := frame()
		if err != nil && (m.Writes != writes || !bytes.Equal(m.Data, before)) {
			t.Fatalf("refused with %v after %d writes", err, m.Writes-writes)
		}
		return err == nil
	}
	last := uint32(0)
	for i, attempt := range []func(serial uint32) error{
		func(serial uint32) error { return setWith(m, options, crash.Small(t, info.Binding(), serial)) },
		func(serial uint32) error { return setWith(m, options, crash.Large(t, info.Binding(), serial)) },
		func(serial uint32) error { return setWith(m, options, crash.Small(t, info.Binding(), serial)) },
	} {
		serial := ^uint32(0) - 3 + uint32(i)
		if set(func() error { return attempt(serial) }) {
			last = serial
		}
	}
	if got, _, err := options.ReadLabel(m); last > 0 && (err != nil || got == nil || got.Serial != last) {
		t.Fatalf("label %v, %v, expected %d", got, err, last)
	}
	if err := crash.Remove(m); err != nil {
		if last > 0 || !errors.Is(err, diskimage.ErrNoLabel) && !errors.Is(err, diskimage.ErrUnclean) {
			t.Fatalf("remove: %v", err)
		}
		return
	}
	if got, info, err := options.ReadLabel(m); err != nil || got != nil || info.Damaged || m.sidecar != nil || len(m.attributes) > 0 {
		t.Fatalf("after removal: %v, %+v, %v", got, info, err)
	}
	if fresh && !bytes.Equal(m.Data, data) {
		t.Fatal("the removal does not give back the image's bytes")
	}
}

func setWith(f diskimage.File, options diskimage.Options, frame label.Frame) error {
	e, err := options.PlanSet(f, frame)
	if err != nil {
		return err
	}
	return diskimage.Apply(f, e)
}

func FuzzVDI(f *testing.F) {
	for _, data := range [][]byte{
		smallVDI(16<<10, 20<<10, ""), smallVDI(512, 1024, ""), smallVDI(512, 32<<10, "our mail server"), smallVDI(16<<10, 20<<10, "berth0 gold serial 1 sha256:00"),
		put(smallVDI(16<<10, 20<<10, ""), 4096, "BLB1"), put(smallVDI(16<<10, 20<<10, ""), 9000, "x"), smallVDI(512, 1024, "berth1 x y 1 {}"),
	} {
		f.Add(data)
		m := mem(data)
		if err := crash.Set(m, crash.Small(f, binding(f, data), 1)); err == nil {
			f.Add(m.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzLife(t, data, diskimage.FormatVDI, diskimage.Options{}) })
}

// FuzzVDIComment is about the comment alone, which anybody may have written.
func FuzzVDIComment(f *testing.F) {
	data := smallVDI(512, 1024, "")
	m := mem(data)
	if err := crash.Set(m, crash.Small(f, binding(f, data), 1)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(comment(m.Data)))
	f.Add([]byte("berth1 AAAAAA - 3145728 {\"issued\":\"2026-11-22T08:00:00Z\",\"level\":\"gold\",\"serial\":1}"))
	f.Add([]byte("berth0 gold"))
	f.Fuzz(func(t *testing.T, text []byte) {
		data := bytes.Clone(data)
		copy(data[84:340], text)
		frame, info, err := diskimage.ReadLabel(mem(data))
		if err != nil {
			t.Fatal(err)
		}
		if frame != nil {
			if _, err := frame.Document(); err != nil || !info.HasLabel {
				t.Fatalf("label %+v, %+v, %v", frame, info, err)
			}
		}
		fuzzLife(t, data, diskimage.FormatVDI, diskimage.Options{})
	})
}
