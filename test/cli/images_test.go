package cli

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// images are VMDKs good and bad, by kind. The layout of the sparse header is that of the Virtual Disk Format
// 5.0, "Hosted Sparse Extents".
func images() map[string]func() []byte {
	return map[string]func() []byte{
		"sparse":       func() []byte { return sparse(1, 20, descriptor(nil)) },
		"truncated":    func() []byte { return sparse(1, 20, descriptor(nil))[:700] },
		"lying-offset": func() []byte { return sparse(1<<50, 20, descriptor(nil)) },
		"lying-size":   func() []byte { return sparse(1, 1<<50, descriptor(nil)) },
		"bomb":         func() []byte { return sparse(1, 20, strings.Repeat("ddb.x = \"\"\n", 900)) },
		"text":         func() []byte { return []byte(descriptor(nil)) },
		"text-many": func() []byte {
			lines := make([]string, 100_000)
			for i := range lines {
				lines[i] = fmt.Sprintf("ddb.line.%d = \"%d\"", i, i)
			}
			return []byte(descriptor(lines))
		},
		"text-long": func() []byte { return []byte(descriptor([]string{strings.Repeat("x", 8<<20)})) },
		"text-nul":  func() []byte { return []byte("# Disk DescriptorFile\n\x00\x00createType=\"monolithicFlat\"\n") },
		"text-binary": func() []byte {
			return append([]byte("# Disk DescriptorFile\nversion=1\n"), bytes.Repeat([]byte{0xff, 0xfe}, 2048)...)
		},
		"text-no-size":  func() []byte { return []byte("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\n") },
		"text-zero":     func() []byte { return []byte(strings.Replace(descriptor(nil), "RW 131072", "RW 0", 1)) },
		"label-escapes": func() []byte { return labelled(`{"\u001b]0;x\u0007":1}`, 1) },
		"label-last": func() []byte {
			return labelled(`{"disk":{"size":67108864},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":4294967295}`, math.MaxUint32)
		},
		"label-expired": func() []byte {
			return labelled(`{"disk":{"size":67108864},"expires":"2001-01-02T00:00:00Z","issued":"2001-01-01T00:00:00Z","level":"gold","serial":1}`, 1)
		},
		"noise": func() []byte { return bytes.Repeat([]byte("not an image. "), 1000) },
		"empty": func() []byte { return nil },
	}
}

// labelled is a text descriptor with a label of any payload, as docs/formats/label.md lays it down.
func labelled(payload string, serial uint32) []byte {
	le := binary.LittleEndian
	frame := append([]byte("BLB1\x01\x00"), le.AppendUint32(nil, serial)...)
	frame = append(le.AppendUint16(frame, uint16(len(payload))), make([]byte, 8+64)...)
	frame = append(frame, payload...)
	frame = le.AppendUint32(frame, crc32.Checksum(frame, crc32.MakeTable(crc32.Castagnoli)))
	line := func(slot string, content []byte) string {
		return "ddb.berth." + slot + ".00 = \"" + strings.ToLower(base32.StdEncoding.EncodeToString(append(content, make([]byte, 285-len(content))...))) + "\""
	}
	return []byte(descriptor([]string{line("a", frame), line("b", nil), ""}))
}

// descriptor is the text of a 64 MiB disk, with more lines at the end.
func descriptor(more []string) string {
	return `# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 131072 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "130"
ddb.geometry.heads = "16"
ddb.geometry.sectors = "63"
ddb.adapterType = "ide"
` + strings.Join(more, "\n")
}

// sparse is a monolithicSparse image without data, whose header says that its descriptor of size sectors
// begins at the sector off.
func sparse(off, size uint64, text string) []byte {
	img := make([]byte, 128*512)
	le := binary.LittleEndian
	copy(img, "KDMV")
	le.PutUint32(img[4:], 1)       // version
	le.PutUint32(img[8:], 3)       // flags: newline test, redundant grain table
	le.PutUint64(img[12:], 131072) // capacity
	le.PutUint64(img[20:], 128)    // grain size
	le.PutUint64(img[28:], off)
	le.PutUint64(img[36:], size)
	le.PutUint32(img[44:], 512) // entries of a grain table
	le.PutUint64(img[48:], 21)  // redundant grain directory
	le.PutUint64(img[56:], 30)  // grain directory
	le.PutUint64(img[64:], 128) // overhead
	copy(img[73:], "\n \r\n")
	copy(img[512:512+20*512], text)
	return img
}
