package label_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/berth-project/berth/label"
)

// foreign verifies as another DSSE tool does: with the standard library's key and nothing of ours.
type foreign struct {
	key ed25519.PublicKey
	id  string
}

func (f foreign) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(f.key, data, sig) {
		return context.Canceled // any error will do
	}
	return nil
}

func (f foreign) KeyID() (string, error) { return f.id, nil }

func (f foreign) Public() crypto.PublicKey { return f.key }

// TestEnvelopeForOthers has the verifier of go-securesystemslib read our envelope.
func TestEnvelopeForOthers(t *testing.T) {
	t.Parallel()
	key := newKey(t, 1)
	text, err := mustSeal(t, key).Envelope()
	if err != nil {
		t.Fatal(err)
	}
	var e dsse.Envelope
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		t.Fatal(err)
	}
	if payload, err := e.DecodeB64Payload(); err != nil || !bytes.Equal(payload, mustSeal(t, key).Payload) || e.PayloadType != label.PayloadType {
		t.Errorf("payload %q of type %q: %v", payload, e.PayloadType, err)
	}
	verify := func(by *label.PrivateKey, e *dsse.Envelope) error {
		block, _ := pem.Decode(by.Public().Encode())
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		v, err := dsse.NewEnvelopeVerifier(foreign{pub.(ed25519.PublicKey), by.Public().ID().String()})
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := v.Verify(t.Context(), e)
		if err == nil && len(accepted) != 1 {
			t.Errorf("accepted %v", accepted)
		}
		return err
	}
	if err := verify(key, &e); err != nil {
		t.Errorf("the right key: %v", err)
	}
	if err := verify(newKey(t, 2), &e); err == nil {
		t.Error("the wrong key verifies")
	}
	e.PayloadType = "text/plain"
	if err := verify(key, &e); err == nil {
		t.Error("the type of the payload is not signed")
	}
}

func TestEnvelopeRefused(t *testing.T) {
	t.Parallel()
	b, err := mustSeal(t, newKey(t, 1)).Envelope()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "EOF"},
		"text after":        {good + "{}", "text after"},
		"two":               {good + good, "text after"},
		"too long":          {strings.Repeat(" ", label.MaxEnvelope) + good, "at most"},
		"other type":        {strings.Replace(good, "berth.label", "berth.lable", 1), "payloadType"},
		"unknown member":    {strings.Replace(good, `{"payloadType"`, `{"x":1,"payloadType"`, 1), "unknown field"},
		"payload no base64": {strings.Replace(good, `"payload":"`, `"payload":"!`, 1), "not standard base64"},
		"payload no label":  {strings.Replace(good, good[strings.Index(good, `"payload":`):strings.Index(good, `,"signatures"`)], `"payload":"e30="`, 1), "payload"},
		"short signature":   {strings.Replace(good, `"sig":"`, `"sig":"AAAA`, 1), "not 64 bytes"},
		"no key id":         {strings.Replace(good, `"keyid":"`, `"keyid":"x`, 1), "key id"},
		"two signatures":    {strings.Replace(good, `"signatures":[`, `"signatures":[{"keyid":"","sig":""},`, 1), "2 signatures"},
	} {
		if _, err := label.ParseEnvelope([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}

// FuzzParseEnvelope: what parses, signed or not, gives an envelope that parses to the same label.
func FuzzParseEnvelope(f *testing.F) {
	for _, key := range []*label.PrivateKey{nil, newKey(f, 1)} {
		frame, err := label.Seal(gold(), key)
		if err != nil {
			f.Fatal(err)
		}
		text, err := frame.Envelope()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(bytes.ReplaceAll(text, []byte(","), []byte(" ,\n")))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		frame, err := label.ParseEnvelope(text)
		if err != nil {
			return
		}
		again, err := frame.Envelope()
		if err != nil {
			t.Fatalf("%q parses and has no envelope: %v", text, err)
		}
		back, err := label.ParseEnvelope(again)
		if err != nil || back.KeyID != frame.KeyID || back.Signature != frame.Signature || !bytes.Equal(back.Payload, frame.Payload) || back.Serial != frame.Serial {
			t.Fatalf("%q becomes %q: %v", text, again, err)
		}
	})
}
