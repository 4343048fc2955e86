package ovf

import (
	"archive/tar"
	"bytes"
	"crypto"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
	build "github.com/berth-project/berth/test/ovf"
)

func mem(b []byte) *crash.Mem { return &crash.Mem{Data: b} }

// stream is a streamOptimized VMDK of 1 MiB with room for a label.
func stream() []byte { return crash.Stream(crash.StreamText(false), 20, 0, 3) }

func vmDisk(id, href string) build.Disk {
	return build.Disk{ID: id, Href: href, Content: stream(), Size: 1 << 20}
}

func twoDisks() []build.Disk {
	return []build.Disk{vmDisk("vmdisk1", "vm-web-1.vmdk"), vmDisk("vmdisk2", "vm-web-2.vmdk")}
}

func proceed(int) error { return nil }

func makeOVA(tb testing.TB, files []build.File) []byte {
	tb.Helper()
	b, err := build.OVA(tar.FormatUSTAR, files)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func frameFor(tb testing.TB, d *Disk, serial uint32, level string) label.Frame {
	tb.Helper()
	doc := label.Document{Level: level, Serial: serial, Disk: d.Info.Binding(), Issued: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	f, err := label.Seal(doc, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func openPackage(tb testing.TB, ova []byte) (*Package, *Archive) {
	tb.Helper()
	p, a, err := OpenArchive(mem(ova))
	if err != nil {
		tb.Fatal(err)
	}
	return p, a
}

// change applies what plan plans to an OVA.
func change(tb testing.TB, ova []byte, signer *Signer, plan func(p *Package) error) ([]byte, error) {
	tb.Helper()
	p, a := openPackage(tb, ova)
	if err := plan(p); err != nil {
		return nil, err
	}
	e, err := p.Plan(signer, proceed)
	if err != nil {
		return nil, err
	}
	pieces, err := a.Rewrite(e)
	if err != nil {
		return nil, err
	}
	r := NewPieces(a.r, pieces)
	out, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		tb.Fatal(err)
	}
	now, _ := openPackage(tb, out)
	if err := p.Verify(now); err != nil {
		tb.Fatal(err)
	}
	return out, nil
}

func setAll(tb testing.TB, serial uint32, level string) func(p *Package) error {
	tb.Helper()
	return func(p *Package) error {
		for _, d := range p.Disks {
			if err := p.Set(d.ID, frameFor(tb, d, serial, level)); err != nil {
				return err
			}
		}
		return nil
	}
}

func removeAll(p *Package) error {
	for _, d := range p.Disks {
		if err := p.Remove(d.ID); err != nil {
			return err
		}
	}
	return nil
}

func must(tb testing.TB, ova []byte, err error) []byte {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return ova
}

// TestLives labels, labels again and unlabels appliances of every maker: other members and all text outside the section
// stay as they are, digests are right, and in the end the archive is the one that it was.
func TestLives(t *testing.T) {
	t.Parallel()
	for _, style := range build.Styles() {
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA512} {
			t.Run(string(style)+"/"+h.String(), func(t *testing.T) {
				t.Parallel()
				files := build.Package(style, h, twoDisks())
				was := makeOVA(t, files)
				if got := Detect(mem(was)); got != FormatOVA {
					t.Fatalf("detected %q", got)
				}
				one, err := change(t, was, nil, setAll(t, 1, "gold"))
				must(t, one, err)
				two, err := change(t, one, nil, setAll(t, 2, "silver"))
				must(t, two, err)
				p, a := openPackage(t, two)
				for _, d := range p.Disks {
					if d.Frame == nil || d.Frame.Serial != 2 || !d.InFile || d.SectionOnly != "" || !d.section {
						t.Errorf("disk %s: %+v", d.ID, d)
					}
				}
				checkManifest(t, a, h, style)
				back, err := change(t, two, nil, removeAll)
				if must(t, back, err); !bytes.Equal(back, was) {
					t.Error("the archive without labels is not what it was")
				}
				if got, err := change(t, was, nil, removeAll); !errors.Is(err, diskimage.ErrNoLabel) {
					t.Errorf("removed what is not there: %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

// checkManifest computes the manifest as its maker would.
func checkManifest(t *testing.T, a *Archive, h crypto.Hash, style build.Style) {
	t.Helper()
	if style == build.OVirt {
		return
	}
	var listed []build.File
	var got []byte
	for _, m := range a.Members {
		content, err := readRange(a.r, m.Offset, m.Size, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(m.Name, ".mf") {
			got = content
		} else {
			listed = append(listed, build.File{Name: m.Name, Content: content})
		}
	}
	if want := build.Manifest(style, h, listed...); !bytes.Equal(got, want) {
		t.Errorf("manifest\n%s\nexpected\n%s", got, want)
	}
}

// TestOneOfTwo labels one disk, then the other, and removes one.
func TestOneOfTwo(t *testing.T) {
	t.Parallel()
	ova := makeOVA(t, build.Package(build.Ovftool, crypto.SHA256, twoDisks()))
	set := func(id string, serial uint32) func(p *Package) error {
		return func(p *Package) error {
			d, err := p.Disk(id)
			if err != nil {
				return err
			}
			return p.Set(id, frameFor(t, d, serial, "gold"))
		}
	}
	one, err := change(t, ova, nil, set("vmdisk2", 1))
	must(t, one, err)
	both, err := change(t, one, nil, set("vmdisk1", 7))
	must(t, both, err)
	p, _ := openPackage(t, both)
	if p.Disks[0].Frame.Serial != 7 || p.Disks[1].Frame.Serial != 1 {
		t.Errorf("serials %d and %d, expected 7 and 1", p.Disks[0].Frame.Serial, p.Disks[1].Frame.Serial)
	}
	again, err := change(t, both, nil, func(p *Package) error { return p.Remove("vmdisk1") })
	if must(t, again, err); !bytes.Equal(again, one) {
		t.Error("without the second label the archive is not what it was before it")
	}
	if _, err := change(t, both, nil, set("vmdisk1", 7)); !errors.Is(err, diskimage.ErrSerial) {
		t.Errorf("same serial: %v", err)
	}
	if _, err := change(t, both, nil, set("vmdisk3", 1)); !errors.Is(err, ErrNoDisk) {
		t.Errorf("no such disk: %v", err)
	}
	other := vmDisk("x", "y")
	_, err = change(t, ova, nil, func(p *Package) error {
		d := *p.Disks[0]
		d.Info.VirtualSize = label.Bytes(other.Size) * 2
		return p.Set("vmdisk1", frameFor(t, &d, 1, "gold"))
	})
	if !errors.Is(err, diskimage.ErrBinding) {
		t.Errorf("label of another disk: %v", err)
	}
}

// TestWhichCounts puts labels of different serials into section and file.
func TestWhichCounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		section, file    uint32 // serials; 0: none
		want             uint32
		inFile, damaged  bool
		garbageInSection bool
	}{
		{name: "none"},
		{name: "section", section: 3, want: 3},
		{name: "file", file: 2, want: 2, inFile: true},
		{name: "section is newer", section: 3, file: 2, want: 3},
		{name: "file is newer", section: 3, file: 4, want: 4, inFile: true},
		{name: "equal", section: 3, file: 3, want: 3, inFile: true},
		{name: "garbage", garbageInSection: true, damaged: true},
		{name: "garbage and file", garbageInSection: true, file: 1, want: 1, inFile: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			disk := vmDisk("vmdisk1", "vm-web-1.vmdk")
			plain, _ := openPackage(t, makeOVA(t, build.Package(build.OVirt, crypto.SHA256, []build.Disk{disk})))
			if tt.file > 0 {
				e, err := diskimage.PlanSet(mem(disk.Content), frameFor(t, plain.Disks[0], tt.file, "gold"))
				if err == nil {
					err = diskimage.Apply(mem(disk.Content), e)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			files := build.Package(build.OVirt, crypto.SHA256, []build.Disk{disk})
			text := ""
			switch {
			case tt.garbageInSection:
				text = "bm8gbGFiZWw="
			case tt.section > 0:
				text, _ = encodeLabel(frameFor(t, plain.Disks[0], tt.section, "gold"))
			}
			desc, err := ParseDescriptor(files[0].Content)
			if err != nil {
				t.Fatal(err)
			}
			if files[0].Content, err = desc.withLabels(map[string]string{"vmdisk1": text}); err != nil {
				t.Fatal(err)
			}
			ova := makeOVA(t, files)
			p, _ := openPackage(t, ova)
			d := p.Disks[0]
			got := uint32(0)
			if d.Frame != nil {
				got = d.Frame.Serial
			}
			if got != tt.want || d.InFile != tt.inFile || d.Info.Damaged != tt.damaged || d.Info.HasLabel != (tt.want > 0) {
				t.Errorf("serial %d, in file %t, damaged %t, expected %+v", got, d.InFile, d.Info.Damaged, tt)
			}
			if tt.section+tt.file == 0 && !tt.garbageInSection {
				return
			}
			if gone, err := change(t, ova, nil, removeAll); err != nil || bytes.Contains(gone, []byte("berth")) {
				t.Errorf("remains after the removal: %v", err)
			}
		})
	}
}

// TestSectionOnly are disks whose file cannot hold the label.
func TestSectionOnly(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte("guest data "), 2048)[:16<<10]
	full := crash.Stream(crash.StreamText(false), 2, 0)
	copy(full[4*512:], "not zero: the area cannot grow")
	for _, tt := range []struct {
		name string
		disk build.Disk
		want string
	}{
		{"compressed", build.Disk{ID: "d", Href: "d.vmdk.gz", Content: []byte("gzip"), Size: 1 << 20, FileMore: ` ovf:compression="gzip"`}, "compressed"},
		{"chunked", build.Disk{ID: "d", Href: "d.vmdk", Size: 1 << 20, FileMore: ` ovf:chunkSize="1000"`}, "chunks"},
		{"remote", build.Disk{ID: "d", Href: "http://192.0.2.1/d.vmdk", Size: 1 << 20}, "not followed"},
		{"no file", build.Disk{ID: "d", Size: 1 << 20}, "no file"},
		{"raw", build.Disk{ID: "d", Href: "d.img", Content: raw, Size: int64(len(raw)), DiskMore: ` ovf:volume-format="RAW"`}, "sidecar"},
		{"no room", build.Disk{ID: "d", Href: "d.vmdk", Content: full, Size: 1 << 20}, "no room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			was := makeOVA(t, build.Package(build.VirtualBox, crypto.SHA256, []build.Disk{tt.disk}))
			p, _ := openPackage(t, was)
			if err := setAll(t, 1, "gold")(p); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Plan(nil, proceed); err != nil || !strings.Contains(p.Disks[0].SectionOnly, tt.want) {
				t.Errorf("%q, expected it to contain %q: %v", p.Disks[0].SectionOnly, tt.want, err)
			}
			one, err := change(t, was, nil, setAll(t, 1, "gold"))
			must(t, one, err)
			now, _ := openPackage(t, one)
			if d := now.Disks[0]; d.Frame == nil || d.InFile || d.Info.Place != PlaceSection || d.Info.VirtualSize != label.Bytes(tt.disk.Size) {
				t.Errorf("%+v", d)
			}
			if back, err := change(t, one, nil, removeAll); err != nil || !bytes.Equal(back, was) {
				t.Errorf("not what it was: %v", err)
			}
		})
	}
	shared := []build.Disk{vmDisk("a", "one.vmdk"), {ID: "b", Href: "one.vmdk", Size: 1 << 20}}
	p, _ := openPackage(t, makeOVA(t, build.Package(build.VirtualBox, crypto.SHA256, shared)))
	if !strings.Contains(p.Disks[0].SectionOnly, "shared") || !strings.Contains(p.Disks[1].SectionOnly, "shared") {
		t.Errorf("shared: %q, %q", p.Disks[0].SectionOnly, p.Disks[1].SectionOnly)
	}
}

// TestTampered are packages that do not match their manifests: they are not made to.
func TestTampered(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(files []build.File){
		"disk": func(files []build.File) { files[2].Content[len(files[2].Content)-600] ^= 1 },
		"descriptor": func(files []build.File) {
			files[0].Content = bytes.Replace(files[0].Content, []byte("512 MB"), []byte("513 MB"), 1)
		},
		"manifest": func(files []build.File) {
			i := bytes.IndexByte(files[1].Content, '=') + 2
			if files[1].Content[i]++; files[1].Content[i] > '9' { // a letter, or the colon after 9
				files[1].Content[i] = '0'
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := build.Package(build.Ovftool, crypto.SHA256, twoDisks())
			tamper(files)
			if _, err := change(t, makeOVA(t, files), nil, setAll(t, 1, "gold")); !errors.Is(err, ErrManifest) {
				t.Errorf("error %v, expected ErrManifest", err)
			}
		})
	}
	stop := errors.New("stop")
	p, _ := openPackage(t, makeOVA(t, build.Package(build.Ovftool, crypto.SHA256, twoDisks())))
	if err := setAll(t, 1, "gold")(p); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Plan(nil, func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v, expected it to stop", err)
	}
}

// TestGrow: a stream of VirtualBox's, whose descriptor area has no room, gets it.
func TestGrow(t *testing.T) {
	t.Parallel()
	disk := vmDisk("vmdisk1", "vm-web-1.vmdk")
	disk.Content = crash.Stream(crash.StreamText(false), 2, 0, 3)
	one, err := change(t, makeOVA(t, build.Package(build.VirtualBox, crypto.SHA1, []build.Disk{disk})), nil, setAll(t, 1, "gold"))
	must(t, one, err)
	p, a := openPackage(t, one)
	if d := p.Disks[0]; !d.InFile || d.SectionOnly != "" {
		t.Errorf("%+v", d)
	}
	checkManifest(t, a, crypto.SHA1, build.VirtualBox)
	back, err := change(t, one, nil, removeAll)
	if must(t, back, err); bytes.Contains(back, []byte("berth")) {
		t.Error("something of the label is left")
	}
}

// TestEscapedNames: a reference is a URI, or the name as it is; neither leads out.
func TestEscapedNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		href, file string
		ok         bool
	}{
		{"my%20disk.vmdk", "my disk.vmdk", true}, {"100%.vmdk", "100%.vmdk", true}, {"a%2", "a%2", true}, {"%41%zz", "A%zz", true},
		{"my%20disk.vmdk", "my%20disk.vmdk", true}, {"%2e%2e%2fx.vmdk", "../x.vmdk", false},
	} {
		disk := vmDisk("vmdisk1", tt.href)
		files := build.Package(build.Ovftool, crypto.SHA256, []build.Disk{disk})
		files[2].Name = tt.file
		files[1].Content = build.Manifest(build.Ovftool, crypto.SHA256, files[0], files[2])
		ova, err := build.OVA(tar.FormatPAX, files)
		if err != nil {
			continue // no archive can have it
		}
		if !tt.ok {
			if _, _, err := OpenArchive(mem(ova)); !errors.Is(err, ErrNoFile) {
				t.Errorf("%s as %q: error %v, expected ErrNoFile", tt.href, tt.file, err)
			}
			continue
		}
		one, err := change(t, ova, nil, setAll(t, 1, "gold"))
		must(t, one, err)
		_, a := openPackage(t, one)
		checkManifest(t, a, crypto.SHA256, build.Ovftool)
	}
}

// TestMissingFile: a package whose disk is not there is not complete.
func TestMissingFile(t *testing.T) {
	t.Parallel()
	files := build.Package(build.Ovftool, crypto.SHA256, twoDisks())
	files = slices.Delete(files, 3, 4)
	if _, _, err := OpenArchive(mem(makeOVA(t, files))); !errors.Is(err, ErrNoFile) {
		t.Errorf("error %v, expected ErrNoFile", err)
	}
}
