package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// SyntaxError is a fault in a JSON file with its position.
type SyntaxError struct {
	File         string
	Line, Column int // from 1
	Err          error
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// MaxFile bounds a snapshot or plan file: 10,000 hosts and 250,000 VMs take about 300 MiB.
const MaxFile Bytes = 2 * GiB

// DecodeSnapshot reads a snapshot (berth fleet export), checks it and sorts nothing: a file with a fault is
// refused with a *SyntaxError or the path of the field.
func DecodeSnapshot(name string, data []byte) (*Snapshot, error) {
	var s Snapshot
	if err := DecodeJSON(name, data, &s); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := s.validateTrust(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &s, nil
}

// validateTrust refuses a disk of which a file says neither that it has a label nor that it has none, since it would
// count as one without. A driver's own snapshot says nothing of labels yet.
func (s *Snapshot) validateTrust() error {
	for i := range s.VMs {
		for j := range s.VMs[i].Disks {
			l := &s.VMs[i].Disks[j].Label
			switch l.Trust {
			case TrustNone, TrustUnknown, TrustInvalid:
			case TrustUnsigned, TrustSigned:
				if l.Document == nil {
					return fmt.Errorf("vms[%d].disks[%d].label.document: missing, expected that of a label which is %s", i, j, l.Trust)
				}
			default:
				return fmt.Errorf("vms[%d].disks[%d].label.trust: is %q, expected none, unread, unsigned, invalid or signed", i, j, l.Trust)
			}
		}
	}
	return nil
}

// DecodeJSON decodes one JSON value strictly (no unknown field, nothing after it) and gives the position of
// a fault as a *SyntaxError.
func DecodeJSON(name string, data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	off := dec.InputOffset()
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("unexpected data after the document")
	}
	var syn *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syn):
		off = syn.Offset
	case errors.As(err, &typ):
		off = typ.Offset
		err = fmt.Errorf("%s: is a %s, expected %s", typ.Field, typ.Value, typ.Type)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		off, err = int64(len(data))+1, errors.New("the file ends within the document")
	}
	line, col := position(data, off)
	return &SyntaxError{File: name, Line: line, Column: col, Err: err}
}

// position is that of the last of read bytes: encoding/json counts the bytes up to and with the faulty one.
func position(data []byte, read int64) (line, col int) {
	at := min(max(read-1, 0), int64(len(data)))
	before := data[:at]
	return 1 + bytes.Count(before, []byte("\n")), int(at) - bytes.LastIndexByte(before, '\n')
}
