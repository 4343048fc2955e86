package crash

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
)

// VHDSize is the size of the constructed VHD's disk in bytes: 96 cylinders, 4 heads, 16 sectors.
const VHDSize = 96 * 4 * 16 * sector

// VHDUUID is the identity of the constructed VHD.
const VHDUUID = "6c7dfcfb-82a9-484d-8698-9b59a86b13b1"

// VHDFixed constructs a fixed image of 3 MiB as Hyper-V writes it.
func VHDFixed() []byte {
	return append(bytes.Repeat([]byte("guest's data, 16"), VHDSize/16), vhdFooter(2)...)
}

// VHDDynamic constructs a dynamic image of 3 MiB with nothing allocated; with a parent, a differencing one. parent is the path in the
// relative locator, name that in the header; either may be empty.
func VHDDynamic(parent, name string) []byte {
	be := binary.BigEndian
	kind := uint32(3)
	if parent != "" || name != "" {
		kind = 4
	}
	footer := vhdFooter(kind)
	h := make([]byte, 1024)
	copy(h, "cxsparse\xff\xff\xff\xff\xff\xff\xff\xff")
	be.PutUint64(h[16:], 2048) // block allocation table
	be.PutUint32(h[24:], 1<<16)
	be.PutUint32(h[28:], 2)
	be.PutUint32(h[32:], 2<<20)
	locator := make([]byte, sector)
	if kind == 4 {
		copy(h[40:], "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x00")
		for i, u := range utf16.Encode([]rune(name)) {
			be.PutUint16(h[64+2*i:], u)
		}
		copy(h[576:], "W2ku\x00\x00\x00\x01\x00\x00\x00\x04") // an absolute one first, to be passed over
		if parent != "" {
			copy(h[600:], "W2ru\x00\x00\x00\x01")
			units := utf16.Encode([]rune(parent))
			for i, u := range units {
				binary.LittleEndian.PutUint16(locator[2*i:], u)
			}
			be.PutUint32(h[608:], uint32(2*len(units)))
			be.PutUint64(h[616:], 1536)
		}
	}
	be.PutUint32(h[36:], sum(h))
	img := append(append(bytes.Clone(footer), h...), locator...)
	img = append(img, bytes.Repeat([]byte{0xff}, sector)...)
	return append(img, footer...)
}

func vhdFooter(kind uint32) []byte {
	be := binary.BigEndian
	f := make([]byte, sector)
	copy(f, "conectix")
	be.PutUint32(f[8:], 2)
	be.PutUint32(f[12:], 1<<16)
	be.PutUint64(f[16:], ^uint64(0))
	if kind != 2 {
		be.PutUint64(f[16:], sector)
	}
	be.PutUint32(f[24:], 0x2a000000)
	copy(f[28:], "win \x00\x06\x00\x03Wi2k")
	be.PutUint64(f[40:], VHDSize)
	be.PutUint64(f[48:], VHDSize)
	copy(f[56:], "\x00\x60\x04\x10")
	be.PutUint32(f[60:], kind)
	copy(f[68:], "\x6c\x7d\xfc\xfb\x82\xa9\x48\x4d\x86\x98\x9b\x59\xa8\x6b\x13\xb1")
	return VHDSum(f)
}

// VHDSum puts the right checksum into a footer, the last 512 bytes of b at least, and gives b.
func VHDSum(b []byte) []byte {
	f := b[len(b)-sector:]
	copy(f[64:68], "\x00\x00\x00\x00")
	binary.BigEndian.PutUint32(f[64:], sum(f))
	return b
}

// sum is the checksum of a structure whose own is still zero.
func sum(b []byte) uint32 {
	var n uint32
	for _, c := range b {
		n += uint32(c)
	}
	return ^n
}
