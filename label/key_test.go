package label_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/berth-project/berth/label"
)

func TestKeyTexts(t *testing.T) {
	t.Parallel()
	key := newKey(t, 1)
	back, err := label.ParsePrivateKey(key.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if back.Public() != key.Public() {
		t.Error("the private key changed")
	}
	for _, text := range []string{key.Public().String(), string(key.Public().Encode()), " " + key.Public().String() + "\n"} {
		p, err := label.ParsePublicKey(text)
		if err != nil || p != key.Public() {
			t.Errorf("%q: %v", text, err)
		}
	}
	if id := key.Public().ID().String(); len(id) != 16 {
		t.Errorf("key id %q, expected 16 digits", id)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, key); got != "(private key)" {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, *key); strings.Contains(got, "1, 1") || strings.Contains(got, "0101") {
			t.Errorf("%s prints the key", verb)
		}
	}
}

func TestKeyTextsRefused(t *testing.T) {
	t.Parallel()
	key := newKey(t, 1)
	private, public := string(key.Encode()), string(key.Public().Encode())
	for name, text := range map[string]string{
		"empty": "", "public": public, "text before": "x\n" + private, "text after": private + "x",
		"two": private + private, "cut": private[:len(private)-40],
		"headers": strings.Replace(private, "KEY-----\n", "KEY-----\nA: b\n\n", 1),
		"long":    private + strings.Repeat("\n", label.MaxKeyText),
	} {
		if _, err := label.ParsePrivateKey([]byte(text)); err == nil {
			t.Errorf("private key, %s: it parses", name)
		} else if strings.Contains(err.Error(), "AQEB") {
			t.Errorf("private key, %s: the error repeats the key: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "private": private, "short": "ed25519:AAAA", "no base64": "ed25519:!", "other": "rsa:AAAA",
		"loose base64": strings.Replace(key.Public().String(), "=", "", 1),
	} {
		if _, err := label.ParsePublicKey(text); err == nil {
			t.Errorf("public key, %s: it parses", name)
		}
	}
}

// TestOpenSSL exchanges keys and a signature with OpenSSL: the formats are the standard ones, not just our own.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), openssl, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return out
	}
	run("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
	text, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := label.ParsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(key.Encode(), text) {
		t.Errorf("we write\n%s, OpenSSL\n%s", key.Encode(), text)
	}
	if got := run("pkey", "-in", "key.pem", "-pubout"); !bytes.Equal(got, key.Public().Encode()) {
		t.Errorf("public key\n%s, OpenSSL has\n%s", key.Public().Encode(), got)
	}
	f, err := label.Seal(gold(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"pub.pem": key.Public().Encode(), "sig": f.Signature[:],
		"pae": []byte(fmt.Sprintf("DSSEv1 %d %s %d %s", len(label.PayloadType), label.PayloadType, len(f.Payload), f.Payload)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin", "-in", "pae", "-sigfile", "sig")
	if want := dsse.PAE(label.PayloadType, f.Payload); len(want) == 0 {
		t.Error("empty PAE")
	}
}
