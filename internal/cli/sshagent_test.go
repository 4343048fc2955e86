package cli

import (
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/berth-project/berth/label"
)

// listenAs answers each connection to a new socket with serve.
func listenAs(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQuietly(l) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer closeQuietly(c)
				serve(c)
			}()
		}
	}()
	return socket
}

func agentApp(socket string) *app {
	return newApp(Env{Out: io.Discard, Err: io.Discard, Now: time.Now, Getenv: func(name string) string {
		if name == "SSH_AUTH_SOCK" {
			return socket
		}
		return ""
	}})
}

// TestAgentThatHangs: an agent that takes the question and never answers ends the talk when its time is over.
func TestAgentThatHangs(t *testing.T) {
	t.Parallel()
	socket := listenAs(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	err := talkToAgent(socket, 50*time.Millisecond, func(c agent.ExtendedAgent) error {
		_, err := c.List()
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("error %v, expected a timeout", err)
	}
}

// TestAgentThatTalksTooMuch: an answer beyond the bound is an error, whatever length it claims.
func TestAgentThatTalksTooMuch(t *testing.T) {
	t.Parallel()
	for _, claimed := range []uint32{agentMaxRead, 15 << 20, 1<<32 - 1} {
		socket := listenAs(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64))
			_, _ = c.Write(binary.BigEndian.AppendUint32(nil, claimed))
			for block := make([]byte, 64<<10); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		})
		if s, err := agentApp(socket).agentSigner(""); err == nil || codeOf(err) != codeRefused {
			t.Errorf("%d bytes claimed: %v, %v", claimed, s, err)
		}
	}
}

// keyring serves the keys as an agent of the Go project, with answers changed by change.
func keyring(t *testing.T, change func(agent.Agent) agent.Agent, seeds ...byte) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, s := range seeds {
		key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(s)), ed25519.SeedSize)))
		if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: "key " + string(rune(s))}); err != nil {
			t.Fatal(err)
		}
	}
	return listenAs(t, func(c net.Conn) { _ = agent.ServeAgent(change(ring), c) })
}

// liar signs something else, or shows other keys.
type liar struct {
	agent.Agent
	keys []*agent.Key
}

func (l liar) List() ([]*agent.Key, error) {
	if l.keys != nil {
		return l.keys, nil
	}
	return l.Agent.List()
}

// TestAgentSigns: the label is the same as with the key in a file.
func TestAgentSigns(t *testing.T) {
	t.Parallel()
	socket := keyring(t, func(a agent.Agent) agent.Agent { return a }, 'a', 'b')
	signer, err := agentApp(socket).openSigner("agent:key b")
	if err != nil {
		t.Fatal(err)
	}
	key, err := label.GenerateKey(strings.NewReader(strings.Repeat("b", ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	doc := label.Document{Level: "gold", Serial: 1, Disk: label.Binding{Size: 512}, Issued: time.Unix(1e9, 0).UTC()}
	theirs, err := label.Seal(doc, signer)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := label.Seal(doc, key)
	if err != nil {
		t.Fatal(err)
	}
	if !sameLabel(theirs, ours) {
		t.Errorf("agent: %+v, file: %+v", theirs, ours)
	}
}

// TestSecurityTokenKeys: keys that can sign no label are named as what they are.
func TestSecurityTokenKeys(t *testing.T) {
	t.Parallel()
	token := []*agent.Key{{Format: "sk-ssh-ed25519@openssh.com", Blob: []byte("\x00\x00\x00\x1ask-ssh-ed25519@openssh.com"), Comment: "token"}}
	socket := keyring(t, func(a agent.Agent) agent.Agent { return liar{a, token} })
	_, err := agentApp(socket).openSigner("agent:token")
	if err == nil || codeOf(err) != codeInput || !strings.Contains(err.Error(), "only sk-ssh-ed25519@openssh.com") || !strings.Contains(hintOf(err), "security token") {
		t.Errorf("error %v, hint %q", err, hintOf(err))
	}
}

// TestForeignOwnersKey: a key file of somebody else's is not used, but root's is.
func TestForeignOwnersKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		owner uint32
		user  int
		want  bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {0, 0, true}} {
		if got := ownFile(c.owner, c.user); got != c.want {
			t.Errorf("a file of %d, used by %d: %v", c.owner, c.user, got)
		}
	}
}
