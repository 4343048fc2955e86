package ovf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	build "github.com/berth-project/berth/test/ovf"
)

func parse(tb testing.TB, text []byte) *Descriptor {
	tb.Helper()
	d, err := ParseDescriptor(text)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// someLabel is the base64 of a label for a disk of 1 MiB.
func someLabel(tb testing.TB, serial uint32) string {
	tb.Helper()
	d := Disk{Info: diskimage.Info{VirtualSize: 1 << 20}}
	text, err := encodeLabel(frameFor(tb, &d, serial, "gold"))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// TestSectionText holds the section to what other readers want of it.
func TestSectionText(t *testing.T) {
	t.Parallel()
	for _, style := range build.Styles() {
		t.Run(string(style), func(t *testing.T) {
			t.Parallel()
			was := build.Descriptor(style, twoDisks())
			d := parse(t, was)
			one, two := someLabel(t, 1), someLabel(t, 2)
			text, err := d.withLabels(map[string]string{"vmdisk1": one, "vmdisk2": two, "gone": one})
			if err != nil {
				t.Fatal(err)
			}
			from, to := bytes.Index(text, []byte("<berth:LabelSection")), bytes.Index(text, []byte("</berth:LabelSection>"))
			if from < 0 || to < from || bytes.Contains(text, []byte("gone")) {
				t.Fatalf("no section, or one with a label of no disk:\n%s", text)
			}
			if !bytes.Contains(text[from:to], []byte(`ovf:required="false"`)) || !bytes.Contains(text[from:to], []byte("<ovf:Info>")) {
				t.Error("the section is not marked as one that may be ignored")
			}
			if style == build.Windows && bytes.Count(text, []byte("\n")) != bytes.Count(text, []byte("\r\n")) {
				t.Error("lines end in LF among those that end in CRLF")
			}
			if style == build.Minified && bytes.ContainsRune(text, '\n') {
				t.Error("a line was broken in a file of one line")
			}
			now := parse(t, text)
			if now.disks[0].label != one || now.disks[1].label != two {
				t.Error("other labels than were written")
			}
			if back, err := now.withLabels(nil); err != nil || !bytes.Equal(back, was) {
				t.Errorf("not what it was: %v", err)
			}
		})
	}
}

// TestReserialised reads the section after another tool has moved, broken and doubled it.
func TestReserialised(t *testing.T) {
	t.Parallel()
	was := build.Descriptor(build.Ovftool, twoDisks())
	old, now := someLabel(t, 1), someLabel(t, 5)
	section := func(id, text string) string {
		return "\n\t<x:LabelSection xmlns:x='" + Namespace + "' xmlns:o='http://schemas.dmtf.org/ovf/envelope/1' o:required='false'>" +
			"<o:Info/><x:Label o:diskRef='" + id + "'>\n   " + text[:40] + "\r\n\t" + text[40:] + "<!-- c -->\n</x:Label></x:LabelSection>"
	}
	end := "\n</Envelope>"
	text := strings.Replace(string(was), end, section("vmdisk1", now)+section("vmdisk1", old)+section("vmdisk2", old)+end, 1)
	d := parse(t, []byte(text))
	if d.disks[0].label != now || d.disks[1].label != old {
		t.Fatalf("labels %.20q and %.20q", d.disks[0].label, d.disks[1].label)
	}
	if back, err := d.withLabels(nil); err != nil || !bytes.Equal(back, was) {
		t.Errorf("not what it was before: %v\n%s", err, back)
	}
	tidy, err := d.withLabels(map[string]string{"vmdisk1": now})
	if err != nil || bytes.Count(tidy, []byte("LabelSection>")) != 1 {
		t.Errorf("more than one section: %v", err)
	}
}

func TestDescriptorRefused(t *testing.T) {
	t.Parallel()
	good := string(build.Descriptor(build.Ovftool, twoDisks()))
	swap := func(old, now string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(good, old, now, 1)
	}
	deep := strings.Repeat("<a>", 70) + strings.Repeat("</a>", 70)
	for name, tt := range map[string]struct {
		text string
		want error
	}{
		"empty":               {"", diskimage.ErrCorrupt},
		"other root":          {"<Envelope/>", diskimage.ErrCorrupt},
		"two roots":           {good + strings.TrimPrefix(good, `<?xml version="1.0" encoding="UTF-8"?>`), diskimage.ErrCorrupt},
		"cut off":             {good[:len(good)-20], diskimage.ErrCorrupt},
		"document type":       {swap("<Envelope", "<!DOCTYPE x [<!ENTITY a 'b'>]><Envelope"), diskimage.ErrUnsupported},
		"entity":              {swap("512 MB", "&a;"), diskimage.ErrCorrupt},
		"UTF-16":              {"\xff\xfe<\x00", diskimage.ErrUnsupported},
		"latin 1":             {swap("UTF-8", "ISO-8859-1"), diskimage.ErrCorrupt},
		"deep":                {swap("<VirtualSystem ", deep+"<VirtualSystem "), diskimage.ErrCorrupt},
		"long":                {good + strings.Repeat(" ", MaxDescriptor), diskimage.ErrUnsupported},
		"a long tag":          {swap("<VirtualSystem ", "<VirtualSystem a='"+strings.Repeat("&lt;>", 20<<10)+"' "), diskimage.ErrUnsupported},
		"many attributes":     {swap("<VirtualSystem ", "<VirtualSystem "+strings.Repeat("b='' ", 20<<10)), diskimage.ErrUnsupported},
		"a tag without end":   {good + "<x" + strings.Repeat(" ", 70<<10), diskimage.ErrUnsupported},
		"many tags":           {swap("<VirtualSystem ", strings.Repeat("<a/>", MaxTags)+"<VirtualSystem "), diskimage.ErrUnsupported},
		"comment without end": {good + "<!-- ", diskimage.ErrCorrupt},
		"parent folder":       {swap("vm-web-1.vmdk", "../vm-web-1.vmdk"), diskimage.ErrCorrupt},
		"parent in between":   {swap("vm-web-1.vmdk", "a/../../b.vmdk"), diskimage.ErrCorrupt},
		"absolute":            {swap("vm-web-1.vmdk", "/etc/passwd"), diskimage.ErrCorrupt},
		"file URI":            {swap("vm-web-1.vmdk", "file:///etc/passwd"), diskimage.ErrCorrupt},
		"backslash":           {swap("vm-web-1.vmdk", `..\x.vmdk`), diskimage.ErrCorrupt},
		"empty href":          {swap("vm-web-1.vmdk", ""), diskimage.ErrCorrupt},
		"same disk twice":     {swap("vmdisk2", "vmdisk1"), diskimage.ErrCorrupt},
		"same file twice":     {swap(`ovf:id="file2"`, `ovf:id="file1"`), diskimage.ErrCorrupt},
		"file not listed":     {swap(`ovf:fileRef="file2"`, `ovf:fileRef="file9"`), diskimage.ErrCorrupt},
		"capacity":            {swap(`ovf:capacity="1048576"`, `ovf:capacity="-1"`), diskimage.ErrCorrupt},
		"capacity too large":  {swap(`ovf:capacity="1048576"`, `ovf:capacity="9" ovf:capacityAllocationUnits="byte * 2^60"`), diskimage.ErrCorrupt},
		"units":               {swap(`ovf:capacity="1048576"`, `ovf:capacity="9" ovf:capacityAllocationUnits="byte * 2^"`), diskimage.ErrCorrupt},
		"long label": {swap("\n</Envelope>", "<b:LabelSection xmlns:b='"+Namespace+"'><b:Label>"+strings.Repeat("A", 20<<10)+
			"</b:Label></b:LabelSection>\n</Envelope>"), diskimage.ErrCorrupt},
	} {
		if d, err := ParseDescriptor([]byte(tt.text)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, error %v, expected %v", name, d != nil, err, tt.want)
		}
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		capacity, units string
		want            label.Bytes
	}{
		{"8589934592", "", 8 << 30}, {"8", "byte * 2^30", 8 << 30}, {"8", "byte*2^30", 8 << 30}, {"3", "byte * 2^10 * 2^10", 3 << 20},
		{"4", "GigaBytes", 4 << 30}, {"4", "MegaBytes", 4 << 20}, {"4", "byte * 1000", 4000}, {"${size}", "byte", 0}, {"", "", 0}, {"7", " byte ", 7},
	} {
		if got, err := parseCapacity(tt.capacity, tt.units); err != nil || got != tt.want {
			t.Errorf("%q of %q: %d, expected %d: %v", tt.capacity, tt.units, got, tt.want, err)
		}
	}
}

// TestManyDisks is at the bound, and beyond.
func TestManyDisks(t *testing.T) {
	t.Parallel()
	var disks []build.Disk
	for i := range MaxDisks + 1 {
		disks = append(disks, build.Disk{ID: fmt.Sprintf("d%d", i), Size: 1 << 20})
	}
	if d := parse(t, build.Descriptor(build.Ovftool, disks[:MaxDisks])); len(d.disks) != MaxDisks {
		t.Errorf("%d disks", len(d.disks))
	}
	if _, err := ParseDescriptor(build.Descriptor(build.Ovftool, disks)); !errors.Is(err, diskimage.ErrCorrupt) {
		t.Errorf("one more than the bound: %v", err)
	}
}

// TestStrangeNames are ids that have to be escaped.
func TestStrangeNames(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a &amp; b", "&lt;x&gt;", "&quot;q&quot;", "it's", "ünïcödé", "a&#10;b&#9;c", "]]&gt;"} {
		was := build.Descriptor(build.Ovftool, []build.Disk{{ID: id, Size: 1 << 20}})
		d := parse(t, was)
		text, err := d.withLabels(map[string]string{d.disks[0].id: someLabel(t, 1)})
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if back, err := parse(t, text).withLabels(nil); err != nil || !bytes.Equal(back, was) {
			t.Errorf("%s: not what it was: %v", id, err)
		}
	}
}

func TestDetectDescriptor(t *testing.T) {
	t.Parallel()
	for _, style := range build.Styles() {
		if got := Detect(mem(build.Descriptor(style, twoDisks()))); got != FormatOVF {
			t.Errorf("%s: %q", style, got)
		}
	}
	for _, text := range []string{"", "<", "<html/>", "<Envelope xmlns='urn:x'/>", "text <Envelope", strings.Repeat("<!-- -->", 4000)} {
		if got := Detect(mem([]byte(text))); got != "" {
			t.Errorf("%.20q: %q", text, got)
		}
	}
}

// TestLongText: only tags are short; a licence text, a comment or a CDATA section may be as long as the descriptor.
func TestLongText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("licence <> & 'text' ", 20<<10)
	for _, text := range []string{"<!-- " + long + "-->", "<License><![CDATA[" + long + "]]></License>", "<?note " + long + "?>",
		"<License>" + strings.NewReplacer("<", "&lt;", "&", "&amp;").Replace(long) + "</License>"} {
		was := strings.Replace(string(build.Descriptor(build.Ovftool, twoDisks())), "\n</Envelope>", "\n"+text+"\n</Envelope>", 1)
		d := parse(t, []byte(was))
		labelled, err := d.withLabels(map[string]string{"vmdisk1": someLabel(t, 1)})
		if err != nil {
			t.Errorf("%.20s: %v", text, err)
			continue
		}
		if back, err := parse(t, labelled).withLabels(nil); err != nil || string(back) != was {
			t.Errorf("%.20s: not what it was: %v", text, err)
		}
	}
}
