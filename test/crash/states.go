package crash

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/berth-project/berth/label/diskimage"
)

const sector = 512

// maxSectors bounds the subsets of one step: 2^maxSectors.
const maxSectors = 16

// Mem is an image in memory: a diskimage.File that cannot be replaced as a whole. It counts what is done to it.
type Mem struct {
	Data          []byte
	Reads, Writes int
}

// ReadAt reads as io.ReaderAt says.
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	m.Reads++
	if off >= int64(len(m.Data)) {
		return 0, io.EOF
	}
	n := copy(p, m.Data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes, and makes the image longer where it has to.
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	m.Writes++
	if end := int(off) + len(p); end > len(m.Data) {
		m.Data = append(m.Data, make([]byte, end-len(m.Data))...)
	}
	return copy(m.Data[off:], p), nil
}

// Sync has nothing to do.
func (m *Mem) Sync() error { return nil }

// Size is the length of the image in bytes.
func (m *Mem) Size() int64 { return int64(len(m.Data)) }

// State is one thing that a power cut can leave.
type State struct {
	Name string
	Data []byte
	// Done: every write of the edit is in it.
	Done bool
}

// States calls visit for every state that a power cut during the edit can leave of the image data, each distinct
// one of a step once, from nothing written to all of it.
func States(data []byte, e *diskimage.Edit, visit func(State) error) error {
	for i, step := range e.Steps {
		next := written(data, step)
		dirty := dirtySectors(data, next)
		if len(dirty) > maxSectors {
			return fmt.Errorf("enumerate step %d: %d sectors, expected at most %d", i+1, len(dirty), maxSectors)
		}
		for subset := range 1 << len(dirty) {
			some := partly(data, next, dirty, subset)
			for j, state := range lengths(some, len(data), len(next)) {
				s := State{
					Name: fmt.Sprintf("step %d of %d, sectors %0*b of %v, length %d", i+1, len(e.Steps), len(dirty), subset, dirty, j),
					Data: state, Done: i == len(e.Steps)-1 && bytes.Equal(state, next),
				}
				if err := visit(s); err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
			}
		}
		data = next
	}
	return nil
}

func written(data []byte, step diskimage.Step) []byte {
	m := Mem{Data: bytes.Clone(data)}
	for _, w := range step.Writes {
		_, _ = m.WriteAt(w.Data, w.Offset) // memory does not fail
	}
	return m.Data
}

func dirtySectors(before, after []byte) []int {
	var dirty []int
	for off := 0; off < len(after); off += sector {
		end := min(off+sector, len(after))
		if off >= len(before) || !bytes.Equal(before[off:min(end, len(before))], after[off:end]) {
			dirty = append(dirty, off/sector)
		}
	}
	return dirty
}

// partly is before with those of the dirty sectors that the bits of subset name.
func partly(before, after []byte, dirty []int, subset int) []byte {
	b := bytes.Clone(before)
	for i, s := range dirty {
		if subset&(1<<i) == 0 {
			continue
		}
		off, end := s*sector, min((s+1)*sector, len(after))
		if end > len(b) {
			b = append(b, make([]byte, end-len(b))...)
		}
		copy(b[off:end], after[off:end])
	}
	return b
}

// lengths are the lengths that the file can have with the sectors of b: what b needs, what the step was to make
// it, and, when its length was not yet changed, the old one with the rest cut off.
func lengths(b []byte, before, after int) [][]byte {
	all := [][]byte{b}
	if after > len(b) {
		all = append(all, append(bytes.Clone(b), make([]byte, after-len(b))...))
	}
	if len(b) > before {
		all = append(all, bytes.Clone(b[:before]))
	}
	return slices.CompactFunc(all, bytes.Equal)
}
