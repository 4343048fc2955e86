package diskimage

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Bounds of a parent locator. Its lengths are 16 bits wide and there are five keys, of which one is looked at as a path.
const (
	vhdxMaxLocator  = 64 << 10 // bytes that are read
	vhdxMaxKeys     = 64
	vhdxLocatorType = "b04aefb7-d19e-4a81-b789-25b8e9445913"
)

// readParent fills Info.Parent from the parent locator ([MS-VHDX] 2.6.2.6). Its UUID is the parent's DataWriteGuid,
// which changes whenever somebody writes to the parent; it is no Info.UUID, which an overlay has in common with its parent.
func (img *vhdxImage) readParent() error {
	e := img.table.find(vhdxParentLocator, false)
	if e == nil {
		return fmt.Errorf("read vhdx parent: %w: an overlay without parent locator", ErrCorrupt)
	}
	b, err := img.window.item(img, e, vhdxMaxLocator)
	if err != nil {
		return err
	}
	if len(b) < 20 {
		return fmt.Errorf("read vhdx parent: %w: locator of %d bytes", ErrCorrupt, len(b))
	}
	if id := vhdxGUID(b); id != vhdxLocatorType {
		return fmt.Errorf("read vhdx parent: %w: locator type %s", ErrUnsupported, id)
	}
	pairs, err := vhdxPairs(b)
	if err != nil {
		return err
	}
	img.info.Parent = Parent{Ref: vhdxParentRef(pairs), Format: FormatVHDX, UUID: normalUUID(strings.Trim(pairs["parent_linkage"], "{}"))}
	if img.info.Parent.Ref == "" {
		return fmt.Errorf("read vhdx parent: %w: the locator has no path", ErrCorrupt)
	}
	return nil
}

// vhdxPairs are the keys and values of a locator.
func vhdxPairs(b []byte) (map[string]string, error) {
	n := int(binary.LittleEndian.Uint16(b[18:]))
	if n > vhdxMaxKeys || 20+12*n > len(b) {
		return nil, fmt.Errorf("read vhdx parent: %w: locator of %d keys in %d bytes", ErrCorrupt, n, len(b))
	}
	pairs := map[string]string{}
	for i := range n {
		e := b[20+12*i:]
		key, ok := vhdxText(b, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint16(e[8:]))
		value, fine := vhdxText(b, binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint16(e[10:]))
		if _, twice := pairs[key]; !ok || !fine || twice {
			return nil, fmt.Errorf("read vhdx parent: %w: key %d of the locator, %q", ErrCorrupt, i+1, clip(key))
		}
		pairs[key] = value
	}
	return pairs, nil
}

// vhdxText is a string of n bytes of UTF-16 without NUL.
func vhdxText(b []byte, at uint32, n uint16) (string, bool) {
	if n == 0 || n%2 != 0 || uint64(at)+uint64(n) > uint64(len(b)) {
		return "", false
	}
	units := make([]uint16, n/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[int(at)+2*i:])
	}
	s := string(utf16.Decode(units))
	return s, !strings.Contains(s, "\x00")
}

// vhdxParentRef is the path that comes first in the order of the specification. A relative one gets slashes.
func vhdxParentRef(pairs map[string]string) string {
	if p := pairs["relative_path"]; p != "" {
		if strings.HasPrefix(p, `\`) || len(p) > 1 && p[1] == ':' {
			return p // not relative: there is no path here that means the same
		}
		return strings.ReplaceAll(p, `\`, "/")
	}
	for _, k := range []string{"volume_path", "absolute_win32_path"} {
		if p := pairs[k]; p != "" {
			return p
		}
	}
	return ""
}
