package diskimage

import (
	"errors"

	"github.com/berth-project/berth/label"
)

// Format is a container format, known by its content.
type Format string

// The formats that Detect names. Only FormatVMDK carries a label in this version.
const (
	FormatVMDK  Format = "vmdk"
	FormatQcow2 Format = "qcow2"
	FormatVHDX  Format = "vhdx"
	FormatVDI   Format = "vdi"
	FormatVHD   Format = "vhd"
	FormatRaw   Format = "raw" // whole sectors of something else: a guess
)

// What every error of this package is one of (errors.Is).
var (
	// ErrNotImage: the content is no disk image of any known format.
	ErrNotImage = errors.New("not a disk image")
	// ErrUnsupported: a disk image whose format, version or feature this version cannot handle.
	ErrUnsupported = errors.New("unsupported image")
	// ErrExtent: a part of a split image. The label belongs to the image's descriptor file.
	ErrExtent = errors.New("extent of a split image")
	// ErrCorrupt: the image contradicts its format or itself.
	ErrCorrupt = errors.New("corrupt image")
	// ErrUnclean: the image was not closed properly; a tool of its maker has to open and close it first.
	ErrUnclean = errors.New("image not shut down cleanly")
	// ErrNoRoom: the image has no room for this label.
	ErrNoRoom = errors.New("no room for the label")
	// ErrNoLabel: PlanRemove found nothing to remove.
	ErrNoLabel = errors.New("no label")
	// ErrSerial: the new label's serial is not above the present one's.
	ErrSerial = errors.New("serial not above the present label's")
	// ErrBinding: the label was made for another disk.
	ErrBinding = errors.New("label of another disk")
	// ErrDamaged: lines of a label are there, but not as this package wrote them. Remove the label, then set it.
	ErrDamaged = errors.New("damaged label lines")
	// ErrChanged: the image is no longer what the edit was planned for. Plan again.
	ErrChanged = errors.New("image changed meanwhile")
)

// Info is what an image's own headers say. All of it is the image's claim: bounded, not proven.
type Info struct {
	Format      Format
	Subformat   string      // VMDK: createType, such as monolithicSparse
	VirtualSize label.Bytes // as the guest sees it
	UUID        string      // ddb.uuid of a VMDK as 8-4-4-4-12 lower-case digits; empty: none
	ParentHint  string      // parentFileNameHint of a VMDK; empty: no parent
	Extents     []Extent    // of a VMDK, in order; an embedded descriptor names the image itself
	HasLabel    bool        // a valid frame was found
	Damaged     bool        // lines of a label without a valid frame, or not as this package wrote them
	Unclean     bool        // the image was not closed properly: its label can be read, not changed
}

// Binding is the identity that a label of this image is bound to.
func (i *Info) Binding() label.Binding { return label.Binding{UUID: i.UUID, Size: i.VirtualSize} }

// Extent is one part of a VMDK as its descriptor names it.
type Extent struct {
	Access string // RW, RDONLY, NOACCESS
	Type   string // FLAT, SPARSE, ZERO, VMFS, VMFSSPARSE, VMFSRDM, VMFSRAW, SESPARSE
	Name   string // file name as written, relative to the descriptor's folder; empty for ZERO
	Size   label.Bytes
	Offset label.Bytes // where it starts in the file named
}

// Edit is a planned change. Nothing of it refers to the image: it can be inspected, stored, and applied in part
// by a test.
type Edit struct {
	// Size is the length of the file that the edit was planned for, in bytes.
	Size int64
	// Before is what the image has to hold where it matters, or Apply refuses with ErrChanged.
	Before []Write
	// Steps are applied in order, with a Sync after each.
	Steps []Step
	// Replace, when not nil, is the whole new content for a File that is a Replacer; Steps are then not used.
	Replace []byte
	// Want is the label that the image carries afterwards; nil: none.
	Want *label.Frame
	// Remains says what an edit that removes a label leaves behind for other tools to see; empty: nothing.
	Remains string
}

// Step is a set of writes of which any subset may reach the disk before the Sync that follows.
type Step struct{ Writes []Write }

// Write is bytes at an offset of the file.
type Write struct {
	Offset int64
	Data   []byte
}
