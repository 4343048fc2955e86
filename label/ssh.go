package label

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The text of an OpenSSH public key (sshd(8), "AUTHORIZED_KEYS FILE FORMAT", without options) and the bytes in it (RFC
// 8709, section 4; RFC 4251, section 5: strings with a length of 4 bytes, big endian).
const (
	sshEd25519 = "ssh-ed25519"
	sshMaxLine = 1024 // bytes, comment included
)

// SSH is the key as OpenSSH writes it into a .pub file, without a comment: "ssh-ed25519 AAAA...".
func (p PublicKey) SSH() string {
	return sshEd25519 + " " + base64.StdEncoding.EncodeToString(p.SSHWire())
}

// SSHWire is the key as the SSH protocol and an agent have it (RFC 8709, section 4).
func (p PublicKey) SSHWire() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(sshEd25519)))
	b = append(b, sshEd25519...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.raw)))
	return append(b, p.raw[:]...)
}

// isSSH reports whether a line without white space around it looks like a public key of SSH, of any kind.
func isSSH(line string) bool {
	kind, _, _ := strings.Cut(line, " ")
	for _, begin := range []string{"ssh-", "sk-ssh-", "ecdsa-sha2-", "sk-ecdsa-sha2-"} {
		if strings.HasPrefix(kind, begin) {
			return true
		}
	}
	return false
}

// parseSSH reads one line of a .pub file. The comment may be anything.
func parseSSH(line string) (PublicKey, error) {
	if len(line) > sshMaxLine || strings.ContainsAny(line, "\n\r\x00") {
		return PublicKey{}, fmt.Errorf("expected one line of at most %d bytes", sshMaxLine)
	}
	fields := strings.Fields(line)
	switch {
	case strings.HasPrefix(fields[0], "sk-"):
		return PublicKey{}, fmt.Errorf("a key of type %s lives in a security token and signs more than it is given: no label can be signed with it; expected %s", clip(fields[0]), sshEd25519)
	case fields[0] != sshEd25519:
		return PublicKey{}, fmt.Errorf("a key of type %s, expected %s", clip(fields[0]), sshEd25519)
	case len(fields) < 2:
		return PublicKey{}, errors.New("nothing after " + sshEd25519)
	}
	wire, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil {
		return PublicKey{}, errors.New("what follows " + sshEd25519 + " is not standard base64")
	}
	var p PublicKey
	head := p.SSHWire()[:len(p.SSHWire())-len(p.raw)]
	raw, ok := bytes.CutPrefix(wire, head)
	if !ok || len(raw) != len(p.raw) {
		return PublicKey{}, errors.New("what follows " + sshEd25519 + " is not such a key")
	}
	copy(p.raw[:], raw)
	return p, nil
}
