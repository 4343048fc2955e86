package convert_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label/diskimage"
)

// describe is a text descriptor with these extents.
func describe(extents string) string {
	return "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n" + extents + "ddb.virtualHWVersion = \"4\"\n"
}

// sparseWithout is a sparse extent without a capacity: QEMU opens what the text in it names.
func sparseWithout(text string) string {
	b := make([]byte, 512+len(text)+512)
	copy(b, "KDMV")
	binary.LittleEndian.PutUint32(b[4:], 1)
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint64(b[28:], 1)
	binary.LittleEndian.PutUint64(b[36:], uint64(len(text)/512+1))
	binary.LittleEndian.PutUint64(b[64:], 128)
	copy(b[73:], "\n \r\n")
	copy(b[512:], text)
	return string(b)
}

// TestTwoReadings: descriptors in which QEMU finds another file than a reader of lines does. The file that it finds is in no case
// looked at; that QEMU by itself would is held to be true as well.
func TestTwoReadings(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder, other := t.TempDir(), t.TempDir()
	secret := disk(t, filepath.Join(other, "secret.raw"), 1<<20)
	disk(t, filepath.Join(folder, "ok.raw"), 1<<19)
	hidden, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	const ok = "RW 1024 FLAT \"ok.raw\" 0\n"
	deep := strings.Repeat("d/", 250)
	if err := errors.Join(os.MkdirAll(filepath.Join(folder, deep), 0o700), os.Symlink(secret, filepath.Join(folder, deep, "leads-away!")),
		os.WriteFile(filepath.Join(folder, deep, "leads-away!not"), make([]byte, 1<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"tab":           describe(ok + "RW\t2048 FLAT \"" + secret + "\" 0\n"),
		"lines":         describe(ok + "RW\n2048\nFLAT \"" + secret + "\" 0\n"),
		"name below":    describe(ok + "RW 2048 FLAT\n\"" + secret + "\" 0\n"),
		"vertical":      describe(ok + "RW\v2048 FLAT \"" + secret + "\" 0\n"),
		"form feed":     describe(ok + "RW\f2048 FLAT \"" + secret + "\" 0\n"),
		"return":        describe(ok + "RW\r2048 FLAT \"" + secret + "\" 0\n"),
		"blank lines":   describe(ok + "\n \nRW\n\n2048 FLAT \"" + secret + "\" 0\n"),
		"no capacity":   sparseWithout(describe("RW 2048 FLAT \"" + secret + "\" 0\n")),
		"cut-off names": strings.Replace(describe("RW 2048 VMFS \""+deep+"leads-away!not\"\n"), "monolithicFlat", "vmfs", 1),
	} {
		src := filepath.Join(folder, name+".vmdk")
		if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(other, name)
		command(t, "qemu-img", "convert", "-f", "vmdk", "-O", "raw", src, out)
		if b, err := os.ReadFile(out); err != nil || !bytes.Contains(b, hidden) {
			t.Errorf("%s: QEMU does not read the file: %v", name, err)
		}
		_ = fails(t.Context(), t, convert.Request{Source: src, Destination: filepath.Join(folder, "dst.raw"), Format: diskimage.FormatRaw}, nil)
		if name != "no capacity" { // which names nothing to who reads its header
			if _, err := convert.Copy(t.Context(), convert.CopyRequest{Source: src, Destination: filepath.Join(other, name+".vmdk")}); err == nil {
				t.Errorf("%s: copied without a part", name)
			}
		}
	}
}

// TestLeftOut: a piece of the disk that QEMU leaves out is not left out in silence.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	disk(t, filepath.Join(folder, "ok.raw"), 1<<19)
	for name, c := range map[string]struct {
		text string
		err  error
	}{
		"zeros":     {"RW 1024 FLAT \"ok.raw\" 0\nRW 1024 ZERO\n", diskimage.ErrUnsupported},
		"read-only": {"RDONLY 1024 FLAT \"ok.raw\" 0\nRW 1024 FLAT \"ok.raw\" 0\n", diskimage.ErrUnsupported},
		"no access": {"RW 1024 FLAT \"ok.raw\" 0\nNOACCESS 1024 ZERO\n", diskimage.ErrUnsupported},
		"type":      {"RW 1024 FLAT \"ok.raw\" 0\nRW 1024 ELSE \"ok.raw\"\n", diskimage.ErrUnsupported},
		"usual":     {"RW 1024 FLAT \"ok.raw\" 0\r\n  RW  1024  FLAT  \"ok.raw\"  0 \n", nil},
	} {
		src, dst := filepath.Join(folder, name+".vmdk"), filepath.Join(folder, name+".raw")
		if err := os.WriteFile(src, []byte(describe(c.text)), 0o600); err != nil {
			t.Fatal(err)
		}
		r := convert.Request{Source: src, Destination: dst, Format: diskimage.FormatRaw}
		if c.err != nil {
			_ = fails(t.Context(), t, r, c.err)
			continue
		}
		if res := run(t, r); res.Destination.VirtualSize != 1<<20 {
			t.Errorf("%s: %d bytes", name, res.Destination.VirtualSize)
		}
	}
}

// TestKeepNames: what lies under an overlay may have a name that QEMU would take for a protocol, or that a descriptor cannot say.
func TestKeepNames(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	raw := disk(t, filepath.Join(folder, "disk.raw"), 1<<20)
	for _, name := range []string{"nbd:unix", "json:{}", "vm, db", "-f", "a\nRW 2048 FLAT", "quo\"te"} {
		base, top := filepath.Join(folder, name), filepath.Join(folder, "top.qcow2")
		dst := filepath.Join(folder, "dst.qcow2")
		run(t, convert.Request{Source: raw, Destination: base, Format: diskimage.FormatQcow2})
		command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", "./"+name, "-F", "qcow2", top)
		run(t, convert.Request{Source: top, Destination: dst, Format: diskimage.FormatQcow2, Keep: true, Force: true, Verify: true})
		_, info := read(t, dst)
		if ref, err := info.Parent.Path(diskimage.FormatQcow2); err != nil || filepath.Clean(ref) != name {
			t.Errorf("%q: parent %q, %v", name, info.Parent.Ref, err)
		}
		command(t, "qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", dst, raw) // QEMU follows the header
	}
	for _, name := range []string{"a\nRW 2048 FLAT \"x\".vmdk", "quo\"te.vmdk"} {
		_ = fails(t.Context(), t, convert.Request{Source: raw, Destination: filepath.Join(folder, name), Format: diskimage.FormatVMDK}, convert.ErrRequest)
	}
	under, top := filepath.Join(folder, "q\"", "base.vmdk"), filepath.Join(folder, "top.qcow2")
	if err := os.Mkdir(filepath.Dir(under), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, convert.Request{Source: raw, Destination: under, Format: diskimage.FormatVMDK})
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", under, "-F", "vmdk", top)
	_ = fails(t.Context(), t, convert.Request{Source: top, Destination: filepath.Join(folder, "top.vmdk"), Format: diskimage.FormatVMDK, Keep: true}, convert.ErrKeep)
}
