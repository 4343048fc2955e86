package diskimage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/berth-project/berth/label"
)

// vhd is the codec of Microsoft's older format ("Virtual Hard Disk Image Format Specification", 2006). All numbers are
// big endian. A first label goes beside the image, or, when Options.VHDFooter asks for it, into the reserved bytes of the footer
// and of its copy at the beginning.
type vhd struct{}

// Offsets of the footer, which is one sector.
const (
	vhdMagic      = "conectix"
	vhdVersionAt  = 12
	vhdHeaderAt   = 16 // where the dynamic header is
	vhdCreatorAt  = 28
	vhdSizeAt     = 48
	vhdGeometryAt = 56 // cylinders, heads, sectors a track
	vhdTypeAt     = 60
	vhdSumAt      = 64
	vhdUUIDAt     = 68
	vhdSavedAt    = 84
	vhdReservedAt = 86
	vhdLabelAt    = 96 // byte 85 is XenServer's "hidden" flag; some space for more of its kind
	vhdRoom       = sectorSize - vhdLabelAt

	vhdFixed        = 2
	vhdDynamic      = 3
	vhdDifferencing = 4
)

// vhdImage is one image as read.
type vhdImage struct {
	src     *source
	copies  []vhdFooter // those that are there, the one at the beginning first
	kind    uint32
	info    *Info
	footer  *label.Frame // the label in the footers
	reasons string       // why it is unclean
}

// vhdFooter is one copy of the footer.
type vhdFooter struct {
	at    int64
	data  []byte
	frame *label.Frame
}

func (vhd) format() Format { return FormatVHD }

func (vhd) detect(s *source) (bool, error) {
	if bytes.HasPrefix(s.head, []byte(vhdMagic)) {
		return true, nil
	}
	foot, err := vhdEnd(s)
	return foot != nil, err
}

// vhdEnd is the footer at the end of the file, or nil.
func vhdEnd(s *source) ([]byte, error) {
	if s.size < sectorSize || s.size%sectorSize != 0 {
		return nil, nil
	}
	b, err := s.at(s.size-sectorSize, sectorSize)
	if err != nil || len(b) < sectorSize || !bytes.HasPrefix(b, []byte(vhdMagic)) {
		return nil, err
	}
	return b, nil
}

func (vhd) read(s *source) (*label.Frame, *Info, error) {
	img, err := openVHD(s)
	if err != nil {
		return nil, &Info{Format: FormatVHD}, err
	}
	frame, err := img.label()
	return frame, img.info, err
}

// vhdSum is the one's complement of the sum of all bytes but the sum's own.
func vhdSum(b []byte, at int) uint32 {
	var sum uint32
	for i, c := range b {
		if i < at || i >= at+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}

func (f *vhdFooter) u32(at int) uint32 { return binary.BigEndian.Uint32(f.data[at:]) }

func (f *vhdFooter) sound() bool { return f.u32(vhdSumAt) == vhdSum(f.data, vhdSumAt) }

func openVHD(s *source) (*vhdImage, error) {
	img := &vhdImage{src: s}
	end, err := vhdEnd(s)
	if err != nil {
		return nil, err
	}
	last := vhdFooter{at: s.size - sectorSize, data: end}
	if len(s.head) >= sectorSize && bytes.HasPrefix(s.head, []byte(vhdMagic)) {
		first := vhdFooter{data: s.head[:sectorSize]}
		// Of a fixed disk the first sector is the guest's, whatever is in it.
		if fixed := end != nil && last.at > 0 && last.sound() && last.u32(vhdTypeAt) == vhdFixed; !fixed {
			img.copies = append(img.copies, first)
		}
	}
	if end != nil && last.at > 0 {
		img.copies = append(img.copies, last)
	}
	return img, img.describe()
}

// main is the first copy with the right checksum, or nil.
func (img *vhdImage) main() *vhdFooter {
	for i := range img.copies {
		if img.copies[i].sound() {
			return &img.copies[i]
		}
	}
	return nil
}

func (img *vhdImage) describe() error {
	f := img.main()
	if f == nil {
		return fmt.Errorf("read vhd footer: %w: no footer with the right checksum", ErrCorrupt)
	}
	if v := f.u32(vhdVersionAt); v>>16 != 1 {
		return fmt.Errorf("read vhd footer: %w: version %d.%d, expected 1", ErrUnsupported, v>>16, v&0xffff)
	}
	img.kind = f.u32(vhdTypeAt)
	if img.kind < vhdFixed || img.kind > vhdDifferencing {
		return fmt.Errorf("read vhd footer: %w: disk type %d, expected 2 to 4", ErrUnsupported, img.kind)
	}
	name := [...]string{"fixed", "dynamic", "differencing"}[img.kind-vhdFixed]
	size := vhdSize(f)
	if size == 0 || size > uint64(label.MaxSize) || img.kind == vhdFixed && size > uint64(f.at) {
		return fmt.Errorf("read vhd footer: %w: disk of %d bytes", ErrCorrupt, size)
	}
	img.info = &Info{Format: FormatVHD, Subformat: name, VirtualSize: label.Bytes(size), UUID: plainUUID(f.data[vhdUUIDAt:])}
	img.state(f)
	if img.kind != vhdDifferencing {
		return nil
	}
	return img.readParent(int64(binary.BigEndian.Uint64(f.data[vhdHeaderAt:])))
}

// state says whether the image was closed properly.
func (img *vhdImage) state(f *vhdFooter) {
	want := 2
	if img.kind == vhdFixed {
		want = 1
	}
	switch sound := 0; {
	case f.data[vhdSavedAt] != 0:
		img.reasons = "it belongs to a machine in saved state"
	default:
		for i := range img.copies {
			if img.copies[i].sound() {
				sound++
			}
		}
		if sound != want {
			img.reasons = "one of its footers is missing or damaged; open and close it with its hypervisor"
		}
	}
	img.info.Unclean = img.reasons != ""
}

// vhdSize is the disk's size in bytes as QEMU tells it, so that the guest's disk, the label's binding and `qemu-img info` agree. Virtual
// PC and old QEMU make the disk as large as the geometry says, everybody else as the current size says; the creator tells which.
// VirtualBox ("vbox") counts by the current size, but QEMU by the geometry, and QEMU it is here.
func vhdSize(f *vhdFooter) uint64 {
	const maxGeometry = 65535 * 16 * 255
	c, h, s := binary.BigEndian.Uint16(f.data[vhdGeometryAt:]), f.data[vhdGeometryAt+2], f.data[vhdGeometryAt+3]
	sectors := uint64(c) * uint64(h) * uint64(s)
	bySize := sectors == maxGeometry
	for _, creator := range []string{"win ", "qem2", "d2v ", "CTXS", "tap", "wa\x00\x00"} {
		bySize = bySize || bytes.HasPrefix(f.data[vhdCreatorAt:vhdCreatorAt+4], []byte(creator))
	}
	if bySize {
		return binary.BigEndian.Uint64(f.data[vhdSizeAt:]) / sectorSize * sectorSize
	}
	return sectors * sectorSize
}

// plainUUID is a UUID in the order of its digits; empty: all zero.
func plainUUID(b []byte) string {
	if blank(b[:16]) {
		return ""
	}
	return normalUUID(hex.EncodeToString(b[:16]))
}

// label finds the label that counts and completes Info: of equal serials the first copy's, then the end's, then what is beside.
func (img *vhdImage) label() (*label.Frame, error) {
	damaged := false
	for i := range img.copies {
		f := &img.copies[i]
		if !f.sound() {
			continue
		}
		if f.frame = frameAt(f.data[vhdLabelAt:]); f.frame == nil {
			damaged = damaged || bytes.HasPrefix(f.data[vhdLabelAt:], []byte("BLB1"))
		} else if img.footer == nil || f.frame.Serial > img.footer.Serial {
			img.footer = f.frame
		}
	}
	info := *img.info
	best, err := img.src.readBeside(&info)
	if err != nil {
		return nil, err
	}
	if img.footer != nil && (best == nil || img.footer.Serial >= best.Serial) {
		best, info.Place = img.footer, PlaceImage
	} else if best == nil && (damaged || img.src.opts.VHDFooter) {
		info.Place = PlaceImage
	}
	info.HasLabel, info.Damaged = best != nil, best == nil && (damaged || info.Damaged)
	img.info = &info
	return best, nil
}
