package diskimage

import (
	"bytes"
	"fmt"

	"github.com/berth-project/berth/label"
)

const (
	// fullArea is the descriptor area in sectors that every maker but VirtualBox's streams uses. QEMU writes it
	// back as that many sectors with the last byte NUL, whatever the header says.
	fullArea = 20
	// maxLabelled is the longest text that a label may leave: QEMU cuts a longer one off.
	maxLabelled = fullArea*sectorSize - 1
	// spareRoom stays free in an embedded area: VirtualBox adds lines when it opens an image for writing, and
	// cannot open it any more when they find no room.
	spareRoom = 512
)

func (vmdk) planSet(s *source, frame label.Frame) (*Edit, error) {
	img, err := openVMDK(s)
	if err != nil {
		return nil, err
	}
	if err := img.writable(); err != nil {
		return nil, err
	}
	sl := &img.desc.slots
	if !sl.intact() {
		return nil, fmt.Errorf("plan label: %w: another tool changed them; remove the label first", ErrDamaged)
	}
	if err := checkFrame(frame, img.info, sl.frame()); err != nil {
		return nil, err
	}
	encoded, err := frame.Encode()
	if err != nil {
		return nil, err
	}
	e := img.newEdit()
	e.Want = &frame
	to := sl.spare()
	lines := max(len(to.lines), linesFor(len(encoded)))
	if sl.none() || len(to.lines) < lines {
		body, grow, err := img.newLines(encoded, lines)
		if err != nil {
			return nil, err
		}
		if err := img.append(e, body, grow); err != nil {
			return nil, err
		}
	}
	if !sl.none() {
		steps, err := img.overwrite(to, encoded, lines, e)
		if err != nil {
			return nil, err
		}
		e.Steps = append(e.Steps, steps...)
	}
	if img.header == nil {
		e.Replace = img.padded(textAfter(img.src.head, e.Steps))
	}
	return e, nil
}

// checkFrame refuses a label that would not count on this disk.
func checkFrame(frame label.Frame, info *Info, present *label.Frame) error {
	doc, err := frame.Document()
	if err != nil {
		return err
	}
	if doc.Disk.Size != info.VirtualSize {
		return fmt.Errorf("plan label: %w: made for %d bytes, this disk has %d", ErrBinding, doc.Disk.Size, info.VirtualSize)
	}
	if doc.Disk.UUID != "" && info.UUID != "" && doc.Disk.UUID != info.UUID {
		return fmt.Errorf("plan label: %w: made for %s, this disk is %s", ErrBinding, doc.Disk.UUID, info.UUID)
	}
	if present != nil && frame.Serial <= present.Serial {
		return fmt.Errorf("plan label: %w: %d, the present one's is %d", ErrSerial, frame.Serial, present.Serial)
	}
	return nil
}

// writable reports why nothing may be written to the image.
func (img *vmdkImage) writable() error {
	if h := img.header; h != nil {
		if err := h.writable(); err != nil || h.gd != gdAtEnd {
			return err
		}
		_, size, err := h.footer(img.src)
		if err == nil {
			h.descSize = min(h.descSize, size) // the area has grown when both say so
		}
		return err
	}
	if len(img.desc.text) > maxLabelled {
		return fmt.Errorf("plan label: %w: the descriptor has %d bytes, QEMU keeps %d", ErrNoRoom, len(img.desc.text), maxLabelled)
	}
	if img.src.size > headSize {
		return fmt.Errorf("plan label: %w: %d bytes follow the descriptor's end", ErrCorrupt, img.src.size-int64(len(img.desc.text)))
	}
	return nil
}

// newEdit starts an edit with what must not change until it is applied: all that was looked at.
func (img *vmdkImage) newEdit() *Edit {
	seen := img.src.head[:min(len(img.src.head), int(img.base)+fullArea*sectorSize)]
	if img.header == nil && len(img.desc.text) > len(seen) {
		seen = img.desc.text
	}
	return &Edit{Size: img.src.size, Before: []Write{{Offset: 0, Data: bytes.Clone(seen)}}}
}

// newLines renders the lines to append: both slots on a first label, else those that they lack. It prefers the
// usual width, in the area as it is or grown, over a tight one.
func (img *vmdkImage) newLines(encoded []byte, need int) (body []byte, grow bool, err error) {
	var last error
	for _, lines := range []int{max(need, usualLines), need} {
		body = img.render(encoded, lines)
		for _, grow := range []bool{false, true} {
			limit := maxLabelled
			if img.header != nil {
				sectors := min(img.header.descSize, fullArea)
				if grow {
					sectors = fullArea
				}
				limit = int(sectors)*sectorSize - 1 - spareRoom
			}
			if over := len(img.desc.text) + len(body) - limit; over > 0 {
				last = fmt.Errorf("plan label: %w: %d bytes of descriptor are missing for it", ErrNoRoom, over)
				continue
			}
			if !grow {
				return body, false, nil
			}
			if last = img.growable(); last == nil {
				return body, true, nil
			}
		}
	}
	return nil, false, last
}

func (img *vmdkImage) render(encoded []byte, lines int) []byte {
	sl := &img.desc.slots
	missing := func(s *slot, content []byte) []byte {
		n := len(s.lines)
		return appendLines(nil, s.name, n, encodeSlot(content, max(lines, n))[n:])
	}
	var frame []byte
	if sl.none() {
		frame = encoded // else a step of its own fills the slot, when its lines are there
	}
	a, b := missing(&sl.a, frame), missing(&sl.b, nil)
	if t := img.desc.text; len(t) > 0 && t[len(t)-1] != '\n' {
		return append(append([]byte{'\n'}, b...), a...)
	}
	return append(a, b...)
}

// append adds body to the text: all but its first byte behind the terminating NUL, where no reader looks, and
// then that byte over the NUL.
func (img *vmdkImage) append(e *Edit, body []byte, grow bool) error {
	end := len(img.desc.text)
	at := img.base + int64(end)
	rest := bytes.Clone(body)
	rest[0] = 0
	// In a text file nothing has to follow the last line; in an area, and over old content, a NUL has to.
	if img.header != nil || at+int64(len(rest)) < img.src.size {
		rest = append(rest, 0)
	}
	free, err := img.src.at(at, len(rest))
	if err != nil {
		return err
	}
	if len(free) > 0 && free[0] != 0 {
		return fmt.Errorf("plan label: %w: the descriptor fills its area, and something follows it", ErrNoRoom)
	}
	if i := bytes.IndexFunc(free, foreign); i >= 0 {
		return fmt.Errorf("plan label: %w: something lies at offset %d, behind the descriptor", ErrCorrupt, at+int64(i))
	}
	if at < img.src.size {
		// The NUL is there already; without writing it again the first step touches no byte of the text's sector
		// that a reader sees.
		e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at + 1, Data: rest[1:]}}})
	} else {
		e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at, Data: rest}}})
	}
	if grow {
		if err := img.grow(e); err != nil {
			return err
		}
	}
	e.Steps = append(e.Steps, Step{Writes: []Write{{Offset: at, Data: body[:1]}}})
	return nil
}

// foreign reports a byte that neither padding nor text that was cut off (by an earlier removal) would leave.
func foreign(r rune) bool {
	return r != 0 && r != '\n' && r != '\r' && r != '\t' && (r < ' ' || r > '~')
}

// overwrite puts a frame into a slot of n lines, some of which may only have been appended by e.
func (img *vmdkImage) overwrite(to *slot, encoded []byte, n int, e *Edit) ([]Step, error) {
	lines := to.lines
	if len(lines) < n {
		// The parser is the one place that knows where lines stand. It read this text before, so that it cannot
		// fail on the same with lines of ours.
		grown, err := parseDescriptor(after(img.src.head, e.Steps)[img.base:])
		if err != nil {
			return nil, err
		}
		lines = grown.slots.a.lines
		if to.name == 'b' {
			lines = grown.slots.b.lines
		}
	}
	put := func(frame []byte) (w []Write) {
		for i, v := range encodeSlot(frame, len(lines)) {
			w = append(w, Write{Offset: img.base + int64(lines[i].valueFrom), Data: v})
		}
		return w
	}
	return refill(!to.remains, encoded, put, func(v byte) Write { return lines[0].version(img.base, v) }), nil
}

// after is content with the steps' writes made.
func after(content []byte, steps []Step) []byte {
	b := bytes.Clone(content)
	for _, s := range steps {
		for _, w := range s.Writes {
			end := int(w.Offset) + len(w.Data)
			if end > len(b) {
				b = append(b, make([]byte, end-len(b))...)
			}
			copy(b[w.Offset:end], w.Data)
		}
	}
	return b
}

// padded is text as a descriptor file: QEMU pads its own with NULs to whole sectors, and a removal has to give back
// the very file. A file that was not padded is not padded.
func (img *vmdkImage) padded(text []byte) []byte {
	if img.src.size == int64(len(img.desc.text)) {
		return text
	}
	return append(text, make([]byte, sectorSize-len(text)%sectorSize)...)
}

// textAfter is the text of a descriptor file with the steps made, without what pads it.
func textAfter(content []byte, steps []Step) []byte {
	text, _, _ := bytes.Cut(after(content, steps), []byte{0})
	return text
}
