package diskimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Offsets of the dynamic header, 1,024 bytes.
const (
	vhdDynMagic     = "cxsparse"
	vhdDynSize      = 1024
	vhdDynSumAt     = 36
	vhdParentAt     = 40 // unique id of the parent's footer
	vhdParentName   = 64 // UTF-16BE
	vhdParentNameSz = 512
	vhdLocatorAt    = 576
	vhdLocators     = 8
	vhdLocatorSize  = 24
	maxLocator      = 4096 // bytes of a path that are looked at
)

// dynamicHeader is the header at an offset that a footer says.
func (img *vhdImage) dynamicHeader(at int64) ([]byte, error) {
	h, err := img.src.at(at, vhdDynSize)
	if err != nil {
		return nil, err
	}
	if len(h) < vhdDynSize || !bytes.HasPrefix(h, []byte(vhdDynMagic)) {
		return nil, fmt.Errorf("read vhd header: %w: no dynamic header at %d", ErrCorrupt, at)
	}
	if got, want := binary.BigEndian.Uint32(h[vhdDynSumAt:]), vhdSum(h, vhdDynSumAt); got != want {
		return nil, fmt.Errorf("read vhd header: %w: checksum %08x, expected %08x", ErrCorrupt, got, want)
	}
	return h, nil
}

// readParent fills Info.Parent from the dynamic header of a differencing disk. The relative path of a locator is what a file
// that moved with its parent needs; the name in the header is often one alone, or an absolute path of Windows.
func (img *vhdImage) readParent(at int64) error {
	h, err := img.dynamicHeader(at)
	if err != nil {
		return err
	}
	p := &img.info.Parent
	p.UUID, p.Format = plainUUID(h[vhdParentAt:]), FormatVHD
	if p.Ref, err = img.relative(h); err != nil || p.Ref != "" {
		return err
	}
	p.Ref = utf16Text(h[vhdParentName:vhdParentName+vhdParentNameSz], binary.BigEndian)
	if p.Ref == "" {
		return fmt.Errorf("read vhd header: %w: a differencing disk without the name of its parent", ErrCorrupt)
	}
	return nil
}

// relative is the path of the first W2ru locator (relative, UTF-16LE), with slashes; empty: there is none.
func (img *vhdImage) relative(h []byte) (string, error) {
	for i := range vhdLocators {
		l := h[vhdLocatorAt+i*vhdLocatorSize:][:vhdLocatorSize]
		if string(l[:4]) != "W2ru" {
			continue
		}
		n := binary.BigEndian.Uint32(l[8:])
		if n == 0 || n > maxLocator || n%2 != 0 {
			return "", fmt.Errorf("read vhd header: %w: parent path of %d bytes, expected at most %d", ErrCorrupt, n, maxLocator)
		}
		b, err := img.src.at(int64(binary.BigEndian.Uint64(l[16:])), int(n))
		if err != nil {
			return "", err
		}
		if len(b) < int(n) {
			return "", fmt.Errorf("read vhd header: %w: the parent path is not in the file", ErrCorrupt)
		}
		path := utf16Text(b, binary.LittleEndian)
		if strings.HasPrefix(path, `\`) || len(path) > 1 && path[1] == ':' {
			continue // not relative: there is no path here that means the same
		}
		return strings.ReplaceAll(path, `\`, "/"), nil
	}
	return "", nil
}

// utf16Text is the text before the first NUL.
func utf16Text(b []byte, order binary.ByteOrder) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := order.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
