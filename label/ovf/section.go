package ovf

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// withLabels is the descriptor's text with labels, base64 text by disk, in one section of ours behind the disk section;
// without any, the text as it was before the first label. Labels of disks that are not there are left out.
func (d *Descriptor) withLabels(labels map[string]string) ([]byte, error) {
	base, anchor := d.base()
	var ids []string
	for i := range d.disks {
		if labels[d.disks[i].id] != "" {
			ids = append(ids, d.disks[i].id)
		}
	}
	if len(ids) == 0 {
		return base, nil
	}
	if anchor < 0 {
		return nil, fmt.Errorf("%w: the descriptor has no disk section", diskimage.ErrCorrupt)
	}
	// What separates the disk section from what follows it also separates ours from it.
	end := anchor
	for end < len(base) && end-anchor < 256 && isSpace(base[end]) {
		end++
	}
	lead := string(base[anchor:end])
	inner := ""
	if i := strings.LastIndexByte(lead, '\n'); i >= 0 {
		inner = "\n" + lead[i+1:] + "  "
		if i > 0 && lead[i-1] == '\r' {
			inner = "\r" + inner
		}
	}
	outer := strings.TrimSuffix(inner, "  ")
	var b bytes.Buffer
	b.Write(base[:anchor])
	b.WriteString(lead + `<berth:` + sectionName + ` xmlns:berth="` + Namespace + `" xmlns:ovf="` + d.ns + `" ovf:required="false">`)
	b.WriteString(inner + `<ovf:Info>` + sectionInfo + `</ovf:Info>`)
	for _, id := range ids {
		b.WriteString(inner + `<berth:` + labelName + ` ovf:diskRef="`)
		if err := xml.EscapeText(&b, []byte(id)); err != nil {
			return nil, err
		}
		b.WriteString(`">` + labels[id] + `</berth:` + labelName + `>`)
	}
	b.WriteString(outer + `</berth:` + sectionName + `>`)
	b.Write(base[anchor:])
	return b.Bytes(), d.check(b.Bytes(), base, labels)
}

// base is the text without our sections, and the anchor in it.
func (d *Descriptor) base() (text []byte, anchor int) {
	anchor = d.anchor
	out := make([]byte, 0, len(d.text))
	at := 0
	for _, s := range d.spans {
		out = append(out, d.text[at:s.from]...)
		at = s.to
		if s.to <= d.anchor {
			anchor -= s.to - s.from
		}
	}
	return append(out, d.text[at:]...), anchor
}

// check parses what was made: it holds the labels wanted, and without them it is what it was.
func (d *Descriptor) check(text, base []byte, labels map[string]string) error {
	got, err := ParseDescriptor(text)
	if err != nil {
		return fmt.Errorf("verify descriptor: %w", err)
	}
	for i := range got.disks {
		if got.disks[i].label != labels[got.disks[i].id] {
			return fmt.Errorf("verify descriptor: disk %q does not have the label that was written", clip(got.disks[i].id))
		}
	}
	if was, _ := got.base(); !bytes.Equal(was, base) || len(got.disks) != len(d.disks) {
		return errors.New("verify descriptor: other text than the section changed")
	}
	return nil
}

// parseCapacity gives bytes: DSP0243 9.1, with programmatic units after DSP0004 ("byte * 2^30") and the names that
// early writers used. A capacity that is a property ("${size}") is not known: 0.
func parseCapacity(capacity, units string) (label.Bytes, error) {
	if capacity == "" || strings.HasPrefix(capacity, "${") {
		return 0, nil
	}
	n, err := strconv.ParseInt(capacity, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("capacity %q, expected a number", clip(capacity))
	}
	factors := []string{"1"}
	switch u := strings.TrimSpace(units); u {
	case "", "byte":
	case "KiloBytes":
		factors = []string{"2^10"}
	case "MegaBytes":
		factors = []string{"2^20"}
	case "GigaBytes":
		factors = []string{"2^30"}
	default:
		parts := strings.Split(u, "*")
		if strings.TrimSpace(parts[0]) != "byte" || len(parts) > 8 {
			return 0, fmt.Errorf("capacityAllocationUnits %q, expected such as \"byte * 2^30\"", clip(units))
		}
		factors = parts[1:]
	}
	for _, f := range factors {
		v, err := parseFactor(strings.TrimSpace(f))
		if err != nil {
			return 0, err
		}
		if n > int64(label.MaxSize)/v {
			return 0, fmt.Errorf("capacity %s %s is more than %d bytes", clip(capacity), clip(units), label.MaxSize)
		}
		n *= v
	}
	return label.Bytes(n), nil
}

// parseFactor reads N or N^M, at least 1.
func parseFactor(s string) (int64, error) {
	base, exponent, power := strings.Cut(s, "^")
	b, err := strconv.ParseInt(base, 10, 64)
	e := int64(1)
	if power && err == nil {
		e, err = strconv.ParseInt(exponent, 10, 64)
	}
	if err != nil || b < 1 || e < 0 || e > 62 {
		return 0, fmt.Errorf("capacityAllocationUnits: factor %q, expected such as 2^30", clip(s))
	}
	v := int64(1)
	for range e {
		if v > math.MaxInt64/b {
			return 0, fmt.Errorf("capacityAllocationUnits: factor %q is too large", clip(s))
		}
		v *= b
	}
	return v, nil
}

// declaredFormat is the format that ovf:format names: a URI, or oVirt's volume-format.
func declaredFormat(uri, volume string) diskimage.Format {
	u := strings.ToLower(uri)
	switch {
	case strings.EqualFold(volume, "RAW"):
		return diskimage.FormatRaw
	case strings.Contains(u, "vmdk"):
		return diskimage.FormatVMDK
	case strings.Contains(u, "qcow"), strings.EqualFold(volume, "COW"):
		return diskimage.FormatQcow2
	}
	return ""
}

func isRemote(href string) bool {
	scheme, _, ok := strings.Cut(href, ":")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "ftp"))
}

// checkHref refuses what would lead out of the package.
func checkHref(href string) error {
	bad := href == "" || len(href) > maxName || strings.HasPrefix(href, "/") || strings.ContainsAny(href, "\\:")
	for _, c := range []byte(href) {
		bad = bad || c < 0x20 || c == 0x7f
	}
	for i, part := range strings.Split(href, "/") {
		bad = bad || part == ".." || part == "" || part == "." && i > 0
	}
	if bad {
		return fmt.Errorf("%w: the file reference %q is no name inside the package", diskimage.ErrCorrupt, clip(href))
	}
	return nil
}

// unescape decodes the percent signs of a URI reference (RFC 3986, 2.1). DSP0243 wants them; most writers leave names as
// they are.
func unescape(href string) string {
	out := make([]byte, 0, len(href))
	for i := 0; i < len(href); i++ {
		if href[i] == '%' && i+2 < len(href) {
			if b, err := hex.DecodeString(href[i+1 : i+3]); err == nil {
				out = append(out, b[0])
				i += 2
				continue
			}
		}
		out = append(out, href[i])
	}
	return string(out)
}

func isDescriptorName(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".ovf") }

func trimExt(name string) string {
	if isDescriptorName(name) {
		return name[:len(name)-len(".ovf")]
	}
	return name
}

// bareReason is err without the words that the caller says already.
func bareReason(err error) string {
	s := err.Error()
	for _, p := range []string{"read label: ", "plan label: ", "detect format: "} {
		s = strings.TrimPrefix(s, p)
	}
	return clip(s)
}
