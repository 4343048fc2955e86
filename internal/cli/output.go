package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
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
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// jsonLine writes v to standard output as one line.
func (a *app) jsonLine(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
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
