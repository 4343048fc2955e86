package label

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// PayloadType is what the DSSE envelope of a label names; the signature covers it.
const PayloadType = "application/vnd.berth.label+json"

// MaxKeyText bounds a key's text in bytes.
const MaxKeyText = 4096

// The one text form of each key: PEM as OpenSSL reads and writes it (RFC 8410), and "ed25519:BASE64" for a
// public key on one line. The DER before the key's 32 bytes is the same for every Ed25519 key.
const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
	publicPrefix = "ed25519:"
	privateDER   = "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"
	publicDER    = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"
)

// KeyID names a public key: the first 8 bytes of the SHA-256 of its 32 bytes. The zero id means "no key".
type KeyID [8]byte

// String is the id as 16 hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// ParseKeyID reads the 16 hexadecimal digits of a key id; zero is none.
func ParseKeyID(s string) (KeyID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(KeyID{}) || KeyID(b) == (KeyID{}) {
		return KeyID{}, fmt.Errorf("parse key id: %q, expected 16 hexadecimal digits, not all zero", clip(s))
	}
	return KeyID(b), nil
}

// PublicKey is an Ed25519 public key (RFC 8032).
type PublicKey struct{ raw [ed25519.PublicKeySize]byte }

// PrivateKey is an Ed25519 private key. It has no String method and prints as nothing, so that it gets into no log.
type PrivateKey struct{ raw ed25519.PrivateKey }

// GenerateKey makes a key from 32 bytes of rand, which has to be a source fit for secrets.
func GenerateKey(rand io.Reader) (*PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return &PrivateKey{raw: ed25519.NewKeyFromSeed(seed)}, nil
}

// Public is the public half.
func (k *PrivateKey) Public() PublicKey {
	var p PublicKey
	copy(p.raw[:], k.raw[ed25519.SeedSize:])
	return p
}

// Encode is the key as PEM, PKCS #8 (RFC 8410, 7): the content of a key file.
func (k *PrivateKey) Encode() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: append([]byte(privateDER), k.raw.Seed()...)})
}

// Format prints nothing of the key, whatever the verb.
func (k PrivateKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "(private key)") }

// ParsePrivateKey reads a key file: one PEM block and nothing else, as Encode and `openssl genpkey -algorithm
// ed25519` write it. No error repeats any of the content.
func ParsePrivateKey(text []byte) (*PrivateKey, error) {
	der, err := parsePEM(text, privateBlock)
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	seed, ok := bytes.CutPrefix(der, []byte(privateDER))
	if !ok || len(seed) != ed25519.SeedSize {
		return nil, errors.New("parse private key: not an unencrypted Ed25519 key")
	}
	return &PrivateKey{raw: ed25519.NewKeyFromSeed(seed)}, nil
}

// ID names the key.
func (p PublicKey) ID() KeyID {
	sum := sha256.Sum256(p.raw[:])
	return KeyID(sum[:8])
}

// String is the key on one line, "ed25519:" and standard base64: the form of a trust file.
func (p PublicKey) String() string {
	return publicPrefix + base64.StdEncoding.EncodeToString(p.raw[:])
}

// Encode is the key as PEM, SubjectPublicKeyInfo (RFC 8410, 4).
func (p PublicKey) Encode() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: append([]byte(publicDER), p.raw[:]...)})
}

// ParsePublicKey reads any text form of a public key, with white space around it or none: "ed25519:BASE64", PEM, or the
// line of an OpenSSH .pub file.
func ParsePublicKey(text string) (PublicKey, error) {
	if len(text) > MaxKeyText {
		return PublicKey{}, fmt.Errorf("parse public key: %d bytes, expected at most %d", len(text), MaxKeyText)
	}
	text = strings.TrimSpace(text)
	if line, ok := strings.CutPrefix(text, publicPrefix); ok {
		raw, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return PublicKey{}, errors.New("parse public key: expected 32 bytes in base64 after \"ed25519:\"")
		}
		return PublicKey{raw: [32]byte(raw)}, nil
	}
	if isSSH(text) {
		p, err := parseSSH(text)
		if err != nil {
			return PublicKey{}, fmt.Errorf("parse public key: %w", err)
		}
		return p, nil
	}
	der, err := parsePEM([]byte(text+"\n"), publicBlock)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parse public key: expected \"ed25519:BASE64\", \"ssh-ed25519 AAAA...\" or PEM: %w", err)
	}
	raw, ok := bytes.CutPrefix(der, []byte(publicDER))
	if !ok || len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, errors.New("parse public key: not an Ed25519 key")
	}
	return PublicKey{raw: [32]byte(raw)}, nil
}

func parsePEM(text []byte, kind string) ([]byte, error) {
	if len(text) > MaxKeyText {
		return nil, fmt.Errorf("%d bytes, expected at most %d", len(text), MaxKeyText)
	}
	if !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		return nil, fmt.Errorf("no PEM block %q at the start", kind)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("the PEM block is damaged")
	case block.Type != kind:
		return nil, fmt.Errorf("a PEM block %q, expected %q", clip(block.Type), kind)
	case len(block.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0:
		return nil, errors.New("something besides the one PEM block")
	}
	return block.Bytes, nil
}

// Signer makes Ed25519 signatures (RFC 8032) of the bytes themselves, not of a hash: a *PrivateKey, or an agent that
// keeps the key to itself.
type Signer interface {
	Public() PublicKey
	// Sign returns the 64 bytes of the signature of message.
	Sign(message []byte) ([]byte, error)
}

// Sign signs message with the key; it cannot fail.
func (k *PrivateKey) Sign(message []byte) ([]byte, error) { return ed25519.Sign(k.raw, message), nil }

// Seal makes the frame of a document and signs it. Without a signer the label is unsigned: legal to read, and
// worth what the catalogue says.
func Seal(doc Document, signer Signer) (Frame, error) {
	payload, err := doc.Canonical()
	if err != nil {
		return Frame{}, err
	}
	f := Frame{Serial: doc.Serial, Payload: payload}
	if k, ok := signer.(*PrivateKey); signer == nil || ok && k == nil {
		return f, nil
	}
	sig, err := signer.Sign(dsse.PAE(PayloadType, payload))
	if err != nil {
		return Frame{}, fmt.Errorf("sign label: %w", err)
	}
	f.KeyID = signer.Public().ID()
	copy(f.Signature[:], sig)
	if len(sig) != len(f.Signature) || !f.signedBy(signer.Public()) {
		return Frame{}, fmt.Errorf("sign label: what was returned is no signature of key %s", f.KeyID)
	}
	return f, nil
}

// signedBy reports whether the frame's signature is p's.
func (f Frame) signedBy(p PublicKey) bool {
	return ed25519.Verify(p.raw[:], dsse.PAE(PayloadType, f.Payload), f.Signature[:])
}
