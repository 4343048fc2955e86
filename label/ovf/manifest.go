package ovf

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" //nolint:gosec // the standard's first digest: most packages have it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-project/berth/label/diskimage"
)

// Manifest is a parsed manifest (DSP0243 5.1): a digest a line. It is edited as text.
type Manifest struct {
	text    []byte
	digests []digest
}

type digest struct {
	file     string
	hash     crypto.Hash
	from, to int // of the hexadecimal digits in the text
	line     int
}

// digestLine takes what the standard wants, "SHA256(x.ovf)= 12ab", and the spaces that VirtualBox writes besides.
var digestLine = regexp.MustCompile(`^([A-Za-z0-9-]{1,16})[ \t]*\((.+)\)[ \t]*=[ \t]*([0-9A-Fa-f]+)[ \t]*$`)

// ParseManifest reads a manifest of at most MaxManifest bytes. Every line that is not blank has to be a digest.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes, expected at most %d", diskimage.ErrUnsupported, len(text), MaxManifest)
	}
	m := &Manifest{text: text}
	at, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		start := at
		at += len(line)
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		d, err := parseDigest(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if len(m.digests) >= 2*MaxMembers {
			return nil, fmt.Errorf("%w: more than %d digests", diskimage.ErrUnsupported, 2*MaxMembers)
		}
		d.from, d.to, d.line = d.from+start, d.to+start, number
		if len(line) > 0 && d.to-d.from != 2*d.hash.Size() {
			return nil, fmt.Errorf("line %d: %w: %d digits, expected %d", number, diskimage.ErrCorrupt, d.to-d.from, 2*d.hash.Size())
		}
		m.digests = append(m.digests, d)
	}
	return m, nil
}

// parseDigest reads a line of manifest or certificate; the number of digits is the caller's matter.
func parseDigest(line []byte) (digest, error) {
	at := digestLine.FindSubmatchIndex(line)
	if at == nil {
		return digest{}, fmt.Errorf("%w: %q, expected such as \"SHA256(x.vmdk)= 12ab\"", diskimage.ErrCorrupt, clip(string(line)))
	}
	h, ok := hashByName(string(line[at[2]:at[3]]))
	if !ok {
		return digest{}, fmt.Errorf("%w: digest %q, expected SHA1, SHA256, SHA384 or SHA512", diskimage.ErrUnsupported, line[at[2]:at[3]])
	}
	return digest{file: strings.TrimPrefix(string(line[at[4]:at[5]]), "./"), hash: h, from: at[6], to: at[7]}, nil
}

func hashByName(name string) (crypto.Hash, bool) {
	switch strings.ReplaceAll(strings.ToUpper(name), "-", "") {
	case "SHA1":
		return crypto.SHA1, true
	case "SHA256":
		return crypto.SHA256, true
	case "SHA384":
		return crypto.SHA384, true
	case "SHA512":
		return crypto.SHA512, true
	}
	return 0, false
}

// Lists says whether the manifest has a digest of a file.
func (m *Manifest) Lists(file string) bool {
	return slices.ContainsFunc(m.digests, func(d digest) bool { return d.file == file })
}

// hashes are the digests that the manifest has of a file, each once.
func (m *Manifest) hashes(file string) map[crypto.Hash]hash.Hash {
	out := map[crypto.Hash]hash.Hash{}
	for _, d := range m.digests {
		if d.file == file && out[d.hash] == nil {
			out[d.hash] = d.hash.New()
		}
	}
	return out
}

// check compares what was computed of a file with what the manifest says.
func (m *Manifest) check(file string, sums map[crypto.Hash]hash.Hash) error {
	for _, d := range m.digests {
		if d.file != file {
			continue
		}
		said, err := hex.DecodeString(string(m.text[d.from:d.to]))
		if err != nil || !bytes.Equal(said, sums[d.hash].Sum(nil)) {
			return fmt.Errorf("%w: line %d: the %s of %s is another", ErrManifest, d.line, d.hash, clip(file))
		}
	}
	return nil
}

// with is the text with other digests of some files: same length, same case of the digits.
func (m *Manifest) with(sums map[string]map[crypto.Hash]hash.Hash) []byte {
	out := bytes.Clone(m.text)
	for _, d := range m.digests {
		of, ok := sums[d.file]
		if !ok {
			continue
		}
		digits := hex.EncodeToString(of[d.hash].Sum(nil))
		if old := string(out[d.from:d.to]); old == strings.ToUpper(old) && old != strings.ToLower(old) {
			digits = strings.ToUpper(digits)
		}
		copy(out[d.from:d.to], digits)
	}
	return out
}
