package label_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/label"
)

func issued() time.Time { return time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC) }

func gold() label.Document {
	return label.Document{
		Level: "gold", Overrides: map[string]string{"nic.class": "2", "affinity.group": "db/primary"},
		Disk:   label.Binding{UUID: "6000c293-7ba0-3a03-9f22-562993b7392f", Size: 10 << 30},
		Serial: 7, Issuer: `räum "A" \ 1`, Issued: issued(), Expires: issued().AddDate(1, 0, 0),
	}
}

func newKey(tb testing.TB, seed byte) *label.PrivateKey {
	tb.Helper()
	k, err := label.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	got, err := gold().Canonical()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"disk":{"size":10737418240,"uuid":"6000c293-7ba0-3a03-9f22-562993b7392f"},"expires":"2027-11-22T08:00:00Z",` +
		`"issued":"2026-11-22T08:00:00Z","issuer":"räum \"A\" \\ 1","level":"gold",` +
		`"overrides":{"affinity.group":"db/primary","nic.class":"2"},"serial":7}`
	if string(got) != want {
		t.Errorf("canonical form\n%s\nexpected\n%s", got, want)
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*label.Document)
		want   string
	}{
		"no level":         {func(d *label.Document) { d.Level = "" }, "level"},
		"level in capital": {func(d *label.Document) { d.Level = "Gold" }, "level"},
		"level too long":   {func(d *label.Document) { d.Level = strings.Repeat("g", 65) }, "level"},
		"unknown override": {func(d *label.Document) { d.Overrides["colour"] = "red" }, `"colour"`},
		"empty value":      {func(d *label.Document) { d.Overrides["priority"] = "" }, "priority"},
		"value charset":    {func(d *label.Document) { d.Overrides["priority"] = "1 0" }, "priority"},
		"many overrides": {func(d *label.Document) {
			for i := range 20 {
				d.Overrides[fmt.Sprint(i)] = "x"
			}
		}, "22 overrides"},
		"size zero":       {func(d *label.Document) { d.Disk.Size = 0 }, "size"},
		"size huge":       {func(d *label.Document) { d.Disk.Size = 1 << 53 }, "size"},
		"uuid":            {func(d *label.Document) { d.Disk.UUID = "a\"b" }, "uuid"},
		"serial zero":     {func(d *label.Document) { d.Serial = 0 }, "serial"},
		"issuer too long": {func(d *label.Document) { d.Issuer = strings.Repeat("ä", 129) }, "issuer"},
		"issuer control":  {func(d *label.Document) { d.Issuer = "a\nb" }, "issuer"},
		"issuer UTF-8":    {func(d *label.Document) { d.Issuer = "\xff" }, "issuer"},
		"issued zero":     {func(d *label.Document) { d.Issued = time.Time{} }, "issued"},
		"issued fraction": {func(d *label.Document) { d.Issued = d.Issued.Add(time.Millisecond) }, "issued"},
		"expires local":   {func(d *label.Document) { d.Expires = d.Expires.In(time.FixedZone("x", 3600)) }, "expires"},
	} {
		d := gold()
		c.change(&d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected one about %s", name, err, c.want)
		}
		if _, err := d.Canonical(); err == nil {
			t.Errorf("%s: it has a canonical form", name)
		}
	}
}

func TestParseDocumentRefuses(t *testing.T) {
	t.Parallel()
	ok := `{"disk":{"size":1024},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1}`
	if _, err := label.ParseDocument([]byte(ok)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "ends inside"},
		"cut off":         {ok[:20], "ends inside"},
		"array":           {"[]", "expected an object"},
		"after":           {ok + "{}", "after the document"},
		"unknown":         {strings.Replace(ok, `"level"`, `"label"`, 1), `"label" is not known`},
		"case":            {strings.Replace(ok, `"level"`, `"Level"`, 1), `"Level" is not known`},
		"twice":           {strings.Replace(ok, `"serial":1`, `"serial":1,"serial":1`, 1), `"serial" comes twice`},
		"twice in disk":   {strings.Replace(ok, `"size":1024`, `"size":1024,"size":1024`, 1), `"size" comes twice`},
		"unknown in disk": {strings.Replace(ok, `"size"`, `"bytes"`, 1), `"disk.bytes" is not known`},
		"missing":         {strings.Replace(ok, `"level":"gold",`, "", 1), "level is missing"},
		"number as text":  {strings.Replace(ok, `1024`, `"1024"`, 1), "whole number"},
		"fraction":        {strings.Replace(ok, `1024`, `1024.0`, 1), "whole number"},
		"exponent":        {strings.Replace(ok, `1024`, `1e3`, 1), "whole number"},
		"negative":        {strings.Replace(ok, `1024`, `-1`, 1), "whole number"},
		"serial too big":  {strings.Replace(ok, `"serial":1`, `"serial":4294967296`, 1), "32 bits"},
		"null":            {strings.Replace(ok, `"gold"`, `null`, 1), "expected a text"},
		"time zone":       {strings.Replace(ok, `08:00:00Z`, `08:00:00+00:00`, 1), "expected a time"},
		"date":            {strings.Replace(ok, `11-22T`, `02-30T`, 1), "expected a time"},
		"not UTF-8":       {strings.Replace(ok, `gold`, "g\xff", 1), "UTF-8"},
		"too long":        {strings.Repeat(" ", label.MaxDocumentText+1), "at most"},
		"deep":            {strings.Repeat(`{"disk":`, 5000), "disk"},
		"bad override":    {strings.Replace(ok, `"level"`, `"overrides":{"x":"y"},"level"`, 1), `"x" is not known`},
		"escapes, name":   {strings.Replace(ok, `"level"`, `"\u001b[31m":1,"level"`, 1), `member "\x1b[31m" is not known`},
		"escapes, disk":   {strings.Replace(ok, `"size"`, "\"\u009b31m\":1,\"size\"", 1), `member "disk.\u009b31m" is not known`},
		"escapes, value":  {strings.Replace(ok, `"level"`, `"overrides":{"\u202e":1},"level"`, 1), `member "overrides.\u202e": expected`},
		"surrogate":       {strings.Replace(ok, `"level"`, `"issuer":"\ud800","level"`, 1), "issuer"},
	} {
		if _, err := label.ParseDocument([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected %q in it", name, err, c.want)
		}
	}
}

// documents generates valid documents over the whole of their value space.
func documents() *rapid.Generator[label.Document] {
	return rapid.Custom(func(t *rapid.T) label.Document {
		seconds := rapid.Int64Range(0, 253402300799)
		d := label.Document{
			Level:     rapid.StringMatching(`[a-z0-9._-]{1,64}`).Draw(t, "level"),
			Overrides: rapid.MapOf(rapid.SampledFrom(label.OverrideKeys()), rapid.StringMatching(`[A-Za-z0-9._/-]{1,64}`)).Draw(t, "overrides"),
			Disk: label.Binding{
				UUID: rapid.StringMatching(`[A-Za-z0-9-]{0,64}`).Draw(t, "uuid"),
				Size: label.Bytes(rapid.Int64Range(1, 1<<53-1).Draw(t, "size")),
			},
			Serial: rapid.Uint32Min(1).Draw(t, "serial"),
			Issuer: rapid.StringMatching(`[ -~äЖ漢𝄞]{0,128}`).Draw(t, "issuer"),
			Issued: time.Unix(seconds.Draw(t, "issued"), 0).UTC(),
		}
		if rapid.Bool().Draw(t, "expires?") {
			d.Expires = time.Unix(seconds.Draw(t, "expires"), 0).UTC()
		}
		return d
	})
}

// TestRoundTrip: document to frame to bytes and back loses nothing, encoding/json agrees on the content, and the
// largest document fits.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	key := newKey(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		doc := documents().Draw(t, "document")
		f, err := label.Seal(doc, key)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > label.MaxFrame {
			t.Fatalf("%d bytes", len(b))
		}
		g, err := label.DecodeFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		back, err := g.Document()
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.Canonical()
		if err != nil || !bytes.Equal(again, f.Payload) {
			t.Fatalf("canonical form %s (%v), expected %s", again, err, f.Payload)
		}
		var std label.Document
		if err := json.Unmarshal(f.Payload, &std); err != nil {
			t.Fatal(err)
		}
		if s, err := std.Canonical(); err != nil || !bytes.Equal(s, f.Payload) {
			t.Fatalf("encoding/json reads %s (%v), expected %s", s, err, f.Payload)
		}
	})
}

// TestFrameBitFlips: a frame with any one bit changed, or cut anywhere, does not decode.
func TestFrameBitFlips(t *testing.T) {
	t.Parallel()
	f, err := label.Seal(gold(), newKey(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		if _, err := label.DecodeFrame(c); err == nil {
			t.Errorf("bit %d of byte %d changed: it decodes", i%8, i/8)
		}
	}
	for n := range b {
		if _, err := label.DecodeFrame(b[:n]); err == nil {
			t.Errorf("%d of %d bytes: it decodes", n, len(b))
		}
	}
	if _, err := label.DecodeFrame(append(b, 0)); err == nil {
		t.Error("a byte more: it decodes")
	}
	if _, err := label.DecodeFrame([]byte("nothing")); !errors.Is(err, label.ErrNoFrame) {
		t.Errorf("error %v, expected ErrNoFrame", err)
	}
}

func TestFrameDocumentRefuses(t *testing.T) {
	t.Parallel()
	f, err := label.Seal(gold(), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Serial++
	if _, err := f.Document(); err == nil {
		t.Error("two serials: it parses")
	}
	f.Serial--
	f.Payload = append([]byte(" "), f.Payload...)
	if _, err := f.Document(); err == nil || !strings.Contains(err.Error(), "canonical") {
		t.Errorf("white space: error %v, expected one about the canonical form", err)
	}
	f.Payload = make([]byte, label.MaxPayload+1)
	if _, err := f.Encode(); err == nil {
		t.Error("payload too long: it encodes")
	}
	f.Payload, f.Flags = []byte("x"), 1
	if _, err := f.Encode(); err == nil {
		t.Error("flags: it encodes")
	}
}
