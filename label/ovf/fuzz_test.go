package ovf

import (
	"archive/tar"
	"bytes"
	"crypto"
	"hash"
	"io"
	"testing"

	build "github.com/berth-project/berth/test/ovf"
)

// FuzzDescriptor edits whatever parses: labels go in, come out the same, and without them the text is what it was when it
// had none.
func FuzzDescriptor(f *testing.F) {
	one, two := someLabel(f, 1), someLabel(f, 2)
	for _, style := range build.Styles() {
		text := build.Descriptor(style, twoDisks())
		f.Add(text)
		d, err := ParseDescriptor(text)
		if err != nil {
			f.Fatal(err)
		}
		labelled, err := d.withLabels(map[string]string{"vmdisk1": one})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(labelled)
		f.Add(append(labelled, "<!-- end -->"...))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDescriptor(text)
		if err != nil {
			return
		}
		bare, err := d.withLabels(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.spans) == 0 && !bytes.Equal(bare, text) {
			t.Fatal("removing nothing changed the text")
		}
		labels := map[string]string{}
		for i := range d.disks {
			labels[d.disks[i].id] = two
		}
		labelled, err := d.withLabels(labels)
		if err != nil {
			return // it has no place for a section, or ends inside one when ours is cut out
		}
		again, err := ParseDescriptor(labelled)
		if err != nil {
			t.Fatalf("what was written does not parse: %v", err)
		}
		if back, err := again.withLabels(nil); err != nil || !bytes.Equal(back, bare) {
			t.Fatalf("not what it was: %v\n%q\n%q", err, back, bare)
		}
	})
}

// FuzzArchive reads any archive, and rewrites each that it can read: the members stay as they are but for the one changed.
func FuzzArchive(f *testing.F) {
	small := []build.File{{Name: "x.ovf", Content: []byte("<Envelope/>")}, {Name: "x.vmdk", Content: bytes.Repeat([]byte("x"), 700)}, {Name: "x.mf"}}
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		ova, err := build.OVA(format, small)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ova)
		small[1].Name = "a-long-name-" + string(bytes.Repeat([]byte("y"), 150))
	}
	f.Fuzz(func(t *testing.T, ova []byte) {
		Detect(mem(ova))
		a, err := ReadArchive(mem(ova))
		if err != nil {
			return
		}
		first := a.Members[0]
		e := &Edit{Files: []FileEdit{{Name: first.Name, Content: make([]byte, first.Size+1000)}}}
		pieces, err := a.Rewrite(e)
		if err != nil {
			return
		}
		r := NewPieces(a.r, pieces)
		now, err := ReadArchive(r)
		if err != nil {
			t.Fatalf("what was written does not read: %v", err)
		}
		for i, m := range a.Members[1:] {
			was, err1 := readRange(a.r, m.Offset, m.Size, 1<<30)
			is, err2 := readRange(r, now.Members[i+1].Offset, now.Members[i+1].Size, 1<<30)
			if err1 != nil || err2 != nil || !bytes.Equal(was, is) {
				t.Fatalf("member %q changed: %v, %v", m.Name, err1, err2)
			}
		}
		whole, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || int64(len(whole)) != r.Size() {
			t.Fatalf("read %d of %d bytes: %v", len(whole), r.Size(), err)
		}
	})
}

// FuzzManifest changes the digests of every file and changes them back.
func FuzzManifest(f *testing.F) {
	for _, style := range build.Styles() {
		f.Add(build.Manifest(style, crypto.SHA256, build.File{Name: "a.vmdk"}, build.File{Name: "b (1).vmdk"}), "a.vmdk")
	}
	f.Fuzz(func(t *testing.T, text []byte, file string) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		sums := m.hashes(file)
		for _, h := range sums {
			h.Write([]byte("other content"))
		}
		changed := m.with(map[string]map[crypto.Hash]hash.Hash{file: sums})
		now, err := ParseManifest(changed)
		if err != nil || len(now.digests) != len(m.digests) || len(changed) != len(text) {
			t.Fatalf("what was written does not parse: %v", err)
		}
		if err := now.check(file, sums); err != nil {
			t.Fatal(err)
		}
		if !m.Lists(file) && !bytes.Equal(changed, text) {
			t.Fatal("a file that is not listed changed the manifest")
		}
	})
}

// FuzzCertificate parses certificate files.
func FuzzCertificate(f *testing.F) {
	id := ecdsaIdentity(f)
	f.Add(signed(f, build.Package(build.Ovftool, crypto.SHA256, twoDisks()), id, crypto.SHA256)[2].Content)
	f.Add([]byte("SHA1(x.mf)= 12\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		c, err := parseCertificate(text)
		if err != nil {
			return
		}
		_ = c.verify([]byte("some manifest")) // any verdict, no panic
	})
}
