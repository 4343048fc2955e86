package crash

import (
	"bytes"
	"encoding/binary"
)

// VDISize is the size of the constructed VDI's disk in bytes.
const VDISize = 3 << 20

// VDIUUID is the identity of the constructed VDI.
const VDIUUID = "6f1b1c2e-6a0f-4c1c-9f5b-0a6f6d1f6b11"

// VDI constructs a dynamic image of VirtualBox's make: header of 400 bytes, block map at the offset begin, data at the offset data, both
// 1 MiB and 2 MiB in what VirtualBox 4 and later write. Of the three blocks the second is not allocated.
func VDI(begin, data int, comment string) []byte {
	const block = 1 << 20
	le := binary.LittleEndian
	img := make([]byte, data+2*block)
	copy(img, "<<< Oracle VM VirtualBox Disk Image >>>\n")
	le.PutUint32(img[64:], 0xbeda107f)
	le.PutUint32(img[68:], 1<<16|1)
	le.PutUint32(img[72:], 400)
	le.PutUint32(img[76:], 1)
	copy(img[84:84+255], comment)
	le.PutUint32(img[340:], uint32(begin))
	le.PutUint32(img[344:], uint32(data))
	le.PutUint32(img[360:], sector)
	le.PutUint64(img[368:], VDISize)
	le.PutUint32(img[376:], block)
	le.PutUint32(img[384:], 3)
	le.PutUint32(img[388:], 2)
	copy(img[392:], "\x2e\x1c\x1b\x6f\x0f\x6a\x1c\x4c\x9f\x5b\x0a\x6f\x6d\x1f\x6b\x11") // VDIUUID
	copy(img[408:], "\x0e\x7f\x0a\x3b\x0c\x0b\x5e\x4f\x8a\x57\x7f\x1f\x5f\x2a\x9c\x10")
	le.PutUint32(img[464:], sector)
	for i, at := range []uint32{1, ^uint32(0), 0} {
		le.PutUint32(img[begin+4*i:], at)
	}
	copy(img[data:], bytes.Repeat([]byte{3}, block))
	copy(img[data+block:], bytes.Repeat([]byte{1}, block))
	return img
}
