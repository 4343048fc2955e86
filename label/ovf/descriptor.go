package ovf

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// Namespace is that of our section in a descriptor, its only version.
const Namespace = "https://berth-project.org/xmlns/ovf/1"

// Names in our section: <LabelSection ovf:required="false"><ovf:Info/><Label ovf:diskRef="ID">BASE64</Label>...
const (
	sectionName = "LabelSection"
	labelName   = "Label"
	sectionInfo = "Service levels that the disks of this package ask for"
)

// maxLabelText bounds the text of one label in the section, in bytes, white space included.
const maxLabelText = 16 << 10

const bom = "\ufeff"

// Descriptor is a parsed OVF descriptor: the text, and where in it our section is or goes.
type Descriptor struct {
	text   []byte
	spans  []span // our sections, each with the white space before it
	anchor int    // end of the last disk section: ours goes there
	ns     string // of OVF in this document
	disks  []descriptorDisk
}

type span struct{ from, to int }

type descriptorDisk struct {
	id, href    string
	fileRef     string
	capacity    label.Bytes      // 0: not known
	format      diskimage.Format // declared; empty: not, or not one that we know
	sectionOnly string           // why the label cannot be in the file; empty: it may
	label       string           // base64 of the section, without white space; of several the one with the highest serial
}

type descriptorFile struct {
	href, compression string
	chunked           bool
}

// ParseDescriptor reads a descriptor in UTF-8, at most MaxDescriptor bytes and MaxDepth deep, without a document type.
func ParseDescriptor(text []byte) (*Descriptor, error) {
	if len(text) > MaxDescriptor {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", diskimage.ErrUnsupported, len(text), MaxDescriptor)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: the descriptor is not UTF-8", diskimage.ErrUnsupported)
	}
	if err := checkMarkup(text); err != nil {
		return nil, err
	}
	p := &parser{d: &Descriptor{text: text, anchor: -1}, files: map[string]descriptorFile{}, labels: map[string]string{}}
	if bytes.HasPrefix(text, []byte(bom)) {
		p.base = len(bom)
	}
	p.dec = xml.NewDecoder(bytes.NewReader(text[p.base:]))
	for {
		err := p.token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return p.d, p.finish()
}

// DiskFiles are the names of the files of its disks, in order; one with percent signs in both of its meanings.
func (d *Descriptor) DiskFiles() []string {
	var names []string
	for i := range d.disks {
		href := d.disks[i].href
		if href != "" {
			names = append(names, href)
		}
		if plain := unescape(href); plain != href {
			names = append(names, plain)
		}
	}
	return names
}

// parser walks through the document once. Depth 1 is the envelope, depth 2 its sections.
type parser struct {
	dec     *xml.Decoder
	base    int // of the decoder's offsets in the text
	depth   int
	section sectionKind
	start   int // of the section
	d       *Descriptor
	files   map[string]descriptorFile
	labels  map[string]string // of our sections, by disk
	ref     string            // disk of the label whose text is being read
	chars   *strings.Builder  // its text; nil: none is being read
}

type sectionKind int

const (
	sectionOther sectionKind = iota
	sectionReferences
	sectionDisks
	sectionOurs
)

func (p *parser) offset() int { return p.base + int(p.dec.InputOffset()) }

func (p *parser) corrupt(format string, args ...any) error {
	line, _ := p.dec.InputPos()
	return fmt.Errorf("%w: line %d: %s", diskimage.ErrCorrupt, line, fmt.Sprintf(format, args...))
}

func (p *parser) token() error {
	from := p.offset()
	tok, err := p.dec.Token()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("%w: %w", diskimage.ErrCorrupt, err)
	}
	switch t := tok.(type) {
	case xml.Directive:
		return fmt.Errorf("%w: the descriptor has a document type, which is not read", diskimage.ErrUnsupported)
	case xml.StartElement:
		if p.depth++; p.depth > MaxDepth {
			return p.corrupt("elements more than %d deep", MaxDepth)
		}
		return p.begin(&t, from)
	case xml.EndElement:
		p.end()
		p.depth--
	case xml.CharData:
		if p.chars == nil || p.depth != 3 {
			return nil
		}
		if p.chars.Len()+len(t) > maxLabelText {
			return p.corrupt("a label of more than %d bytes", maxLabelText)
		}
		p.chars.Write(t)
	}
	return nil
}

func (p *parser) begin(t *xml.StartElement, from int) error {
	switch p.depth {
	case 1:
		if p.d.ns != "" || t.Name.Local != "Envelope" || !isOVFSpace(t.Name.Space) {
			return p.corrupt("<%s> of %q, expected one OVF <Envelope>", clip(t.Name.Local), clip(t.Name.Space))
		}
		p.d.ns = t.Name.Space
	case 2:
		p.section, p.start = p.classify(t), from
	case 3:
		switch {
		case p.section == sectionReferences && t.Name.Local == "File":
			return p.file(t)
		case p.section == sectionDisks && t.Name.Local == "Disk":
			return p.disk(t)
		case p.section == sectionOurs && t.Name == xml.Name{Space: Namespace, Local: labelName}:
			p.ref, p.chars = attr(t, "diskRef"), &strings.Builder{}
		}
	}
	return nil
}

func (p *parser) end() {
	switch {
	case p.depth == 3 && p.chars != nil:
		p.keepLabel(p.ref, withoutSpace(p.chars.String()))
		p.chars = nil
	case p.depth == 2 && p.section == sectionDisks:
		p.d.anchor = p.offset()
	case p.depth == 2 && p.section == sectionOurs:
		from := p.start
		for from > 0 && isSpace(p.d.text[from-1]) {
			from--
		}
		p.d.spans = append(p.d.spans, span{from, p.offset()})
	}
}

// keepLabel keeps of two labels of one disk the one with the higher serial, as a reader has to; a merge of two
// descriptors can leave several.
func (p *parser) keepLabel(ref, text string) {
	old, ok := p.labels[ref]
	if ok {
		was, werr := decodeLabel(old)
		is, ierr := decodeLabel(text)
		if ierr != nil || werr == nil && was.Serial >= is.Serial {
			return
		}
	} else if len(p.labels) >= MaxDisks {
		return
	}
	if text == "" {
		text = "=" // there, and damaged
	}
	p.labels[ref] = text
}

// classify also knows oVirt's way: <Section xsi:type="ovf:DiskSection_Type">.
func (p *parser) classify(t *xml.StartElement) sectionKind {
	switch {
	case t.Name == xml.Name{Space: Namespace, Local: sectionName}:
		return sectionOurs
	case t.Name.Space != "" && !isOVFSpace(t.Name.Space):
		return sectionOther
	case t.Name.Local == "References":
		return sectionReferences
	case t.Name.Local == "DiskSection", t.Name.Local == "Section" && strings.HasSuffix(attr(t, "type"), "DiskSection_Type"):
		return sectionDisks
	}
	return sectionOther
}

func (p *parser) file(t *xml.StartElement) error {
	id, href := attr(t, "id"), attr(t, "href")
	if _, twice := p.files[id]; id == "" || twice {
		return p.corrupt("file id %q is empty or there twice", clip(id))
	}
	if len(p.files) >= MaxMembers {
		return p.corrupt("more than %d files", MaxMembers)
	}
	p.files[id] = descriptorFile{href: href, compression: attr(t, "compression"), chunked: attr(t, "chunkSize") != ""}
	return nil
}

func (p *parser) disk(t *xml.StartElement) error {
	dd := descriptorDisk{id: attr(t, "diskId"), fileRef: attr(t, "fileRef")}
	if dd.id == "" || len(dd.id) > maxName {
		return p.corrupt("disk id %q, expected 1 to %d bytes", clip(dd.id), maxName)
	}
	if len(p.d.disks) >= MaxDisks {
		return p.corrupt("more than %d disks", MaxDisks)
	}
	for i := range p.d.disks {
		if p.d.disks[i].id == dd.id {
			return p.corrupt("disk id %q is there twice", clip(dd.id))
		}
	}
	var err error
	if dd.capacity, err = parseCapacity(attr(t, "capacity"), attr(t, "capacityAllocationUnits")); err != nil {
		return p.corrupt("disk %q: %v", clip(dd.id), err)
	}
	dd.format = declaredFormat(attr(t, "format"), attr(t, "volume-format"))
	p.d.disks = append(p.d.disks, dd)
	return nil
}

// finish joins disks, files and labels.
func (p *parser) finish() error {
	if p.d.ns == "" {
		return fmt.Errorf("%w: no <Envelope>", diskimage.ErrCorrupt)
	}
	users := map[string]int{}
	for i := range p.d.disks {
		dd := &p.d.disks[i]
		dd.label = p.labels[dd.id]
		if dd.fileRef == "" {
			dd.sectionOnly = "it has no file in the package"
			continue
		}
		f, ok := p.files[dd.fileRef]
		if !ok {
			return fmt.Errorf("%w: disk %q refers to a file %q that is not listed", diskimage.ErrCorrupt, clip(dd.id), clip(dd.fileRef))
		}
		if isRemote(f.href) {
			dd.sectionOnly = "its file is at " + clip(f.href) + ", which is not followed"
			continue
		}
		if err := checkHref(f.href); err != nil {
			return err
		}
		dd.href = strings.TrimPrefix(f.href, "./")
		switch {
		case f.chunked:
			dd.sectionOnly = "its file is cut into chunks"
		case f.compression != "" && f.compression != "identity":
			dd.sectionOnly = "its file is compressed (" + clip(f.compression) + ")"
		}
		users[dd.href]++
	}
	for i := range p.d.disks {
		if dd := &p.d.disks[i]; dd.sectionOnly == "" && users[dd.href] > 1 {
			dd.sectionOnly = "its file is shared with another disk"
		}
	}
	return nil
}

func isOVFSpace(ns string) bool {
	switch strings.TrimSuffix(ns, "/") {
	case "http://schemas.dmtf.org/ovf/envelope/1", "http://schemas.dmtf.org/ovf/envelope/2":
		return true
	}
	return false
}

// attr is an attribute by its local name: OVF's are qualified, and some writers leave the prefix out.
func attr(t *xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name && a.Name.Space != Namespace {
			return a.Value
		}
	}
	return ""
}

// decodeLabel reads the base64 of a DSSE envelope.
func decodeLabel(text string) (label.Frame, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return label.Frame{}, errors.New("parse label section: not standard base64")
	}
	return label.ParseEnvelope(b)
}

func encodeLabel(f label.Frame) (string, error) {
	b, err := f.Envelope()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// isDescriptor looks for the root element in the beginning of a file.
func isDescriptor(head []byte) bool {
	head = bytes.TrimPrefix(head, []byte(bom))
	head = bytes.TrimLeft(head, " \t\r\n")
	if !bytes.HasPrefix(head, []byte("<")) {
		return false
	}
	dec := xml.NewDecoder(bytes.NewReader(head))
	for {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		if t, ok := tok.(xml.StartElement); ok {
			return t.Name.Local == "Envelope" && isOVFSpace(t.Name.Space)
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func withoutSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && isSpace(byte(r)) {
			return -1
		}
		return r
	}, s)
}
