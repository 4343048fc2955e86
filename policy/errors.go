package policy

import (
	"fmt"
	"strings"
)

// Error is one fault of a catalogue, with its place in the file. It is used as *Error.
type Error struct {
	File         string
	Line, Column int    // from 1; Column counts characters
	What         string // what was found: `unknown key "sever"`
	Expected     string // what would be right; empty when What says it all
	Hint         string // a name close to what was found ("did you mean"); empty when there is none
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
	if e.Expected != "" {
		b.WriteString(", expected " + e.Expected)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "; did you mean %q?", e.Hint)
	}
	return b.String()
}

// MaxFaults bounds how many faults Parse reports of one file.
const MaxFaults = 20

// FaultsError is every fault that Parse found, in the order of the file, 1 to MaxFaults of them. errors.As
// with a *Error gives the first.
type FaultsError struct {
	Faults []*Error
	// More says that the file has further faults, which are not listed.
	More bool
}

// Error prints one fault a line.
func (e *FaultsError) Error() string {
	lines := make([]string, 0, len(e.Faults)+1)
	for _, f := range e.Faults {
		lines = append(lines, f.Error())
	}
	if e.More {
		lines = append(lines, fmt.Sprintf("only the first %d faults are shown", len(e.Faults)))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the faults to errors.Is and errors.As.
func (e *FaultsError) Unwrap() []error {
	errs := make([]error, len(e.Faults))
	for i, f := range e.Faults {
		errs[i] = f
	}
	return errs
}

// nearest is the candidate closest to name, within two edits and less than half of its length; "" when none is.
func nearest(name string, candidates []string) string {
	best, bestDist := "", 3
	for _, c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c))
		if d < bestDist && 2*d < max(len(name), len(c)) {
			best, bestDist = c, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, substitutions and swaps of neighbours between a and b
// (optimal string alignment). Long names are not compared: no name of a catalogue has more than maxName.
func distance(a, b string) int {
	const far = 1 << 20
	if len(a) > 2*maxName || len(b) > 2*maxName {
		return far
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
