package convert

import (
	"bytes"
	"strings"
	"testing"
)

const twoParts = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n" +
	"RW 4192256 FLAT \"vm-db-f001.vmdk\" 0\n \tRDONLY\t2 SPARSE \"vm-db-s002.vmdk\"\nRW 5 ZERO\n#RW 1 FLAT \"vm-db-f001.vmdk\"\n# The Disk Data Base\nddb.x = \"vm-db-f001.vmdk\"\n"

func TestRenameInText(t *testing.T) {
	t.Parallel()
	got, err := renameInText([]byte(twoParts), map[string]string{"vm-db-f001.vmdk": "copy $1-f001.vmdk", "vm-db-s002.vmdk": "s.vmdk", "other": "y"})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(strings.Replace(twoParts, "FLAT \"vm-db-f001", "FLAT \"copy $1-f001", 1), "\"vm-db-s002.vmdk", "\"s.vmdk", 1)
	if string(got) != want {
		t.Errorf("%s\nexpected\n%s", got, want)
	}
	for _, name := range []string{"a\"b", "a\nb", "a\x00b", "\xff"} {
		if _, err := renameInText([]byte(twoParts), map[string]string{"vm-db-f001.vmdk": name}); err == nil {
			t.Errorf("%q became the name of a part", name)
		}
	}
	if _, err := renameInText([]byte(twoParts+strings.Repeat("#", maxDescriptor)), nil); err == nil {
		t.Error("a text that QEMU cuts off was written")
	}
}

// FuzzRenameInText: there and back gives the same bytes, when the new name is nowhere in the text.
func FuzzRenameInText(f *testing.F) {
	f.Add([]byte(twoParts), "vm-db-f001.vmdk")
	f.Add([]byte("RW 1 FLAT \"\"\nRW 1 FLAT \"x\"x\""), "x")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		const to = "a-new-name.vmdk"
		if bytes.Contains(text, []byte(to)) || strings.ContainsAny(name, "\"\n") {
			return
		}
		there, err := renameInText(text, map[string]string{name: to})
		if err != nil {
			return
		}
		back, err := renameInText(there, map[string]string{to: name})
		if err != nil {
			return // a name that nobody may write
		}
		if !bytes.Equal(back, text) {
			t.Fatalf("%q became %q", text, back)
		}
	})
}

// FuzzPercent: no text makes progress beyond the whole.
func FuzzPercent(f *testing.F) {
	for _, s := range []string{"    (12.34/100%)", "(1e999/100%)", "(-0/100%)", "(nan/100%)", "("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := percent(s); ok && !(p >= 0 && p <= 100) {
			t.Fatalf("%q is %v", s, p)
		}
	})
}
