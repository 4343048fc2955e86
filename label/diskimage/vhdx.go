package diskimage

import (
	"encoding/binary"
	"fmt"

	"github.com/berth-project/berth/label"
)

// vhdx is the codec of Hyper-V's format, after [MS-VHDX]. The label is in two user metadata items; what the guest
// sees and what other tools know lies elsewhere.
type vhdx struct{}

// vhdxMaxSize is the largest virtual disk of the format ([MS-VHDX] 2.6.2.2), in bytes.
const vhdxMaxSize label.Bytes = 64 << 40

// vhdxNoID is what stands in the place of an identity that there is not.
const vhdxNoID = "00000000-0000-0000-0000-000000000000"

// vhdxImage is one image as read.
type vhdxImage struct {
	src     *source
	headers vhdxHeaders
	regions vhdxRegions
	table   vhdxTable
	window  vhdxWindow
	slots   [2]vhdxSlot // A and B
	info    *Info
}

func (vhdx) format() Format { return FormatVHDX }

func (vhdx) detect(s *source) (bool, error) { return magic{FormatVHDX, 0, "vhdxfile"}.detect(s) }

// read needs six reads for the usual image: the head, both headers, the region table, the metadata table, the items.
func (vhdx) read(s *source) (*label.Frame, *Info, error) {
	img, err := openVHDX(s)
	if err != nil {
		return nil, img.info, err
	}
	return img.frame(), img.info, nil
}

// openVHDX gives the image even with an error: what Info holds is what is known.
func openVHDX(s *source) (*vhdxImage, error) {
	img := &vhdxImage{src: s, info: &Info{Format: FormatVHDX, Place: PlaceImage}}
	var err error
	if img.headers, err = readVHDXHeaders(s); err != nil {
		return img, err
	}
	// The log may hold a newer state of the metadata: what is read here can be outdated.
	img.info.Unclean = img.headers.now().logged()
	if img.regions, err = readVHDXRegions(s); err != nil {
		return img, err
	}
	if img.table, err = readVHDXTable(s, img.regions.metadata); err != nil {
		return img, err
	}
	if err := img.readItems(); err != nil {
		return img, err
	}
	return img, img.readSlots()
}

// readItems fills Info from the items that every image has.
func (img *vhdxImage) readItems() error {
	img.window = newVHDXWindow(img)
	parameters, err := img.system(vhdxFileParameters, 8)
	if err != nil {
		return err
	}
	size, err := img.system(vhdxVirtualSize, 8)
	if err != nil {
		return err
	}
	id, err := img.system(vhdxDiskID, 16)
	if err != nil {
		return err
	}
	bytes := binary.LittleEndian.Uint64(size)
	if bytes > uint64(vhdxMaxSize) {
		return fmt.Errorf("read vhdx metadata: %w: virtual size of %d bytes, expected at most %d", ErrCorrupt, bytes, vhdxMaxSize)
	}
	img.info.VirtualSize = label.Bytes(bytes)
	if uuid := vhdxGUID(id); uuid != vhdxNoID {
		img.info.UUID = uuid // a tool that did not draw one leaves zeros: they tell no disk from another
	}
	const leaveAllocated, hasParent = 1, 2
	switch flags := binary.LittleEndian.Uint32(parameters[4:]); {
	case flags&hasParent != 0:
		img.info.Subformat = "differencing"
		return img.readParent()
	case flags&leaveAllocated != 0:
		img.info.Subformat = "fixed"
	default:
		img.info.Subformat = "dynamic"
	}
	return nil
}

// system gives the first n bytes of an item that every image has.
func (img *vhdxImage) system(id string, n int) ([]byte, error) {
	e := img.table.find(id, false)
	if e == nil {
		return nil, fmt.Errorf("read vhdx metadata: %w: no item %s", ErrCorrupt, id)
	}
	b, err := img.window.item(img, e, n)
	if err != nil {
		return nil, err
	}
	if len(b) < n {
		return nil, fmt.Errorf("read vhdx metadata: %w: item %s has %d bytes, expected %d", ErrCorrupt, id, len(b), n)
	}
	return b, nil
}
