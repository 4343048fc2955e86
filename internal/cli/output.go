package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printf writes to standard output. Its errors are kept by the buffer and reported when the command ends.
func (a *app) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.out, format, args...)
}

// note writes a line of progress or diagnosis to standard error.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintln(a.env.Err, clean(fmt.Sprintf(format, args...)))
}

// detail is a note for -v.
func (a *app) detail(format string, args ...any) {
	if a.verbose {
		a.note(format, args...)
	}
}

// jsonDocument writes v to standard output, indented.
func (a *app) jsonDocument(v any) error {
	return a.encode(v, "  ")
}

// jsonLine writes v to standard output as one line.
func (a *app) jsonLine(v any) error {
	return a.encode(v, "")
}

func (a *app) encode(v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	if err == nil {
		_, err = a.out.Write(escapeControls(b.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// writeJSON writes the content of a JSON file to standard output: its very bytes, but to a terminal harmless ones.
func (a *app) writeJSON(data []byte) error {
	if a.outTTY {
		data = escapeControls(data)
	}
	_, err := a.out.Write(data)
	return err
}

// escapeControls escapes in JSON what encoding/json leaves as it is and a terminal may obey: DEL, the control
// characters from U+0080 on, and those that change the direction of writing. All of them stand in strings.
func escapeControls(text []byte) []byte {
	if !bytes.ContainsFunc(text, harmful) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for _, r := range string(text) {
		if harmful(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

func harmful(r rune) bool {
	return r >= 0x7f && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

// report writes err, and its hint when it has one, to standard error. What was said to the user already
// (an error without a text) is not said twice.
func (a *app) report(err error) {
	var ce *cliError
	if errors.As(err, &ce) && ce.err == nil {
		return
	}
	a.note("berth: %v", err)
	if h := hintOf(err); h != "" {
		a.note("hint: %s", h)
	}
}

// clean makes text from files and hypervisors harmless for a terminal: control characters (but newline and
// tab) and those that change the direction of writing become '?'.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return '?'
		}
		return r
	}, s)
}

// cleanLine is clean for text that has to stay in one line.
func cleanLine(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(clean(s))
}
