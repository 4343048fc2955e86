package diskimage

import (
	"encoding/binary"
	"fmt"

	"github.com/berth-project/berth/label"
)

// Header extensions (docs/interop/qcow2.txt, "Header extensions"): type and length, 4 bytes each, the data, and
// padding to 8 bytes; type 0 ends them. QEMU keeps those that it does not know whenever it writes the header anew, but moves them
// and turns their order round.
const (
	extHeader        = 8
	extEnd           = 0
	extBackingFormat = 0xE2792ACA
	extBerth         = 0x9D4E6B27 // a random number that nobody has registered
	extMark          = "BERTHQ1"  // and the slot's name: the last 8 bytes of its data
	extTrailer       = len(extMark) + 1
	// extWalk bounds how far into the first cluster extensions are looked for.
	extWalk = 64 << 10
)

// extension is one header extension.
type extension struct {
	at, next int // of its type, and of the next one's
	kind     uint32
	data     []byte
}

// extensions are those of an image.
type extensions struct {
	list  []extension // in the image's order, without the end mark
	end   int         // where the end mark stands; without one, where extensions have to end
	ended bool        // there is an end mark
	bytes []byte      // the beginning of the image as far as it was read for them
}

// stop is where the room behind the extensions begins.
func (x *extensions) stop() int {
	if x.ended {
		return x.end + extHeader
	}
	return x.end
}

// readExtensions reads those between from and limit; from the head, or in one more read.
func readExtensions(s *source, from, limit, cluster int) (extensions, error) {
	x, whole, err := walkExtensions(s.head, from, limit)
	if err != nil || whole {
		return x, err
	}
	b, err := s.read(0, min(extWalk, cluster))
	if err != nil {
		return x, err
	}
	x, whole, err = walkExtensions(b, from, limit)
	switch {
	case err != nil || whole:
	case len(b) < min(extWalk, cluster):
		err = fmt.Errorf("read qcow2 extensions: %w: the file ends in them", ErrCorrupt)
	default:
		err = fmt.Errorf("read qcow2 extensions: %w: they go on behind the first %d bytes", ErrUnsupported, len(b))
	}
	return x, err
}

// walkExtensions goes from one to the next as QEMU does. whole is false when b ends before they do.
func walkExtensions(b []byte, from, limit int) (x extensions, whole bool, err error) {
	x = extensions{end: from, bytes: b}
	for x.end < limit {
		if x.end+extHeader > len(b) {
			return x, false, nil
		}
		e := extension{at: x.end, kind: binary.BigEndian.Uint32(b[x.end:])}
		if e.kind == extEnd {
			x.ended = true
			return x, true, nil
		}
		n, room := binary.BigEndian.Uint32(b[x.end+4:]), max(0, limit-x.end-extHeader)
		if uint64(n) > uint64(room) {
			return x, false, fmt.Errorf("read qcow2 extensions: %w: one of %d bytes at %d, where %d are left", ErrCorrupt, n, x.end, room)
		}
		to := x.end + extHeader + int(n)
		if to > len(b) {
			return x, false, nil
		}
		e.data, e.next = b[x.end+extHeader:to], (to+7)&^7
		x.end = e.next
		x.list = append(x.list, e)
	}
	return x, true, nil
}

// extSlot is one of the two places of a frame: an extension of ours. The frame is at the beginning of its data; the mark is at
// their end, so that a removal can move what follows the slots to where they begin.
type extSlot struct {
	extension
	name  byte
	empty bool         // nothing but zeros
	frame *label.Frame // nil: none that is valid
}

// room is how long a frame can be.
func (s *extSlot) room() int { return len(s.data) - extTrailer }

// extSlots are all slots of an image in its order: two, or none, or what somebody made of them.
type extSlots []extSlot

// fill gives the steps that make frame what the slot holds; nil: nothing.
func (s *extSlot) fill(frame []byte) []Step {
	content := make([]byte, s.room())
	copy(content, frame)
	return refillAt(int64(s.at+extHeader), s.data[:s.room()], content)
}

func findSlots(list []extension) extSlots {
	var found extSlots
	for _, e := range list {
		n := len(e.data) - extTrailer
		if e.kind != extBerth || n < 0 || string(e.data[n:n+len(extMark)]) != extMark {
			continue
		}
		s := extSlot{extension: e, name: e.data[n+len(extMark)], empty: blank(e.data[:n]), frame: frameAt(e.data[:n])}
		found = append(found, s)
	}
	return found
}

// sound reports that there is one slot a and one slot b.
func (x extSlots) sound() bool {
	return len(x) == 2 && (x[0].name == 'a' && x[1].name == 'b' || x[0].name == 'b' && x[1].name == 'a')
}

// current is the slot whose frame counts: valid and of the highest serial, a when they are equal; nil: no label.
func (x extSlots) current() *extSlot {
	var best *extSlot
	for i := range x {
		s := &x[i]
		if s.frame == nil {
			continue
		}
		if best == nil || s.frame.Serial > best.frame.Serial || s.frame.Serial == best.frame.Serial && s.name < best.name {
			best = s
		}
	}
	return best
}

// spare is the slot of a sound pair that a new frame goes to.
func (x extSlots) spare() *extSlot {
	c := x.current()
	for i := range x {
		if s := &x[i]; c == nil && s.name == 'a' || c != nil && s.name != c.name {
			return s
		}
	}
	return nil
}

func (x extSlots) frame() *label.Frame {
	if c := x.current(); c != nil {
		return c.frame
	}
	return nil
}

// blank reports that no slot holds anything.
func (x extSlots) blank() bool {
	for _, s := range x {
		if !s.empty {
			return false
		}
	}
	return true
}

// damaged reports slots that cannot be changed in place, or that hold something else than a label.
func (x extSlots) damaged() bool {
	return len(x) > 0 && (!x.sound() || x.frame() == nil && !x.blank())
}

// extBytes is an extension of ours with room for size-extTrailer bytes of frame. size is a multiple of 8.
func extBytes(name byte, frame []byte, size int) []byte {
	b := make([]byte, extHeader+size)
	binary.BigEndian.PutUint32(b, extBerth)
	binary.BigEndian.PutUint32(b[4:], uint32(size))
	copy(b[extHeader:], frame)
	copy(b[len(b)-extTrailer:], extMark)
	b[len(b)-1] = name
	return b
}
