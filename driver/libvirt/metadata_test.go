package libvirt

import (
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func metadata(labels string) string {
	return `<berth:labels xmlns:berth="` + labelNS + `">` + labels + `</berth:labels>`
}

// inDomain puts what is inside of the metadata into a domain, with metadata that is not the domain's own beside it.
func inDomain(inner string) string {
	return `<domain xmlns:root="` + labelNS + `"><name>vm-a</name><os><metadata>` + metadata(`<berth:label disk="vdz">e2F9</berth:label>`) + `</metadata></os>` +
		`<metadata xmlns:meta="` + labelNS + `">` + inner + `</metadata><description>` + metadata("<x/>") + `</description></domain>`
}

func TestFindLabels(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	one := `<berth:label disk="vda">` + b64([]byte("{a}")) + `</berth:label>`
	for _, c := range []struct {
		name, inner    string
		labels, faults map[string]string
	}{
		{"nothing", "", nil, nil},
		{"one", metadata(one), map[string]string{"vda": "{a}"}, nil},
		{"wrapped in white space", metadata(strings.ReplaceAll(strings.ReplaceAll(one, ">", ">\n  "), "</", "\n</")), map[string]string{"vda": "{a}"}, nil},
		{"beside others", `<x/><move xmlns="` + moveNS + `"/>` + metadata(one+`<x><label disk="vdb">x</label></x>`), map[string]string{"vda": "{a}"}, nil},
		{"default namespace", `<labels xmlns="` + labelNS + `"><label disk="vda">e2F9</label></labels>`, map[string]string{"vda": "{a}"}, nil},
		{"no namespace", `<labels><label disk="vda">e2F9</label></labels>`, nil, nil},
		{"another's", `<labels xmlns="urn:x"><label disk="vda">e2F9</label></labels>`, nil, nil},
		{"two", metadata(one + `<berth:label disk="vdb">` + b64([]byte("{b}")) + `</berth:label>`), map[string]string{"vda": "{a}", "vdb": "{b}"}, nil},
		{"twice", metadata(one + one), nil, map[string]string{"vda": "two labels"}},
		{"three times", metadata(one + one + one), nil, map[string]string{"vda": "two labels"}},
		{"no disk", metadata(`<berth:label>e2F9</berth:label>`), nil, map[string]string{"": `a label of disk ""`}},
		{"no base64", metadata(`<berth:label disk="vda">{a}</berth:label>`), nil, map[string]string{"vda": "not the base64 of an envelope"}},
		{"empty", metadata(`<berth:label disk="vda"/>`), nil, map[string]string{"vda": "not the base64 of an envelope"}},
		{"too long", metadata(`<berth:label disk="vda">` + b64(make([]byte, maxEnvelope+3)) + `</berth:label>`), nil,
			map[string]string{"vda": "5340 characters, expected at most 5336"}},
		{"torn", `<berth:labels xmlns:berth="` + labelNS + `">` + one, map[string]string{"vda": "{a}"},
			map[string]string{"": "XML syntax error on line 1: element <labels> closed by </metadata>"}},
		{"namespace of the root", "<root:labels><root:label disk='vda'>e2F9</root:label></root:labels>", map[string]string{"vda": "{a}"}, nil},
		{"namespace of metadata", "<meta:labels><meta:label disk='vda'>e2F9</meta:label></meta:labels>", map[string]string{"vda": "{a}"}, nil},
		{"namespace of nobody", "<berth:labels><berth:label disk='vda'>e2F9</berth:label></berth:labels>", nil, nil},
	} {
		labels, faults := findLabels(inDomain(c.inner))
		if !maps.Equal(labels, c.labels) || !maps.Equal(faults, c.faults) {
			t.Errorf("%s: labels %v, faults %v", c.name, labels, faults)
		}
	}
	var many strings.Builder
	for i := range 3 * maxDisks {
		fmt.Fprintf(&many, `<berth:label disk="vd%d">e2F9</berth:label>`, i)
	}
	if labels, faults := findLabels(inDomain(metadata(many.String()))); len(labels) > maxDisks+1 || faults[""] == "" {
		t.Errorf("%d labels, faults %v", len(labels), faults)
	}
}

// TestLabelsXML: what is written is found again, however strange.
func TestLabelsXML(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clean := rapid.StringMatching(`[a-z]{2,3}[a-z<>&"']{0,4}`)
		labels := rapid.MapOfN(clean, rapid.StringN(1, 200, 400), 1, 5).Draw(t, "labels")
		doc := strings.Replace(labelsXML(labels), "<labels>", `<labels xmlns="`+labelNS+`">`, 1) // as libvirt does
		got, faults := findLabels(inDomain(doc))
		if d := cmp.Diff(labels, got); d != "" || len(faults) > 0 {
			t.Fatalf("%s; faults %v of %s", d, faults, doc)
		}
	})
}

func FuzzKeptLabels(f *testing.F) {
	for _, name := range []string{"domain-running.xml", "domain-inactive.xml"} {
		doc := testdata(f, name)
		f.Add(doc)
		f.Add(strings.Replace(doc, "</name>", "</name><metadata>"+metadata(`<berth:label disk="vda">e2F9</berth:label>`)+"</metadata>", 1))
	}
	f.Add(`<domain><name>a</name><metadata>` + metadata(`<berth:label disk="vda">e2F9</berth:label><berth:label disk="vda"/>`))
	f.Fuzz(func(t *testing.T, doc string) {
		name, kept, err := KeptLabels([]byte(doc))
		if err == nil && name == "" || err != nil && len(kept) > 0 || len(kept) > maxDisks+2 {
			t.Fatalf("%q, %d labels, %v", name, len(kept), err)
		}
		for _, k := range kept {
			if (k.Envelope == nil) == (k.Fault == "") || len(k.Envelope) > maxEnvelope || k.Format == "" && k.Fault == "" {
				t.Errorf("%+v", k)
			}
			if !utf8.ValidString(k.File) {
				t.Errorf("file %q", k.File)
			}
		}
	})
}

func TestParseQcow2(t *testing.T) {
	t.Parallel()
	header := func(change func(h []byte)) []byte {
		h := make([]byte, 512)
		copy(h, "QFI\xfb\x00\x00\x00\x03")
		h[23], h[29] = 16, 0x10 // 64 KiB clusters, 1 MiB
		if change != nil {
			change(h)
		}
		return h
	}
	for _, c := range []struct {
		name  string
		head  []byte
		want  *qcow2Info
		whole string
	}{
		{"plain", header(nil), &qcow2Info{version: 3, clusterBits: 16, size: 1 << 20}, ""},
		{"version 2", header(func(h []byte) { h[7], h[79], h[87] = 2, 255, 255 }), &qcow2Info{version: 2, clusterBits: 16, size: 1 << 20}, ""},
		{"backing file", header(func(h []byte) { h[15] = 1 }), &qcow2Info{version: 3, clusterBits: 16, size: 1 << 20, backing: true}, "backing file"},
		{"data file", header(func(h []byte) { h[79] = 4 }), &qcow2Info{version: 3, clusterBits: 16, size: 1 << 20, dataFile: true}, "another file"},
		{"features", header(func(h []byte) { h[79], h[87], h[35] = 16, 1, 2 }),
			&qcow2Info{version: 3, clusterBits: 16, size: 1 << 20, extendedL2: true, lazy: true, encrypted: true}, ""},
		{"version 4", header(func(h []byte) { h[7] = 4 }), nil, ""},
		{"cluster bits", header(func(h []byte) { h[23] = 22 }), nil, ""},
		{"no size", header(func(h []byte) { h[29] = 0 }), nil, ""},
		{"too large", header(func(h []byte) { h[24] = 2 }), nil, ""},
		{"short", header(nil)[:80], nil, ""},
		{"no qcow2", make([]byte, 512), nil, ""},
		{"nothing", nil, nil, ""},
	} {
		q, err := parseQcow2(c.head)
		if (err != nil) != (c.want == nil) || err == nil && *q != *c.want {
			t.Errorf("%s: %+v, %v", c.name, q, err)
			continue
		}
		if err == nil && (!strings.Contains(q.whole(), c.whole) || (q.whole() == "") != (c.whole == "")) {
			t.Errorf("%s: %q", c.name, q.whole())
		}
	}
}
