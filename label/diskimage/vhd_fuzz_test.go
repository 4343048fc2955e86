package diskimage_test

import (
	"bytes"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// FuzzVHD lets the fuzzer change anything, then puts the checksums right so that it gets behind them.
func FuzzVHD(f *testing.F) {
	labelled := mem(crash.VHDDynamic("", ""))
	options := diskimage.Options{VHDFooter: true}
	if err := setWith(labelled, options, crash.Small(f, binding(f, labelled.Data), 1)); err != nil {
		f.Fatal(err)
	}
	for _, data := range [][]byte{
		crash.VHDFixed()[crash.VHDSize-1024:], crash.VHDDynamic("", ""), crash.VHDDynamic(`..\vm-db.vhd`, "vm-db.vhd"), crash.VHDDynamic("", "x"), labelled.Data,
	} {
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, footer bool) {
		if len(data) >= 512 {
			data = bytes.Clone(data)
			if bytes.HasPrefix(data, []byte("conectix")) {
				crash.VHDSum(data[:512])
			}
			if len(data) >= 1024 {
				crash.VHDSum(data)
			}
		}
		fuzzLife(t, data, diskimage.FormatVHD, diskimage.Options{VHDFooter: footer})
	})
}

// FuzzBeside: whatever lies beside a raw image, a label can be set over it and removed, or the refusal leaves it as it is.
func FuzzBeside(f *testing.F) {
	disk := label.Binding{Size: 1 << 16}
	envelope, err := crash.Small(f, disk, 1).Envelope()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(envelope, envelope)
	f.Add([]byte("{}"), envelope[:100])
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, sidecar, attribute []byte) {
		m := &besideMem{Mem: *mem(rawImage()), sidecar: sidecar, attributes: map[string][]byte{diskimage.AttributeLabel: attribute}}
		frame, _, err := diskimage.ReadLabel(m)
		if err != nil {
			t.Fatal(err)
		}
		serial := uint32(1)
		if frame != nil {
			if serial = frame.Serial + 1; serial == 0 {
				return
			}
		}
		if err := crash.Set(m, crash.Small(t, disk, serial)); err != nil {
			t.Fatal(err)
		}
		if err := crash.Remove(m); err != nil || m.sidecar != nil || len(m.attributes) > 0 || m.Writes > 0 {
			t.Fatalf("remove: %v, sidecar %q, attributes %q, %d writes", err, m.sidecar, m.attributes, m.Writes)
		}
	})
}
