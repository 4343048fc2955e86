package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/berth-project/berth/label"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agentPrefix begins the value of --key that names a key of ssh-agent.
const agentPrefix = "agent:"

// Bounds of a talk with ssh-agent: the time of a signature is a person's, who may have to confirm it (ssh-add -c).
const (
	agentListTime = 10 * time.Second
	agentSignTime = 2 * time.Minute
	agentMaxRead  = 1 << 20 // bytes of all answers of one connection
	agentMaxKeys  = 1024
)

// agentKey is an Ed25519 key that ssh-agent holds; it signs there. It implements label.Signer.
type agentKey struct {
	socket string
	public label.PublicKey
}

// Public is the public half.
func (k *agentKey) Public() label.PublicKey { return k.public }

// Sign has the agent sign message as it is. A label's message begins with "DSSEv1 ", which nothing does that SSH itself
// signs, so that no signature can be taken for one of another protocol.
func (k *agentKey) Sign(message []byte) ([]byte, error) {
	var sig *ssh.Signature
	err := talkToAgent(k.socket, agentSignTime, func(c agent.ExtendedAgent) (err error) {
		sig, err = c.Sign(&agent.Key{Format: ssh.KeyAlgoED25519, Blob: k.public.SSHWire()}, message)
		return err
	})
	if err != nil {
		return nil, refusedf("is the agent locked (ssh-add -X), was the confirmation declined, or is the key bound to hosts (ssh-add -h)?",
			"ssh-agent does not sign with key %s: %w", k.public.ID(), err)
	}
	if sig.Format != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("ssh-agent signed as %q, expected %s", sig.Format, ssh.KeyAlgoED25519)
	}
	return sig.Blob, nil
}

// agentSigner finds the key of ssh-agent that which names: a fingerprint, a key id, a file with the public key, or a comment; the
// only one of its kind when which is empty.
func (a *app) agentSigner(which string) (label.Signer, error) {
	if _, err := os.Stat(which); err == nil || strings.HasSuffix(which, ".pub") {
		data, err := readFile(which, label.MaxKeyText)
		if err != nil {
			return nil, inputError(fmt.Errorf("read key: %w", err), "")
		}
		pub, err := label.ParsePublicKey(string(data))
		if err != nil {
			return nil, inputError(fmt.Errorf("read key %s: %w", which, err), "")
		}
		return a.agentSignerOf(pub, which)
	}
	return a.agentFind(which, func(k *agent.Key, pub label.PublicKey) bool {
		switch {
		case which == "":
			return true
		case strings.HasPrefix(which, "SHA256:"):
			return ssh.FingerprintSHA256(k) == strings.TrimRight(which, "=")
		}
		return pub.ID().String() == which || k.Comment == which
	})
}

// agentSignerOf is the agent's key whose public half is in file.
func (a *app) agentSignerOf(pub label.PublicKey, file string) (label.Signer, error) {
	return a.agentFind(file, func(_ *agent.Key, p label.PublicKey) bool { return p == pub })
}

func (a *app) agentFind(which string, match func(*agent.Key, label.PublicKey) bool) (label.Signer, error) {
	socket := a.env.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, refusedf("start one: eval $(ssh-agent); ssh-add", "find key %q: no ssh-agent: SSH_AUTH_SOCK is not set", which)
	}
	var keys []*agent.Key
	err := talkToAgent(socket, agentListTime, func(c agent.ExtendedAgent) (err error) {
		keys, err = c.List()
		return err
	})
	if err != nil {
		return nil, refusedf("is it running? 'ssh-add -l' lists its keys", "find key %q: ask ssh-agent: %w", which, err)
	}
	var found []label.PublicKey
	var others []string
	for _, k := range keys[:min(len(keys), agentMaxKeys)] {
		pub, err := publicOf(k)
		switch {
		case err != nil:
			others = append(others, k.Format)
		case match(k, pub):
			found = append(found, pub)
		}
	}
	switch len(found) {
	case 1:
		return &agentKey{socket: socket, public: found[0]}, nil
	case 0:
		return nil, notInAgent(which, len(keys), others)
	}
	ids := make([]string, len(found))
	for i, p := range found {
		ids[i] = p.ID().String()
	}
	return nil, inputError(fmt.Errorf("find key %q: ssh-agent has %d keys that are meant: %s", which, len(found), strings.Join(ids, ", ")),
		"name one by its id: --key "+agentPrefix+ids[0])
}

func notInAgent(which string, all int, others []string) error {
	what := fmt.Sprintf("none of its %d keys", all)
	switch {
	case all == 0:
		what = "it has no keys"
	case len(others) == all:
		what = fmt.Sprintf("it has no key of type %s, only %s", ssh.KeyAlgoED25519, cleanLine(strings.Join(others, ", ")))
	}
	hint := "'ssh-add FILE' gives it a key, 'ssh-add -l' lists them"
	for _, o := range others {
		if strings.HasPrefix(o, "sk-") {
			hint = "a security token signs more than it is given, so that it cannot sign labels: use a key that 'ssh-keygen -t ed25519' made"
		}
	}
	return inputError(fmt.Errorf("find key %q: not in ssh-agent: %s", which, what), hint)
}

// publicOf is the agent's key as ours.
func publicOf(k *agent.Key) (label.PublicKey, error) {
	pub, err := label.ParsePublicKey(k.Format + " " + base64.StdEncoding.EncodeToString(k.Blob))
	if err == nil && !bytes.Equal(pub.SSHWire(), k.Blob) {
		err = errors.New("the key's bytes are not as expected")
	}
	return pub, err
}

// talkToAgent connects, talks and hangs up, all within limit: an agent that hangs must not hang us.
func talkToAgent(socket string, limit time.Duration, talk func(agent.ExtendedAgent) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer closeQuietly(conn)
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	return talk(agent.NewClient(&boundedConn{conn, io.LimitReader(conn, agentMaxRead)}))
}

// boundedConn gives up after so many bytes, whatever the agent sends.
type boundedConn struct {
	io.Writer
	reader io.Reader
}

func (c *boundedConn) Read(b []byte) (int, error) { return c.reader.Read(b) }
