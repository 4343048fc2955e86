package label_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/berth-project/berth/label"
)

// TestSSHPublicKey exchanges public keys with the SSH library of the Go project.
func TestSSHPublicKey(t *testing.T) {
	t.Parallel()
	key := newKey(t, 1).Public()
	theirs, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(key.SSH() + " ops@example"))
	if err != nil || comment != "ops@example" || len(rest) != 0 {
		t.Fatalf("comment %q, rest %q: %v", comment, rest, err)
	}
	if string(theirs.Marshal()) != string(key.SSHWire()) {
		t.Errorf("wire form %x, the library has %x", key.SSHWire(), theirs.Marshal())
	}
	for _, text := range []string{
		key.SSH(), key.SSH() + " ", key.SSH() + " ops@example with words", "\n" + key.SSH() + " x\n", string(ssh.MarshalAuthorizedKey(theirs)),
		strings.Replace(key.SSH(), " ", " \t ", 1),
	} {
		if back, err := label.ParsePublicKey(text); err != nil || back != key {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSSHPublicKeyRefused(t *testing.T) {
	t.Parallel()
	good := newKey(t, 1).Public().SSH()
	for name, c := range map[string]struct{ text, want string }{
		"nothing more":   {"ssh-ed25519", "nothing after"},
		"no base64":      {"ssh-ed25519 !", "not standard base64"},
		"no padding":     {"ssh-ed25519 AAAA=", "not standard base64"},
		"cut":            {good[:len(good)-4], "not such a key"},
		"longer":         {good + "AAAA", "not such a key"},
		"other inside":   {strings.Replace(good, "C3NzaC1lZDI1NTE5", "C3NzaC1lZDI1NTE4", 1), "not such a key"},
		"rsa":            {"ssh-rsa AAAAB3NzaC1yc2E=", "a key of type ssh-rsa, expected ssh-ed25519"},
		"ecdsa":          {"ecdsa-sha2-nistp256 AAAA", "ecdsa-sha2-nistp256, expected"},
		"security token": {"sk-ssh-ed25519@openssh.com AAAA", "security token"},
		"two lines":      {good + "\n" + good, "one line"},
		"certificate":    {"ssh-ed25519-cert-v01@openssh.com AAAA", "cert-v01@openssh.com, expected"},
		"long comment":   {good + " " + strings.Repeat("x", 1024), "at most 1024"},
		"with options":   {`no-pty ` + good, "expected"},
	} {
		if p, err := label.ParsePublicKey(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, expected %q", name, p, err, c.want)
		}
	}
}

// FuzzParsePublicKey: what parses has three text forms, and each parses to the same key.
func FuzzParsePublicKey(f *testing.F) {
	key := newKey(f, 1).Public()
	for _, text := range []string{key.String(), key.SSH() + " comment", string(key.Encode()), "ssh-ed25519 AAAA", "sk-ssh-ed25519@openssh.com AAAA"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := label.ParsePublicKey(text)
		if err != nil {
			return
		}
		for _, form := range []string{p.String(), p.SSH(), string(p.Encode())} {
			if back, err := label.ParsePublicKey(form); err != nil || back != p {
				t.Fatalf("%q parses as %v, its form %q as %v (%v)", text, p, form, back, err)
			}
		}
	})
}
