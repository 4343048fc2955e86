package crash

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"

	"github.com/berth-project/berth/label/diskimage"
)

// fewSectors is how many sectors of a step Cuts takes all subsets of.
const fewSectors = 5

// change is a sector that a step writes: what it holds before and after.
type change struct {
	at       int
	old, new []byte
}

// changes are the sectors that a step makes different. The step does not make data longer.
func changes(data []byte, step diskimage.Step) []change {
	after := map[int][]byte{}
	for _, w := range step.Writes {
		for i := range w.Data {
			at := (int(w.Offset) + i) / sector * sector
			if after[at] == nil {
				after[at] = bytes.Clone(data[at:min(at+sector, len(data))])
			}
			after[at][int(w.Offset)+i-at] = w.Data[i]
		}
	}
	var all []change
	for at, now := range after {
		if old := data[at : at+len(now)]; !bytes.Equal(old, now) {
			all = append(all, change{at, bytes.Clone(old), now})
		}
	}
	slices.SortFunc(all, func(x, y change) int { return x.at - y.at })
	return all
}

func longer(data []byte, step diskimage.Step) bool {
	return slices.ContainsFunc(step.Writes, func(w diskimage.Write) bool { return int(w.Offset)+len(w.Data) > len(data) })
}

// Cuts is States for one edit after another: of a step of more than fewSectors it takes the subsets that lack, or have, at
// most one sector. And it makes no copy of the image for each state: visit gets data itself, changed. It may change it in turn (as Cuts
// does), but has to leave it as it was, and keeps nothing of it. At the end data is what it was.
func Cuts(data []byte, e *diskimage.Edit, visit func(state []byte, done bool) error) error {
	for i, step := range e.Steps {
		if longer(data, step) { // a text, which is small
			return longerCuts(data, e.Steps[i:], visit)
		}
		dirty := changes(data, step)
		put := func(subset int) {
			for j, c := range dirty {
				if subset&(1<<j) == 0 {
					copy(data[c.at:], c.old)
				} else {
					copy(data[c.at:], c.new)
				}
			}
		}
		all := 1<<len(dirty) - 1
		defer put(0)
		for subset := range all + 1 {
			if !taken(subset, len(dirty)) {
				continue
			}
			put(subset)
			if err := visit(data, i == len(e.Steps)-1 && subset == all); err != nil {
				return fmt.Errorf("step %d of %d, sectors %0*b: %w", i+1, len(e.Steps), len(dirty), subset, err)
			}
		}
	}
	return nil
}

// taken reports whether Cuts takes a subset of n sectors.
func taken(subset, n int) bool {
	some := bits.OnesCount(uint(subset))
	return n <= fewSectors || some <= 1 || some >= n-1
}

// longerCuts is Cuts for steps the first of which makes the file longer.
func longerCuts(data []byte, steps []diskimage.Step, visit func(state []byte, done bool) error) error {
	next := written(data, steps[0])
	dirty := dirtySectors(data, next)
	for subset := range 1 << len(dirty) {
		if !taken(subset, len(dirty)) {
			continue
		}
		for _, state := range lengths(partly(data, next, dirty, subset), len(data), len(next)) {
			if err := visit(state, len(steps) == 1 && bytes.Equal(state, next)); err != nil {
				return fmt.Errorf("longer by sectors %0*b: %w", len(dirty), subset, err)
			}
		}
	}
	return Cuts(next, &diskimage.Edit{Steps: steps[1:]}, visit)
}

// Cut is one of the states of an edit, as draw chooses: it gives a number from 0 to n-1.
func Cut(data []byte, e *diskimage.Edit, draw func(what string, n int) int) []byte {
	last := draw("step", len(e.Steps)+1)
	for i, step := range e.Steps {
		next := written(data, step)
		if i < last {
			data = next
			continue
		}
		dirty := dirtySectors(data, next)
		states := lengths(partly(data, next, dirty, draw("sectors", 1<<len(dirty))), len(data), len(next))
		return states[draw("length", len(states))]
	}
	return data
}
