package diskimage

import (
	"bytes"
	"fmt"

	"github.com/berth-project/berth/label"
)

// vmdk is the codec of every subformat with a descriptor: embedded in a sparse file (monolithicSparse,
// streamOptimized), or a text file (flat, split, vmfs, vmfsSparse, seSparse).
type vmdk struct{}

// vmdkImage is one image as read.
type vmdkImage struct {
	src    *source
	header *sparse // nil: a text file
	base   int64   // offset of the text in the file
	area   int     // bytes that the text may fill as the image is; of a text file the file's size
	desc   *descriptor
	info   *Info
}

func (vmdk) format() Format { return FormatVMDK }

func (vmdk) detect(s *source) (bool, error) {
	for _, m := range []string{sparseMagic, cowMagic, seSparseMagic} {
		if bytes.HasPrefix(s.head, []byte(m)) {
			return true, nil
		}
	}
	return isDescriptor(s.head), nil
}

func (vmdk) read(s *source) (*label.Frame, *Info, error) {
	img, err := openVMDK(s)
	if err != nil {
		return nil, &Info{Format: FormatVMDK}, err
	}
	return img.desc.slots.frame(), img.info, nil
}

func openVMDK(s *source) (*vmdkImage, error) {
	img := &vmdkImage{src: s, area: int(min(s.size, maxText+1))}
	switch {
	case bytes.HasPrefix(s.head, []byte(cowMagic)), bytes.HasPrefix(s.head, []byte(seSparseMagic)):
		return nil, fmt.Errorf("read vmdk: %w: it has no descriptor; label the image's descriptor file instead (the one that names this file)", ErrExtent)
	case bytes.HasPrefix(s.head, []byte(sparseMagic)):
		h, err := parseSparse(s)
		if err != nil {
			return nil, err
		}
		img.header = h
		img.base = int64(h.descOffset) * sectorSize
		img.area = int(min(h.descSize*sectorSize, maxText+1))
	}
	if err := img.readText(); err != nil {
		return nil, err
	}
	return img, img.describe()
}

// readText gets the descriptor, in one more read only when it goes beyond the head.
func (img *vmdkImage) readText() error {
	text, err := img.src.at(img.base, min(img.area, max(0, len(img.src.head)-int(min(img.base, headSize)))))
	if err != nil {
		return err
	}
	if len(text) < img.area && bytes.IndexByte(text, 0) < 0 {
		if text, err = img.src.at(img.base, img.area); err != nil {
			return err
		}
	}
	if img.desc, err = parseDescriptor(text); err != nil {
		return err
	}
	if len(img.desc.text) > maxText {
		return fmt.Errorf("read vmdk descriptor: %w: longer than %d bytes", ErrCorrupt, maxText)
	}
	return nil
}

// describe fills Info from the header and the text.
func (img *vmdkImage) describe() error {
	d := img.desc
	img.info = &Info{
		Format: FormatVMDK, Subformat: clip(d.createType), UUID: normalUUID(d.uuid), Parent: Parent{Ref: d.hint}, Place: PlaceImage,
		Extents: d.extents, HasLabel: d.slots.frame() != nil, Damaged: d.slots.damaged(),
	}
	if img.header != nil {
		img.info.VirtualSize = label.Bytes(img.header.capacity) * sectorSize
		img.info.Unclean = img.header.unclean
		return nil
	}
	if d.createType == "" && !d.cid {
		return fmt.Errorf("read vmdk descriptor: %w: neither createType nor CID", ErrNotImage)
	}
	if len(d.extents) == 0 {
		return fmt.Errorf("read vmdk descriptor: %w: no extent", ErrCorrupt)
	}
	var err error
	img.info.VirtualSize, err = d.size()
	return err
}
