package label

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxEnvelope bounds the JSON text of an envelope that ParseEnvelope looks at, in bytes. Envelope writes at most
// 3,000, so that it fits an extended attribute of a file (4,000 bytes on ext4).
const MaxEnvelope = 64 << 10

type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// Envelope is the label as a DSSE envelope (DSSE 1.0.2, "Envelope"), JSON on one line that ends in LF: what `berth label
// export` writes, a sidecar file holds and a hypervisor keeps of a running VM. An unsigned label has no signature in the list.
func (f Frame) Envelope() ([]byte, error) {
	if _, err := f.Encode(); err != nil { // its limits are the envelope's
		return nil, err
	}
	e := envelope{PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(f.Payload), Signatures: []envelopeSignature{}}
	if f.KeyID != (KeyID{}) {
		e.Signatures = append(e.Signatures, envelopeSignature{KeyID: f.KeyID.String(), Sig: base64.StdEncoding.EncodeToString(f.Signature[:])})
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	return append(b, '\n'), nil
}

// ParseEnvelope reads a DSSE envelope of one label with at most one signature. The payload has to be a canonical
// document; the signature is not checked. Unknown members are refused, white space around and in the JSON is not.
func ParseEnvelope(text []byte) (Frame, error) {
	if len(text) > MaxEnvelope {
		return Frame{}, fmt.Errorf("parse envelope: %d bytes, expected at most %d", len(text), MaxEnvelope)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var e envelope
	if err := dec.Decode(&e); err != nil {
		return Frame{}, fmt.Errorf("parse envelope: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Frame{}, errors.New("parse envelope: text after the envelope")
	}
	if e.PayloadType != PayloadType {
		return Frame{}, fmt.Errorf("parse envelope: payloadType %q, expected %q", clip(e.PayloadType), PayloadType)
	}
	payload, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	if err != nil {
		return Frame{}, errors.New("parse envelope: payload is not standard base64")
	}
	doc, err := ParseDocument(payload)
	if err != nil {
		return Frame{}, fmt.Errorf("parse envelope: payload: %w", err)
	}
	f := Frame{Serial: doc.Serial, Payload: payload}
	if _, err := f.Document(); err != nil { // canonical
		return Frame{}, fmt.Errorf("parse envelope: %w", err)
	}
	return f, e.signature(&f)
}

func (e *envelope) signature(f *Frame) error {
	switch len(e.Signatures) {
	case 0:
		return nil
	case 1:
	default:
		return fmt.Errorf("parse envelope: %d signatures, expected at most one", len(e.Signatures))
	}
	id, err := ParseKeyID(e.Signatures[0].KeyID)
	if err != nil {
		return fmt.Errorf("parse envelope: %w", err)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(e.Signatures[0].Sig)
	if err != nil || len(sig) != len(f.Signature) {
		return errors.New("parse envelope: sig is not 64 bytes in standard base64")
	}
	f.KeyID = id
	copy(f.Signature[:], sig)
	return nil
}
