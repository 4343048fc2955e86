package libvirt

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxDomainXML bounds a domain's XML; libvirt's own limit of a string is 4 MiB.
const maxDomainXML = 4 << 20

// moveNS is the XML namespace of the driver's mark in a domain's metadata.
const moveNS = "https://berth-project.github.io/ns/move/1"

// marker is the driver's mark on a target definition that does not count yet.
type marker struct {
	State     string // stateIncoming
	From      string // host that the VM comes from
	Autostart bool   // as it was there
}

// stateIncoming marks a definition that does not count as long as the source is defined.
const stateIncoming = "incoming"

func (m marker) String() string {
	var from bytes.Buffer
	_ = xml.EscapeText(&from, []byte(m.From)) // a bytes.Buffer cannot fail
	return fmt.Sprintf(`<berth:move xmlns:berth="%s" state="%s" from="%s" autostart="%t"/>`, moveNS, m.State, from.String(), m.Autostart)
}

// span is a range of bytes in a document.
type span struct{ from, to int64 }

// layout is where the parts of a domain's XML that a move changes are. The rest of the document is carried
// byte for byte: decoding and encoding it again would lose what the decoder does not know.
type layout struct {
	diskSource map[string]span // target dev -> start tag of <source>
	metadata   span            // start tag of <metadata>; empty when there is none
	metaClosed bool            // <metadata/>
	afterName  int64           // behind </name>
}

// locate finds the parts of doc.
func locate(doc string) (*layout, error) {
	if len(doc) > maxDomainXML {
		return nil, fmt.Errorf("domain XML of %d bytes, expected at most %d", len(doc), maxDomainXML)
	}
	l := &layout{diskSource: map[string]span{}}
	dec := xml.NewDecoder(strings.NewReader(doc))
	var path []string
	var dev string
	var source span
	for {
		from := dec.InputOffset()
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("parse domain XML: %w", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			at := span{from, dec.InputOffset()}
			switch strings.Join(path, "/") {
			case "domain/metadata":
				l.metadata, l.metaClosed = at, strings.HasSuffix(doc[at.from:at.to], "/>")
			case "domain/devices/disk":
				dev, source = "", span{}
			case "domain/devices/disk/source":
				source = at
			case "domain/devices/disk/target":
				dev = attr(t, "dev")
			}
		case xml.EndElement:
			if len(path) == 0 {
				return nil, errors.New("parse domain XML: an end tag too many")
			}
			switch strings.Join(path, "/") {
			case "domain/name":
				l.afterName = dec.InputOffset()
			case "domain/devices/disk":
				if dev != "" && source.to > 0 {
					l.diskSource[dev] = source
				}
			}
			path = path[:len(path)-1]
		}
	}
	if l.afterName == 0 {
		return nil, errors.New("parse domain XML: no domain/name")
	}
	return l, nil
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// rewrite gives doc with other disk paths (target dev -> path) and, when m is not nil, with the mark m.
func rewrite(doc string, paths map[string]string, m *marker) (string, error) {
	l, err := locate(doc)
	if err != nil {
		return "", err
	}
	type edit struct {
		span
		text string
	}
	var edits []edit
	for dev, p := range paths {
		at, ok := l.diskSource[dev]
		if !ok {
			return "", fmt.Errorf("domain XML: no source of disk %s", dev)
		}
		tag, err := setFile(doc[at.from:at.to], p)
		if err != nil {
			return "", fmt.Errorf("domain XML: disk %s: %w", dev, err)
		}
		edits = append(edits, edit{at, tag})
	}
	switch {
	case m == nil:
	case l.metadata.to > 0 && l.metaClosed:
		edits = append(edits, edit{l.metadata, "<metadata>" + m.String() + "</metadata>"})
	case l.metadata.to > 0:
		edits = append(edits, edit{span{l.metadata.to, l.metadata.to}, m.String()})
	default:
		edits = append(edits, edit{span{l.afterName, l.afterName}, "<metadata>" + m.String() + "</metadata>"})
	}
	for len(edits) > 0 { // from the end, so that earlier offsets stay right
		last := 0
		for i := range edits {
			if edits[i].from > edits[last].from {
				last = i
			}
		}
		e := edits[last]
		doc = doc[:e.from] + e.text + doc[e.to:]
		edits = append(edits[:last], edits[last+1:]...)
	}
	return doc, nil
}

// setFile replaces the value of the file attribute in a start tag, and leaves the rest as it is.
func setFile(tag, path string) (string, error) {
	const name = " file="
	i := strings.Index(tag, name)
	if i < 0 || i+len(name) >= len(tag) {
		return "", fmt.Errorf("source %s has no file", tag)
	}
	quote := tag[i+len(name)]
	rest := tag[i+len(name)+1:]
	j := strings.IndexByte(rest, quote)
	if (quote != '\'' && quote != '"') || j < 0 {
		return "", fmt.Errorf("source %s has no file", tag)
	}
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(path)); err != nil {
		return "", err
	}
	return tag[:i+len(name)+1] + b.String() + rest[j:], nil
}

// fileNames is every path in a file attribute of a <source> below a disk of doc: disks, backing images,
// mirrors.
func fileNames(doc string) (map[string]bool, error) {
	if len(doc) > maxDomainXML {
		return nil, fmt.Errorf("domain XML of %d bytes, expected at most %d", len(doc), maxDomainXML)
	}
	names := map[string]bool{}
	dec := xml.NewDecoder(strings.NewReader(doc))
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse domain XML: %w", err)
		}
		if t, ok := tok.(xml.StartElement); ok && (t.Name.Local == "source" || t.Name.Local == "mirror") {
			if f := attr(t, "file"); f != "" {
				names[path.Clean(f)] = true
			}
		}
	}
}
