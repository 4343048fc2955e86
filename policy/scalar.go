package policy

import (
	"go.yaml.in/yaml/v3"
)

// position is a place in a file, line and column from 1, the column in characters.
type position struct{ line, column int }

// cursor walks the source of one scalar, end of line by end of line.
type cursor struct {
	lines     [][]rune
	line, col int // from 0
}

// peek is the character at c: '\n' at the end of a line, 0 at the end of the file.
func (c *cursor) peek() rune {
	switch {
	case c.line >= len(c.lines):
		return 0
	case c.col >= len(c.lines[c.line]):
		return '\n'
	}
	return c.lines[c.line][c.col]
}

func (c *cursor) next() {
	switch {
	case c.line >= len(c.lines):
	case c.col >= len(c.lines[c.line]):
		c.line, c.col = c.line+1, 0
	default:
		c.col++
	}
}

func (c *cursor) at() position { return position{c.line + 1, c.col + 1} }

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }

// positions gives the place in the file of each character of a scalar's value, and of its end. YAML folds
// lines, escapes and indents, so the value is walked along the source: a space of the value stands for a space or
// a line break there, any other character for itself or for its escape.
func positions(lines [][]rune, n *yaml.Node) []position {
	c := &cursor{lines: lines, line: n.Line - 1, col: n.Column - 1}
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		c.line, c.col = c.line+1, 0
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		c.next()
	}
	value := []rune(n.Value)
	places := make([]position, 0, len(value)+1)
	for _, v := range value {
		if n.Style&yaml.DoubleQuotedStyle != 0 {
			skipEscapedBreak(c)
		}
		escaped := n.Style&yaml.DoubleQuotedStyle != 0 && c.peek() == '\\'
		if !isSpace(v) && !escaped {
			for isSpace(c.peek()) {
				c.next()
			}
			escaped = n.Style&yaml.DoubleQuotedStyle != 0 && c.peek() == '\\'
		}
		places = append(places, c.at())
		switch {
		case escaped:
			skipEscape(c)
		case isSpace(v) && !isSpace(c.peek()): // a fold that the walk has passed already
		case v == '\'' && n.Style&yaml.SingleQuotedStyle != 0:
			c.next()
			c.next()
		default:
			c.next()
		}
	}
	return append(places, c.at())
}

// skipEscapedBreak passes a backslash at the end of a line and the indentation after it: they stand for nothing.
func skipEscapedBreak(c *cursor) {
	for c.peek() == '\\' && c.line < len(c.lines) && c.col+1 == len(c.lines[c.line]) {
		c.next()
		c.next()
		for isSpace(c.peek()) {
			c.next()
		}
	}
}

// skipEscape passes one escape of a double-quoted scalar.
func skipEscape(c *cursor) {
	c.next()
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c.peek()]
	for range digits + 1 {
		c.next()
	}
}
