package policy

import "cel.dev/cel-go/cel"

// Rule is one match rule: the first of its list whose expression is true decides.
type Rule struct {
	Gives string `json:"gives"` // the tier or class that it gives
	When  string `json:"when"`  // CEL
	Line  int    `json:"line"`

	rank    int
	pos     []position
	program cel.Program
}
type position struct{ line, column int }
