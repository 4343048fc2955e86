package diskimage

import (
	"errors"

	"github.com/berth-project/berth/label"
)

// Format is a container format, known by its content.
type Format string

// The formats that Detect names.
const (
	FormatVMDK  Format = "vmdk"
	FormatQcow2 Format = "qcow2"
	FormatVHDX  Format = "vhdx"
	FormatVDI   Format = "vdi"
	FormatVHD   Format = "vhd"
	FormatRaw   Format = "raw" // whole sectors of something else: a guess
)

// FormatNamed is the format that a hypervisor declares by name, QEMU's "vpc" for VHD among them; false: none that carries
// labels. Its word is to be taken (Options.Format), not the content's.
func FormatNamed(name string) (Format, bool) {
	switch f := Format(name); f {
	case FormatVMDK, FormatQcow2, FormatVHDX, FormatVDI, FormatVHD, FormatRaw:
		return f, true
	case "vpc":
		return FormatVHD, true
	default:
		return "", false
	}
}

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
	UUID        string      // the format's own identity as 8-4-4-4-12 lower-case digits; empty: none
	Parent      Parent      // what an overlay, snapshot or delta is based on; zero: nothing
	Extents     []Extent    // of a VMDK, in order; an embedded descriptor names the image itself
	HasLabel    bool        // a valid frame was found
	Place       Place       // where the label is, or where the first one would go
	Damaged     bool        // what is left of a label without a valid frame, or not as this package wrote it
	Unclean     bool        // the image was not closed properly: its label can be read, not changed
	Trace       string      // of a label that does not count: the comment of a cloned VDI, an attribute at odds with the sidecar; for people
}

// Binding is the identity that a label of this image is bound to.
func (i *Info) Binding() label.Binding { return label.Binding{UUID: i.UUID, Size: i.VirtualSize} }

// Parent is an image's own claim of what lies under it. Nothing of it is to be opened without asking where it leads.
type Parent struct {
	Ref    string // as written: a path, relative to the image's folder or not, or a qcow2 "json:" or protocol reference
	Format Format // declared, such as by qcow2's backing format; empty: not said
	UUID   string // of the parent where the format says it: identity (VDI, VHD), or VHDX DataWriteGuid, which is no identity; empty: not said
}

// Exists reports whether there is a parent at all.
func (p Parent) Exists() bool { return p != Parent{} }

// Place is where a label lives.
type Place string

// The places. PlaceImage travels with every byte copy; the others are beside the image (see Beside).
const (
	PlaceImage     Place = "image"
	PlaceSidecar   Place = "sidecar"
	PlaceAttribute Place = "attribute"
)

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
	// Format is what the image was read as.
	Format Format
	// Size is the length of the file that the edit was planned for, in bytes.
	Size int64
	// Before is what the image has to hold where it matters, or Apply refuses with ErrChanged.
	Before []Write
	// Steps are applied in order, with a Sync after each.
	Steps []Step
	// Beside is changed after the steps, one after another, each in one atomic, durable step.
	Beside []BesideChange
	// BesideFirst: before the steps instead. What is taken away in the image must not bring out an older label beside it.
	BesideFirst bool
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

// BesideChange exchanges what lies beside an image: one extended attribute, or the sidecar.
type BesideChange struct {
	Attribute string // name of the extended attribute; empty: the sidecar file
	Old       []byte // what it has to hold or Apply refuses with ErrChanged; nil: nothing
	New       []byte // nil: it is removed
	Optional  bool   // a copy: that it cannot be made is no failure
}
