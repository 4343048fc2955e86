package diskimage

import (
	"bytes"

	"github.com/berth-project/berth/label"
)

// frameVersionAt is where a frame, and so a slot, says its version. With 0 there, which is none, no reader takes it for a frame.
const frameVersionAt = 4

// frameSum is the length of a frame's CRC, which ends it.
const frameSum = 4

// frameAt is the valid frame that b begins with, or nil.
func frameAt(b []byte) *label.Frame {
	n, err := label.FrameSize(b)
	if err != nil || n > len(b) {
		return nil
	}
	frame, err := label.DecodeFrame(b[:n])
	if err != nil {
		return nil
	}
	return &frame
}

// settled reports that a slot's content is what a completed change leaves: a valid frame or none, and zeros behind it. All else has
// remains of a frame that a power cut kept from being written.
func settled(content []byte) bool {
	if f := frameAt(content); f != nil {
		content = content[label.FrameHeader+len(f.Payload)+frameSum:]
	}
	return blank(content)
}

// refill gives the steps that overwrite a slot: put gives the writes for all of its content, version the one for the byte at
// frameVersionAt, which has to be in one sector. Over a settled slot it is one step: what a power cut leaves of it is the old
// frame, the new one, or a mixture that the CRC gives away. Over remains it takes three. Else what the new frame has in common
// with the one that the remains are of could make that one whole: a label would show that a power cut had undone before.
func refill(settled bool, content []byte, put func(content []byte) []Write, version func(v byte) Write) []Step {
	if settled || len(content) < label.FrameHeader { // which no frame is shorter than
		return []Step{{Writes: put(content)}}
	}
	none := bytes.Clone(content)
	none[frameVersionAt] = 0
	steps := []Step{{Writes: []Write{version(0)}}, {Writes: put(none)}}
	if v := content[frameVersionAt]; v != 0 {
		steps = append(steps, Step{Writes: []Write{version(v)}})
	}
	return steps
}

// refillAt is refill for a slot whose content, old or new, is in one piece at an offset of the file.
func refillAt(at int64, old, content []byte) []Step {
	return refill(settled(old), content,
		func(b []byte) []Write { return []Write{{Offset: at, Data: b}} },
		func(v byte) Write { return Write{Offset: at + frameVersionAt, Data: []byte{v}} })
}

// abreast makes one sequence of steps out of those of several slots, which do not depend on each other.
func abreast(each ...[]Step) []Step {
	var all []Step
	for _, steps := range each {
		for i, s := range steps {
			if i == len(all) {
				all = append(all, Step{})
			}
			all[i].Writes = append(all[i].Writes, s.Writes...)
		}
	}
	return all
}
