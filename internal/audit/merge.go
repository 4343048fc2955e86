package audit

import (
	"errors"
	"fmt"
	"io"
)

// Merge joins the disks of a walk with the record of the last one.
type Merge struct {
	// Accept takes it for right that labels are older, other or gone; what is gone itself is then forgotten.
	Accept bool
	// Unseen says of a recorded disk that did not come whether it could not have been seen: it is then kept as it is. nil: none.
	Unseen func(name string) bool
	// Emit takes each result, in the order of the names.
	Emit func(Result) error

	old  *Reader // nil: no record
	next *Entry  // of old, not used yet
	last string
	done bool // old has ended
}

// NewMerge begins a merge with a record; nil: there is none.
func NewMerge(old *Reader) *Merge { return &Merge{old: old, done: old == nil} }

// Disk takes the next disk of the walk. Names have to come in the order of Compare, each once.
func (m *Merge) Disk(name string, p Present) error {
	was, err := m.upTo(name)
	if err != nil {
		return err
	}
	return m.emit(name, Judge(p, was, m.Accept))
}

// Other takes the next file of the walk when it is no disk image that has or could have a label. It counts only when it
// had one.
func (m *Merge) Other(name string) error {
	was, err := m.upTo(name)
	if err != nil || was == nil || !was.Labelled() {
		return err
	}
	return m.emit(name, Judge(Present{Kind: NoLabel}, was, m.Accept))
}

// Finish ends the walk: what is left of the record is gone.
func (m *Merge) Finish() error {
	for {
		e, err := m.peek()
		if err != nil || e == nil {
			return err
		}
		m.next = nil
		if err := m.missing(e); err != nil {
			return err
		}
	}
}

// upTo gives what is recorded of name and handles all that is recorded before it.
func (m *Merge) upTo(name string) (*Seen, error) {
	if m.last != "" && Compare(m.last, name) >= 0 {
		return nil, fmt.Errorf("audit: %q came after %q", name, m.last)
	}
	m.last = name
	for {
		e, err := m.peek()
		if err != nil || e == nil {
			return nil, err
		}
		c := Compare(e.Name, name)
		if c > 0 {
			return nil, nil
		}
		m.next = nil
		if c == 0 {
			return &e.Seen, nil
		}
		if err := m.missing(e); err != nil {
			return nil, err
		}
	}
}

// missing handles a recorded disk that did not come.
func (m *Merge) missing(e *Entry) error {
	r := Result{Was: &e.Seen, Next: e.Seen, Status: Gone, Reason: "had " + e.String() + " when last seen"}
	if m.Unseen != nil && m.Unseen(e.Name) {
		r.Status, r.Reason = "", ""
	} else if m.Accept {
		r.accept(true, Seen{})
	}
	return m.emit(e.Name, r)
}

func (m *Merge) emit(name string, r Result) error {
	r.Name = name
	return m.Emit(r)
}

func (m *Merge) peek() (*Entry, error) {
	if m.next != nil || m.done {
		return m.next, nil
	}
	e, err := m.old.Next()
	if errors.Is(err, io.EOF) {
		m.done = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m.next = &e
	return m.next, nil
}
