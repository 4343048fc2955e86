package ovf

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/label/diskimage"
)

// Certificate is a parsed certificate file (DSP0243 5.1): a line as in a manifest with the signature over the manifest,
// then X.509 certificates in PEM, the signer's first.
type Certificate struct {
	line      []byte // the first one, without its end
	sign      digest
	signature []byte
	signer    *x509.Certificate
}

func parseCertificate(text []byte) (*Certificate, error) {
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	c := &Certificate{line: bytes.TrimRight(line, "\r")}
	var err error
	if c.sign, err = parseDigest(c.line); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	if c.signature, err = hex.DecodeString(string(c.line[c.sign.from:c.sign.to])); err != nil {
		return nil, fmt.Errorf("line 1: %w: the signature is not hexadecimal", diskimage.ErrCorrupt)
	}
	block, _ := pem.Decode(rest)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%w: no PEM block CERTIFICATE", diskimage.ErrCorrupt)
	}
	if c.signer, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("%w: %w", diskimage.ErrCorrupt, err)
	}
	return c, nil
}

// verify says whether the signature is the certificate's over the manifest. Who the certificate belongs to is not its matter.
func (c *Certificate) verify(manifest []byte) error {
	h := c.sign.hash.New()
	h.Write(manifest)
	sum := h.Sum(nil)
	var ok bool
	switch pub := c.signer.PublicKey.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, c.sign.hash, sum, c.signature) == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, sum, c.signature)
	default:
		return fmt.Errorf("%w: the certificate has a %s key, expected RSA or ECDSA", diskimage.ErrUnsupported, c.signer.PublicKeyAlgorithm)
	}
	if !ok {
		return fmt.Errorf("%w: the signature is not the certificate's over this manifest", ErrManifest)
	}
	return nil
}

// Signer signs manifests anew.
type Signer struct {
	key   crypto.Signer
	chain []byte // PEM
	leaf  *x509.Certificate
}

// NewSigner takes a private key (PEM: PKCS #8, PKCS #1 or SEC 1; RSA or ECDSA, not encrypted) and its certificate (PEM;
// further ones of the chain may follow).
func NewSigner(keyPEM, certPEM []byte) (*Signer, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	s := &Signer{key: key}
	var chain bytes.Buffer
	for rest := certPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		if s.leaf == nil {
			s.leaf = cert
		}
		if err := pem.Encode(&chain, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
	}
	if s.leaf == nil {
		return nil, errors.New("read certificate: no PEM block CERTIFICATE")
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(s.leaf.PublicKey) {
		return nil, errors.New("read certificate: it is not the key's (the first certificate has to be)")
	}
	s.chain = chain.Bytes()
	return s, nil
}

// Check says whether the certificate is valid at that time.
func (s *Signer) Check(now time.Time) error {
	if now.Before(s.leaf.NotBefore) || now.After(s.leaf.NotAfter) {
		return fmt.Errorf("check certificate: valid from %s to %s only", s.leaf.NotBefore.Format(time.RFC3339), s.leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no PEM block of a private key (an encrypted key is not read)")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue // "EC PARAMETERS" stands before the key
		}
		if err != nil {
			return nil, err
		}
		switch k := key.(type) {
		case *rsa.PrivateKey:
			return k, nil
		case *ecdsa.PrivateKey:
			return k, nil
		}
		return nil, fmt.Errorf("a key of type %T, expected RSA or ECDSA", key)
	}
}

// sign makes the certificate file for a manifest, with the digest and in the style of the old one. Both kinds of
// signature are deterministic (PKCS #1 v1.5; RFC 6979).
func (s *Signer) sign(old *Certificate, manifest []byte) ([]byte, error) {
	h := old.sign.hash.New()
	h.Write(manifest)
	sig, err := s.key.Sign(nil, h.Sum(nil), old.sign.hash)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	var b bytes.Buffer
	b.Write(old.line[:old.sign.from])
	b.WriteString(hex.EncodeToString(sig) + "\n")
	b.Write(s.chain)
	made, err := parseCertificate(b.Bytes())
	if err == nil {
		err = made.verify(manifest)
	}
	if err != nil {
		return nil, fmt.Errorf("verify signature: %w", err)
	}
	return b.Bytes(), nil
}
