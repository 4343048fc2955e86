package diskimage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// vhdWith changes the footers of a constructed image and puts their checksums right.
func vhdWith(data []byte, change func(footer []byte)) []byte {
	if bytes.HasPrefix(data, []byte("conectix")) {
		change(data[:512])
		crash.VHDSum(data[:512])
	}
	change(data[len(data)-512:])
	return crash.VHDSum(data)
}

func setBytes(at int, s string) func([]byte) { return func(b []byte) { copy(b[at:], s) } }

func TestVHDInspect(t *testing.T) {
	t.Parallel()
	const parentUUID = "11223344-5566-7788-99aa-bbccddeeff00"
	is := func(sub string, p diskimage.Parent) diskimage.Info {
		return diskimage.Info{Subformat: sub, VirtualSize: crash.VHDSize, UUID: crash.VHDUUID, Place: diskimage.PlaceSidecar, Parent: p}
	}
	base := func(ref string) diskimage.Parent {
		return diskimage.Parent{Ref: ref, Format: diskimage.FormatVHD, UUID: parentUUID}
	}
	dynamic := is("dynamic", diskimage.Parent{})
	saved, half, noUUID := dynamic, dynamic, dynamic
	saved.Unclean, half.Unclean, noUUID.UUID = true, true, ""
	for name, c := range map[string]struct {
		data []byte
		want diskimage.Info
		err  error
	}{
		"fixed":           {crash.VHDFixed(), is("fixed", diskimage.Parent{}), nil},
		"guest's magic":   {put(crash.VHDFixed(), 0, "conectix"), is("fixed", diskimage.Parent{}), nil},
		"guest's footer":  {put(crash.VHDFixed(), 0, string(crash.VHDDynamic("", "")[:512])), is("fixed", diskimage.Parent{}), nil},
		"dynamic":         {crash.VHDDynamic("", ""), dynamic, nil},
		"relative parent": {crash.VHDDynamic(`..\base disks\vm-db.vhd`, "vm-db.vhd"), is("differencing", base("../base disks/vm-db.vhd")), nil},
		"parent's name":   {crash.VHDDynamic("", "vm-däb.vhd"), is("differencing", base("vm-däb.vhd")), nil},
		"not relative":    {crash.VHDDynamic(`C:\vm-db.vhd`, "vm-db.vhd"), is("differencing", base("vm-db.vhd")), nil},
		"saved":           {vhdWith(crash.VHDDynamic("", ""), setBytes(84, "\x01")), saved, nil},
		"no uuid":         {vhdWith(crash.VHDDynamic("", ""), setBytes(68, strings.Repeat("\x00", 16))), noUUID, nil},
		"first damaged":   {put(crash.VHDDynamic("", ""), 20, "x"), half, nil},
		"last damaged":    {put(crash.VHDDynamic("", ""), 2560+20, "x"), half, nil},
		"last missing":    {crash.VHDDynamic("", "")[:2560], half, nil},
		"both damaged":    {put(put(crash.VHDDynamic("", ""), 20, "x"), 2560+20, "x"), diskimage.Info{}, diskimage.ErrCorrupt},
		"version 2":       {vhdWith(crash.VHDDynamic("", ""), setBytes(12, "\x00\x02")), diskimage.Info{}, diskimage.ErrUnsupported},
		"type 6":          {vhdWith(crash.VHDDynamic("", ""), setBytes(60, "\x00\x00\x00\x06")), diskimage.Info{}, diskimage.ErrUnsupported},
		"no size":         {vhdWith(crash.VHDDynamic("", ""), setBytes(48, strings.Repeat("\x00", 8))), diskimage.Info{}, diskimage.ErrCorrupt},
		"huge":            {vhdWith(crash.VHDDynamic("", ""), setBytes(48, "\x7f")), diskimage.Info{}, diskimage.ErrCorrupt},
		"fixed, cut off":  {crash.VHDFixed()[512:], diskimage.Info{}, diskimage.ErrCorrupt},
		"header missing":  {vhdWith(crash.VHDDynamic("", "x"), setBytes(16, "\x7f")), diskimage.Info{}, diskimage.ErrCorrupt},
		"header damaged":  {put(crash.VHDDynamic("", "x"), 600, "x"), diskimage.Info{}, diskimage.ErrCorrupt},
	} {
		info, err := diskimage.Inspect(mem(c.data))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, expected %v", name, err, c.err)
		}
		c.want.Format = diskimage.FormatVHD
		if info == nil || !equalInfo(*info, c.want) {
			t.Errorf("%s: %+v, expected %+v", name, info, c.want)
		}
		if !c.want.Unclean && c.err == nil {
			continue
		}
		m := &besideMem{Mem: *mem(c.data)}
		if err := crash.Set(m, crash.Small(t, label.Binding{Size: crash.VHDSize}, 1)); err == nil || m.Writes > 0 || m.sidecar != nil {
			t.Errorf("%s: set gives %v after %d writes", name, err, m.Writes)
		}
	}
}

// TestVHDSize: the size that counts, by creator and geometry (test/crash holds it to QEMU's).
func TestVHDSize(t *testing.T) {
	t.Parallel()
	const bySize = crash.VHDSize + 1<<20
	for creator, want := range map[string]label.Bytes{
		"win ": bySize, "qem2": bySize, "d2v ": bySize, "CTXS": bySize, "tap\x00": bySize, "wa\x00\x00": bySize,
		"vpc ": crash.VHDSize, "qemu": crash.VHDSize, "vbox": crash.VHDSize,
	} {
		data := vhdWith(crash.VHDDynamic("", ""), func(b []byte) {
			copy(b[28:], creator)
			binary.BigEndian.PutUint64(b[48:], bySize)
		})
		if got := binding(t, data).Size; got != want {
			t.Errorf("creator %q: %d bytes, expected %d", creator, got, want)
		}
		data = vhdWith(data, setBytes(56, "\xff\xff\x10\xff"))
		if got := binding(t, data).Size; got != bySize {
			t.Errorf("creator %q, largest geometry: %d bytes, expected %d", creator, got, bySize)
		}
	}
}

// TestVHDPlaces: beside the image, unless the footer is asked for or has a label already.
func TestVHDPlaces(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{"fixed": crash.VHDFixed(), "dynamic": crash.VHDDynamic("", "")} {
		m := &besideMem{Mem: *mem(data)}
		disk := binding(t, data)
		options := diskimage.Options{VHDFooter: true}
		set := func(o diskimage.Options, frame label.Frame) error {
			t.Helper()
			e, err := o.PlanSet(m, frame)
			if err == nil {
				err = diskimage.Apply(m, e)
			}
			return err
		}
		want := func(serial uint32, place diskimage.Place) {
			t.Helper()
			frame, info, err := diskimage.ReadLabel(m)
			if err != nil || frame == nil || frame.Serial != serial || info.Place != place || !info.HasLabel {
				t.Fatalf("%s: %v, %+v, %v, expected %d in %s", name, frame, info, err, serial, place)
			}
		}
		if err := set(diskimage.Options{}, crash.Large(t, disk, 1)); err != nil || m.Writes > 0 {
			t.Fatal(name, err)
		}
		want(1, diskimage.PlaceSidecar)
		if err := set(options, crash.Large(t, disk, 2)); !errors.Is(err, diskimage.ErrNoRoom) || m.Writes > 0 {
			t.Fatalf("%s: a long label into the footer: error %v, expected ErrNoRoom", name, err)
		}
		if err := set(options, crash.Small(t, disk, 2)); err != nil || m.sidecar != nil {
			t.Fatalf("%s: %v, sidecar %q", name, err, m.sidecar)
		}
		want(2, diskimage.PlaceImage)
		if err := set(diskimage.Options{}, crash.Small(t, disk, 3)); err != nil || m.sidecar != nil {
			t.Fatalf("%s: %v, sidecar %q", name, err, m.sidecar)
		}
		want(3, diskimage.PlaceImage)
		var err error
		if m.sidecar, err = crash.Small(t, disk, 4).Envelope(); err != nil {
			t.Fatal(err)
		}
		want(4, diskimage.PlaceSidecar)
		if err := set(diskimage.Options{}, crash.Large(t, disk, 5)); !errors.Is(err, diskimage.ErrNoRoom) || !strings.Contains(err.Error(), "remove") {
			t.Fatalf("%s: a long label over the footer's: error %v, expected ErrNoRoom", name, err)
		}
		if err := crash.Remove(m); err != nil || m.sidecar != nil || len(m.attributes) > 0 || !bytes.Equal(m.Data, data) {
			t.Fatalf("%s: removal leaves something: %v", name, err)
		}
	}
}

// TestVHDForeign: reserved bytes that somebody else uses are left alone; two footers that differ are not for us to judge.
func TestVHDForeign(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"hidden flag":   {vhdWith(crash.VHDDynamic("", ""), setBytes(85, "\x01")), nil},
		"next to it":    {vhdWith(crash.VHDDynamic("", ""), setBytes(86, "\x01")), diskimage.ErrNoRoom},
		"label's bytes": {vhdWith(crash.VHDDynamic("", ""), setBytes(300, "x")), diskimage.ErrNoRoom},
		"two footers":   {crash.VHDSum(put(crash.VHDDynamic("", ""), 2560+24, "x")), diskimage.ErrUnclean},
	} {
		m := mem(c.data)
		e, err := diskimage.Options{VHDFooter: true}.PlanSet(m, crash.Small(t, binding(t, c.data), 1))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, expected %v", name, err, c.want)
		}
		if err != nil {
			continue
		}
		if err := diskimage.Apply(m, e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := crash.Remove(m); err != nil || !bytes.Equal(m.Data, c.data) {
			t.Errorf("%s: removal does not give back the image: %v", name, err)
		}
	}
	data := vhdWith(crash.VHDDynamic("", ""), setBytes(96, "BLB1 remains"))
	info, err := diskimage.Inspect(mem(data))
	if err != nil || !info.Damaged {
		t.Errorf("remains: %+v, %v", info, err)
	}
	m := mem(data)
	if err := crash.Remove(m); err != nil || !bytes.Equal(m.Data, crash.VHDDynamic("", "")) {
		t.Errorf("remains: removal: %v", err)
	}
}

func TestVHDIdentity(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{crash.VHDFixed(), crash.VHDDynamic("", "")} {
		m := mem(data)
		checkIdentity(t, m, "00112233-4455-6677-8899-aabbccddeeff")
		if info, err := diskimage.Inspect(m); err != nil || info.Unclean {
			t.Errorf("%+v, %v", info, err)
		}
	}
}
