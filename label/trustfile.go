package label

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Limits of a trust file.
const (
	MaxTrustFile = 1 << 20 // bytes
	MaxTrustKeys = 4096
)

// TrustError is a fault in a trust file.
type TrustError struct {
	File         string
	Line, Column int // from 1; 0: the file as a whole
	What         string
	Expected     string // empty: nothing to be said
}

func (e *TrustError) Error() string {
	s := e.File
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
	}
	s += ": " + e.What
	if e.Expected != "" {
		s += ", expected " + e.Expected
	}
	return s
}

// ParseTrust reads a trust file (YAML; docs/formats/label.md has the fields). name is the file's, for errors,
// which are *TrustError.
//
//	version: 1
//	keys:
//	  - public_key: ed25519:BASE64      # or PEM as a block
//	    issuer: storage team
//	    ceiling: gold                   # optional: the highest level that the key may grant
//	    expires: 2027-01-01T00:00:00Z   # optional
//	    revoked: false                  # optional
func ParseTrust(name string, data []byte) (*TrustFile, error) {
	p := trustParser{file: name}
	if len(data) > MaxTrustFile {
		return nil, p.fault(nil, fmt.Sprintf("%d bytes", len(data)), fmt.Sprintf("at most %d", MaxTrustFile))
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var root, more yaml.Node
	if err := dec.Decode(&root); err != nil {
		return nil, p.syntax(err)
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, p.fault(&more, "a second document", "one")
	case !errors.Is(err, io.EOF):
		return nil, p.syntax(err)
	}
	return p.trust(root.Content[0])
}

type trustParser struct{ file string }

func (p trustParser) fault(n *yaml.Node, what, expected string) error {
	e := &TrustError{File: p.file, What: what, Expected: expected}
	if n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	return e
}

// syntax gives an error of the YAML parser the form of ours; the parser names a line only.
func (p trustParser) syntax(err error) error {
	e := &TrustError{File: p.file, What: strings.TrimPrefix(err.Error(), "yaml: "), Expected: "YAML with version and keys"}
	var line int
	if n, _ := fmt.Sscanf(e.What, "line %d:", &line); n == 1 {
		e.Line, e.Column = line, 1
		_, e.What, _ = strings.Cut(e.What, ": ")
	}
	return e
}

// fields calls field for each member of a mapping. No member may come twice or be unknown.
func (p trustParser) fields(n *yaml.Node, what string, names []string, field func(name string, v *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return p.fault(n, what+" is no mapping", "the fields "+strings.Join(names, ", "))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		known := false
		for _, name := range names {
			known = known || k.Kind == yaml.ScalarNode && k.Value == name
		}
		switch {
		case !known:
			return p.fault(k, fmt.Sprintf("field %q is not known", clip(k.Value)), "one of "+strings.Join(names, ", "))
		case seen[k.Value]:
			return p.fault(k, "field "+k.Value+" comes twice", "it once")
		case v.Kind == yaml.AliasNode || v.Anchor != "":
			return p.fault(v, "an anchor or alias", "the value itself")
		}
		seen[k.Value] = true
		if err := field(k.Value, v); err != nil {
			return err
		}
	}
	return nil
}

func (p trustParser) trust(n *yaml.Node) (*TrustFile, error) {
	t := &TrustFile{keys: map[KeyID]TrustedKey{}}
	version := false
	err := p.fields(n, "the file", []string{"version", "keys"}, func(name string, v *yaml.Node) error {
		if name == "version" {
			version = true
			if v.Kind != yaml.ScalarNode || v.Tag != "!!int" || v.Value != "1" {
				return p.fault(v, fmt.Sprintf("version %q", clip(v.Value)), "1")
			}
			return nil
		}
		if v.Kind != yaml.SequenceNode {
			return p.fault(v, "keys is no list", "a list of keys")
		}
		if len(v.Content) > MaxTrustKeys {
			return p.fault(v, fmt.Sprintf("%d keys", len(v.Content)), fmt.Sprintf("at most %d", MaxTrustKeys))
		}
		for _, item := range v.Content {
			key, err := p.key(item)
			if err != nil {
				return err
			}
			id := key.Key.ID()
			if _, ok := t.keys[id]; ok {
				return p.fault(item, "key "+id.String()+" comes twice", "it once")
			}
			t.keys[id] = key
			t.ids = append(t.ids, id)
		}
		return nil
	})
	if err == nil && !version {
		err = p.fault(n, "version is missing", "version: 1")
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (p trustParser) key(n *yaml.Node) (TrustedKey, error) {
	var key TrustedKey
	var hasKey bool
	err := p.fields(n, "a key", []string{"public_key", "issuer", "ceiling", "expires", "revoked"}, func(name string, v *yaml.Node) error {
		if v.Kind != yaml.ScalarNode {
			return p.fault(v, name+" is no single value", "one")
		}
		switch name {
		case "public_key":
			pub, err := ParsePublicKey(v.Value)
			if err != nil {
				return p.fault(v, err.Error(), "")
			}
			key.Key, hasKey = pub, true
		case "issuer":
			if err := checkIssuer(v.Value); err != nil || v.Value == "" {
				return p.fault(v, fmt.Sprintf("issuer %q", clip(v.Value)), fmt.Sprintf("1 to %d printable characters", MaxIssuer))
			}
			key.Issuer = v.Value
		case "ceiling":
			if !isWord(v.Value, true, "._-") {
				return p.fault(v, fmt.Sprintf("ceiling %q", clip(v.Value)), "the name of a level, 1 to 64 of [a-z0-9._-]")
			}
			key.Ceiling = v.Value
		case "expires":
			at, err := time.Parse(time.RFC3339, v.Value)
			if err != nil {
				return p.fault(v, fmt.Sprintf("expires %q", clip(v.Value)), "a time like 2027-01-01T00:00:00Z")
			}
			key.Expires = at.UTC()
		case "revoked":
			// An explicit tag (!!bool yes) lets other spellings of a truth through: none may pass for false.
			if v.Tag != "!!bool" || !strings.EqualFold(v.Value, "true") && !strings.EqualFold(v.Value, "false") {
				return p.fault(v, fmt.Sprintf("revoked %q", clip(v.Value)), "true or false")
			}
			key.Revoked = strings.EqualFold(v.Value, "true")
		}
		return nil
	})
	switch {
	case err != nil:
		return TrustedKey{}, err
	case !hasKey:
		return TrustedKey{}, p.fault(n, "public_key is missing", "public_key: ed25519:BASE64")
	case key.Issuer == "":
		return TrustedKey{}, p.fault(n, "issuer is missing", "issuer: who holds the key")
	}
	return key, nil
}
