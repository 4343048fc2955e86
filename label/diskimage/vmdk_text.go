package diskimage

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-project/berth/label"
)

// Limits of a descriptor. QEMU reads as much of a text file; one of more extents than that is no disk that
// exists (64 TB in pieces of 2 GB are 32,768).
const (
	maxText    = 1<<20 - 1
	maxExtents = 1 << 16
	maxField   = 4096 // longest file name or hint that is kept, in bytes
)

const descriptorMark = "# Disk DescriptorFile"

// descriptor is the text of a VMDK up to its end: the first NUL, or the end of the area or file.
type descriptor struct {
	text       []byte
	createType string
	hint       string
	uuid       string
	cid        bool
	extents    []Extent
	slots      slots
}

// isDescriptor reports whether a file that begins with head is a text descriptor: the usual first line, or
// after comments and blank lines the version (as QEMU has it).
func isDescriptor(head []byte) bool {
	if bytes.HasPrefix(head, []byte(descriptorMark)) {
		return true
	}
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\n"))
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return string(line) == "version=1" || string(line) == "version=2" || string(line) == "version=3" // nothing is allocated
		}
		head = rest
	}
	return false
}

// parseDescriptor reads text, which the caller has bounded to maxText bytes.
func parseDescriptor(text []byte) (*descriptor, error) {
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	d := &descriptor{text: text}
	for start := 0; start < len(text); {
		end := len(text)
		next := end
		if i := bytes.IndexByte(text[start:], '\n'); i >= 0 {
			end = start + i
			next = end + 1
		}
		if err := d.line(start, end, next); err != nil {
			return nil, err
		}
		start = next
	}
	d.slots.finish()
	return d, nil
}

// line takes the line text[start:end] into account; next is where the following one begins.
func (d *descriptor) line(start, end, next int) error {
	raw := d.text[start:end]
	line := bytes.TrimSpace(raw)
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	if d.slots.line(d.text, start, end, next) {
		return nil
	}
	if isExtent(line) {
		if len(d.extents) == maxExtents {
			return fmt.Errorf("read vmdk descriptor: %w: more than %d extents", ErrCorrupt, maxExtents)
		}
		e, err := parseExtent(string(line))
		if err != nil {
			return fmt.Errorf("read vmdk descriptor: %w: line %d: %w", ErrCorrupt, 1+bytes.Count(d.text[:start], []byte("\n")), err)
		}
		d.extents = append(d.extents, e)
		return nil
	}
	key, value, ok := bytes.Cut(line, []byte("="))
	if !ok {
		return nil
	}
	d.field(bytes.TrimSpace(key), value)
	return nil
}

// field keeps the values that somebody needs; the first of a name counts, as it does for QEMU.
func (d *descriptor) field(key, value []byte) {
	var to *string
	switch {
	case equalFold(key, "CID"):
		d.cid = true
		return
	case equalFold(key, "createType"):
		to = &d.createType
	case equalFold(key, "parentFileNameHint"):
		to = &d.hint
	case equalFold(key, "ddb.uuid"):
		to = &d.uuid
	default:
		return
	}
	v := bytes.Trim(bytes.TrimSpace(value), `"`)
	if *to == "" && len(v) <= maxField {
		*to = string(v)
	}
}

func equalFold(b []byte, s string) bool { return len(b) == len(s) && strings.EqualFold(string(b), s) }

func isExtent(line []byte) bool {
	word, _, ok := bytes.Cut(line, []byte(" "))
	return ok && (string(word) == "RW" || string(word) == "RDONLY" || string(word) == "NOACCESS")
}

// parseExtent reads `RW 6144 FLAT "name" 0` with an optional offset and whatever follows it for a device.
func parseExtent(line string) (Extent, error) {
	head, rest, quoted := strings.Cut(line, `"`)
	w := strings.Fields(head)
	if len(w) != 3 {
		return Extent{}, fmt.Errorf("extent %q, expected access, size, type and name", clip(line))
	}
	size, err := strconv.ParseInt(w[1], 10, 64)
	if err != nil || size < 0 || size > int64(label.MaxSize)/sectorSize {
		return Extent{}, fmt.Errorf("extent of %q sectors", clip(w[1]))
	}
	e := Extent{Access: w[0], Type: clip(w[2]), Size: label.Bytes(size) * sectorSize}
	if !quoted {
		return e, nil
	}
	name, rest, ok := strings.Cut(rest, `"`)
	if !ok || len(name) > maxField {
		return Extent{}, fmt.Errorf("extent name %q, expected it in quotes", clip(name))
	}
	e.Name = name
	if w := strings.Fields(rest); len(w) > 0 {
		off, err := strconv.ParseInt(w[0], 10, 64)
		if err != nil || off < 0 || off > int64(label.MaxSize)/sectorSize {
			return Extent{}, fmt.Errorf("extent at sector %q", clip(w[0]))
		}
		e.Offset = label.Bytes(off) * sectorSize
	}
	return e, nil
}

// size is the virtual size by the extents.
func (d *descriptor) size() (label.Bytes, error) {
	var sum label.Bytes
	for _, e := range d.extents {
		if sum += e.Size; sum > label.MaxSize {
			return 0, fmt.Errorf("read vmdk descriptor: %w: more than %d bytes", ErrCorrupt, label.MaxSize)
		}
	}
	return sum, nil
}

// normalUUID gives "60 00 C2 9f ...-..." and other spellings of 32 hexadecimal digits one form. Anything else
// identifies nothing and gives "".
func normalUUID(s string) string {
	b := make([]byte, 0, 36)
	digits := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ' ' || c == '-':
			continue
		case c >= 'A' && c <= 'F':
			c += 'a' - 'A'
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
		default:
			return ""
		}
		switch digits {
		case 8, 12, 16, 20:
			b = append(b, '-')
		case 32:
			return ""
		}
		b = append(b, c)
		digits++
	}
	if digits != 32 {
		return ""
	}
	return string(b)
}

// clip bounds what an error message or Info repeats of an image.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
