package diskimage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/label"
)

func (vhd) planSet(s *source, frame label.Frame) (*Edit, error) {
	img, err := openVHD(s)
	if err != nil {
		return nil, err
	}
	present, err := img.label()
	if err != nil {
		return nil, err
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	if img.footer == nil && !s.opts.VHDFooter {
		return s.planSetBeside(frame, img.info, present, img.newEdit().Before...)
	}
	if err := checkFrame(frame, img.info, present); err != nil {
		return nil, err
	}
	encoded, err := frame.Encode()
	if err != nil {
		return nil, err
	}
	if len(encoded) > vhdRoom {
		hint := "set it beside the image instead"
		if img.footer != nil {
			hint = "remove the present label and set the new one beside the image"
		}
		return nil, fmt.Errorf("plan label: %w: it takes %d bytes, the footer has %d; %s", ErrNoRoom, len(encoded), vhdRoom, hint)
	}
	if err := img.alike(); err != nil {
		return nil, err
	}
	if err := img.apart(); err != nil {
		return nil, err
	}
	e := img.newEdit()
	e.Want = &frame
	for i := range img.copies {
		img.copies[i].change(e, vhdLabelAt, append(encoded, make([]byte, vhdRoom-len(encoded))...))
	}
	return e, s.dropSidecar(e)
}

func (img *vhdImage) writable() error {
	if img.info.Unclean {
		return fmt.Errorf("plan label: %w: %s", ErrUnclean, img.reasons)
	}
	return nil
}

// alike refuses footers whose reserved bytes somebody else uses, and copies that differ in more than the label.
func (img *vhdImage) alike() error {
	var first []byte
	for i := range img.copies {
		f := &img.copies[i]
		if !blank(f.data[vhdReservedAt:vhdLabelAt]) {
			return fmt.Errorf("plan label: %w: another tool uses the reserved bytes of the footer at %d", ErrNoRoom, f.at)
		}
		if own := f.data[vhdLabelAt:]; !bytes.HasPrefix(own, []byte("BLB1")) && !blank(own) {
			return fmt.Errorf("plan label: %w: another tool uses the reserved bytes of the footer at %d", ErrNoRoom, f.at)
		}
		same := append(bytes.Clone(f.data[:vhdSumAt]), f.data[vhdUUIDAt:vhdLabelAt]...)
		if first != nil && !bytes.Equal(first, same) {
			return fmt.Errorf("plan label: %w: its two footers differ; open and close it with its hypervisor", ErrUnclean)
		}
		first = same
	}
	return nil
}

// newEdit starts an edit with what must not change until it is applied: the footers.
func (img *vhdImage) newEdit() *Edit {
	e := &Edit{Size: img.src.size}
	for _, f := range img.copies {
		e.Before = append(e.Before, Write{Offset: f.at, Data: bytes.Clone(f.data)})
	}
	return e
}

// change puts data into a copy, with the checksum anew. The copies are changed one after another, that at the beginning first,
// since QEMU writes the footer at the end anew from it when the file grows. Each is one sector and so old or new as a whole.
func (f *vhdFooter) change(e *Edit, at int, data []byte) {
	b := bytes.Clone(f.data)
	copy(b[at:], data)
	binary.BigEndian.PutUint32(b[vhdSumAt:], vhdSum(b, vhdSumAt))
	if !bytes.Equal(b, f.data) {
		e.write(f.at, b)
	}
}

// serial is that of the copy's label; 0: none.
func (f *vhdFooter) serial() uint32 {
	if f.frame == nil {
		return 0
	}
	return f.frame.Serial
}

func (vhd) planRemove(s *source) (*Edit, error) {
	img, err := openVHD(s)
	if err != nil {
		return nil, err
	}
	if _, err := img.label(); err != nil {
		return nil, err
	}
	if !img.info.HasLabel && !img.info.Damaged {
		return nil, fmt.Errorf("plan removal: %w", ErrNoLabel)
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	e := img.newEdit()
	// After a power cut one copy may hold an older label, which must not show: it goes first.
	slices.SortStableFunc(img.copies, func(a, b vhdFooter) int { return cmp.Compare(a.serial(), b.serial()) })
	for i := range img.copies {
		if f := &img.copies[i]; bytes.HasPrefix(f.data[vhdLabelAt:], []byte("BLB1")) {
			f.change(e, vhdLabelAt, make([]byte, vhdRoom))
		}
	}
	return e, s.dropBeside(e, img.info.Place)
}

// planIdentity changes the unique id in every footer. The dynamic header has no part in it.
func (vhd) planIdentity(s *source, uuid string) (*Edit, error) {
	img, err := openVHD(s)
	if err != nil {
		return nil, err
	}
	frame, err := img.label()
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		return nil, fmt.Errorf("plan identity: %w", err)
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	e := img.newEdit()
	e.Want = frame
	for i := range img.copies {
		img.copies[i].change(e, vhdUUIDAt, id)
	}
	return e, nil
}
