package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	yaml "go.yaml.in/yaml/v3"
)

// maxYAML bounds a configuration file.
const maxYAML = 1 << 20

// yamlError is a fault in a YAML file with its place.
type yamlError struct {
	file         string
	line, column int
	what         string
}

func (e *yamlError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.file, e.line, e.column, e.what)
}

// yamlFile gives the nodes of one file their positions in errors.
type yamlFile struct{ name string }

func (f yamlFile) errorf(n *yaml.Node, format string, args ...any) error {
	return &yamlError{file: f.name, line: n.Line, column: n.Column, what: fmt.Sprintf(format, args...)}
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// parse reads the one document of data, which has to be a mapping.
func (f yamlFile) parse(data []byte) (*yaml.Node, error) {
	if len(data) > maxYAML {
		return nil, &yamlError{file: f.name, line: 1, column: 1,
			what: fmt.Sprintf("%d bytes, expected at most %d", len(data), maxYAML)}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, f.syntaxError(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return nil, f.errorf(&more, "a second document, expected one")
	} else if !errors.Is(err, io.EOF) {
		return nil, f.syntaxError(err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, f.errorf(&doc, "expected a mapping (key: value)")
	}
	return doc.Content[0], nil
}

func (f yamlFile) syntaxError(err error) error {
	if errors.Is(err, io.EOF) {
		return &yamlError{file: f.name, line: 1, column: 1, what: "the file is empty"}
	}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if line, aerr := strconv.Atoi(m[1]); aerr == nil {
			return &yamlError{file: f.name, line: line, column: 1, what: m[2]}
		}
	}
	return &yamlError{file: f.name, line: 1, column: 1, what: err.Error()}
}

// field reads the value of one key.
type field func(n *yaml.Node) error

// mapping reads the mapping n by the fields given; an unknown key, a key given twice and a missing required
// key are faults.
func (f yamlFile) mapping(n *yaml.Node, what string, fields map[string]field, required ...string) error {
	if n.Kind != yaml.MappingNode {
		return f.errorf(n, "%s: expected a mapping (key: value)", what)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		read, ok := fields[k.Value]
		if !ok {
			return f.errorf(k, "%s: unknown key %q, expected one of %s", what, k.Value, keyList(fields))
		}
		if seen[k.Value] {
			return f.errorf(k, "%s: key %q is given twice", what, k.Value)
		}
		seen[k.Value] = true
		if v.Kind == yaml.AliasNode {
			return f.errorf(v, "%s.%s: an alias, expected a plain value", what, k.Value)
		}
		if err := read(v); err != nil {
			return err
		}
	}
	for _, k := range required {
		if !seen[k] {
			return f.errorf(n, "%s: key %q is missing", what, k)
		}
	}
	return nil
}

func (f yamlFile) str(dst *string, what string) field {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
			return f.errorf(n, "%s: expected a text", what)
		}
		*dst = n.Value
		return nil
	}
}

func (f yamlFile) boolean(dst *bool, what string) field {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			return f.errorf(n, "%s: is %q, expected true or false", what, n.Value)
		}
		return n.Decode(dst)
	}
}

// list calls read for each of at most as many items as most says.
func (f yamlFile) list(what string, most int, read func(i int, n *yaml.Node) error) field {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.SequenceNode {
			return f.errorf(n, "%s: expected a list", what)
		}
		if len(n.Content) > most {
			return f.errorf(n, "%s: %d items, expected at most %d", what, len(n.Content), most)
		}
		for i, c := range n.Content {
			if c.Kind == yaml.AliasNode {
				return f.errorf(c, "%s[%d]: an alias, expected a plain value", what, i)
			}
			if err := read(i, c); err != nil {
				return err
			}
		}
		return nil
	}
}
