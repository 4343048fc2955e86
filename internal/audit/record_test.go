package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
)

var written = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func record(t interface{ Fatal(...any) }, scope string, entries ...audit.Entry) []byte {
	var b bytes.Buffer
	w, err := audit.NewWriter(&b, scope, written)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readAll(text []byte, scope string) ([]audit.Entry, error) {
	r, err := audit.NewReader(bytes.NewReader(text), scope)
	if err != nil {
		return nil, err
	}
	var out []audit.Entry
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
}

func entry(name string) audit.Entry {
	return audit.Entry{Name: name, Seen: *seen(label.TrustSigned, 3, name)}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	want := []audit.Entry{entry("a"), entry("a/b"), entry("a.b"), entry("line\nend"), entry("no utf8 \xff\x00"), entry("z\u2028<&>")}
	want[1].Copy = true
	text := record(t, "folder /srv", want...)
	got, err := readAll(text, "folder /srv")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("read %+v, wrote %+v: %v", got, want, err)
	}
	if got, err := readAll(record(t, "empty"), "empty"); err != nil || len(got) != 0 {
		t.Errorf("an empty record: %+v, %v", got, err)
	}
	if _, err := readAll(text, "folder /other"); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("another scope: %v", err)
	}
}

// TestRecordDamage: no byte of a record can be changed, lost or added unseen.
func TestRecordDamage(t *testing.T) {
	t.Parallel()
	text := record(t, "s", entry("a"), entry("b"))
	for i := range text {
		for _, bad := range [][]byte{
			append(append(bytes.Clone(text[:i]), text[i]^1), text[i+1:]...), text[:i], append(bytes.Clone(text[:i]), text[i+1:]...),
			append(append(bytes.Clone(text[:i]), ' '), text[i:]...),
		} {
			if _, err := readAll(bad, "s"); !errors.Is(err, audit.ErrCorrupt) && !harmless(bad, text) {
				t.Fatalf("at byte %d: %v\n%s", i, err, bad)
			}
		}
	}
	for name, bad := range map[string][]byte{
		"longer":          append(bytes.Clone(text), "x\n"...),
		"twice":           append(bytes.Clone(text), text...),
		"empty":           {},
		"long line":       append([]byte(strings.Repeat("x", 1<<17)), text...),
		"out of order":    record(t, "s", entry("b"), entry("a")),
		"the same twice":  record(t, "s", entry("a"), entry("a")),
		"a file of words": []byte("nothing\nof a record\n"),
	} {
		if _, err := readAll(bad, "s"); !errors.Is(err, audit.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// harmless says that the change is white space in the last line, which has no sum but says the same.
func harmless(bad, text []byte) bool {
	return bytes.Equal(bytes.ReplaceAll(bad, []byte(" "), nil), bytes.ReplaceAll(text, []byte(" "), nil))
}

// TestCompareIsTheOrderOfAWalk holds Compare against the walk of the standard library.
func TestCompareIsTheOrderOfAWalk(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		files := fstest.MapFS{}
		for range rapid.IntRange(1, 30).Draw(t, "files") {
			name := rapid.StringMatching(`[ab.!0-]{1,3}(/[ab.!0-]{1,3}){0,3}`).Draw(t, "name")
			if fs.ValidPath(name) && !slices.ContainsFunc(keys(files), func(k string) bool {
				return strings.HasPrefix(k, name+"/") || strings.HasPrefix(name, k+"/")
			}) {
				files[name] = &fstest.MapFile{}
			}
		}
		var walked []string
		err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				walked = append(walked, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(walked, audit.Compare) {
			t.Fatalf("not in the order of Compare: %q", walked)
		}
	})
	if audit.Compare("a", "a") != 0 || audit.Compare("a", "a/b") >= 0 || audit.Compare(filepath.Join("a", "b"), "a.b") >= 0 {
		t.Error("a folder's content does not come before its neighbours")
	}
}

func keys(m fstest.MapFS) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

// FuzzDecodeEntry: what decodes encodes to a line that decodes to the same.
func FuzzDecodeEntry(f *testing.F) {
	for _, e := range []audit.Entry{entry("a/b.vmdk"), entry("\xff")} {
		line, err := e.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"name":"a","trust":"signed","serial":1,"digest":"00"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := audit.DecodeEntry(line)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := audit.DecodeEntry(again); err != nil || back != e {
			t.Fatalf("%+v becomes %+v: %v", e, back, err)
		}
	})
}

// FuzzReader: no file is read in part: either it is a whole record, or ErrCorrupt comes before the first entry that is wrong.
func FuzzReader(f *testing.F) {
	text := record(f, "s", entry("a"), entry("b/c"))
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := readAll(text, "s")
		if err != nil {
			if !errors.Is(err, audit.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := readAll(record(t, "s", entries...), "s")
		if err != nil || !slices.Equal(again, entries) {
			t.Fatalf("%v: %s", err, fmt.Sprint(entries))
		}
	})
}
