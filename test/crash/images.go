package crash

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Sizes of the constructed stream.
const (
	StreamSize  = 1 << 20 // of the virtual disk, in bytes
	grain       = 128 * sector
	overhead    = 128 // sectors before the first grain, as VirtualBox reserves them
	gdAtEnd     = ^uint64(0)
	markerTable = 1
	markerDir   = 2
	markerFoot  = 3
)

// Stream constructs a streamOptimized image as VirtualBox exports it: a descriptor area of just as many sectors as
// the text takes, 128 sectors of overhead, compressed grains with markers, the grain directory and a footer at the
// end. Grain i holds the byte i+1 for the grains named, the others are not allocated.
func Stream(text string, area int, grains ...int) []byte {
	if len(text) > area*sector {
		panic(fmt.Sprintf("descriptor of %d bytes in %d sectors", len(text), area))
	}
	img := make([]byte, overhead*sector)
	copy(img, streamHeader(area, gdAtEnd))
	copy(img[sector:], text)
	table := make([]byte, 4*sector)
	for _, g := range grains {
		binary.LittleEndian.PutUint32(table[4*g:], uint32(len(img)/sector))
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		_, _ = w.Write(bytes.Repeat([]byte{byte(g + 1)}, grain)) // memory does not fail
		_ = w.Close()
		img = binary.LittleEndian.AppendUint64(img, uint64(g*grain/sector))
		img = binary.LittleEndian.AppendUint32(img, uint32(z.Len()))
		img = pad(append(img, z.Bytes()...))
	}
	img = append(img, marker(4, markerTable)...)
	tableAt := len(img) / sector
	img = append(append(img, table...), marker(1, markerDir)...)
	dirAt := len(img) / sector
	img = pad(binary.LittleEndian.AppendUint32(img, uint32(tableAt)))
	img = append(img, marker(1, markerFoot)...)
	img[len(img)-sector+8] = 0 // QEMU wants the size 0 in the footer's marker
	img = append(img, streamHeader(area, uint64(dirAt))...)
	return append(img, make([]byte, sector)...)
}

func streamHeader(area int, directory uint64) []byte {
	le := binary.LittleEndian
	h := make([]byte, sector)
	copy(h, "KDMV")
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], 0x30001)
	le.PutUint64(h[12:], StreamSize/sector)
	le.PutUint64(h[20:], grain/sector)
	le.PutUint64(h[28:], 1)
	le.PutUint64(h[36:], uint64(area))
	le.PutUint32(h[44:], 512)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], overhead)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1)
	return h
}

func marker(sectors uint64, kind uint32) []byte {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, sectors)
	binary.LittleEndian.PutUint32(m[12:], kind)
	return m
}

func pad(b []byte) []byte {
	if n := len(b) % sector; n > 0 {
		return append(b, make([]byte, sector-n)...)
	}
	return b
}

// StreamText is a descriptor as VirtualBox writes it into a stream, about 550 bytes; short leaves out what makes it
// longer than a sector.
func StreamText(short bool) string {
	text := "# Disk DescriptorFile\nversion=1\nCID=9a1f7e03\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n" +
		"# Extent description\nRW 2048 SPARSE \"vm-db.vmdk\"\n\n# The disk Data Base \n#DDB\n\n" +
		"ddb.virtualHWVersion = \"4\"\nddb.adapterType=\"ide\"\n"
	if short {
		return text
	}
	return text + "ddb.geometry.cylinders=\"2\"\nddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\n" +
		"ddb.uuid.image=\"6f1b1c2e-6a0f-4c1c-9f5b-0a6f6d1f6b11\"\nddb.uuid.parent=\"00000000-0000-0000-0000-000000000000\"\n" +
		"ddb.uuid.modification=\"3b0a7f0e-0b0c-4f5e-8a57-7f1f5f2a9c10\"\nddb.comment=\"\"\n"
}

// Text is a descriptor file as ESX writes it for one extent of 1 MiB.
func Text(createType, extent string) string {
	return "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\nisNativeSnapshot=\"no\"\n" +
		"createType=\"" + createType + "\"\n\n# Extent description\nRW 2048 " + extent + "\n\n# The Disk Data Base \n#DDB\n\n" +
		"ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"2\"\nddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n" +
		"ddb.uuid = \"60 00 C2 93 7b a0 3a 03-9f 22 56 29 93 b7 39 2f\"\nddb.virtualHWVersion = \"19\"\n"
}

// Subformats are those that qemu-img makes.
func Subformats() []string {
	return []string{"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"}
}

// QEMU runs one of QEMU's tools and gives what it wrote to both outputs. The test is skipped where it is missing.
func QEMU(t *testing.T, tool string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s is not installed", tool)
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

// MustQEMU is QEMU for a call that has to succeed.
func MustQEMU(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := QEMU(t, tool, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return out
}

// Make lets qemu-img make an image of 3 MiB with some data in it, and gives the path of what carries the label.
func Make(t *testing.T, folder, subformat string) string {
	t.Helper()
	raw := filepath.Join(folder, "content.raw")
	content := make([]byte, 3<<20)
	for i := range 1 << 20 {
		content[i] = byte(i>>9) + byte(i)
	}
	copy(content[2<<20:], "the last grains hold text")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "vm-db.vmdk")
	MustQEMU(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+subformat, raw, path)
	if err := os.Remove(raw); err != nil {
		t.Fatal(err)
	}
	return path
}
