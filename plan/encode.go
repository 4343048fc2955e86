package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"reflect"
	"strings"
	"time"

	"github.com/berth-project/berth/fleet"
)

// MaxSteps bounds the steps of a plan file: four moves for each VM of the largest fleet.
const MaxSteps = 1_000_000

// ErrAltered is wrapped by DecodeFile when a plan is not the one that was sealed, or not of its snapshot.
var ErrAltered = errors.New("altered after it was made")

// ErrVersion is wrapped by DecodeFile when a plan is of another version than this code reads.
var ErrVersion = errors.New("made by another version of berth")

// Seal sets the plan's ID from its content. It is the last thing done to a plan.
func (p *Plan) Seal() error {
	id, err := p.seal()
	if err != nil {
		return err
	}
	p.ID = id
	return nil
}

func (p *Plan) seal() (string, error) {
	c := *p
	c.ID = ""
	e := newEncoder()
	e.sum = sha256.New()
	if err := e.whole(&c); err != nil {
		return "", fmt.Errorf("seal plan: %w", err)
	}
	return "p-" + hex.EncodeToString(e.sum.Sum(nil)[:8]), nil
}

// Encode gives the canonical JSON of f: fields in the order of the types, each element of a list of the
// file, the plan and the snapshot on a line of its own, and so each step, host and VM. Equal files are equal
// bytes.
func (f *File) Encode() ([]byte, error) {
	b, err := encode(f)
	if err != nil {
		return nil, fmt.Errorf("encode plan %s: %w", f.Plan.ID, err)
	}
	return b, nil
}

// DecodeFile reads what Encode wrote. A syntax fault is a *fleet.SyntaxError; a plan whose content does not
// match its ID, or whose snapshot does not match SnapshotID, is refused with ErrAltered. The policy's text is
// held against PolicyID by whoever parses it.
func DecodeFile(name string, data []byte) (*File, error) {
	if fleet.Bytes(len(data)) > fleet.MaxFile {
		return nil, fmt.Errorf("%s: is %s, expected at most %s", name, fleet.FormatBytes(fleet.Bytes(len(data))),
			fleet.FormatBytes(fleet.MaxFile))
	}
	var f File
	if err := fleet.DecodeJSON(name, data, &f); err != nil {
		return nil, err
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &f, nil
}

func (f *File) validate() error {
	p := &f.Plan
	if p.Version != Version {
		return fmt.Errorf("plan.version: is %d, expected %d: %w", p.Version, Version, ErrVersion)
	}
	if len(p.Steps) > MaxSteps {
		return fmt.Errorf("plan.steps: %d steps, expected at most %d", len(p.Steps), MaxSteps)
	}
	id, err := p.seal()
	if err != nil {
		return err
	}
	if p.ID != id {
		return fmt.Errorf("plan.id: is %q, the content gives %s: %w", p.ID, id, ErrAltered)
	}
	if err := f.Snapshot.Validate(); err != nil {
		return fmt.Errorf("snapshot.%w", err)
	}
	if d := f.Snapshot.Digest(); d != p.SnapshotID {
		return fmt.Errorf("plan.snapshotId: is %q, the snapshot in the file is %s: %w", p.SnapshotID, d, ErrAltered)
	}
	return nil
}

// encode writes the struct that v points to, its nested structs indented and its lists an element a line;
// what lies deeper is one line of JSON.
func encode(v any) ([]byte, error) {
	e := newEncoder()
	if err := e.whole(v); err != nil {
		return nil, err
	}
	return e.b.Bytes(), nil
}

// encoder collects the text in b, or, where sum is set, hands it on to sum as it grows: that of a large plan is hundreds of
// megabytes, of which the seal needs none at once.
type encoder struct {
	b    bytes.Buffer
	line *json.Encoder // into b
	sum  hash.Hash
}

// maxKept is how much text a sum waits for.
const maxKept = 1 << 16

func newEncoder() *encoder {
	e := &encoder{}
	e.line = json.NewEncoder(&e.b)
	e.line.SetEscapeHTML(false) // a reason with an arrow or an ampersand stays readable
	return e
}

func (e *encoder) whole(v any) error {
	if err := e.structure(reflect.ValueOf(v).Elem(), ""); err != nil {
		return err
	}
	e.b.WriteByte('\n')
	e.pass(0)
	return nil
}

// pass hands on what is more than kept.
func (e *encoder) pass(kept int) {
	if e.sum != nil && e.b.Len() > kept {
		e.sum.Write(e.b.Bytes()) // a hash never fails
		e.b.Reset()
	}
}

func (e *encoder) structure(v reflect.Value, indent string) error {
	e.b.WriteString("{")
	in := indent + "  "
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if options == "omitempty" && v.Field(i).IsZero() {
			continue
		}
		if i > 0 { // the first field of every struct here is there always
			e.b.WriteByte(',')
		}
		fmt.Fprintf(&e.b, "\n%s%q: ", in, name)
		if err := e.value(v.Field(i), in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	e.b.WriteString("\n" + indent + "}")
	return nil
}

func (e *encoder) value(v reflect.Value, indent string) error {
	isTime := v.Type() == reflect.TypeFor[time.Time]()
	switch {
	case v.Kind() == reflect.Struct && !isTime && v.Type() != reflect.TypeFor[Summary]():
		return e.structure(v, indent)
	case v.Kind() == reflect.Slice && v.Len() > 0:
		return e.list(v, indent)
	default:
		return e.json(v)
	}
}

func (e *encoder) list(v reflect.Value, indent string) error {
	e.b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			e.b.WriteByte(',')
		}
		e.b.WriteString("\n" + indent + "  ")
		if err := e.json(v.Index(i)); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		e.pass(maxKept)
	}
	e.b.WriteString("\n" + indent + "]")
	return nil
}

// json writes v by its address: a step is large, and would be copied.
func (e *encoder) json(v reflect.Value) error {
	if err := e.line.Encode(v.Addr().Interface()); err != nil {
		return err //nolint:wrapcheck // by the caller
	}
	e.b.Truncate(e.b.Len() - 1) // the encoder's own newline
	return nil
}
