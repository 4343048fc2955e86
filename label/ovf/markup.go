package ovf

import (
	"bytes"
	"fmt"

	"github.com/berth-project/berth/label/diskimage"
)

// checkMarkup bounds number and length of tags before a parser sees them: one of encoding/xml's makes 50 bytes out of each
// byte of a tag full of attributes. What is not well-formed it leaves to the parser.
func checkMarkup(text []byte) error {
	tags := 0
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], '<')
		if i < 0 {
			return nil
		}
		at += i
		var n int
		switch rest := text[at:]; {
		case bytes.HasPrefix(rest, []byte("<!--")):
			n = through(rest, 4, "-->")
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			n = through(rest, 9, "]]>")
		case bytes.HasPrefix(rest, []byte("<?")):
			n = through(rest, 2, "?>")
		default:
			if n = tagLength(rest); n > MaxTag {
				return fmt.Errorf("%w: a tag of more than %d bytes", diskimage.ErrUnsupported, MaxTag)
			}
			if tags++; tags > MaxTags {
				return fmt.Errorf("%w: more than %d tags", diskimage.ErrUnsupported, MaxTags)
			}
		}
		at += n
	}
}

// through is the length up to and with the end; all there is without one.
func through(b []byte, from int, end string) int {
	if i := bytes.Index(b[from:], []byte(end)); i >= 0 {
		return from + i + len(end)
	}
	return len(b)
}

// tagLength is the length of the tag that b begins with, MaxTag+1 for any that is longer. A ">" in quotes does not end it.
func tagLength(b []byte) int {
	var quote byte
	for i := 1; i < len(b) && i <= MaxTag; i++ {
		switch c := b[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return min(len(b), MaxTag+1)
}
