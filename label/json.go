package label

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxDocumentText bounds the JSON text that ParseDocument looks at, in bytes; laid out for people it is longer
// than a payload.
const MaxDocumentText = 64 << 10

// Canonical is the document's only wire form: JSON by RFC 8785 (members sorted, no white space, shortest
// escapes). It fails on a document that is not valid.
func (d Document) Canonical() ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 256), `{"disk":{"size":`...)
	b = strconv.AppendInt(b, int64(d.Disk.Size), 10)
	if d.Disk.UUID != "" {
		b = appendString(append(b, `,"uuid":`...), d.Disk.UUID)
	}
	b = append(b, '}')
	if !d.Expires.IsZero() {
		b = appendString(append(b, `,"expires":`...), d.Expires.Format(time.RFC3339))
	}
	b = appendString(append(b, `,"issued":`...), d.Issued.Format(time.RFC3339))
	if d.Issuer != "" {
		b = appendString(append(b, `,"issuer":`...), d.Issuer)
	}
	b = appendString(append(b, `,"level":`...), d.Level)
	if len(d.Overrides) > 0 {
		b = append(b, `,"overrides":`...)
		sep := byte('{')
		for _, k := range slices.Sorted(maps.Keys(d.Overrides)) {
			b = appendString(append(b, sep), k)
			b = appendString(append(b, ':'), d.Overrides[k])
			sep = ','
		}
		b = append(b, '}')
	}
	b = append(b, `,"serial":`...)
	b = strconv.AppendUint(b, uint64(d.Serial), 10)
	return append(b, '}'), nil
}

// appendString writes s by RFC 8785, 3.2.2.2. Validate has refused control characters and bad UTF-8, so that
// only two characters need an escape.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// ParseDocument reads a document from JSON text and validates it. Members may come in any order and with
// white space; an unknown, missing or repeated member, and anything after the document, is an error.
func ParseDocument(text []byte) (Document, error) {
	if len(text) > MaxDocumentText {
		return Document{}, fmt.Errorf("parse label: %d bytes, expected at most %d", len(text), MaxDocumentText)
	}
	if d, ok := parseCanonical(text); ok {
		return d, nil
	}
	return parseAny(text)
}

// parseAny is ParseDocument for any form.
func parseAny(text []byte) (Document, error) {
	if !utf8.Valid(text) {
		return Document{}, errors.New("parse label: not UTF-8")
	}
	p := parser{dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	var d Document
	if err := p.document(&d); err != nil {
		return Document{}, fmt.Errorf("parse label: %w", err)
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return Document{}, errors.New("parse label: text after the document")
	}
	if err := d.Validate(); err != nil {
		return Document{}, err
	}
	return d, nil
}

// parser reads tokens, since encoding/json itself lets a repeated member pass.
type parser struct{ dec *json.Decoder }

func (p parser) document(d *Document) error {
	return p.object("", []string{"level", "disk", "serial", "issued"}, func(name string) (err error) {
		switch name {
		case "level":
			d.Level, err = p.text(name)
		case "issuer":
			d.Issuer, err = p.text(name)
		case "issued":
			d.Issued, err = p.time(name)
		case "expires":
			d.Expires, err = p.time(name)
		case "serial":
			var n uint64
			n, err = p.number(name, 32)
			d.Serial = uint32(n)
		case "disk":
			err = p.object("disk", []string{"size"}, func(name string) (err error) {
				switch name {
				case "size":
					var n uint64
					n, err = p.number("disk.size", 53)
					d.Disk.Size = Bytes(n)
				case "uuid":
					d.Disk.UUID, err = p.text("disk.uuid")
				default:
					err = fmt.Errorf("member %q is not known", "disk."+clip(name))
				}
				return err
			})
		case "overrides":
			d.Overrides = map[string]string{}
			err = p.object("overrides", nil, func(name string) (err error) {
				d.Overrides[name], err = p.text(strconv.Quote("overrides." + clip(name)))
				return err
			})
			if len(d.Overrides) == 0 {
				d.Overrides = nil
			}
		default:
			err = fmt.Errorf("member %q is not known", clip(name))
		}
		return err
	})
}

// object reads one object and calls member for each name in it, which has to read the value.
func (p parser) object(where string, required []string, member func(string) error) error {
	if tok, err := p.dec.Token(); err != nil {
		return readError(err)
	} else if tok != json.Delim('{') {
		return fmt.Errorf("%s: expected an object", clip("document "+where))
	}
	seen := map[string]bool{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return readError(err)
		}
		name, _ := tok.(string) // the decoder lets nothing else stand here
		if seen[name] {
			return fmt.Errorf("member %q comes twice", clip(name))
		}
		seen[name] = true
		if err := member(name); err != nil {
			return err
		}
	}
	if _, err := p.dec.Token(); err != nil {
		return readError(err)
	}
	for _, r := range required {
		if !seen[r] {
			return fmt.Errorf("member %s is missing", r)
		}
	}
	return nil
}

func (p parser) text(name string) (string, error) {
	tok, err := p.dec.Token()
	if err != nil {
		return "", readError(err)
	}
	s, ok := tok.(string)
	if !ok || s == "" {
		return "", fmt.Errorf("member %s: expected a text that is not empty", name)
	}
	return s, nil
}

func (p parser) number(name string, bits int) (uint64, error) {
	tok, err := p.dec.Token()
	if err != nil {
		return 0, readError(err)
	}
	num, _ := tok.(json.Number)
	n, err := strconv.ParseUint(num.String(), 10, bits)
	if err != nil {
		return 0, fmt.Errorf("member %s: expected a whole number of at most %d bits", name, bits)
	}
	return n, nil
}

func (p parser) time(name string) (time.Time, error) {
	s, err := p.text(name)
	if err != nil {
		return time.Time{}, err
	}
	const utc = "2006-01-02T15:04:05Z"
	t, err := time.Parse(utc, s)
	if err != nil || t.Format(utc) != s {
		return time.Time{}, fmt.Errorf("member %s: %q, expected a time like %s", name, clip(s), utc)
	}
	return t, nil
}

// readError hides the decoder's end of file, which would read as an error of the file itself.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the text ends inside the document")
	}
	return err
}
