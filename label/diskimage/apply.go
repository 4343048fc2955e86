package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Apply carries out an edit, reads back what it wrote, and checks that the label is the one wanted. The caller
// holds whatever lock there is. A File that is a Replacer gets Edit.Replace; when its Replace says
// errors.ErrUnsupported, having touched nothing, the steps are taken instead. ErrChanged: nothing was written. When a
// write fails, those before it are taken back; a file that became longer is cut where it has Truncate(int64) error.
func Apply(f File, e *Edit) error {
	if f.Size() != e.Size {
		return fmt.Errorf("apply edit: %w: the file has %d bytes, it had %d", ErrChanged, f.Size(), e.Size)
	}
	for _, w := range e.Before {
		if err := expect(f, w); err != nil {
			return fmt.Errorf("apply edit: %w: %w", ErrChanged, err)
		}
	}
	if err := expectBeside(f, e.Beside); err != nil {
		return fmt.Errorf("apply edit: %w: %w", ErrChanged, err)
	}
	if err := change(f, e); err != nil {
		return err
	}
	got, _, err := Options{Format: e.Format}.ReadLabel(f)
	if err != nil {
		return fmt.Errorf("verify label: %w", err)
	}
	if !sameFrame(got, e.Want) {
		return errors.New("verify label: the image does not hold what was written")
	}
	return nil
}

// change does what the edit says, or takes back what it can.
func change(f File, e *Edit) error {
	if e.BesideFirst {
		if err := applyBeside(f, e.Beside); err != nil {
			return err
		}
		if _, err := changeImage(f, e); err != nil {
			return errors.Join(err, takeBackBeside(f, e.Beside))
		}
		return nil
	}
	before, err := changeImage(f, e)
	if err != nil {
		return err
	}
	if err := applyBeside(f, e.Beside); err != nil {
		return errors.Join(err, takeBack(f, before, e.Size))
	}
	return nil
}

// changeImage gives what stood where the steps have written.
func changeImage(f File, e *Edit) ([]Step, error) {
	if replaced, err := replace(f, e); replaced || err != nil {
		return nil, err
	}
	return applySteps(f, e.Steps)
}

func replace(f File, e *Edit) (bool, error) {
	r, ok := f.(Replacer)
	if !ok || e.Replace == nil {
		return false, nil
	}
	switch err := r.Replace(e.Replace); {
	case errors.Is(err, errors.ErrUnsupported):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("replace descriptor: %w", err)
	}
	if f.Size() != int64(len(e.Replace)) {
		return false, fmt.Errorf("verify descriptor: %d bytes, expected %d", f.Size(), len(e.Replace))
	}
	if err := expect(f, Write{Data: e.Replace}); err != nil {
		return false, fmt.Errorf("verify descriptor: %w", err)
	}
	return true, nil
}

// applySteps gives what stood where the steps have written. It takes that back when a write fails, as on a full disk: nobody then
// sees that we were there.
func applySteps(f File, steps []Step) ([]Step, error) {
	if len(steps) > 0 {
		// What the edit was planned on may be another's write that was killed before its sync: it must not be lost after ours.
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("sync image: %w", err)
		}
	}
	size := f.Size()
	var before []Step
	for i, s := range steps {
		old, err := present(f, s)
		if err != nil {
			return nil, fmt.Errorf("write label: step %d: %w", i+1, err)
		}
		before = append(before, old)
		if err := write(f, s); err != nil {
			err = fmt.Errorf("write label: step %d, %w", i+1, err)
			return nil, errors.Join(err, takeBack(f, before, size))
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("sync image: step %d: %w", i+1, err)
		}
		for _, w := range s.Writes {
			if err := expect(f, w); err != nil {
				return nil, fmt.Errorf("verify label: step %d: %w", i+1, err)
			}
		}
	}
	return before, nil
}

func write(f File, s Step) error {
	for _, w := range s.Writes {
		n, err := f.WriteAt(w.Data, w.Offset)
		if err == nil && n != len(w.Data) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return fmt.Errorf("offset %d: %w", w.Offset, err)
		}
	}
	return nil
}

// present is what the file holds where s writes; less at the file's end.
func present(f File, s Step) (Step, error) {
	var old Step
	for _, w := range s.Writes {
		b := make([]byte, len(w.Data))
		n, err := f.ReadAt(b, w.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return Step{}, fmt.Errorf("read image at %d: %w", w.Offset, err)
		}
		old.Writes = append(old.Writes, Write{Offset: w.Offset, Data: b[:n]})
	}
	return old, nil
}

// takeBack goes the way of the steps backwards, so that a power cut meets no state that it could not have met before.
func takeBack(f File, before []Step, size int64) error {
	for _, s := range slices.Backward(before) {
		changed, err := differences(f, s)
		if err == nil {
			err = write(f, changed)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return fmt.Errorf("take back what was written: %w", err)
		}
	}
	t, ok := f.(interface{ Truncate(size int64) error })
	if !ok || f.Size() <= size {
		return nil
	}
	if err := t.Truncate(size); err != nil {
		return fmt.Errorf("take back what was written: %w", err)
	}
	return nil
}

// differences are the parts of s that the file does not hold. No other may be written: where the disk had no room for a
// write it has none for taking it back.
func differences(f File, s Step) (Step, error) {
	now, err := present(f, s)
	if err != nil {
		return Step{}, err
	}
	var d Step
	for i, w := range s.Writes {
		is := now.Writes[i].Data
		from, to := 0, len(w.Data)
		for from < min(to, len(is)) && w.Data[from] == is[from] {
			from++
		}
		for to > from && to <= len(is) && w.Data[to-1] == is[to-1] {
			to--
		}
		if from < to {
			d.Writes = append(d.Writes, Write{Offset: w.Offset + int64(from), Data: w.Data[from:to]})
		}
	}
	return d, nil
}

// expect reports where the file differs from w.
func expect(f File, w Write) error {
	b := make([]byte, len(w.Data))
	n, err := f.ReadAt(b, w.Offset)
	if err != nil && (!errors.Is(err, io.EOF) || n < len(b)) {
		return fmt.Errorf("read image at %d: %w", w.Offset, err)
	}
	if !bytes.Equal(b[:n], w.Data) {
		return fmt.Errorf("other content at offset %d", w.Offset)
	}
	return nil
}
