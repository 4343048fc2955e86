package label_test

import (
	"bytes"
	"testing"

	"github.com/berth-project/berth/label"
)

// FuzzParseDocument: what parses has a canonical form that parses to the same.
func FuzzParseDocument(f *testing.F) {
	c, err := gold().Canonical()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c)
	f.Add([]byte(`{"disk":{"size":1024},"issued":"2026-11-22T08:00:00Z","level":"gold","serial":1}`))
	f.Add([]byte(`{"disk":{"size":1},"disk":{}}`))
	f.Add([]byte(`{"issuer":"\ud83d\ude00\u0000"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := label.ParseDocument(text)
		if err != nil {
			return
		}
		c, err := d.Canonical()
		if err != nil {
			t.Fatalf("%s parses and has no canonical form: %v", text, err)
		}
		if len(c) > label.MaxPayload {
			t.Fatalf("canonical form of %d bytes", len(c))
		}
		e, err := label.ParseDocument(c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := e.Canonical(); err != nil || !bytes.Equal(again, c) {
			t.Fatalf("%s becomes %s (%v)", c, again, err)
		}
	})
}

// FuzzDecodeFrame: what decodes encodes to the same bytes, and judging it does not panic.
func FuzzDecodeFrame(f *testing.F) {
	for _, key := range []*label.PrivateKey{nil, newKey(f, 1)} {
		frame, err := label.Seal(gold(), key)
		if err != nil {
			f.Fatal(err)
		}
		b, err := frame.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:50])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := label.DecodeFrame(b)
		if err != nil {
			return
		}
		again, err := frame.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x (%v)", b, again, err)
		}
		var trust *label.TrustFile
		if v := trust.Verify(frame, gold().Disk, issued()); v.Trust == label.TrustSigned {
			t.Fatal("signed, without a key to trust")
		}
	})
}

// FuzzParseTrust: no input panics, and every error names the file.
func FuzzParseTrust(f *testing.F) {
	f.Add([]byte(entry(newKey(f, 1), "    ceiling: gold\n    expires: 2027-01-01T00:00:00Z\n")))
	f.Add([]byte("version: 1\nkeys:\n  - &a [*a]\n"))
	f.Add([]byte("version: &a {? *a : 1}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tf, err := label.ParseTrust("trust.yaml", text)
		if err != nil {
			if !bytes.HasPrefix([]byte(err.Error()), []byte("trust.yaml")) {
				t.Fatalf("error %v", err)
			}
			return
		}
		for _, k := range tf.Keys() {
			if k.Issuer == "" || k.Key == (label.PublicKey{}) {
				t.Fatalf("key %+v", k)
			}
		}
	})
}
