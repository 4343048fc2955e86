package ovf

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// The formats of appliances, known by content (Detect).
const (
	FormatOVA diskimage.Format = "ova" // ustar archive whose first member is a descriptor
	FormatOVF diskimage.Format = "ovf" // descriptor, its files beside it
)

// PlaceSection is where a label is that counts by the descriptor's section and not by the disk's file.
const PlaceSection diskimage.Place = "section"

// Limits of what is read.
const (
	MaxDescriptor = 16 << 20 // bytes
	MaxManifest   = 4 << 20  // bytes; of a certificate file too
	MaxMembers    = 4096     // of an archive, and files that a descriptor refers to
	MaxDisks      = 1024
	MaxDepth      = 64       // of elements in a descriptor
	MaxTags       = 1 << 18  // of a descriptor
	MaxTag        = 64 << 10 // bytes of one tag, attributes included
	maxName       = 1024
)

// What the errors of this package are one of besides those of package diskimage (errors.Is).
var (
	// ErrManifest: manifest or signature contradict the package as it is: it is damaged, or somebody changed it.
	ErrManifest = errors.New("package does not match its manifest")
	// ErrSigned: the manifest is signed, and no key was given to sign the new one with.
	ErrSigned = errors.New("signed manifest")
	// ErrNoFile: a Source has no file of this name.
	ErrNoFile = errors.New("no such file in the package")
	// ErrNoDisk: the package has no disk of this name.
	ErrNoDisk = errors.New("no such disk in the package")
)

// Source gives the files of a package.
type Source interface {
	// Open gives a file by its name, which Read has checked: relative, without "..", with "/" between folders. ErrNoFile:
	// there is none.
	Open(name string) (diskimage.Reader, error)
}

// Detect says whether r is an appliance: FormatOVA, FormatOVF, or "" for anything else. It costs one read, a second one
// for an archive that begins with an extended header.
func Detect(r diskimage.Reader) diskimage.Format {
	head := make([]byte, min(r.Size(), detectSize))
	n, err := r.ReadAt(head, 0)
	if n < len(head) || err != nil && n == 0 {
		return ""
	}
	switch {
	case isTar(head):
		if first, ok := firstMember(r); ok && isDescriptorName(first) {
			return FormatOVA
		}
	case isDescriptor(head):
		return FormatOVF
	}
	return ""
}

const detectSize = 4 << 10

// Disk is one virtual disk of a package, with its label.
type Disk struct {
	ID   string // ovf:diskId
	File string // name of its file in the package; empty: it has none (an empty disk)
	// Frame is the label that counts: the one in the disk's file or in the descriptor's section, whichever has the higher
	// serial; the file's when they are equal. Nil: none.
	Frame *label.Frame
	// Info is what the file's headers say, under the format of the package; without a file that can be read, only the
	// capacity that the descriptor claims.
	Info diskimage.Info
	// Content is the format of the disk's file; empty: not known.
	Content diskimage.Format
	// InFile says that Frame is the one in the disk's file.
	InFile bool
	// SectionOnly says why the label is not kept in the disk's file as well; empty: it is.
	SectionOnly string
	// Remains says, after Plan, what a removal leaves in the disk's file for other tools to see; empty: nothing.
	Remains string

	declared *descriptorDisk
	inside   *label.Frame
	hasBytes bool // the file holds a label, or what is left of one
	section  bool // the section holds one
	changed  bool
	want     *label.Frame // after the change; nil: none
}

// Package is an appliance that has been read.
type Package struct {
	Format diskimage.Format
	Name   string // of the descriptor's file
	Disks  []*Disk
	Signed bool // a certificate file with a signature over the manifest is there

	src      Source
	desc     *Descriptor
	manifest *Manifest // nil: none
	cert     *Certificate
	mfName   string
	certName string
}

// Read reads a package's descriptor, manifest and disks' labels. name is the descriptor's file in src.
func Read(format diskimage.Format, name string, src Source) (*Package, error) {
	text, err := readWhole(src, name, MaxDescriptor)
	if err != nil {
		return nil, fmt.Errorf("read descriptor %s: %w", clip(name), err)
	}
	desc, err := ParseDescriptor(text)
	if err != nil {
		return nil, fmt.Errorf("read descriptor %s: %w", clip(name), err)
	}
	p := &Package{Format: format, Name: name, src: src, desc: desc}
	base := trimExt(name)
	p.mfName, p.certName = base+".mf", base+".cert"
	if err := p.readManifest(); err != nil {
		return nil, err
	}
	for i := range desc.disks {
		d, err := p.readDisk(&desc.disks[i])
		if err != nil {
			return nil, fmt.Errorf("read disk %s: %w", clip(desc.disks[i].id), err)
		}
		p.Disks = append(p.Disks, d)
	}
	return p, nil
}

// OpenArchive reads the package in an OVA.
func OpenArchive(r diskimage.Reader) (*Package, *Archive, error) {
	a, err := ReadArchive(r)
	if err != nil {
		return nil, nil, err
	}
	p, err := Read(FormatOVA, a.Members[0].Name, a)
	return p, a, err
}

// Disk is the disk of this name.
func (p *Package) Disk(id string) (*Disk, error) {
	for _, d := range p.Disks {
		if d.ID == id {
			return d, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoDisk, clip(id))
}

func (p *Package) readManifest() error {
	text, err := readWhole(p.src, p.mfName, MaxManifest)
	switch {
	case errors.Is(err, ErrNoFile):
	case err != nil:
		return fmt.Errorf("read manifest %s: %w", clip(p.mfName), err)
	default:
		if p.manifest, err = ParseManifest(text); err != nil {
			return fmt.Errorf("read manifest %s: %w", clip(p.mfName), err)
		}
	}
	text, err = readWhole(p.src, p.certName, MaxManifest)
	if errors.Is(err, ErrNoFile) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read certificate %s: %w", clip(p.certName), err)
	}
	p.Signed = true
	if p.cert, err = parseCertificate(text); err != nil {
		return fmt.Errorf("read certificate %s: %w", clip(p.certName), err)
	}
	return nil
}

// readDisk reads what the disk's file holds, as far as it can be read here.
func (p *Package) readDisk(dd *descriptorDisk) (*Disk, error) {
	d := &Disk{ID: dd.id, File: dd.href, declared: dd, section: dd.label != "", SectionOnly: dd.sectionOnly}
	d.Info = diskimage.Info{Format: p.Format, VirtualSize: dd.capacity, Place: diskimage.PlaceImage}
	damaged := false
	if dd.label != "" {
		frame, err := decodeLabel(dd.label)
		if err == nil {
			d.Frame = &frame
		} else {
			damaged = true
		}
	}
	if d.SectionOnly == "" {
		insideDamaged, err := p.readInside(d)
		if err != nil {
			return nil, err
		}
		damaged = damaged || insideDamaged
	}
	if d.inside != nil && (d.Frame == nil || d.inside.Serial >= d.Frame.Serial) {
		d.Frame, d.InFile = d.inside, true
	}
	if d.Frame != nil && !d.InFile || d.SectionOnly != "" {
		d.Info.Place = PlaceSection
	}
	d.Info.HasLabel, d.Info.Damaged = d.Frame != nil, d.Frame == nil && damaged
	return d, nil
}

func (p *Package) readInside(d *Disk) (damaged bool, err error) {
	r, err := p.src.Open(d.File)
	if name := unescape(d.File); errors.Is(err, ErrNoFile) && name != d.File && checkHref(name) == nil {
		d.File = name
		r, err = p.src.Open(name)
	}
	if d.File == p.Name || d.File == p.mfName || d.File == p.certName {
		return false, fmt.Errorf("%w: its file is %s, which is no disk", diskimage.ErrCorrupt, clip(d.File))
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", clip(d.File), err)
	}
	frame, info, err := d.options().ReadLabel(r)
	if errors.Is(err, diskimage.ErrUnsupported) || errors.Is(err, diskimage.ErrExtent) || errors.Is(err, diskimage.ErrNotImage) {
		d.SectionOnly = bareReason(err)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", clip(d.File), err)
	}
	d.inside, d.hasBytes, d.Content = frame, frame != nil || info.Damaged, info.Format
	capacity := d.Info.VirtualSize
	d.Info = *info
	d.Info.Format, d.Info.Parent = p.Format, diskimage.Parent{} // what it names is not in the package under that name
	if d.Info.VirtualSize == 0 {
		d.Info.VirtualSize = capacity
	}
	return info.Damaged, nil
}

func (d *Disk) options() diskimage.Options { return diskimage.Options{Format: d.declared.format} }

// Set plans frame as the label of a disk. It has to be bound to the disk (Disk.Info), and its serial above the present one's.
func (p *Package) Set(id string, frame label.Frame) error {
	d, err := p.Disk(id)
	if err != nil {
		return err
	}
	doc, err := frame.Document()
	if err != nil {
		return fmt.Errorf("plan label: %w", err)
	}
	if is := d.Info.Binding(); doc.Disk.Size != is.Size || doc.Disk.UUID != "" && is.UUID != "" && doc.Disk.UUID != is.UUID {
		return fmt.Errorf("plan label: %w: disk %s", diskimage.ErrBinding, clip(id))
	}
	if d.Frame != nil && frame.Serial <= d.Frame.Serial {
		return fmt.Errorf("plan label: %w: %d, present %d", diskimage.ErrSerial, frame.Serial, d.Frame.Serial)
	}
	d.want, d.changed = &frame, true
	return nil
}

// Remove plans the removal of a disk's label from section and file, damaged or not. ErrNoLabel: there is nothing to remove.
func (p *Package) Remove(id string) error {
	d, err := p.Disk(id)
	if err != nil {
		return err
	}
	if !d.section && !d.hasBytes {
		return fmt.Errorf("plan removal: %w", diskimage.ErrNoLabel)
	}
	d.want, d.changed = nil, true
	return nil
}

// readWhole reads a file of at most limit bytes.
func readWhole(src Source, name string, limit int64) ([]byte, error) {
	r, err := src.Open(name)
	if err != nil {
		return nil, err
	}
	return readRange(r, 0, r.Size(), limit)
}

func readRange(r diskimage.Reader, off, n, limit int64) ([]byte, error) {
	if n > limit {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", diskimage.ErrUnsupported, n, limit)
	}
	b := make([]byte, n)
	if got, err := r.ReadAt(b, off); int64(got) < n {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	return b, nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

func equalFrames(a, b *label.Frame) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Serial == b.Serial && a.KeyID == b.KeyID && a.Signature == b.Signature && bytes.Equal(a.Payload, b.Payload)
}
