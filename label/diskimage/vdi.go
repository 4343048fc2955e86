package diskimage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/berth-project/berth/label"
)

// vdi is the codec of VirtualBox's format, version 1.1 (VirtualBox, src/VBox/Storage/VDICore.h; QEMU, block/vdi.c). The label is in
// the gap that VirtualBox leaves before the block map, and in the comment, which VirtualBox copies into a clone. Images that
// QEMU made have no gap: the comment alone holds the label when it is short enough, else the label is beside the image.
type vdi struct{}

// Offsets of the header. It is in the first sector; all numbers are little endian.
const (
	vdiMagic        = "\x7f\x10\xda\xbe" // at 64
	vdiVersionAt    = 68
	vdiHeaderSizeAt = 72 // of what follows the version
	vdiTypeAt       = 76
	vdiCommentAt    = 84
	vdiCommentSize  = 256 // with the NUL at its end
	vdiMapAt        = 340
	vdiDataAt       = 344
	vdiSectorSizeAt = 360
	vdiDiskSizeAt   = 368
	vdiBlockSizeAt  = 376
	vdiBlocksAt     = 384
	vdiUUIDAt       = 392
	vdiLinkageAt    = 424 // uuidCreate of the parent

	vdiVersion = 1<<16 | 1
	vdiSlot    = 4096
	vdiGapAt   = 4096     // of the slots, when what is used begins no earlier than
	vdiGapEnd  = 16 << 10 // here
)

// vdiImage is one image as read.
type vdiImage struct {
	src     *source
	header  []byte // the first sector
	info    *Info
	slots   []vdiPlace // none: there is no gap
	comment vdiPlace
	hint    bool // the comment only names a label
	beside  *label.Frame
}

// vdiPlace is one place in the image that may hold a label.
type vdiPlace struct {
	at    int64
	data  []byte
	frame *label.Frame
	ours  bool // a label, or remains of one
	empty bool // zeros alone
}

func (vdi) format() Format { return FormatVDI }

func (vdi) detect(s *source) (bool, error) {
	return magic{FormatVDI, 64, vdiMagic}.detect(s)
}

func (vdi) read(s *source) (*label.Frame, *Info, error) {
	img, err := openVDI(s)
	if err != nil {
		return nil, &Info{Format: FormatVDI}, err
	}
	frame, err := img.label()
	return frame, img.info, err
}

func openVDI(s *source) (*vdiImage, error) {
	if len(s.head) < sectorSize {
		return nil, fmt.Errorf("read vdi header: %w: cut off after %d bytes", ErrCorrupt, len(s.head))
	}
	img := &vdiImage{src: s, header: s.head[:sectorSize]}
	if err := img.describe(); err != nil {
		return nil, err
	}
	return img, img.places()
}

func (img *vdiImage) u32(at int) uint32 { return binary.LittleEndian.Uint32(img.header[at:]) }

// describe checks what a label depends on, and fills Info.
func (img *vdiImage) describe() error {
	if v := img.u32(vdiVersionAt); v != vdiVersion {
		return fmt.Errorf("read vdi header: %w: version %d.%d, expected 1.1", ErrUnsupported, v>>16, v&0xffff)
	}
	if n := img.u32(vdiHeaderSizeAt); n < 384 || n > sectorSize-vdiHeaderSizeAt {
		return fmt.Errorf("read vdi header: %w: header of %d bytes, expected 384 to %d", ErrCorrupt, n, sectorSize-vdiHeaderSizeAt)
	}
	if n := img.u32(vdiSectorSizeAt); n != sectorSize {
		return fmt.Errorf("read vdi header: %w: sectors of %d bytes, expected %d", ErrUnsupported, n, sectorSize)
	}
	kind := img.u32(vdiTypeAt)
	if kind < 1 || kind > 4 {
		return fmt.Errorf("read vdi header: %w: image type %d, expected 1 to 4", ErrUnsupported, kind)
	}
	size, blocks := binary.LittleEndian.Uint64(img.header[vdiDiskSizeAt:]), uint64(img.u32(vdiBlocksAt))
	if size == 0 || size > uint64(label.MaxSize)-sectorSize || size > blocks*uint64(img.u32(vdiBlockSizeAt)) {
		return fmt.Errorf("read vdi header: %w: disk of %d bytes in %d blocks of %d", ErrCorrupt, size, blocks, img.u32(vdiBlockSizeAt))
	}
	begin, data := uint64(img.u32(vdiMapAt)), uint64(img.u32(vdiDataAt))
	if begin < sectorSize || data < sectorSize || data >= begin && data < begin+4*blocks {
		return fmt.Errorf("read vdi header: %w: block map of %d entries at %d, data at %d", ErrCorrupt, blocks, begin, data)
	}
	img.info = &Info{
		Format: FormatVDI, Subformat: [...]string{"dynamic", "fixed", "undo", "differencing"}[kind-1], UUID: mixedUUID(img.header[vdiUUIDAt:]),
		VirtualSize: label.Bytes((size + sectorSize - 1) / sectorSize * sectorSize), // QEMU rounds up too
	}
	if kind > 2 {
		img.info.Parent.UUID = mixedUUID(img.header[vdiLinkageAt:])
	}
	return nil
}

// mixedUUID is a UUID whose first three fields are little endian, as VirtualBox keeps and shows it; empty: all zero.
func mixedUUID(b []byte) string {
	if blank(b[:16]) {
		return ""
	}
	return normalUUID(hex.EncodeToString([]byte{
		b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6],
		b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15],
	}))
}

// gap is where two slots fit that nothing in the image uses; 0: nowhere. VirtualBox's block map begins at 1 MiB. A gap behind the
// map may be used up when VirtualBox makes the disk larger, which makes a label invalid anyway: the end of it comes last.
func (img *vdiImage) gap() int64 {
	begin, data := int64(img.u32(vdiMapAt)), int64(img.u32(vdiDataAt))
	if min(begin, data) >= vdiGapEnd && img.src.size >= vdiGapAt+2*vdiSlot {
		return vdiGapAt
	}
	at := (data - 2*vdiSlot) &^ (vdiSlot - 1)
	if data > begin && at >= begin+4*int64(img.u32(vdiBlocksAt)) && img.src.size >= at+2*vdiSlot {
		return at
	}
	return 0
}

// places looks at all that may hold a label in the image.
func (img *vdiImage) places() error {
	if at := img.gap(); at > 0 {
		b, err := img.src.at(at, 2*vdiSlot)
		if err != nil {
			return err
		}
		if len(b) == 2*vdiSlot {
			img.slots = []vdiPlace{slotAt(b[:vdiSlot], at), slotAt(b[vdiSlot:], at+vdiSlot)}
		}
	}
	c := &img.comment
	c.at, c.data = vdiCommentAt, img.header[vdiCommentAt:vdiCommentAt+vdiCommentSize]
	c.empty = blank(c.data)
	text, rest, ended := bytes.Cut(c.data, []byte{0})
	switch {
	case !ended || !blank(rest): // somebody else's
	case bytes.HasPrefix(text, []byte(shortMagic)):
		if c.ours = true; img.current() == nil { // else the slot is what counts
			c.frame = parseShort(string(text))
		}
	case bytes.HasPrefix(text, []byte(hintMagic)):
		c.ours, img.hint = true, true
	}
	return nil
}

// slotAt reads the slot with the bytes b at an offset of the file.
func slotAt(b []byte, at int64) vdiPlace {
	p := vdiPlace{at: at, data: b, ours: bytes.HasPrefix(b, []byte("BLB1")), empty: blank(b)}
	p.frame = frameAt(b)
	return p
}

// blank reports whether b is zeros alone.
func blank(b []byte) bool {
	var zero [sectorSize]byte
	for len(b) > len(zero) {
		if !bytes.Equal(b[:len(zero)], zero[:]) {
			return false
		}
		b = b[len(zero):]
	}
	return bytes.Equal(b, zero[:len(b)])
}

// usable reports whether the slots can take a label: nobody else has anything there.
func (img *vdiImage) usable() bool {
	for _, p := range img.slots {
		if !p.ours && !p.empty {
			return false
		}
	}
	return len(img.slots) > 0
}

// current is the slot whose label counts, or nil.
func (img *vdiImage) current() *vdiPlace {
	var best *vdiPlace
	for i := range img.slots {
		if p := &img.slots[i]; p.frame != nil && (best == nil || p.frame.Serial > best.frame.Serial) {
			best = p
		}
	}
	return best
}

// label finds the label that counts and completes Info: a slot's before the comment's; what is beside the image only when its
// serial is higher.
func (img *vdiImage) label() (*label.Frame, error) {
	var best *label.Frame
	info := img.info
	info.Place = PlaceImage
	if p := img.current(); p != nil {
		best = p.frame
	} else if img.comment.frame != nil {
		best = img.comment.frame
	}
	damaged := img.comment.ours && img.comment.frame == nil && !img.hint
	for _, p := range img.slots {
		damaged = damaged || p.ours && p.frame == nil
	}
	if !img.usable() {
		beside := *info
		f, err := img.src.readBeside(&beside)
		if err != nil {
			return nil, err
		}
		img.beside = f
		damaged = damaged || beside.Damaged
		if f != nil && (best == nil || f.Serial > best.Serial) || best == nil && !img.comment.ours && !img.comment.empty {
			best, info.Place = f, beside.Place
		}
	}
	info.HasLabel, info.Damaged = best != nil, best == nil && damaged
	if best == nil && img.hint {
		text, _, _ := bytes.Cut(img.comment.data, []byte{0})
		info.Trace = fmt.Sprintf("the comment names a label that is not in the image: %q", text[len(hintMagic):])
	}
	return best, nil
}
