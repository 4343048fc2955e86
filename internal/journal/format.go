package journal

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	magic         = "BERTHJNL"
	formatVersion = 1
	headerSize    = 16
	frameSize     = 8 // length and CRC before each payload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func header() []byte {
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func encodeRecord(payload []byte) []byte {
	b := make([]byte, frameSize, frameSize+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b[4:], sum(b))
	return b
}

// sum is the checksum of a whole record: its length field and its payload.
func sum(rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(rec[:4], castagnoli), castagnoli, rec[frameSize:])
}

// recordAt is the payload of the valid record at the start of b, nil when there is none.
func recordAt(b []byte) []byte {
	if len(b) <= frameSize {
		return nil
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > MaxRecord || int64(n) > int64(len(b)-frameSize) {
		return nil
	}
	rec := b[:frameSize+int(n)]
	if binary.LittleEndian.Uint32(b[4:]) != sum(rec) {
		return nil
	}
	return rec[frameSize:]
}

// Decode reads the bytes of a journal file. valid is the length of the part that is whole: what follows it
// is a torn tail; 0 means that not even the header was finished. The records alias data. Errors:
// *CorruptError.
func Decode(data []byte) (records [][]byte, valid int64, err error) {
	if unfinishedHeader(data) {
		return nil, 0, nil
	}
	if len(data) > MaxSize {
		return nil, 0, &CorruptError{Offset: MaxSize, Reason: "the file is longer than a journal can be"}
	}
	if err := checkHeader(data); err != nil {
		return nil, 0, err
	}
	off := headerSize
	for off < len(data) {
		payload := recordAt(data[off:])
		if payload == nil {
			break
		}
		if len(records) == MaxRecords {
			return nil, 0, &CorruptError{Offset: int64(off), Reason: "more records than a journal can hold"}
		}
		records = append(records, payload)
		off += frameSize + len(payload)
	}
	if err := checkTail(data, off); err != nil {
		return nil, 0, err
	}
	return records, int64(off), nil
}

// unfinishedHeader says whether a crash while the file was made can have left data: nothing, or up to a
// header of which each byte is right or was never written.
func unfinishedHeader(data []byte) bool {
	h := header()
	if len(data) > len(h) {
		return false
	}
	whole := len(data) == len(h)
	for i, b := range data {
		if b != h[i] {
			whole = false
			if b != 0 {
				return false
			}
		}
	}
	return !whole
}

func checkHeader(data []byte) error {
	h := header()
	switch {
	case len(data) < headerSize || string(data[:len(magic)]) != magic:
		return &CorruptError{Reason: "this is not a journal of Berth"}
	case crc32.Checksum(data[:12], castagnoli) != binary.LittleEndian.Uint32(data[12:]):
		return &CorruptError{Offset: 8, Reason: "the header's checksum is wrong"}
	case string(data[:headerSize]) != string(h):
		return &CorruptError{Offset: 8, Reason: "written by a later version of Berth"}
	}
	return nil
}

// checkTail holds what follows the last whole record against what one torn Append can leave.
func checkTail(data []byte, off int) error {
	tail := data[off:]
	if len(tail) > frameSize+MaxRecord {
		return &CorruptError{Offset: int64(off), Reason: "more than one record is damaged"}
	}
	for i := 1; i < len(tail); i++ {
		if recordAt(tail[i:]) != nil {
			return &CorruptError{Offset: int64(off), Reason: "a damaged record is followed by a valid one"}
		}
	}
	return nil
}
