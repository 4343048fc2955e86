package crash_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// chainKind is a change that a power cut is to hit.
type chainKind byte

const (
	setSmall  chainKind = 's'
	setLarge  chainKind = 'l'
	setPlain  chainKind = 'p' // not signed, so that labels of one serial can have their first sectors in common
	setOther  chainKind = 'o' // one that differs from that in the last bytes alone
	takenAway chainKind = 'r'
)

func chainKinds() []chainKind { return []chainKind{setSmall, setLarge, setPlain, setOther, takenAway} }

// seen is the label that a reader finds.
type seen struct {
	text   string // the frame, byte for byte; empty: no label
	serial uint32
	disk   label.Binding // of the image
}

// labelOf reads the label. It has to be a valid document.
func labelOf(image []byte) (seen, error) {
	frame, info, err := diskimage.ReadLabel(&crash.Mem{Data: image})
	if err != nil {
		return seen{}, fmt.Errorf("read label: %w", err)
	}
	if frame == nil {
		return seen{disk: info.Binding()}, nil
	}
	if _, err := frame.Document(); err != nil {
		return seen{}, err
	}
	b, err := frame.Encode()
	return seen{text: string(b), serial: frame.Serial, disk: info.Binding()}, err
}

// oneOf reports a label that is neither of two.
func oneOf(image []byte, x, y string) error {
	now, err := labelOf(image)
	if err != nil {
		return err
	}
	if now.text != x && now.text != y {
		return fmt.Errorf("label %q, expected %q or %q", brief(now.text), brief(x), brief(y))
	}
	return nil
}

func brief(text string) string { return text[min(len(text), label.FrameHeader):] }

// plan is the edit, and the label that it is to show. The new serial is that many more than the one seen, so that a change that was
// cut off is followed by one of the same serial, a lower or a higher one.
func (k chainKind) plan(t *testing.T, data []byte, now seen, more uint32) (*diskimage.Edit, string, error) {
	t.Helper()
	options := diskimage.Options{VHDFooter: true}
	var frame label.Frame
	switch k {
	case takenAway:
		e, err := options.PlanRemove(&crash.Mem{Data: data})
		return e, "", err
	case setSmall:
		frame = crash.Small(t, now.disk, now.serial+more)
	case setLarge:
		frame = crash.Large(t, now.disk, now.serial+more)
	default:
		frame = plain(t, now.disk, now.serial+more, k)
	}
	b, err := frame.Encode()
	if err != nil {
		return nil, "", err
	}
	e, err := options.PlanSet(&crash.Mem{Data: data}, frame)
	return e, string(b), err
}

func plain(t *testing.T, disk label.Binding, serial uint32, kind chainKind) label.Frame {
	t.Helper()
	doc := label.Document{
		Level: "gold", Disk: disk, Serial: serial, Issuer: strings.Repeat("our storage team ", 7) + "x", Issued: time.Unix(1_800_000_000, 0).UTC(),
		Overrides: map[string]string{},
	}
	for _, k := range label.OverrideKeys() {
		doc.Overrides[k] = strings.Repeat("f", 64)
	}
	doc.Overrides["storage.tier"] = strings.Repeat("f", 60) + string(kind)
	frame, err := label.Seal(doc, nil)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// unlessNoPlan is no error for a change that cannot be made: a long label where there is no room for it, or nothing to remove.
func unlessNoPlan(err error) error {
	for _, no := range []error{diskimage.ErrNoLabel, diskimage.ErrNoRoom, diskimage.ErrUnsupported} {
		if errors.Is(err, no) {
			return nil
		}
	}
	return err
}

// chainLayout is one kind of place for a label.
type chainLayout struct {
	name string
	make func(t *testing.T) []byte
	// again: remains that no reader looks at may be in the image without a label; the next one takes their place.
	again bool
	// after compares an image with what it was before its first label.
	after func(original, data []byte) error
}

func chainLayouts() []chainLayout {
	of := func(data []byte) func(*testing.T) []byte { return func(*testing.T) []byte { return bytes.Clone(data) } }
	text := crash.Text("vmfs", `VMFS "vm-db-flat.vmdk"`)
	all := []chainLayout{
		{"vmdk embedded", of(crash.Stream(crash.StreamText(false), 20)), true, sameText},
		{"vmdk embedded that grows", of(crash.Stream(crash.StreamText(false), 2)), true, sameText},
		{"vmdk text in place", of([]byte(text)), true, sameText},
		{"vmdk text without last line feed", of([]byte(strings.TrimRight(text, "\n"))), true, sameText},
		{"vmdk with lines of others behind", othersLines, true, sameText},
		{"vhdx", of(vhdxOthers(0, func([]byte) {})), true, sameVHDX},
		{"vhdx with items of others at odd offsets", of(vhdxOdd()), true, nil},
		{"vdi gap", of(crash.VDI(16<<10, 20<<10, "")[:20<<10]), false, sameBytes},
		{"vdi own comment", of(crash.VDI(16<<10, 20<<10, "our mail server")[:20<<10]), false, sameBytes},
		{"vdi behind", of(crash.VDI(512, 64<<10, "")[:64<<10]), false, sameBytes},
		{"vdi comment", of(crash.VDI(512, 1024, "")[:1024]), false, sameBytes},
		{"vhd dynamic", of(crash.VHDDynamic("", "")), false, sameBytes},
		{"vhd fixed", of(crash.VHDFixed()), false, sameBytes},
	}
	for _, m := range qcow2Makes() {
		switch m.name {
		case "v2", "v3", "v3 with backing file", "4 KiB clusters", "foreign extension":
			all = append(all, chainLayout{"qcow2 " + m.name, func(t *testing.T) []byte {
				t.Helper()
				return firstCluster(t, m.make(t))
			}, true, sameBytes})
		}
	}
	for name, n := range map[string]int{"29 bytes": 29, "4000 bytes": 4000} {
		all = append(all, chainLayout{"qcow2 with an extension of others behind of " + name, func(t *testing.T) []byte {
			t.Helper()
			m := qcow2Makes()[1]
			data := completed(t, firstCluster(t, m.make(t)), setSmall)
			addExtension(t, data, 0x12345678, bytes.Repeat([]byte("x"), n), true)
			return data
		}, true, nil})
	}
	return all
}

func sameBytes(original, data []byte) error {
	if !bytes.Equal(original, data) {
		return errors.New("the removal does not give back the image's bytes")
	}
	return nil
}

// sameText looks at the text of a VMDK. In place a line feed before the label's lines may be left of a change that was cut off.
func sameText(original, data []byte) error {
	was, is := crash.Foreign(crash.DescriptorText(original)), crash.Foreign(crash.DescriptorText(data))
	if is != was {
		return fmt.Errorf("other tools see\n%q\nexpected\n%q", is, was)
	}
	return nil
}

// sameVHDX leaves out the headers, which each change updates.
func sameVHDX(original, data []byte) error {
	data = bytes.Clone(data)
	for _, at := range crash.VHDXHeaders {
		copy(data[at:at+4096], original[at:])
	}
	return errors.Join(sameBytes(original, data), crash.VHDXCheck(data))
}

// othersLines is a VMDK with a label behind whose lines another tool has put one of its own.
func othersLines(t *testing.T) []byte {
	t.Helper()
	data := completed(t, crash.Stream(crash.StreamText(false), 20), setLarge)
	copy(data[512+len(crash.DescriptorText(data)):], "ddb.toolsVersion = \"12352\"\n")
	return data
}

// vhdxOdd is a VHDX with two empty slots as another tool may move them, among so many items that they cannot be taken out.
func vhdxOdd() []byte {
	v := crash.VHDX{Size: 3 << 20, UUID: "01020304-0506-4708-890a-0b0c0d0e0f10"}
	for i, id := range []string{"4e0a6466-655a-47b2-9aef-52004147ee9d", "f5a67354-d70b-4e71-ab82-3fbfc1c8f79e"} {
		v.After = append(v.After, crash.VHDXItem{ID: id, Flags: 3, Data: make([]byte, 4096), Offset: uint32(128<<10 + i*8192 + 505)})
	}
	for i := range 12 {
		v.After = append(v.After, crash.VHDXItem{ID: fmt.Sprintf("10000000-0000-4000-8000-%012x", i), Flags: 1, Data: []byte("others'")})
	}
	return v.Image()
}
