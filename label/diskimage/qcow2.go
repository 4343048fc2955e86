package diskimage

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/berth-project/berth/label"
)

// The qcow2 header (QEMU, docs/interop/qcow2.txt, "Header"): big endian; version 2 is 72 bytes long, version 3 says
// its length. Header extensions follow it, and after them, in the same first cluster, the name of the backing file.
const (
	qcow2Magic    = "QFI\xfb"
	qcow2HeaderV2 = 72
	qcow2HeaderV3 = 104 // the least
	qcow2NameAt   = 8   // offset of the offset of the backing file name
	qcow2NameMax  = 1023

	qcow2Dirty    = 1 << 0 // incompatible features
	qcow2Corrupt  = 1 << 1
	qcow2DataFile = 1 << 2
	qcow2ExtL2    = 1 << 4
	qcow2Features = 1<<5 - 1 // those known; bit 3: compression type
	qcow2Auto     = 1<<2 - 1 // autoclear features known: bitmaps, raw external data

	// qcow2Least is the smallest cluster with room for a label. That of an image with smaller ones lies beside it.
	qcow2Least = 4096
)

// qcow2 is the codec of QEMU's format, versions 2 and 3. The label is in two header extensions.
type qcow2 struct{}

// qcow2Image is one image as read.
type qcow2Image struct {
	src          *source
	version      uint32
	cluster      int // bytes
	length       int // of the header
	crypt        uint32
	incompatible uint64
	autoclear    uint64
	compression  byte
	tables       [3]uint64 // offsets of the L1 table, the refcount table and the snapshots
	lengths      [3]uint32 // of those, in units of their own
	named        bool      // there is an offset of a backing file name
	name         span
	extensions
	slots extSlots
	info  *Info
}

// span is bytes of the first cluster.
type span struct{ from, to int }

func (qcow2) format() Format { return FormatQcow2 }

func (qcow2) detect(s *source) (bool, error) {
	return len(s.head) >= len(qcow2Magic) && string(s.head[:len(qcow2Magic)]) == qcow2Magic, nil
}

func (qcow2) read(s *source) (*label.Frame, *Info, error) {
	img, err := openQcow2(s)
	if err != nil {
		return nil, &Info{Format: FormatQcow2}, err
	}
	frame, err := img.label()
	return frame, img.info, err
}

func openQcow2(s *source) (*qcow2Image, error) {
	img := &qcow2Image{src: s}
	if err := img.parseHeader(); err != nil {
		return nil, err
	}
	limit := img.cluster
	if img.named {
		limit = img.name.from
	}
	var err error
	if img.extensions, err = readExtensions(s, img.length, limit, img.cluster); err != nil {
		return nil, err
	}
	img.slots = findSlots(img.list)
	return img, img.describe()
}

// beside reports that the label is not in the image: the first cluster is too small for it.
func (img *qcow2Image) beside() bool { return img.cluster < qcow2Least }

func (img *qcow2Image) label() (*label.Frame, error) {
	if img.beside() {
		return img.src.readBeside(img.info)
	}
	return img.slots.frame(), nil
}

func (img *qcow2Image) parseHeader() error {
	b := img.src.head
	if len(b) < qcow2HeaderV3 { // a version 2 header and the least cluster is longer, too
		return fmt.Errorf("read qcow2 header: %w: the file has %d bytes", ErrCorrupt, len(b))
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	u64 := func(off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
	img.version, img.crypt, img.length = u32(4), u32(32), qcow2HeaderV2
	bits, size := u32(20), u64(24)
	switch {
	case img.version != 2 && img.version != 3:
		return fmt.Errorf("read qcow2 header: %w: version %d, expected 2 or 3", ErrUnsupported, img.version)
	case bits < 9 || bits > 21:
		return fmt.Errorf("read qcow2 header: %w: clusters of 2^%d bytes, expected 2^9 to 2^21", ErrCorrupt, bits)
	case size > uint64(label.MaxSize):
		return fmt.Errorf("read qcow2 header: %w: a virtual size of %d bytes", ErrCorrupt, size)
	}
	img.cluster = 1 << bits
	img.tables, img.lengths = [3]uint64{u64(40), u64(48), u64(64)}, [3]uint32{u32(36), u32(56), u32(60)}
	if img.version == 3 {
		length := u32(100)
		if length < qcow2HeaderV3 || length > uint32(img.cluster) {
			return fmt.Errorf("read qcow2 header: %w: a length of %d, expected %d to %d", ErrCorrupt, length, qcow2HeaderV3, img.cluster)
		}
		img.incompatible, img.autoclear, img.length = u64(72), u64(88), int(length)
		if length > qcow2HeaderV3 && len(b) > qcow2HeaderV3 {
			img.compression = b[qcow2HeaderV3]
		}
	}
	at, n := u64(qcow2NameAt), u32(16)
	if at == 0 {
		return nil
	}
	if at > uint64(img.cluster) || n > qcow2NameMax || uint64(n) > uint64(img.cluster)-at {
		return fmt.Errorf("read qcow2 header: %w: a backing file name of %d bytes at %d", ErrCorrupt, n, at)
	}
	img.named, img.name = true, span{int(at), int(at) + int(n)}
	return nil
}

// describe fills Info from the header and the extensions.
func (img *qcow2Image) describe() error {
	img.info = &Info{
		Format: FormatQcow2, Subformat: img.subformat(), VirtualSize: label.Bytes(binary.BigEndian.Uint64(img.src.head[24:])),
		HasLabel: img.slots.frame() != nil, Place: PlaceImage, Damaged: img.slots.damaged(), Unclean: img.incompatible&qcow2Dirty != 0,
	}
	if img.beside() {
		img.info.HasLabel, img.info.Place, img.info.Damaged = false, PlaceSidecar, false
	}
	n := img.name.to - img.name.from
	if n == 0 {
		return nil
	}
	name, err := img.src.at(int64(img.name.from), n)
	if err != nil {
		return err
	}
	if len(name) < n {
		return fmt.Errorf("read qcow2 header: %w: the file ends in the backing file name", ErrCorrupt)
	}
	img.info.Parent.Ref = string(name)
	for _, e := range img.list {
		if e.kind == extBackingFormat {
			img.info.Parent.Format = qcow2Format(string(e.data))
		}
	}
	return nil
}

// qcow2Format is what QEMU calls the format, in the names of this package; one that it has not is kept as it is.
func qcow2Format(driver string) Format {
	if driver == "vpc" {
		return FormatVHD
	}
	return Format(clip(driver))
}

func (img *qcow2Image) subformat() string {
	var b strings.Builder
	unit, n := "B", img.cluster
	switch {
	case n >= 1<<20:
		unit, n = "MiB", n>>20
	case n >= 1<<10:
		unit, n = "KiB", n>>10
	}
	fmt.Fprintf(&b, "v%d, %d %s clusters", img.version, n, unit)
	switch img.crypt {
	case 0:
	case 1:
		b.WriteString(", AES")
	case 2:
		b.WriteString(", LUKS")
	default:
		fmt.Fprintf(&b, ", encryption %d", img.crypt)
	}
	if img.incompatible&qcow2DataFile != 0 {
		b.WriteString(", external data file")
	}
	if img.incompatible&qcow2ExtL2 != 0 {
		b.WriteString(", extended L2")
	}
	if img.compression == 1 {
		b.WriteString(", zstd")
	}
	return b.String()
}

// writable reports why nothing may be written to the image. Only the first cluster is written, and no table, reference
// count or cluster of the guest's is touched, so that a dirty image would come to no harm; but a running QEMU sets that
// bit as well, and on a file system without locks it is the only sign of it.
func (img *qcow2Image) writable() error {
	unknown, auto := img.incompatible&^uint64(qcow2Features), img.autoclear&^uint64(qcow2Auto)
	switch {
	case unknown != 0:
		return fmt.Errorf("plan label: %w: unknown incompatible features %#x", ErrUnsupported, unknown)
	case auto != 0:
		return fmt.Errorf("plan label: %w: unknown autoclear features %#x, which a writer would have to clear", ErrUnsupported, auto)
	case img.incompatible&qcow2Corrupt != 0:
		return fmt.Errorf("plan label: %w: it is marked so; qemu-img check -r all may mend it", ErrCorrupt)
	case img.incompatible&qcow2Dirty != 0:
		return fmt.Errorf("plan label: %w: a virtual machine has it open, or it crashed: then qemu-img check -r all mends it", ErrUnclean)
	case int64(img.cluster) > img.src.size:
		return fmt.Errorf("plan label: %w: the file ends in the first cluster", ErrCorrupt)
	}
	for i, at := range img.tables {
		if at < uint64(img.cluster) && (at != 0 || img.lengths[i] > 0) { // QEMU takes 0 for an offset like any other
			return fmt.Errorf("plan label: %w: a table lies at %d, in the header's cluster", ErrCorrupt, at)
		}
	}
	return nil
}
