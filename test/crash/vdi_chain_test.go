package crash_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestCrashChain lets one power cut after another hit the changes of one image, each at any state: the label never goes back, and
// at the end its removal gives back the image's bytes.
func TestCrashChain(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"vdi, gap":         crash.VDI(16<<10, 20<<10, "")[:20<<10],
		"vdi, own comment": crash.VDI(16<<10, 20<<10, "our mail server")[:20<<10],
		"vdi, behind":      crash.VDI(512, 64<<10, "")[:64<<10],
		"vdi, comment":     crash.VDI(512, 1024, "")[:1024],
		"vhd, dynamic":     crash.VHDDynamic("", ""),
		"vhd, fixed":       crash.VHDFixed(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { chain(t, rt, data) })
		})
	}
}

func chain(t *testing.T, rt *rapid.T, original []byte) {
	t.Helper()
	options := diskimage.Options{VHDFooter: true}
	info, err := diskimage.Inspect(&crash.Mem{Data: original})
	if err != nil {
		rt.Fatal(err)
	}
	data, serial := bytes.Clone(original), uint32(0)
	for range rapid.IntRange(1, 8).Draw(rt, "edits") {
		before, err := crash.SerialOf(data)
		if err != nil {
			rt.Fatal(err)
		}
		after := uint32(0)
		plan := options.PlanRemove
		if kind := rapid.IntRange(0, 4).Draw(rt, "kind"); kind > 0 {
			serial++
			after = serial
			frame := crash.Small(t, info.Binding(), after)
			if kind == 1 {
				frame = crash.Large(t, info.Binding(), after)
			}
			plan = func(r diskimage.Reader) (*diskimage.Edit, error) { return options.PlanSet(r, frame) }
		}
		e, err := plan(&crash.Mem{Data: data})
		if errors.Is(err, diskimage.ErrNoLabel) || errors.Is(err, diskimage.ErrNoRoom) || errors.Is(err, diskimage.ErrUnsupported) {
			continue // a long label where there is no room for it
		}
		if err != nil {
			rt.Fatal(err)
		}
		var states [][]byte
		if err := crash.States(data, e, func(s crash.State) error {
			states = append(states, s.Data)
			return nil
		}); err != nil {
			rt.Fatal(err)
		}
		data = states[rapid.IntRange(0, len(states)-1).Draw(rt, "state")]
		if got, err := crash.SerialOf(data); err != nil || got != before && got != after {
			rt.Fatalf("label %d, %v, expected %d or %d", got, err, before, after)
		}
	}
	m := &crash.Mem{Data: bytes.Clone(data)}
	if err := crash.Remove(m); err != nil && !errors.Is(err, diskimage.ErrNoLabel) {
		rt.Fatal(err)
	}
	if !bytes.Equal(m.Data, original) {
		rt.Fatal("the removal does not give back the image's bytes")
	}
}
