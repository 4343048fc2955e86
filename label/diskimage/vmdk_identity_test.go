package diskimage

import (
	"bytes"
	"strings"
	"testing"
)

// memory is a file in memory; replacing it is possible or not.
type memory struct{ content []byte }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.content).ReadAt(p, off)
}
func (m *memory) Size() int64 { return int64(len(m.content)) }
func (m *memory) Sync() error { return nil }
func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(m.content) {
		m.content = append(m.content, make([]byte, need-len(m.content))...)
	}
	return copy(m.content[off:], p), nil
}

const (
	firstUUID  = "6000c29a-1f36-d34b-4cee-17b28cc13e79"
	secondUUID = "3f2a8b6e-52c1-4b0e-9d47-6f1f0c9a7e11"
)

// TestVMDKIdentity: the line comes once, in VMware's spelling, and later changes in place; everything else stays.
func TestVMDKIdentity(t *testing.T) {
	t.Parallel()
	text := "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 16384 FLAT \"x-flat.vmdk\" 0\n#DDB\nddb.adapterType = \"ide\""
	for name, c := range map[string]struct{ before, want string }{
		"none":             {text, text + "\nddb.uuid = \"60 00 c2 9a 1f 36 d3 4b-4c ee 17 b2 8c c1 3e 79\"\n"},
		"line feed":        {text + "\n", text + "\nddb.uuid = \"60 00 c2 9a 1f 36 d3 4b-4c ee 17 b2 8c c1 3e 79\"\n"},
		"padded":           {text + "\n" + strings.Repeat("\x00", 512), text + "\nddb.uuid = \"60 00 c2 9a 1f 36 d3 4b-4c ee 17 b2 8c c1 3e 79\"\n"},
		"another":          {text + "\nddb.uuid = \"" + vmwareUUID(secondUUID) + "\"\n", text + "\nddb.uuid = \"60 00 c2 9a 1f 36 d3 4b-4c ee 17 b2 8c c1 3e 79\"\n"},
		"other spelling":   {text + "\nddb.uuid = \"" + secondUUID + "\"\n", text + "\nddb.uuid = \"" + firstUUID + "\"\n"},
		"strange spelling": {text + "\nddb.uuid = \"none\"\n", ""},
		"twice":            {text + "\nddb.uuid = \"" + secondUUID + "\"\nddb.uuid = \"" + secondUUID + "\"\n", "?"},
	} {
		m := &memory{content: []byte(c.before)}
		e, err := Options{}.PlanIdentity(m, firstUUID)
		if err != nil {
			if c.want != "" && c.want != "?" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err := Apply(m, e); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _, _ := strings.Cut(string(m.content), "\x00")
		if c.want != "?" && got != c.want {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
		if info, err := Inspect(m); err != nil || info.UUID != firstUUID {
			t.Errorf("%s: identity %q, %v", name, info.UUID, err)
		}
	}
}

// FuzzVMDKIdentity: whatever the descriptor, an identity that could be planned is the one that is read, and the rest of what is
// read stays.
func FuzzVMDKIdentity(f *testing.F) {
	text := "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 16384 FLAT \"x-flat.vmdk\" 0\n"
	for _, more := range []string{"", "ddb.uuid = \"" + firstUUID + "\"\n", "DDB.UUID=\"\"\nddb.uuid = \"x\"", "\x00\x00ddb.uuid", "ddb.uuid = \"" + vmwareUUID(firstUUID)} {
		f.Add([]byte(text + more))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		m := &memory{content: bytes.Clone(content)}
		before, err := Inspect(m)
		if err != nil || before.Format != FormatVMDK {
			return
		}
		e, err := Options{}.PlanIdentity(m, secondUUID)
		if err != nil {
			return
		}
		if err := Apply(m, e); err != nil {
			t.Fatal(err)
		}
		now, err := Inspect(m)
		if err != nil || now.UUID != secondUUID || now.VirtualSize != before.VirtualSize || now.Parent != before.Parent || len(now.Extents) != len(before.Extents) {
			t.Fatalf("%+v, %v; before %+v", now, err, before)
		}
	})
}
