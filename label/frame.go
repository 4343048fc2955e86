package label

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes of a frame in bytes.
const (
	FrameHeader  = 84                         // all before the payload
	MaxFrame     = 2100                       // what every format has room for
	MaxPayload   = MaxFrame - 4 - FrameHeader // 4: the CRC
	frameMagic   = "BLB1"
	frameVersion = 1
)

// ErrNoFrame says that the bytes hold no frame at all: the magic is missing.
var ErrNoFrame = errors.New("no label frame")

// Frame is a stored label: the document's bytes and the signature over them.
type Frame struct {
	Serial    uint32 // the document's, so that a reader chooses between two slots without parsing
	KeyID     KeyID  // zero: unsigned
	Signature [64]byte
	Payload   []byte // canonical JSON, 1 to MaxPayload bytes
	Flags     uint8  // none is defined: 0
}

// Encode is the frame's bytes, at most MaxFrame.
func (f Frame) Encode() ([]byte, error) {
	if n := len(f.Payload); n == 0 || n > MaxPayload {
		return nil, fmt.Errorf("encode label frame: payload of %d bytes, expected 1 to %d", n, MaxPayload)
	}
	if f.Flags != 0 {
		return nil, fmt.Errorf("encode label frame: flags %#x, expected 0", f.Flags)
	}
	b := make([]byte, 0, FrameHeader+len(f.Payload)+4)
	b = append(b, frameMagic...)
	b = append(b, frameVersion, f.Flags)
	b = binary.LittleEndian.AppendUint32(b, f.Serial)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(f.Payload)))
	b = append(b, f.KeyID[:]...)
	b = append(b, f.Signature[:]...)
	b = append(b, f.Payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli())), nil
}

// FrameSize is the size in bytes of the frame that b begins with, by its header alone. ErrNoFrame: the magic
// is not there. The frame may be longer than b.
func FrameSize(b []byte) (int, error) {
	if len(b) < FrameHeader || string(b[:4]) != frameMagic {
		return 0, ErrNoFrame
	}
	if b[4] != frameVersion {
		return 0, fmt.Errorf("decode label frame: version %d, expected %d", b[4], frameVersion)
	}
	if b[5] != 0 {
		return 0, fmt.Errorf("decode label frame: unknown flags %#x", b[5])
	}
	n := int(binary.LittleEndian.Uint16(b[10:]))
	if n == 0 || n > MaxPayload {
		return 0, fmt.Errorf("decode label frame: payload of %d bytes, expected 1 to %d", n, MaxPayload)
	}
	return FrameHeader + n + 4, nil
}

// DecodeFrame reads one frame that fills b exactly. It checks the CRC, not the signature and not the document.
func DecodeFrame(b []byte) (Frame, error) {
	n, err := FrameSize(b)
	if err != nil {
		return Frame{}, err
	}
	if n != len(b) {
		return Frame{}, fmt.Errorf("decode label frame: %d bytes, expected %d", len(b), n)
	}
	if got, want := crc32.Checksum(b[:n-4], castagnoli()), binary.LittleEndian.Uint32(b[n-4:]); got != want {
		return Frame{}, fmt.Errorf("decode label frame: CRC %08x, expected %08x", got, want)
	}
	f := Frame{Serial: binary.LittleEndian.Uint32(b[6:]), Payload: bytes.Clone(b[FrameHeader : n-4])}
	copy(f.KeyID[:], b[12:])
	copy(f.Signature[:], b[20:])
	return f, nil
}

// Document parses the payload, which has to be the canonical form of a valid document with the frame's serial.
func (f Frame) Document() (Document, error) {
	d, ok := parseCanonical(f.Payload)
	if !ok {
		if _, err := ParseDocument(f.Payload); err != nil {
			return Document{}, err
		}
		return Document{}, errors.New("parse label: the payload is not canonical JSON")
	}
	if d.Serial != f.Serial {
		return Document{}, fmt.Errorf("parse label: serial %d in the frame, %d in the document", f.Serial, d.Serial)
	}
	return d, nil
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
