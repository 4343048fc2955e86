package diskimage

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// uuidLine is the disk's identity as VMware writes it into the disk database.
var uuidLine = regexp.MustCompile(`(?mi)^[ \t]*ddb\.uuid[ \t]*=[ \t]*"([^"\r\n]*)"`)

// vmwareUUID spells a UUID as VMware does: "60 00 c2 9a 1f 36 d3 4b-4c ee 17 b2 8c c1 3e 79".
func vmwareUUID(uuid string) string {
	hex := strings.ReplaceAll(uuid, "-", "")
	var b strings.Builder
	for i := 0; i < len(hex); i += 2 {
		switch {
		case i == 16:
			b.WriteByte('-')
		case i > 0:
			b.WriteByte(' ')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}

// planIdentity writes ddb.uuid: over the present value, in the spelling that has its length, or as a new last line. VMware
// gives a disk without the line an identity of its own choice.
func (vmdk) planIdentity(s *source, uuid string) (*Edit, error) {
	img, err := openVMDK(s)
	if err != nil {
		return nil, err
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	e := img.newEdit()
	e.Want = img.desc.slots.frame()
	if m := uuidLine.FindSubmatchIndex(img.desc.text); m != nil {
		value, err := sameLength(uuid, m[3]-m[2])
		if err != nil {
			return nil, err
		}
		e.Steps = []Step{{Writes: []Write{{Offset: img.base + int64(m[2]), Data: value}}}}
	} else {
		line := []byte("ddb.uuid = \"" + vmwareUUID(uuid) + "\"\n")
		if t := img.desc.text; len(t) > 0 && t[len(t)-1] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
		limit := maxLabelled
		if img.header != nil {
			limit = int(min(img.header.descSize, fullArea))*sectorSize - 1 - spareRoom
		}
		if over := len(img.desc.text) + len(line) - limit; over > 0 {
			return nil, fmt.Errorf("plan identity: %w: %d bytes of descriptor are missing for it", ErrNoRoom, over)
		}
		if err := img.append(e, line, false); err != nil {
			return nil, err
		}
	}
	changed := after(img.src.head, e.Steps)
	end := min(len(changed), int(img.base)+max(img.area, len(img.desc.text)+sectorSize))
	text, _, _ := bytes.Cut(changed[img.base:end], []byte{0})
	if d, err := parseDescriptor(text); err != nil || normalUUID(d.uuid) != uuid {
		return nil, fmt.Errorf("plan identity: %w: its descriptor has more than one ddb.uuid", ErrUnsupported)
	}
	if img.header == nil {
		e.Replace = img.padded(text)
	}
	return e, nil
}

// sameLength is the UUID in n characters.
func sameLength(uuid string, n int) ([]byte, error) {
	for _, v := range []string{vmwareUUID(uuid), uuid, strings.ReplaceAll(uuid, "-", "")} {
		if len(v) == n {
			return []byte(v), nil
		}
	}
	return nil, fmt.Errorf("plan identity: %w: ddb.uuid has %d characters", ErrUnsupported, n)
}
