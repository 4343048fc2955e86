package label

import (
	"strconv"
	"time"
)

// parseCanonical reads the one form that Document.Canonical writes, byte for byte, which is what is in an image. Whatever else
// there is, valid or not, gives false: ParseDocument then says what it is. It takes a sixth of the time.
func parseCanonical(text []byte) (Document, bool) {
	var d Document
	s := canonicalScanner{rest: text}
	s.literal(`{"disk":{"size":`)
	d.Disk.Size = Bytes(s.number(53))
	if s.next(`,"uuid":`) {
		d.Disk.UUID = s.text()
	}
	s.literal(`}`)
	if s.next(`,"expires":`) {
		d.Expires = s.time()
	}
	s.literal(`,"issued":`)
	d.Issued = s.time()
	if s.next(`,"issuer":`) {
		d.Issuer = s.text()
	}
	s.literal(`,"level":`)
	d.Level = s.text()
	if s.next(`,"overrides":{`) {
		d.Overrides = s.overrides()
	}
	s.literal(`,"serial":`)
	d.Serial = uint32(s.number(32))
	s.literal(`}`)
	if s.failed || len(s.rest) > 0 || d.Validate() != nil {
		return Document{}, false
	}
	return d, true
}

// canonicalScanner takes one piece of text after another. After the first that is not there it is failed, and what it gives
// means nothing.
type canonicalScanner struct {
	rest   []byte
	failed bool
}

// next takes want where it comes next.
func (s *canonicalScanner) next(want string) bool {
	if len(s.rest) < len(want) || string(s.rest[:len(want)]) != want {
		return false
	}
	s.rest = s.rest[len(want):]
	return true
}

func (s *canonicalScanner) literal(want string) {
	if !s.next(want) {
		s.failed = true
	}
}

// number takes digits, without a zero before them.
func (s *canonicalScanner) number(bits int) uint64 {
	n := 0
	for n < len(s.rest) && s.rest[n] >= '0' && s.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(s.rest[:n]), 10, bits)
	if err != nil || n > 1 && s.rest[0] == '0' {
		s.failed = true
		return 0
	}
	s.rest = s.rest[n:]
	return v
}

// text takes a string that is not empty. Only a quotation mark and a backslash are escaped; Validate refuses what would
// need another escape, and what is no UTF-8.
func (s *canonicalScanner) text() string {
	s.literal(`"`)
	var unescaped []byte // nil: nothing was escaped yet
	from := 0
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			unescaped = append(unescaped, s.rest[from:i]...)
			s.rest = s.rest[i+1:]
			s.failed = s.failed || len(unescaped) == 0
			return string(unescaped)
		case c == '\\' && i+1 < len(s.rest) && (s.rest[i+1] == '"' || s.rest[i+1] == '\\'):
			unescaped = append(unescaped, s.rest[from:i]...)
			i++
			from = i
		case c == '\\', c < ' ':
			s.failed = true
			return ""
		}
	}
	s.failed = true
	return ""
}

func (s *canonicalScanner) time() time.Time {
	text := s.text()
	if s.failed {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	var again [len(time.RFC3339)]byte
	if err != nil || t.Location() != time.UTC || string(t.AppendFormat(again[:0], time.RFC3339)) != text {
		s.failed = true
		return time.Time{}
	}
	return t
}

// overrides takes the members of an object, whose names have to be in order, and its end.
func (s *canonicalScanner) overrides() map[string]string {
	m := map[string]string{}
	last := ""
	for {
		k := s.text()
		s.literal(`:`)
		v := s.text()
		if s.failed || k <= last {
			s.failed = true
			return nil
		}
		m[k], last = v, k
		if s.next(`}`) {
			return m
		}
		s.literal(`,`)
	}
}
