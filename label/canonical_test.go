package label

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// agree holds the scanner of the canonical form to the parser of any form: it takes just what is canonical, for the same.
func agree(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, text []byte) {
	t.Helper()
	quick, isCanonical := parseCanonical(text)
	slow, err := parseAny(text)
	want := false
	if err == nil {
		canonical, cerr := slow.Canonical()
		want = cerr == nil && bytes.Equal(canonical, text)
	}
	if isCanonical != want {
		t.Fatalf("%q: taken for canonical: %v, is: %v (%v)", text, isCanonical, want, err)
	}
	if isCanonical && !reflect.DeepEqual(quick, slow) {
		t.Fatalf("%q: is %+v to one parser and %+v to the other", text, quick, slow)
	}
}

func canonicalSeeds() []string {
	return []string{
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1}`,
		`{"disk":{"size":9007199254740991,"uuid":"0a-B"},"expires":"9999-12-31T23:59:59Z","issued":"1970-01-01T00:00:00Z",` +
			`"issuer":"a\"b\\c/Ж漢𝄞","level":"g._-9","overrides":{"nic.class":"2","priority":"9"},"serial":4294967295}`,
		`{"disk":{"size":01},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1}`,
		`{"disk":{"size":9007199254740992},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1}`,
		`{"disk":{"size":1,"uuid":""},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00+00:00","level":"gold","serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T8:00:00Z","level":"gold","serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","issuer":"\u00e4\/","level":"gold","serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","issuer":"` + "\xff" + `","level":"gold","serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","level":"gold","overrides":{},"serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","level":"gold","overrides":{"priority":"1","nic.class":"1"},"serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","level":"gold","overrides":{"priority":"1","priority":"1"},"serial":1}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":0}`,
		`{"disk":{"size":1},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1} `,
		`{"disk":{"size":`,
	}
}

func TestCanonicalScannerSeeds(t *testing.T) {
	for i, s := range canonicalSeeds() {
		agree(t, []byte(s))
		if _, ok := parseCanonical([]byte(s)); ok != (i < 2) {
			t.Errorf("%s: taken for canonical: %v", s, ok)
		}
	}
}

// TestCanonicalScannerAgrees: over documents, and over texts that are a few bytes or members off one.
func TestCanonicalScannerAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Document{
			Level:  rapid.StringMatching(`[a-z0-9._-]{1,64}`).Draw(t, "level"),
			Disk:   Binding{Size: Bytes(rapid.Int64Range(1, 1<<53-1).Draw(t, "size")), UUID: rapid.StringMatching(`[A-Za-z0-9-]{0,64}`).Draw(t, "uuid")},
			Serial: rapid.Uint32Min(1).Draw(t, "serial"),
			Issuer: rapid.StringMatching(`[ -~äЖ漢𝄞]{0,32}`).Draw(t, "issuer"),
			Issued: time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "issued"), 0).UTC(),
		}
		for _, k := range rapid.SliceOfDistinct(rapid.SampledFrom(OverrideKeys()), rapid.ID[string]).Draw(t, "overrides") {
			if d.Overrides == nil {
				d.Overrides = map[string]string{}
			}
			d.Overrides[k] = rapid.StringMatching(`[A-Za-z0-9._/-]{1,8}`).Draw(t, "value")
		}
		text, err := d.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := parseCanonical(text); !ok {
			t.Fatalf("%s is not taken for canonical", text)
		}
		agree(t, text)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			cut := rapid.IntRange(0, min(2, len(text)-at)).Draw(t, "cut")
			put := rapid.SampledFrom([]string{"", "0", `"`, `\`, `\"`, `\u0041`, " ", ",", "}", "{", "Z", "é", "\xff", "\x01", "\x7f", "\n"}).Draw(t, "put")
			text = []byte(string(text[:at]) + put + string(text[at+cut:]))
		}
		agree(t, text)
	})
}

func FuzzCanonicalScanner(f *testing.F) {
	for _, s := range canonicalSeeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) { agree(t, text) })
}

func TestIsWord(t *testing.T) {
	for _, c := range []struct {
		s    string
		want bool
	}{{"a", true}, {"", false}, {"A", false}, {"a/b", true}, {"a b", false}, {"ä", false}, {strings.Repeat("9", 64), true}, {strings.Repeat("9", 65), false}, {"a\n", false}} {
		if got := isWord(c.s, true, "/"); got != c.want {
			t.Errorf("isWord(%q) = %v", c.s, got)
		}
	}
}

func BenchmarkFrameDocument(b *testing.B) {
	for i, s := range canonicalSeeds()[:2] {
		f := Frame{Serial: []uint32{1, 4294967295}[i], Payload: []byte(s)}
		b.Run([]string{"small", "large"}[i], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Document(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
