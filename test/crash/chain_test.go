package crash_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// TestCrashChain lets one power cut after another hit the changes of one image, each at any state: the label is the one that
// was seen before the change or the one that was to be set, never one that an earlier cut had undone; and at the end its removal
// leaves to other tools what they saw at first.
func TestCrashChain(t *testing.T) {
	t.Parallel()
	for _, l := range chainLayouts() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			original := l.make(t)
			rapid.Check(t, func(rt *rapid.T) {
				data := bytes.Clone(original)
				for range rapid.IntRange(1, 6).Draw(rt, "edits") {
					data = chainEdit(t, rt, data)
				}
				if l.after == nil { // what others put behind the label keeps its place there
					return
				}
				if err := l.after(original, endOfLife(t, l, data)); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

// chainEdit cuts one change of the image off, or lets it be completed.
func chainEdit(t *testing.T, rt *rapid.T, data []byte) []byte {
	t.Helper()
	before, err := labelOf(data)
	if err != nil {
		rt.Fatal(err)
	}
	kind := rapid.SampledFrom(chainKinds()).Draw(rt, "kind")
	e, want, err := kind.plan(t, data, before, uint32(rapid.IntRange(1, 3).Draw(rt, "more")))
	if err != nil {
		if unlessNoPlan(err) != nil {
			rt.Fatal(err)
		}
		return data
	}
	data = crash.Cut(data, e, func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, what) })
	if err := oneOf(data, before.text, want); err != nil {
		rt.Fatal(err)
	}
	return data
}

// endOfLife is the image without a label: where a cut has left nothing to remove, after a new one.
func endOfLife(t *testing.T, l chainLayout, data []byte) []byte {
	t.Helper()
	m := &crash.Mem{Data: bytes.Clone(data)}
	if l.again {
		now, err := labelOf(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := crash.Set(m, crash.Small(t, now.disk, now.serial+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := crash.Remove(m); err != nil && !errors.Is(err, diskimage.ErrNoLabel) {
		t.Fatal(err)
	}
	return m.Data
}

// TestCrashTwice enumerates what two power cuts in a row can leave: every state of a second change after every state of the first,
// after some that were completed.
func TestCrashTwice(t *testing.T) {
	t.Parallel()
	for _, l := range chainLayouts() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			total := 0
			for _, kinds := range [][]chainKind{
				{setLarge, setSmall, setSmall, setLarge, setLarge}, // one that shares sectors with the other
				{setLarge, setPlain, setOther},                     // even the first sector, with the same serial
				{setLarge, setSmall, setSmall, setLarge, setOther},
				{setLarge, setSmall, setLarge, takenAway},
				{setLarge, setLarge, takenAway, setLarge},
				{setLarge, setLarge, takenAway, takenAway},
				{setLarge, setLarge}, // the first
				{setLarge, takenAway},
				{setSmall, setLarge, setLarge}, // for which slots grow
				{setSmall, setSmall, setSmall}, // for those that have room for no other
				{setSmall, takenAway, setSmall},
			} {
				data, n := l.make(t), len(kinds)
				for _, past := range kinds[:n-2] {
					data = completed(t, data, past)
				}
				for _, more := range []uint32{1, 2} { // the serial of the change that was cut off, and the next
					states, err := twice(t, data, kinds[n-2], kinds[n-1], more)
					if total += states; err != nil {
						t.Errorf("%q, serial %d more: %v", kinds, more, err)
					}
				}
			}
			if t.Logf("%d states", total); total == 0 {
				t.Error("nothing was cut off")
			}
		})
	}
}

// completed is the image with one more change; as it is where there is no room for it.
func completed(t *testing.T, data []byte, kind chainKind) []byte {
	t.Helper()
	now, err := labelOf(data)
	if err != nil {
		t.Fatal(err)
	}
	e, want, err := kind.plan(t, data, now, 1)
	if err != nil {
		if unlessNoPlan(err) != nil {
			t.Fatal(err)
		}
		return data
	}
	m := &crash.Mem{Data: data}
	err = diskimage.Apply(m, e)
	if err == nil {
		err = oneOf(m.Data, want, want)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Data
}

func twice(t *testing.T, data []byte, first, second chainKind, more uint32) (int, error) {
	t.Helper()
	total := 0
	before, err := labelOf(data)
	if err != nil {
		return 0, err
	}
	e, want, err := first.plan(t, data, before, 1)
	if err != nil {
		return 0, unlessNoPlan(err)
	}
	err = crash.Cuts(data, e, func(state []byte, _ bool) error {
		if err := oneOf(state, before.text, want); err != nil {
			return err
		}
		between, err := labelOf(state)
		if err != nil {
			return err
		}
		e, want, err := second.plan(t, state, between, more)
		if err != nil {
			return unlessNoPlan(err)
		}
		return crash.Cuts(state, e, func(state []byte, done bool) error {
			total++
			if done {
				return oneOf(state, want, want)
			}
			return oneOf(state, between.text, want)
		})
	})
	return total, err
}
