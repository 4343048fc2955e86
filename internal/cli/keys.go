package cli

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/berth-project/berth/label"
	"golang.org/x/crypto/ssh"
)

// keyView is the JSON of a key.
type keyView struct {
	File      string `json:"file"`
	KeyID     string `json:"keyId"`
	PublicKey string `json:"publicKey"`
	SSH       string `json:"ssh,omitempty"` // with --ssh only
}

func viewKey(file string, p label.PublicKey) keyView {
	return keyView{File: file, KeyID: p.ID().String(), PublicKey: p.String()}
}

// keyFlagHelp is what --key takes, wherever a label is signed.
const keyFlagHelp = "sign with the private key in `FILE` (berth key new, ssh-keygen -t ed25519), or with that of ssh-agent whose public key is in FILE.pub, or agent:WHICH"

// openSigner finds the key that --key names: a private key file, or a key of ssh-agent (a public key file, or
// "agent:WHICH"). It may be used by several goroutines at once.
func (a *app) openSigner(spec string) (label.Signer, error) {
	if which, ok := strings.CutPrefix(spec, agentPrefix); ok {
		return a.agentSigner(which)
	}
	if data, err := readFile(spec, label.MaxKeyText); err == nil && !isPrivateKey(data) {
		if pub, err := label.ParsePublicKey(string(data)); err == nil {
			return a.agentSignerOf(pub, spec)
		}
	}
	return readPrivateKey(spec)
}

// readPrivateKey reads the private key in a file that nobody but its owner, who is this user or root, may read.
func readPrivateKey(path string) (*label.PrivateKey, error) {
	data, err := readPrivateFile(path, label.MaxKeyText)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte("-----BEGIN OPENSSH PRIVATE KEY-----")) {
		return parseOpenSSH(path, data)
	}
	key, err := label.ParsePrivateKey(data)
	if err != nil {
		return nil, inputError(fmt.Errorf("read key %s: %w", path, err), "'berth key new FILE' makes a key")
	}
	return key, nil
}

// parseOpenSSH reads the file that ssh-keygen writes. No error repeats any of the content.
func parseOpenSSH(path string, data []byte) (*label.PrivateKey, error) {
	fault := func(hint, what string) error {
		return inputError(fmt.Errorf("read key %s: %s", path, what), hint)
	}
	raw, err := ssh.ParseRawPrivateKey(data)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fault("'ssh-add "+path+"' gives it to ssh-agent; then sign with --key "+path+".pub", "it has a passphrase")
	}
	if err != nil {
		return nil, fault("", "not an OpenSSH private key that can be read")
	}
	key, ok := raw.(*ed25519.PrivateKey)
	if !ok || len(*key) != ed25519.PrivateKeySize {
		return nil, fault("'ssh-keygen -t ed25519' makes one", "not an Ed25519 key")
	}
	out, err := label.GenerateKey(bytes.NewReader(key.Seed()))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(out.Public().SSHWire(), sshWire((*key)[ed25519.SeedSize:])) {
		return nil, fault("", "its public half is that of another key")
	}
	return out, nil
}

// sshWire is a raw public key as SSH has it; nil when it is none.
func sshWire(raw []byte) []byte {
	p, err := ssh.NewPublicKey(ed25519.PublicKey(raw))
	if err != nil {
		return nil
	}
	return p.Marshal()
}

func isPrivateKey(data []byte) bool { return bytes.Contains(data, []byte("PRIVATE KEY-----")) }

// readPrivateFile reads a file that belongs to this user or root and that nobody else may read. What is checked is
// the file that is read, not a name. The folder is not looked at: who can put another file in its place gains a key that
// no trust file has, not this one.
func readPrivateFile(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, inputError(fmt.Errorf("read secret %s: %w", path, bare(err)), "")
	}
	defer closeQuietly(f)
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", path, bare(err))
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.Mode().IsRegular():
		return nil, inputError(fmt.Errorf("read secret %s: is a %s, expected a file", path, fileKind(st.Mode())), "")
	case st.Mode().Perm()&0o077 != 0:
		return nil, refusedf("chmod 600 "+path, "read secret %s: mode is %04o: others than its owner may use it", path, st.Mode().Perm())
	case ok && !ownFile(sys.Uid, os.Geteuid()):
		return nil, refusedf("use a key of your own: whoever owns the file has the key", "read secret %s: it belongs to user %d", path, sys.Uid)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, inputError(fmt.Errorf("read secret %s: %w", path, bare(err)), "")
	}
	if int64(len(data)) > limit {
		return nil, inputError(fmt.Errorf("read secret %s: is longer than %d bytes", path, limit), "")
	}
	return data, nil
}

// ownFile says whether a secret of that owner may be used by this user: it is its own, or root's.
func ownFile(owner uint32, user int) bool { return owner == 0 || int64(owner) == int64(user) }
