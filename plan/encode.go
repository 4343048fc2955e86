package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	b, err := encode(&c)
	if err != nil {
		return "", fmt.Errorf("seal plan: %w", err)
	}
	sum := sha256.Sum256(b)
	return "p-" + hex.EncodeToString(sum[:8]), nil
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
	var b bytes.Buffer
	if err := encodeStruct(&b, reflect.ValueOf(v).Elem(), ""); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func encodeStruct(b *bytes.Buffer, v reflect.Value, indent string) error {
	b.WriteString("{")
	in := indent + "  "
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if options == "omitempty" && v.Field(i).IsZero() {
			continue
		}
		if i > 0 { // the first field of every struct here is there always
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "\n%s%q: ", in, name)
		if err := encodeValue(b, v.Field(i), in); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	b.WriteString("\n" + indent + "}")
	return nil
}

func encodeValue(b *bytes.Buffer, v reflect.Value, indent string) error {
	isTime := v.Type() == reflect.TypeFor[time.Time]()
	switch {
	case v.Kind() == reflect.Struct && !isTime && v.Type() != reflect.TypeFor[Summary]():
		return encodeStruct(b, v, indent)
	case v.Kind() == reflect.Slice && v.Len() > 0:
		return encodeList(b, v, indent)
	default:
		return encodeLine(b, v)
	}
}

func encodeList(b *bytes.Buffer, v reflect.Value, indent string) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n" + indent + "  ")
		if err := encodeLine(b, v.Index(i)); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	b.WriteString("\n" + indent + "]")
	return nil
}

func encodeLine(b *bytes.Buffer, v reflect.Value) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false) // a reason with an arrow or an ampersand stays readable
	if err := enc.Encode(v.Interface()); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's own newline
	return nil
}
