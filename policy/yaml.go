package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// reader walks the nodes of one file and collects its faults.
type reader struct {
	file   string
	lines  [][]rune
	faults []*Error
	// patches are the names that rules ask host.patch for.
	patches []string
}

func (r *reader) add(at position, what, expected, hint string) {
	r.faults = append(r.faults, &Error{File: r.file, Line: at.line, Column: at.column, What: what, Expected: expected, Hint: hint})
}

func (r *reader) fault(n *yaml.Node, what, expected string) {
	r.add(position{max(n.Line, 1), max(n.Column, 1)}, what, expected, "")
}

// err is the faults found so far in the order of the file, nil when there are none.
func (r *reader) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(r.faults, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(r.faults) > MaxFaults {
		return &FaultsError{Faults: r.faults[:MaxFaults:MaxFaults], More: true}
	}
	return &FaultsError{Faults: r.faults}
}

// document reads the one YAML document of data; nil when it has a fault that leaves nothing to look at.
func (r *reader) document(data []byte) *yaml.Node {
	if len(data) > int(MaxCatalogue) {
		r.add(position{1, 1}, fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("at most %d", int64(MaxCatalogue)), "")
		return nil
	}
	if !r.checkText(data) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.add(position{1, 1}, "the file is empty", "a mapping with "+strings.Join(topKeys, ", "), "")
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := dec.Decode(&next); {
	case err == nil:
		r.fault(&next, "a second YAML document", "one document")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntax(err)
		return nil
	}
	root := doc.Content[0]
	if !r.checkTree(root, 1) {
		return nil
	}
	return root
}

// checkText finds what the YAML library reports without a place: bytes that are no UTF-8 and control characters.
func (r *reader) checkText(data []byte) bool {
	line, column := 1, 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			r.add(position{line, column}, fmt.Sprintf("byte 0x%02x, which is no UTF-8", data[i]), "UTF-8 text", "")
			return false
		case c < 0x20 && c != '\n' && c != '\r' && c != '\t', c == 0x7f:
			r.add(position{line, column}, fmt.Sprintf("control character U+%04X", c), "text", "")
			return false
		case c == '\n':
			line, column = line+1, 0
		}
		i, column = i+size, column+1
	}
	r.lines = splitLines(string(data))
	return true
}

// splitLines cuts text where YAML 1.1 does.
func splitLines(text string) [][]rune {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(text)
	parts := strings.Split(text, "\n")
	lines := make([][]rune, len(parts))
	for i, p := range parts {
		lines[i] = []rune(p)
	}
	return lines
}

// syntax turns the library's "yaml: line 3: ..." into a fault. The library gives no column: it is that of the
// first character of the line, and its line is often that where the broken mapping begins (see firstBad). A tab in the indentation is the usual cause, which its message does not say.
func (r *reader) syntax(err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if number, after, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, msg = n, after
			}
		}
	}
	line = min(max(line, 1), len(r.lines))
	if l := r.firstBad(); l > 0 {
		line = l
	}
	for _, l := range []int{line, line + 1, line - 1} {
		if l < 1 || l > len(r.lines) {
			continue
		}
		indent := indentOf(r.lines[l-1])
		if i := slices.Index(r.lines[l-1][:indent], '\t'); i >= 0 {
			r.add(position{l, i + 1}, "a tab in the indentation", "spaces", "")
			return
		}
	}
	column := indentOf(r.lines[line-1]) + 1
	r.add(position{line, column}, "not valid YAML: "+msg, "", "")
}

// firstBad is the line after which the file is broken: the first with anything in it after the longest part, from
// the start, that is right by itself. 0 when that would take more than reading a budget of bytes.
func (r *reader) firstBad() int {
	budget := 2 << 20
	var text []byte
	ends := make([]int, 0, len(r.lines))
	for _, l := range r.lines {
		text = append(append(text, string(l)...), '\n')
		ends = append(ends, len(text))
	}
	good := len(r.lines) - 1
	for ; good > 0; good-- {
		if budget -= ends[good-1]; budget < 0 {
			return 0
		}
		var n yaml.Node
		if yaml.Unmarshal(text[:ends[good-1]], &n) == nil {
			break
		}
	}
	for good < len(r.lines)-1 {
		if l := strings.TrimSpace(string(r.lines[good])); l != "" && l[0] != '#' {
			break
		}
		good++
	}
	return good + 1
}

func indentOf(line []rune) int {
	for i, c := range line {
		if c != ' ' && c != '\t' {
			return i
		}
	}
	return len(line)
}

// checkTree refuses what a catalogue never needs and a hostile file would use: anchors and aliases (which
// multiply), explicit tags, deep nesting.
func (r *reader) checkTree(n *yaml.Node, depth int) bool {
	switch {
	case depth > maxDepth:
		r.fault(n, fmt.Sprintf("nested deeper than %d", maxDepth), "")
		return false
	case n.Kind == yaml.AliasNode:
		r.fault(n, fmt.Sprintf("alias *%s", n.Value), "the value itself: a catalogue has no anchors and aliases")
		return false
	case n.Anchor != "":
		r.fault(n, fmt.Sprintf("anchor &%s", n.Anchor), "no anchors and aliases")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		r.fault(n, fmt.Sprintf("tag %s", n.Tag), "a plain value")
		return false
	}
	ok := true
	for _, c := range n.Content {
		ok = r.checkTree(c, depth+1) && ok
		if len(r.faults) > MaxFaults {
			return false
		}
	}
	return ok
}

// mapping reads n as a mapping that has keys among allowed only, and all of required.
func (r *reader) mapping(n *yaml.Node, what string, allowed []string, required ...string) map[string]*yaml.Node {
	values := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		r.fault(n, what+" is "+kindName(n), "a mapping with "+strings.Join(allowed, ", "))
		return nil
	}
	first := map[string]int{}
	meant := map[string]bool{} // required keys that a misspelt one stands for: one fault is enough
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || !slices.Contains(allowed, key.Value) {
			meant[r.unknownKey(key, what, allowed)] = true
			continue
		}
		if line, dup := first[key.Value]; dup {
			r.fault(key, fmt.Sprintf("key %q a second time in %s (first on line %d)", key.Value, what, line), "each key once")
			continue
		}
		first[key.Value] = key.Line
		values[key.Value] = value
	}
	for _, k := range required {
		if values[k] == nil && !meant[k] {
			r.fault(n, fmt.Sprintf("%s has no key %q", what, k), "")
		}
	}
	return values
}

// unknownKey reports a key that is not allowed and gives the one that was probably meant, "" for none.
func (r *reader) unknownKey(key *yaml.Node, what string, allowed []string) string {
	at := position{max(key.Line, 1), max(key.Column, 1)}
	if key.Kind != yaml.ScalarNode {
		r.add(at, "a key of "+what+" is "+kindName(key), "one of "+strings.Join(allowed, ", "), "")
		return ""
	}
	hint := nearest(key.Value, allowed)
	r.add(at, fmt.Sprintf("unknown key %q in %s", clip(key.Value), what), "one of "+strings.Join(allowed, ", "), hint)
	return hint
}

// list reads n as a list of at most limit items; nil after a fault.
func (r *reader) list(n *yaml.Node, what string, limit int) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.fault(n, what+" is "+kindName(n), "a list")
		return nil
	}
	if len(n.Content) > limit {
		r.fault(n.Content[limit], fmt.Sprintf("%s has %d items", what, len(n.Content)), fmt.Sprintf("at most %d", limit))
		return n.Content[:limit]
	}
	return n.Content
}

// text reads n as one value; false after a fault.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		r.fault(n, what+" is "+kindName(n), "a value")
		return "", false
	}
	return n.Value, true
}

// choice reads n as one of names and gives its position in them, -1 after a fault.
func (r *reader) choice(n *yaml.Node, what string, names []string) int {
	v, ok := r.text(n, what)
	if !ok {
		return -1
	}
	i := slices.Index(names, v)
	if i < 0 && len(names) > 0 { // without names the fault is already reported where they should be
		r.add(position{n.Line, n.Column}, fmt.Sprintf("unknown %s %q", what, clip(v)), "one of "+strings.Join(names, ", "), nearest(v, names))
	}
	return i
}

// whole reads n as a whole number from low to high, -1 after a fault.
func (r *reader) whole(n *yaml.Node, what string, low, high int) int {
	v, ok := r.text(n, what)
	if !ok {
		return -1
	}
	i, err := strconv.Atoi(v)
	if err != nil || i < low || i > high {
		expected := fmt.Sprintf("a whole number from %d to %d", low, high)
		if low == high {
			expected = fmt.Sprint(low)
		}
		r.fault(n, fmt.Sprintf("%s is %q", what, clip(v)), expected)
		return -1
	}
	return i
}

// percent reads n as a number with at most two decimals from low to high hundredths, -1 after a fault.
func (r *reader) percent(n *yaml.Node, what string, low, high Percent) Percent {
	v, ok := r.text(n, what)
	if !ok {
		return -1
	}
	units, decimals, _ := strings.Cut(v, ".")
	if len(decimals) <= 2 && len(v) <= 16 && units != "" && strings.Trim(units+decimals, "0123456789") == "" {
		p, err := strconv.ParseInt(units+(decimals + "00")[:2], 10, 64)
		if err == nil && Percent(p) >= low && Percent(p) <= high {
			return Percent(p)
		}
	}
	r.fault(n, fmt.Sprintf("%s is %q", what, clip(v)),
		fmt.Sprintf("a number from %s to %s with at most two decimals", low.factor(), high.factor()))
	return -1
}

func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || n.Value == ""):
		return "empty"
	default:
		return fmt.Sprintf("%q", clip(n.Value))
	}
}

// clip keeps a message short, whatever the file has.
func clip(s string) string {
	const limit = 60
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "..."
	}
	return s
}

// validName says whether s can name a level, tier or class: the characters that a label allows.
func validName(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}
