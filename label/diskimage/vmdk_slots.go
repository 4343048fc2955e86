package diskimage

import (
	"bytes"
	"encoding/base32"
	"slices"

	"github.com/berth-project/berth/label"
)

// A slot is lines `ddb.berth.a.00 = "..."` in the disk database, numbered from 00. Each holds lineBytes bytes of
// the slot in lineChars characters of lower-case base32: that alphabet cannot spell parentFileNameHint, which
// QEMU looks for anywhere in the text. A slot has a fixed width, so that a frame is changed in place; what
// follows the frame in it is zero. A slot of zeros is empty.
const (
	keyPrefix = "ddb.berth."
	lineBytes = 285
	lineChars = lineBytes * 8 / 5
	maxLines  = (label.MaxFrame + lineBytes - 1) / lineBytes
	// usualLines is what a first label reserves where there is room: a signed label with several overrides fits.
	usualLines = 2
)

var alphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// slotLine is where a line stands in the text.
type slotLine struct {
	number             int
	start, next        int // of the line; next is after its line feed
	valueFrom, valueTo int // between the quotes
}

// slot is one of the two places of a frame.
type slot struct {
	name  byte // 'a' or 'b'
	lines []slotLine
	sound bool         // numbered 00, 01, ... once each, every value lineChars long
	empty bool         // nothing but zeros
	frame *label.Frame // nil: none that is valid
	// remains: of a frame that a power cut kept from being written (settled says no).
	remains bool
}

func (s *slot) room() int { return len(s.lines) * lineBytes }

// slots are both places and the order of all their lines in the text.
type slots struct {
	a, b  slot
	order []slotLine
	first byte // the slot of the first line; 0: there is no line
	odd   bool // a line of ours that is not in the form written here
	text  []byte
}

// line takes the line if it is one of a slot's.
func (s *slots) line(text []byte, start, end, next int) bool {
	s.text = text
	trimmed := bytes.TrimLeft(text[start:end], " \t")
	rest, ok := bytes.CutPrefix(trimmed, []byte(keyPrefix))
	if !ok || len(rest) < 4 || rest[1] != '.' || (rest[0] != 'a' && rest[0] != 'b') || !digit(rest[2]) || !digit(rest[3]) {
		return false
	}
	if len(rest) > 4 && rest[4] != ' ' && rest[4] != '\t' && rest[4] != '=' {
		return false
	}
	l := slotLine{number: int(rest[2]-'0')*10 + int(rest[3]-'0'), start: start, next: next, valueFrom: end, valueTo: end}
	if i := bytes.IndexByte(text[start:end], '"'); i >= 0 {
		l.valueFrom = start + i + 1
		l.valueTo = l.valueFrom
		if j := bytes.IndexByte(text[l.valueFrom:end], '"'); j >= 0 {
			l.valueTo = l.valueFrom + j
		} else {
			s.odd = true
		}
	} else {
		s.odd = true
	}
	if s.first == 0 {
		s.first = rest[0]
	}
	s.order = append(s.order, l)
	if rest[0] == 'a' {
		s.a.lines = append(s.a.lines, l)
	} else {
		s.b.lines = append(s.b.lines, l)
	}
	return true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// finish judges the slots when all lines have been taken.
func (s *slots) finish() {
	s.a.name, s.b.name = 'a', 'b'
	s.a.judge(s.text)
	s.b.judge(s.text)
}

func (s *slot) judge(text []byte) {
	s.sound, s.empty = len(s.lines) <= maxLines, true
	slices.SortStableFunc(s.lines, func(x, y slotLine) int { return x.number - y.number })
	for i, l := range s.lines {
		s.sound = s.sound && l.number == i && l.valueTo-l.valueFrom == lineChars
	}
	if !s.sound || len(s.lines) == 0 {
		s.empty = s.sound
		return
	}
	content := make([]byte, s.room())
	for i, l := range s.lines {
		// Exactly lineChars characters and no padding: a value that decodes has exactly lineBytes.
		if n, err := alphabet.Decode(content[i*lineBytes:(i+1)*lineBytes], text[l.valueFrom:l.valueTo]); err != nil || n != lineBytes {
			s.empty, s.remains = false, true
			return
		}
	}
	s.empty, s.remains, s.frame = blank(content), !settled(content), frameAt(content)
}

// version is the write of the byte at frameVersionAt, which is 0 or 1, in a sound slot at an offset of the file. It is one character:
// the seventh has two bits of the magic and the three upper ones of that byte, which are 0; the eighth is the rest.
func (l slotLine) version(base int64, v byte) Write {
	const at = frameVersionAt * 8 / 5
	return Write{Offset: base + int64(l.valueFrom) + at + 1, Data: []byte{'a' + v}}
}

// current is the slot whose frame counts: valid and of the higher serial, a when they are equal; nil: no label.
func (s *slots) current() *slot {
	switch {
	case s.a.frame == nil && s.b.frame == nil:
		return nil
	case s.b.frame == nil || s.a.frame != nil && s.a.frame.Serial >= s.b.frame.Serial:
		return &s.a
	default:
		return &s.b
	}
}

// spare is the slot that a new frame goes to.
func (s *slots) spare() *slot {
	if s.current() == &s.a {
		return &s.b
	}
	return &s.a
}

func (s *slots) frame() *label.Frame {
	if c := s.current(); c != nil {
		return c.frame
	}
	return nil
}

// none reports that the text has no line of a label.
func (s *slots) none() bool { return len(s.order) == 0 }

// intact reports that every line is as this package writes them, so that a slot can be changed in place.
func (s *slots) intact() bool { return s.a.sound && s.b.sound && !s.odd }

// damaged reports lines without a label that are not just empty slots.
func (s *slots) damaged() bool {
	return !s.intact() || s.frame() == nil && (!s.a.empty || !s.b.empty)
}

// tail is where the lines begin when they are one block at the end of the text. A line feed that was put before
// them, since the text did not end in one, belongs to the block: slot b's lines stand first then.
func (s *slots) tail() (int, bool) {
	if s.none() {
		return 0, false
	}
	for i, l := range s.order {
		end := len(s.text)
		if i+1 < len(s.order) {
			end = s.order[i+1].start
		}
		if l.next != end {
			return 0, false
		}
	}
	from := s.order[0].start
	if s.first == 'b' && from > 0 {
		from--
	}
	return from, true
}

// encodeSlot spreads a frame over n lines' values.
func encodeSlot(frame []byte, n int) [][]byte {
	content := make([]byte, n*lineBytes)
	copy(content, frame)
	values := make([][]byte, n)
	for i := range values {
		values[i] = make([]byte, lineChars)
		alphabet.Encode(values[i], content[i*lineBytes:(i+1)*lineBytes])
	}
	return values
}

// appendLines renders values as the lines of slot name from number on.
func appendLines(b []byte, name byte, number int, values [][]byte) []byte {
	for _, v := range values {
		b = append(append(b, keyPrefix...), name, '.', byte('0'+number/10), byte('0'+number%10))
		b = append(append(append(b, ` = "`...), v...), "\"\n"...)
		number++
	}
	return b
}

func linesFor(frame int) int { return (frame + lineBytes - 1) / lineBytes }
