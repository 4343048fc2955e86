package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
	"unicode/utf8"

	"github.com/berth-project/berth/label"
)

// Limits of a record: a line holds one name (PATH_MAX is 4,096 bytes, six times that when escaped) and a label's level.
const (
	maxLine = 64 << 10 // bytes
	maxName = 8 << 10  // bytes
)

// ErrCorrupt says that it is a record that is not whole, not in order, or no record at all.
var ErrCorrupt = errors.New("corrupt audit record")

const (
	recordMagic   = "berth audit record"
	recordVersion = 1
)

// Header is a record's first line: what it is of.
type Header struct {
	Magic   string    `json:"record"`
	Version int       `json:"version"`
	Scope   string    `json:"scope"`
	Written time.Time `json:"written"`
}

// trailer is a record's last line. The sum is over all lines before it.
type trailer struct {
	End     bool   `json:"end"`
	Entries int64  `json:"entries"`
	SHA256  string `json:"sha256"`
}

// Entry is what is recorded of one disk that had a label; of others nothing is.
type Entry struct {
	Name string // its place in the scope; sorted by Compare
	Seen
}

// entryLine is an Entry as JSON. A name that is no UTF-8 goes as base64.
type entryLine struct {
	Name   string `json:"name,omitempty"`
	Raw    string `json:"rawName,omitempty"`
	Trust  string `json:"trust,omitempty"`
	Serial uint32 `json:"serial,omitempty"`
	Digest string `json:"digest,omitempty"`
	Level  string `json:"level,omitempty"`
	Copy   bool   `json:"copy,omitempty"`
}

// Encode is the entry as a line of a record, without its end.
func (e Entry) Encode() ([]byte, error) {
	if e.Name == "" || len(e.Name) > maxName {
		return nil, fmt.Errorf("encode record: name of %d bytes, expected 1 to %d", len(e.Name), maxName)
	}
	l := entryLine{Name: e.Name, Trust: e.Trust, Serial: e.Serial, Digest: e.Digest, Level: e.Level, Copy: e.Copy}
	if !utf8.ValidString(e.Name) {
		l.Name, l.Raw = "", base64.StdEncoding.EncodeToString([]byte(e.Name))
	}
	return json.Marshal(l)
}

// DecodeEntry reads what Encode writes.
func DecodeEntry(line []byte) (Entry, error) {
	var l entryLine
	if err := strict(line, &l); err != nil {
		return Entry{}, err
	}
	e := Entry{Name: l.Name, Seen: Seen{Trust: l.Trust, Serial: l.Serial, Digest: l.Digest, Level: l.Level, Copy: l.Copy}}
	if l.Raw != "" {
		raw, err := base64.StdEncoding.Strict().DecodeString(l.Raw)
		if err != nil || l.Name != "" || utf8.Valid(raw) {
			return Entry{}, errors.New("rawName is not as expected")
		}
		e.Name = string(raw)
	}
	digest, err := hex.DecodeString(e.Digest)
	switch {
	case e.Name == "" || len(e.Name) > maxName:
		return Entry{}, fmt.Errorf("name of %d bytes, expected 1 to %d", len(e.Name), maxName)
	case e.Trust != label.TrustSigned && e.Trust != label.TrustUnsigned:
		return Entry{}, fmt.Errorf("trust %q, expected signed or unsigned", e.Trust)
	case e.Serial == 0 || err != nil || len(digest) != digestSize:
		return Entry{}, errors.New("serial or digest of the label are not as expected")
	}
	return e, nil
}

func strict(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON value")
	}
	return nil
}

// Compare is the order of a record, which is that of a walk through folders: name by name along the path, so that a folder's
// content comes before its neighbours "FOLDER.x".
func Compare(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
			continue
		case x == '/':
			return -1
		case y == '/':
			return 1
		case x < y:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// Writer writes a record.
type Writer struct {
	w       io.Writer
	sum     hash.Hash
	entries int64
}

// NewWriter begins a record of the scope.
func NewWriter(w io.Writer, scope string, written time.Time) (*Writer, error) {
	wr := &Writer{w: w, sum: sha256.New()}
	head, err := json.Marshal(Header{Magic: recordMagic, Version: recordVersion, Scope: scope, Written: written.UTC().Truncate(time.Second)})
	if err != nil {
		return nil, fmt.Errorf("write audit record: %w", err)
	}
	return wr, wr.line(head)
}

func (w *Writer) line(text []byte) error {
	text = append(text, '\n')
	w.sum.Write(text)
	if _, err := w.w.Write(text); err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	return nil
}

// Add writes an entry that Encode made. Entries have to come in the order of Compare.
func (w *Writer) Add(encoded []byte) error {
	w.entries++
	return w.line(encoded)
}

// Close ends the record. It does not close or sync the file.
func (w *Writer) Close() error {
	end, err := json.Marshal(trailer{End: true, Entries: w.entries, SHA256: hex.EncodeToString(w.sum.Sum(nil))})
	if err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	return w.line(end)
}

// Reader reads a record that was checked as a whole before the first entry is given.
type Reader struct {
	Header Header
	sc     *bufio.Scanner
	line   int64
	left   int64 // entries
	last   string
}

// NewReader checks the record of that scope from its beginning to its end and begins to read it. Errors are ErrCorrupt or
// the operating system's.
func NewReader(r io.ReadSeeker, scope string) (*Reader, error) {
	entries, err := check(r)
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read audit record: %w", err)
	}
	rd := &Reader{sc: scanner(r), left: entries, line: 1}
	if !rd.sc.Scan() {
		return nil, rd.fault(io.ErrUnexpectedEOF)
	}
	if err := strict(rd.sc.Bytes(), &rd.Header); err != nil {
		return nil, rd.fault(err)
	}
	switch h := rd.Header; {
	case h.Magic != recordMagic:
		return nil, rd.fault(errors.New("no audit record"))
	case h.Version != recordVersion:
		return nil, rd.fault(fmt.Errorf("version %d, expected %d", h.Version, recordVersion))
	case h.Scope != scope:
		return nil, rd.fault(fmt.Errorf("scope %q, expected %q", h.Scope, scope))
	}
	return rd, nil
}

// check holds the sum at the end against all before it.
func check(r io.Reader) (entries int64, err error) {
	sum := sha256.New()
	sc := scanner(r)
	var previous []byte
	lines := int64(0)
	for ; sc.Scan(); lines++ {
		if lines > 0 {
			sum.Write(previous)
		}
		previous = append(append(previous[:0], sc.Bytes()...), '\n')
	}
	if err := sc.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return 0, fmt.Errorf("%w: line %d is longer than %d bytes", ErrCorrupt, lines+1, maxLine)
		}
		return 0, fmt.Errorf("read audit record: %w", err)
	}
	var end trailer
	if lines < 2 || strict(previous, &end) != nil || !end.End {
		return 0, fmt.Errorf("%w: its end is missing", ErrCorrupt)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != end.SHA256 || end.Entries != lines-2 {
		return 0, fmt.Errorf("%w: its checksum is not that of its content", ErrCorrupt)
	}
	return end.Entries, nil
}

func scanner(r io.Reader) *bufio.Scanner {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), maxLine)
	sc.Split(func(data []byte, atEOF bool) (int, []byte, error) { // unlike ScanLines it takes nothing without its LF, and no CR off
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return 0, nil, fmt.Errorf("%w: its last line is cut", ErrCorrupt)
		}
		return 0, nil, nil
	})
	return sc
}

func (r *Reader) fault(err error) error {
	return fmt.Errorf("%w: line %d: %w", ErrCorrupt, r.line, err)
}

// Next is the next entry; io.EOF after the last one.
func (r *Reader) Next() (Entry, error) {
	if r.left == 0 {
		return Entry{}, io.EOF
	}
	r.left--
	r.line++
	if !r.sc.Scan() {
		if err := r.sc.Err(); err != nil {
			return Entry{}, fmt.Errorf("read audit record: %w", err)
		}
		return Entry{}, r.fault(io.ErrUnexpectedEOF)
	}
	e, err := DecodeEntry(r.sc.Bytes())
	if err != nil {
		return Entry{}, r.fault(err)
	}
	if r.last != "" && Compare(r.last, e.Name) >= 0 {
		return Entry{}, r.fault(fmt.Errorf("name %q after %q", e.Name, r.last))
	}
	r.last = e.Name
	return e, nil
}
