package policy

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/faults/*.txt anew from what Parse says")

// TestFaults holds Parse to the exact text of testdata/faults/NAME.txt for each NAME.yaml.
func TestFaults(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("levels.yaml", data)
			if err == nil {
				t.Fatal("no fault was found")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFaultsErrorIsError(t *testing.T) {
	t.Parallel()
	_, err := Parse("site.yaml", []byte("version: 1\nlevles: []\n"))
	var first *Error
	if !errors.As(err, &first) {
		t.Fatalf("%v is no *Error", err)
	}
	want := Error{
		File: "site.yaml", Line: 1, Column: 1, What: `the file has no key "tiers"`,
	}
	if *first != want {
		t.Errorf("got %+v, expected %+v", *first, want)
	}
	if !strings.Contains(err.Error(), `site.yaml:2:1: unknown key "levles" in the file`) || strings.Contains(err.Error(), `no key "levels"`) {
		t.Errorf("got %v", err)
	}
}

// TestBigFiles feeds Parse what is large or deep: it must say so and not take the machine with it.
func TestBigFiles(t *testing.T) {
	t.Parallel()
	half := int(MaxCatalogue) / 2
	for name, data := range map[string]string{
		"over the limit":  strings.Repeat("#", int(MaxCatalogue)+1),
		"open lists":      strings.Repeat("[", half),
		"open mappings":   strings.Repeat("{a: ", half/4),
		"nested dashes":   strings.Repeat("- ", half/2),
		"long expression": "version: 1\nmatch: {servers: [{tier: a, when: '" + strings.Repeat("!", half) + "true'}]}",
		"deep expression": "version: 1\nmatch: {servers: [{tier: a, when: '" + strings.Repeat("(", 2000) + "true'}]}",
		"long key":        strings.Repeat("k", half) + ": 1",
		"many keys":       strings.Repeat("k: 1\n", half/5),
		"many tiers":      "version: 1\ntiers: {server: [" + strings.Repeat("t,", half/2) + "]}",
		"many levels":     "version: 1\nlevels: [" + strings.Repeat("{},", half/3) + "]",
	} {
		_, err := Parse(name, []byte(data))
		var faults *FaultsError
		if !errors.As(err, &faults) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if text := err.Error(); len(faults.Faults) > MaxFaults || len(text) > 400*MaxFaults {
			t.Errorf("%s: %d faults in %d bytes", name, len(faults.Faults), len(text))
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"bronze", "silver", "gold", "hdd"}
	for name, want := range map[string]string{
		"glod": "gold", "GOLD": "gold", "gol": "gold", "slver": "silver", "bronce": "bronze", "platinum": "", "x": "", "hd": "hdd",
		"": "", strings.Repeat("gold", 100): "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q) = %q, expected %q", name, got, want)
		}
	}
}

// TestPositions writes values in every style that YAML has and looks up each character where positions says it is.
func TestPositions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-z'"\\#é]([a-zA-Z0-9 =&|'"\\\n\t:#é]{0,60}[a-z'"\\é])?`).Draw(t, "value")
		style := rapid.SampledFrom([]yaml.Style{
			0, yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle, yaml.LiteralStyle, yaml.FoldedStyle,
		}).Draw(t, "style")
		scalar := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Style: style}
		text, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
			{Kind: yaml.ScalarNode, Value: "outer"},
			{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "when"}, scalar}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Skip("the library does not read what it wrote")
		}
		read := doc.Content[0].Content[1].Content[1]
		lines := splitLines(string(text))
		places := positions(lines, read)
		for i, v := range []rune(read.Value) {
			if isSpace(v) {
				continue
			}
			p := places[i]
			if p.line < 1 || p.line > len(lines) || p.column < 1 || p.column > len(lines[p.line-1]) {
				t.Fatalf("character %d (%q) at %v, outside of\n%s", i, v, p, text)
			}
			if at := lines[p.line-1][p.column-1]; at != v && at != '\\' {
				t.Fatalf("character %d is %q, at %v there is %q in\n%s", i, v, p, at, text)
			}
		}
	})
}

func TestDefaultIsItsText(t *testing.T) {
	t.Parallel()
	c := Default()
	if c.Text() != DefaultText() || c.ID() != Default().ID() || len(c.ID()) != 18 {
		t.Errorf("ID %s", c.ID())
	}
	w := c.Weights()
	rest, _, _ := strings.Cut(c.Text(), "weights:")
	d, err := Parse("no weights", []byte(rest))
	if err != nil {
		t.Fatal(err)
	}
	if d.Weights() != w {
		t.Errorf("weights that are left out are %+v, expected those of the built-in file %+v", d.Weights(), w)
	}
	if d.ID() == c.ID() {
		t.Error("two texts have one ID")
	}
	l, ok := c.Level("gold")
	want := Level{Name: "gold", Server: 2, Storage: 2, NICClass: 2, Queues: 2, Priority: 900, Spread: DomainHost, Line: l.Line}
	if !ok || !reflect.DeepEqual(l, want) {
		t.Errorf("gold is %+v, expected %+v", l, want)
	}
	if c.Unlabelled().Name != "bronze" || c.UnsignedCeiling().Name != "silver" {
		t.Errorf("defaults are %s, %s", c.Unlabelled().Name, c.UnsignedCeiling().Name)
	}
	if warnings, err := c.Warnings(nil); err != nil || len(warnings) > 0 {
		t.Errorf("%v, %v", warnings, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(DefaultText()))
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz", data)
		if err == nil {
			if err := c.Explain(&strings.Builder{}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Warnings(nil); err != nil {
				t.Fatal(err)
			}
			return
		}
		var faults *FaultsError
		if !errors.As(err, &faults) || len(faults.Faults) == 0 || len(faults.Faults) > MaxFaults {
			t.Fatalf("got %v", err)
		}
		lines := len(splitLines(string(data)))
		for _, e := range faults.Faults {
			if e.Line < 1 || e.Line > lines+1 || e.Column < 1 || e.What == "" {
				t.Fatalf("fault %+v in a file of %d lines", e, lines)
			}
		}
	})
}
