package libvirt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Bounds of a VMDK descriptor. Source: VMware Virtual Disk Format 5.0; QEMU's block/vmdk.c reads no text
// beyond 20 sectors of an embedded descriptor.
const (
	sector        = 512
	maxDescriptor = 64 << 10
	maxExtents    = 1024
)

// vmdkInfo is what the driver must know of a VMDK: which files it consists of and where its descriptor is.
// The label is a part of the descriptor that the driver carries along without understanding it.
type vmdkInfo struct {
	embedded   bool  // descriptor within the data file
	descOffset int64 // bytes
	descSize   int64 // bytes set aside for it; for a text file its length
	text       string
	createType string
	extents    []vmdkExtent
}

type vmdkExtent struct {
	line    string // as it stands
	sectors int64
	kind    string // FLAT, SPARSE, ZERO
	name    string
}

// like says that two extents are of one kind and size. The name in an image that is its own extent is what it was first called,
// and nobody reads it.
func (e vmdkExtent) like(o vmdkExtent) bool { return e.sectors == o.sectors && e.kind == o.kind }

// parseVMDK reads the head of an image file (up to maxDescriptor bytes); size is the length of the file. It
// returns nil when head is no VMDK.
func parseVMDK(head []byte, size int64) (*vmdkInfo, error) {
	v := &vmdkInfo{}
	switch {
	case bytes.HasPrefix(head, []byte("KDMV")):
		if len(head) < sector {
			return nil, fmt.Errorf("vmdk: %d bytes, the header has %d", len(head), sector)
		}
		off, n := binary.LittleEndian.Uint64(head[28:]), binary.LittleEndian.Uint64(head[36:])
		if off == 0 || n == 0 {
			return nil, fmt.Errorf("vmdk: an extent without a descriptor")
		}
		if off > maxDescriptor/sector || n > maxDescriptor/sector || int64(off+n)*sector > int64(len(head)) {
			return nil, fmt.Errorf("vmdk: descriptor of %d sectors at sector %d, expected within %d bytes", n, off, len(head))
		}
		v.embedded, v.descOffset, v.descSize = true, int64(off)*sector, int64(n)*sector
		v.text = string(head[v.descOffset : v.descOffset+v.descSize])
	case bytes.HasPrefix(bytes.ToLower(head[:min(len(head), 64)]), []byte("# disk descriptorfile")):
		if size > maxDescriptor || size > int64(len(head)) {
			return nil, fmt.Errorf("vmdk: descriptor file of %d bytes, expected at most %d", size, maxDescriptor)
		}
		v.descSize, v.text = size, string(head[:size])
	default:
		return nil, nil // no VMDK is an answer, not a fault
	}
	v.text, _, _ = strings.Cut(v.text, "\x00")
	return v, v.parseText()
}

func (v *vmdkInfo) parseText() error {
	for line := range strings.Lines(v.text) {
		line = strings.TrimSpace(line)
		if k, val, ok := strings.Cut(line, "="); ok && strings.EqualFold(strings.TrimSpace(k), "createType") {
			v.createType = strings.Trim(strings.TrimSpace(val), `"`)
		}
		e, ok, err := parseExtent(line)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if len(v.extents) == maxExtents {
			return fmt.Errorf("vmdk: more than %d extents", maxExtents)
		}
		v.extents = append(v.extents, e)
	}
	if v.createType == "" || len(v.extents) == 0 {
		return fmt.Errorf("vmdk: createType %q, %d extents, expected both", v.createType, len(v.extents))
	}
	return nil
}

// parseExtent reads a line like: RW 65536 FLAT "disk-flat.vmdk" 0.
func parseExtent(line string) (vmdkExtent, bool, error) {
	access, rest, _ := strings.Cut(line, " ")
	if access != "RW" && access != "RDONLY" && access != "NOACCESS" {
		return vmdkExtent{}, false, nil
	}
	f := strings.Fields(rest)
	if len(f) < 2 {
		return vmdkExtent{}, false, fmt.Errorf("vmdk: extent line %.80q", line)
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return vmdkExtent{}, false, fmt.Errorf("vmdk: extent line %.80q: size", line)
	}
	e := vmdkExtent{line: line, sectors: n, kind: f[1]}
	if i := strings.IndexByte(line, '"'); i >= 0 {
		j := strings.LastIndexByte(line, '"')
		if j == i {
			return vmdkExtent{}, false, fmt.Errorf("vmdk: extent line %.80q: quote", line)
		}
		e.name = line[i+1 : j]
	}
	if e.kind != "ZERO" && (e.name == "" || e.name != path.Base(e.name) || e.name == "." || e.name == "..") {
		return vmdkExtent{}, false, fmt.Errorf("vmdk: extent %.80q: expected a file beside the descriptor", e.name)
	}
	return e, true, nil
}

// size is the virtual size in bytes; ok is false when the extents add up to nonsense.
func (v *vmdkInfo) size() (int64, bool) {
	var sum int64
	for _, e := range v.extents {
		if sum > 1<<53 {
			return 0, false
		}
		sum += e.sectors
	}
	return sum * sector, sum <= 1<<53
}

// files are the names of the extents in files of their own, in order, each once.
func (v *vmdkInfo) files() []string {
	if v.embedded {
		return nil
	}
	var names []string
	seen := map[string]bool{}
	for _, e := range v.extents {
		if e.name != "" && !seen[e.name] {
			seen[e.name] = true
			names = append(names, e.name)
		}
	}
	return names
}

// liveCopy says why a block copy of the image is impossible or dangerous, or "".
func (v *vmdkInfo) liveCopy() string {
	switch v.createType {
	case "monolithicSparse", "monolithicFlat", "twoGbMaxExtentFlat":
		return ""
	case "streamOptimized":
		return "a streamOptimized VMDK must not run: QEMU fails the guest's writes to it; convert it first"
	default:
		return "libvirt cannot make a VMDK of type " + v.createType + " to copy to"
	}
}

// ddb is every line of the disk database, where the label lives among other things.
func (v *vmdkInfo) ddb() []string {
	var lines []string
	for line := range strings.Lines(v.text) {
		if line = strings.TrimRight(line, "\r\n "); strings.HasPrefix(line, "ddb.") {
			lines = append(lines, line)
		}
	}
	return lines
}

// kind describes the image in an error.
func (v *vmdkInfo) kind() string {
	s := fmt.Sprintf("%s of %d extents", v.createType, len(v.extents))
	if len(v.extents) > 0 {
		s += ", first " + v.extents[0].line
	}
	return s
}
