package ovf

import (
	"archive/tar"
	"bytes"
	"crypto"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/berth-project/berth/label/diskimage"
	build "github.com/berth-project/berth/test/ovf"
)

// retag puts another size field into the first header of an archive, and a checksum to it.
func retag(ova []byte, field string) []byte {
	out := bytes.Clone(ova)
	copy(out[124:136], field)
	copy(out[148:156], "        ")
	sum := int64(0)
	for _, c := range out[:512] {
		sum += int64(c)
	}
	copy(out[148:156], "000000\x00 ")
	setNumber(out[148:156], sum)
	return out
}

// TestSizeStyles labels and unlabels archives whose headers are written in other ways: in the end the very bytes are back.
func TestSizeStyles(t *testing.T) {
	t.Parallel()
	files := build.Package(build.VirtualBox, crypto.SHA1, twoDisks())
	was := makeOVA(t, files)
	n := int64(len(files[0].Content))
	octal := func(width int, pad, end string) string {
		digits := string(bytes.TrimLeft(was[124:135], "0"))
		return strings.Repeat(pad, width-len(digits)) + digits + end
	}
	base256 := "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00" + string([]byte{byte(n >> 8), byte(n)})
	for name, field := range map[string]string{
		"ustar": octal(11, "0", "\x00"), "space at the end": octal(11, "0", " "), "padded with spaces": octal(11, " ", " "),
		"twelve digits": octal(12, "0", ""), "base 256": base256,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ova := retag(was, field)
			one, err := change(t, ova, nil, setAll(t, 1, "gold"))
			must(t, one, err)
			if back, err := change(t, one, nil, removeAll); err != nil || !bytes.Equal(back, ova) {
				t.Errorf("not what it was: %v", err)
			}
		})
	}
}

// TestLongNames are archives with extended headers.
func TestLongNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long-", 40) + ".vmdk"
	for name, format := range map[string]tar.Format{"pax": tar.FormatPAX, "gnu": tar.FormatGNU} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := build.Package(build.Ovftool, crypto.SHA256, []build.Disk{vmDisk("vmdisk1", long)})
			ova, err := build.OVA(format, files)
			must(t, ova, err)
			if got := Detect(mem(ova)); got != FormatOVA {
				t.Errorf("detected %q", got)
			}
			one, err := change(t, ova, nil, setAll(t, 1, "gold"))
			must(t, one, err)
			if back, err := change(t, one, nil, removeAll); err != nil || !bytes.Equal(back, ova) {
				t.Errorf("not what it was: %v", err)
			}
		})
	}
}

// sparse is an archive with a disk of 9 GiB of which only the beginning is there.
type sparse struct {
	head []byte
	at   int64 // where the tail begins
	tail []byte
}

func (s *sparse) Size() int64 { return s.at + int64(len(s.tail)) }

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(s.head)) {
		copy(p, s.head[off:])
	}
	for i := range p {
		if at := off + int64(i) - s.at; at >= 0 && at < int64(len(s.tail)) {
			p[i] = s.tail[at]
		}
	}
	if left := s.Size() - off; left < int64(len(p)) {
		return int(max(left, 0)), io.EOF
	}
	return len(p), nil
}

// TestHugeMember: a member beyond what octal digits can say (8 GiB), in GNU's way and in pax's, with the manifest behind it.
func TestHugeMember(t *testing.T) {
	t.Parallel()
	const size = 9 << 30
	for name, format := range map[string]tar.Format{"pax": tar.FormatPAX, "gnu": tar.FormatGNU} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := vmDisk("vmdisk1", "vm-web-1.vmdk")
			files := build.Package(build.OVirt, crypto.SHA256, []build.Disk{disk})
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for i, f := range files {
				h := &tar.Header{Name: f.Name, Size: int64(len(f.Content)), Mode: 0o644, Format: format}
				if i == 1 {
					h.Size = size
				}
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(f.Content); err != nil {
					t.Fatal(err)
				}
			}
			ova := &sparse{head: b.Bytes(), at: int64(b.Len()-len(disk.Content)) + size, tail: make([]byte, 1024)}
			p, a, err := OpenArchive(ova)
			if err != nil {
				t.Fatal(err)
			}
			if m := a.Members[1]; m.Size != size {
				t.Fatalf("size %d", m.Size)
			}
			// The stream's footer is not at its end any more, so that the file itself would be refused.
			if err := p.Set("vmdisk1", frameFor(t, p.Disks[0], 1, "gold")); err != nil {
				t.Fatal(err)
			}
			p.Disks[0].SectionOnly = "for this test"
			e, err := p.Plan(nil, proceed)
			if err != nil {
				t.Fatal(err)
			}
			pieces, err := a.Rewrite(e)
			if err != nil {
				t.Fatal(err)
			}
			now, _, err := OpenArchive(NewPieces(ova, pieces))
			if err != nil || now.Disks[0].Frame == nil {
				t.Errorf("no label: %v", err)
			}
		})
	}
}

func TestArchiveRefused(t *testing.T) {
	t.Parallel()
	files := build.Package(build.VirtualBox, crypto.SHA1, twoDisks())
	good := makeOVA(t, files)
	var link bytes.Buffer
	w := tar.NewWriter(&link)
	if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "x.ovf", Linkname: "/etc/passwd"}), w.Close()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ova  []byte
		want error
	}{
		"empty":              {nil, diskimage.ErrCorrupt},
		"zeros":              {make([]byte, 4096), diskimage.ErrCorrupt},
		"cut off":            {good[:len(good)/2], diskimage.ErrCorrupt},
		"bad checksum":       {append([]byte("X"), good[1:]...), diskimage.ErrCorrupt},
		"descriptor is last": {makeOVA(t, []build.File{files[1], files[0]}), diskimage.ErrCorrupt},
		"twice":              {makeOVA(t, append(files[:1:1], files...)), diskimage.ErrCorrupt},
		"a link":             {link.Bytes(), diskimage.ErrUnsupported},
		"negative size":      {retag(good, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), diskimage.ErrCorrupt},
		"size beyond end":    {retag(good, "77777777777\x00"), diskimage.ErrCorrupt},
	} {
		if a, err := ReadArchive(mem(tt.ova)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, error %v, expected %v", name, a != nil, err, tt.want)
		}
	}
	if got := Detect(mem(makeOVA(t, files[1:]))); got != "" {
		t.Errorf("an archive without a descriptor is %q", got)
	}
}

func TestSetNumber(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field string
		v     int64
		want  string // empty: refused
	}{
		{"00000000017\x00", 8, "00000000010\x00"}, {"00000000017 ", 8, "00000000010 "}, {"         17 ", 8, "         10 "},
		{"007777\x00 ", 0o7776, "007776\x00 "}, {"7\x00", 8, ""}, {"\x00\x00\x00", 1, ""}, {"\x80\x00\x00\x01", 0x1234, "\x80\x00\x12\x34"},
		{"\x80\x01", 256, ""},
	} {
		field := []byte(tt.field)
		if ok := setNumber(field, tt.v); ok != (tt.want != "") || ok && string(field) != tt.want {
			t.Errorf("%q to %d: %q, %t", tt.field, tt.v, field, ok)
		}
	}
}
