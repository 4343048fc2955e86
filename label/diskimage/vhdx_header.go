package diskimage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// Places and sizes of the header section, in bytes ([MS-VHDX] 2.2).
const (
	vhdxHeaderSize = 4 << 10
	vhdxTableSize  = 64 << 10 // of a region table, and of the metadata table
	vhdxMiB        = 1 << 20
)

// vhdxHeaderAt are the offsets of both headers.
func vhdxHeaderAt(i int) int64 { return [2]int64{64 << 10, 128 << 10}[i] }

// vhdxHeader is one header as stored, all of its 4,096 bytes ([MS-VHDX] 2.2.2).
type vhdxHeader []byte

func (h vhdxHeader) sequence() uint64  { return binary.LittleEndian.Uint64(h[8:]) }
func (h vhdxHeader) logVersion() int   { return int(binary.LittleEndian.Uint16(h[64:])) }
func (h vhdxHeader) version() int      { return int(binary.LittleEndian.Uint16(h[66:])) }
func (h vhdxHeader) logLength() uint64 { return uint64(binary.LittleEndian.Uint32(h[68:])) }
func (h vhdxHeader) logOffset() uint64 { return binary.LittleEndian.Uint64(h[72:]) }

// logged reports that the log has entries that were not yet applied to the file.
func (h vhdxHeader) logged() bool { return !bytes.Equal(h[48:64], make([]byte, 16)) }

// vhdxHeaders are both headers; nil: not valid. Current is the index of the one that counts.
type vhdxHeaders struct {
	both    [2]vhdxHeader
	raw     [2][]byte
	current int
}

func (h *vhdxHeaders) now() vhdxHeader { return h.both[h.current] }

func readVHDXHeaders(s *source) (vhdxHeaders, error) {
	var h vhdxHeaders
	for i := range h.both {
		b, err := s.at(vhdxHeaderAt(i), vhdxHeaderSize)
		if err != nil {
			return h, err
		}
		h.raw[i] = b
		if len(b) == vhdxHeaderSize && bytes.HasPrefix(b, []byte("head")) && vhdxSum(b) == binary.LittleEndian.Uint32(b[4:]) {
			h.both[i] = b
		}
	}
	switch one, two := h.both[0], h.both[1]; {
	case one == nil && two == nil:
		return h, fmt.Errorf("read vhdx header: %w: neither of the two is valid", ErrCorrupt)
	case one == nil:
		h.current = 1
	case two == nil || one.sequence() > two.sequence():
	case two.sequence() > one.sequence():
		h.current = 1
	case !bytes.Equal(one, two): // Disk2vhd writes the same header twice, which is harmless
		return h, fmt.Errorf("read vhdx header: %w: both have sequence number %d and differ", ErrCorrupt, one.sequence())
	}
	if v := h.now().version(); v != 1 {
		return h, fmt.Errorf("read vhdx header: %w: version %d, expected 1", ErrUnsupported, v)
	}
	return h, nil
}

// vhdxSum is the CRC-32C of a structure whose own CRC is at offset 4, that field taken as zero.
func vhdxSum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:4])
	sum = crc32.Update(sum, table, make([]byte, 4))
	return crc32.Update(sum, table, b[8:])
}

// update gives the steps that announce a change of the file, as every opening for writing has to ([MS-VHDX] 2.2.2.1):
// the header that is not current gets the next sequence number and a new FileWriteGuid and is current then; and the
// same once more, so that both hold the same. DataWriteGuid stays: overlays know their parent by it, and nothing changes
// that a read of the virtual disk shows.
func (h *vhdxHeaders) update(cause []byte) ([]Step, error) {
	last := h.now()
	if last.sequence() > math.MaxUint64-2 {
		return nil, fmt.Errorf("plan label: %w: no sequence number follows %d", ErrCorrupt, last.sequence())
	}
	id := vhdxWriteGUID(last, cause)
	var steps []Step
	at := h.current
	for range 2 {
		at = 1 - at
		next := bytes.Clone(last)
		binary.LittleEndian.PutUint64(next[8:], last.sequence()+1)
		copy(next[16:32], id)
		binary.LittleEndian.PutUint32(next[4:], vhdxSum(next))
		steps = append(steps, Step{Writes: []Write{{Offset: vhdxHeaderAt(at), Data: next}}})
		last = next
	}
	return steps, nil
}

// vhdxWriteGUID is the new FileWriteGuid. The specification wants it random, and what plans an edit has no source of
// that: it is a hash of the one before, the sequence number and what is written, in the shape of a random one (RFC 9562,
// version 4). It comes back only with a copy of the same file to which the same is done, whose content then is equal.
func vhdxWriteGUID(h vhdxHeader, cause []byte) []byte {
	sum := sha256.New()
	sum.Write([]byte("berth vhdx FileWriteGuid\x00"))
	sum.Write(h[8:32]) // sequence number and FileWriteGuid
	sum.Write(cause)
	id := sum.Sum(nil)[:16]
	id[7] = id[7]&0x0f | 0x40 // the high byte of Data3, which is little endian
	id[8] = id[8]&0x3f | 0x80
	return id
}

// vhdxGUID writes a GUID as Microsoft's tools do: the first three groups are little endian in the file.
func vhdxGUID(b []byte) string {
	m := []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
	out := make([]byte, 36)
	hex.Encode(out, m[:4])
	hex.Encode(out[9:], m[4:6])
	hex.Encode(out[14:], m[6:8])
	hex.Encode(out[19:], m[8:10])
	hex.Encode(out[24:], m[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out)
}

// vhdxGUIDBytes is the reverse of vhdxGUID, for 8-4-4-4-12 hexadecimal digits.
func vhdxGUIDBytes(text string) []byte {
	m, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(m) != 16 {
		return make([]byte, 16) // only for digits that no caller has
	}
	return append([]byte{m[3], m[2], m[1], m[0], m[5], m[4], m[7], m[6]}, m[8:]...)
}
