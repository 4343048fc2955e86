package ovf

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/label/diskimage"
	build "github.com/berth-project/berth/test/ovf"
)

// identity is a key with a certificate that it signed itself.
type identity struct {
	key               crypto.Signer
	keyPEM, certPEM   []byte
	notBefore, notEnd time.Time
}

func makeIdentity(tb testing.TB, key crypto.Signer) *identity {
	tb.Helper()
	id := &identity{key: key, notBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), notEnd: time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "publisher"}, NotBefore: id.notBefore, NotAfter: id.notEnd}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	id.keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	id.certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	return id
}

func rsaIdentity(tb testing.TB) *identity {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return makeIdentity(tb, key)
}

func ecdsaIdentity(tb testing.TB) *identity {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return makeIdentity(tb, key)
}

// signed adds the certificate file behind the manifest, as its maker would.
func signed(tb testing.TB, files []build.File, id *identity, h crypto.Hash) []build.File {
	tb.Helper()
	i := slices.IndexFunc(files, func(f build.File) bool { return strings.HasSuffix(f.Name, ".mf") })
	sum := h.New()
	sum.Write(files[i].Content)
	sig, err := id.key.Sign(rand.Reader, sum.Sum(nil), h)
	if err != nil {
		tb.Fatal(err)
	}
	cert := fmt.Sprintf("%s(%s)= %s\n%s", strings.ReplaceAll(h.String(), "-", ""), files[i].Name, hex.EncodeToString(sig), id.certPEM)
	return slices.Insert(slices.Clone(files), i+1, build.File{Name: "vm-web.cert", Content: []byte(cert)})
}

// TestSigned changes signed packages with keys of all kinds.
func TestSigned(t *testing.T) {
	t.Parallel()
	ids := map[string]*identity{"rsa": rsaIdentity(t), "ecdsa": ecdsaIdentity(t)}
	for old, of := range ids {
		for now, by := range ids {
			for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA512} {
				t.Run(old+" by "+now+" "+h.String(), func(t *testing.T) {
					t.Parallel()
					was := makeOVA(t, signed(t, build.Package(build.Ovftool, h, twoDisks()), of, h))
					if _, err := change(t, was, nil, setAll(t, 1, "gold")); !errors.Is(err, ErrSigned) {
						t.Errorf("without a key: %v", err)
					}
					signer, err := NewSigner(by.keyPEM, by.certPEM)
					if err != nil {
						t.Fatal(err)
					}
					one, err := change(t, was, signer, setAll(t, 1, "gold"))
					must(t, one, err)
					p, _ := openPackage(t, one)
					if err := p.cert.verify(p.manifest.text); err != nil || p.cert.sign.hash != h {
						t.Errorf("signature with %s: %v", p.cert.sign.hash, err)
					}
					if !p.cert.signer.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(by.key.Public()) {
						t.Error("the certificate is not the signer's")
					}
				})
			}
		}
	}
}

func TestSignedWrongly(t *testing.T) {
	t.Parallel()
	id, other := ecdsaIdentity(t), ecdsaIdentity(t)
	signer, err := NewSigner(id.keyPEM, id.certPEM)
	if err != nil {
		t.Fatal(err)
	}
	good := signed(t, build.Package(build.Ovftool, crypto.SHA256, twoDisks()), id, crypto.SHA256)
	for name, tamper := range map[string]func(files []build.File) []build.File{
		"other certificate": func(f []build.File) []build.File {
			f[2].Content = bytes.Replace(f[2].Content, id.certPEM, other.certPEM, 1)
			return f
		},
		"manifest changed after signing": func(f []build.File) []build.File {
			f[1].Content = append(bytes.Clone(f[1].Content), '\n')
			return f
		},
	} {
		if _, err := change(t, makeOVA(t, tamper(slices.Clone(good))), signer, setAll(t, 1, "gold")); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: error %v, expected ErrManifest", name, err)
		}
	}
	for name, content := range map[string]string{
		"empty": "", "no signature": string(id.certPEM), "no certificate": "SHA256(vm-web.mf)= 12ab\n",
		"garbage": "SHA256(vm-web.mf)= 12ab\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "odd digits": "SHA256(vm-web.mf)= 12a\n" + string(id.certPEM),
	} {
		if _, err := parseCertificate([]byte(content)); !errors.Is(err, diskimage.ErrCorrupt) {
			t.Errorf("%s: error %v, expected ErrCorrupt", name, err)
		}
	}
	without := slices.Delete(slices.Clone(good), 1, 2)
	if _, err := change(t, makeOVA(t, without), signer, setAll(t, 1, "gold")); !errors.Is(err, diskimage.ErrCorrupt) {
		t.Errorf("certificate without a manifest: %v", err)
	}
}

func TestSigner(t *testing.T) {
	t.Parallel()
	id, other := rsaIdentity(t), ecdsaIdentity(t)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(id.key.(*rsa.PrivateKey))})
	der, err := x509.MarshalECPrivateKey(other.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := makeIdentity(t, edKey)
	for _, tt := range []struct {
		name      string
		key, cert []byte
		ok        bool
	}{
		{"pkcs8", id.keyPEM, id.certPEM, true}, {"pkcs1", pkcs1, id.certPEM, true}, {"sec1", sec1, other.certPEM, true},
		{"chain", id.keyPEM, append(bytes.Clone(id.certPEM), other.certPEM...), true},
		{"key and certificate in one file", append(bytes.Clone(id.certPEM), id.keyPEM...), append(bytes.Clone(id.keyPEM), id.certPEM...), true},
		{"another's certificate", id.keyPEM, other.certPEM, false}, {"chain in wrong order", id.keyPEM, append(bytes.Clone(other.certPEM), id.certPEM...), false},
		{"no key", id.certPEM, id.certPEM, false}, {"no certificate", id.keyPEM, id.keyPEM, false}, {"ed25519", ed.keyPEM, ed.certPEM, false},
		{"empty", nil, nil, false},
	} {
		s, err := NewSigner(tt.key, tt.cert)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && tt.name == "chain" && bytes.Count(s.chain, []byte("BEGIN CERTIFICATE")) != 2 {
			t.Error("the chain is not whole")
		}
	}
	s, err := NewSigner(id.keyPEM, id.certPEM)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at time.Time
		ok bool
	}{{id.notBefore, true}, {id.notBefore.Add(-time.Second), false}, {id.notEnd, true}, {id.notEnd.Add(time.Second), false}} {
		if err := s.Check(tt.at); (err == nil) != tt.ok {
			t.Errorf("at %s: %v", tt.at, err)
		}
	}
}

func TestManifestRefused(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	for text, want := range map[string]error{
		"SHA256(a)= " + sum[:62] + "\n":     diskimage.ErrCorrupt,
		"SHA256(a)= " + sum + "00\n":        diskimage.ErrCorrupt,
		"MD5(a)= " + sum[:32] + "\n":        diskimage.ErrUnsupported,
		"SHA256 a = " + sum + "\n":          diskimage.ErrCorrupt,
		sum + "  a\n":                       diskimage.ErrCorrupt,
		"\x00":                              diskimage.ErrCorrupt,
		strings.Repeat("\n", MaxManifest+1): diskimage.ErrUnsupported,
		strings.Repeat("SHA1(a)= "+sum[:40]+"\n", 2*MaxMembers+1): diskimage.ErrUnsupported,
	} {
		if m, err := ParseManifest([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, error %v, expected %v", text, m != nil, err, want)
		}
	}
	m, err := ParseManifest([]byte("\r\n \nsha-256 (./a (b).vmdk) = " + strings.ToUpper(sum) + " \r\nSHA256(c)= " + sum))
	if err != nil || !m.Lists("a (b).vmdk") || !m.Lists("c") || m.Lists("a") {
		t.Errorf("%+v: %v", m, err)
	}
}
