package diskimage_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

func crashTime() time.Time { return time.Unix(1_800_000_000, 0).UTC() }

func seeds(f *testing.F) {
	f.Helper()
	for _, data := range [][]byte{
		short(stream()), short(crash.Stream(crash.StreamText(true), 1)), []byte(vmfs()), []byte(strings.TrimRight(vmfs(), "\n")),
		[]byte("#\nversion=1\nCID=1\nRW 8 FLAT \"x\" 0\nddb.berth.a.00 = \"aaaa\"\nddb.berth.b.99=\n"),
		at(1024, 0, "COWD"), at(1024, 512, "conectix"),
	} {
		f.Add(data)
		m := mem(data)
		if info, err := diskimage.Inspect(m); err == nil {
			if err := crash.Set(m, crash.Small(f, info.Binding(), 1)); err == nil {
				f.Add(m.Data)
			}
		}
	}
}

// short is an image without its grains: header, descriptor, footer. The fuzzer is slow with long inputs.
func short(b []byte) []byte { return append(b[:21*512], b[len(b)-1024:]...) }

// FuzzReadLabel: no image panics, and every error is one of the package's.
func FuzzReadLabel(f *testing.F) {
	seeds(f)
	known := []error{diskimage.ErrNotImage, diskimage.ErrUnsupported, diskimage.ErrExtent, diskimage.ErrCorrupt}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &crash.Mem{Data: data}
		frame, info, err := diskimage.ReadLabel(m)
		if m.Reads > 8 { // the usual image costs one; VHDX and qcow2 may point to a few places
			t.Fatalf("%d reads", m.Reads)
		}
		if err == nil {
			if info.HasLabel != (frame != nil) || info.VirtualSize < 0 || info.VirtualSize > label.MaxSize {
				t.Fatalf("label %v, info %+v", frame, info)
			}
			return
		}
		for _, k := range known {
			if errors.Is(err, k) {
				return
			}
		}
		t.Fatalf("error %v is none of the package's", err)
	})
}

// FuzzDescriptor does the same for the text alone, so that the fuzzer spends its time there.
func FuzzDescriptor(f *testing.F) {
	f.Add(vmfs())
	f.Add("RW 1 FLAT \"\nRW 1 ZERO\nRDONLY 9223372036854775807 X \"y\" -1")
	f.Add("ddb.berth.a.00 = \"a\"b\"\n ddb.berth.a.00=\nddb.uuid = \"60 00\"")
	f.Fuzz(func(t *testing.T, text string) {
		_, info, err := diskimage.ReadLabel(&crash.Mem{Data: []byte("# Disk DescriptorFile\ncreateType=\"vmfs\"\n" + text)})
		if err == nil && len(info.Extents) == 0 {
			t.Fatalf("info %+v", info)
		}
	})
}

// FuzzPlanSet: an image that takes a label gives back the same text when it is removed, and what is not the place
// of the label is not touched. An image that was labelled before only has to survive, or be refused untouched.
func FuzzPlanSet(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := diskimage.Inspect(mem(data))
		if err != nil || info.VirtualSize == 0 {
			return
		}
		m := mem(data)
		before := crash.DescriptorText(data)
		fresh := !strings.Contains(before, "ddb.berth.")
		err = crash.Set(m, crash.Small(t, info.Binding(), ^uint32(0)-1))
		if err != nil {
			if m.Writes != 0 {
				t.Fatalf("refused with %v after %d writes", err, m.Writes)
			}
			return
		}
		writes := m.Writes
		if err := crash.Set(m, crash.Small(t, info.Binding(), ^uint32(0))); err != nil {
			// With remains of slots and of others' bytes behind them, the first change may take the last room.
			if fresh || m.Writes != writes {
				t.Fatalf("change: %v after %d writes", err, m.Writes-writes)
			}
			return
		}
		if err := crash.Remove(m); err != nil {
			t.Fatalf("remove: %v", err)
		}
		if got := crash.DescriptorText(m.Data); fresh && got != before {
			t.Fatalf("after removal %q, expected %q", got, before)
		}
	})
}
