package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Apply carries out an edit, reads back what it wrote, and checks that the label is the one wanted. The caller
// holds whatever lock there is. A File that is a Replacer gets Edit.Replace; when its Replace says
// errors.ErrUnsupported, having touched nothing, the steps are taken instead. ErrChanged: nothing was written.
func Apply(f File, e *Edit) error {
	if f.Size() != e.Size {
		return fmt.Errorf("apply edit: %w: the file has %d bytes, it had %d", ErrChanged, f.Size(), e.Size)
	}
	for _, w := range e.Before {
		if err := expect(f, w); err != nil {
			return fmt.Errorf("apply edit: %w: %w", ErrChanged, err)
		}
	}
	replaced, err := replace(f, e)
	if err != nil {
		return err
	}
	if !replaced {
		if err := applySteps(f, e.Steps); err != nil {
			return err
		}
	}
	got, _, err := ReadLabel(f)
	if err != nil {
		return fmt.Errorf("verify label: %w", err)
	}
	if !sameFrame(got, e.Want) {
		return errors.New("verify label: the image does not hold what was written")
	}
	return nil
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

func applySteps(f File, steps []Step) error {
	for i, s := range steps {
		for _, w := range s.Writes {
			if n, err := f.WriteAt(w.Data, w.Offset); err != nil {
				return fmt.Errorf("write label: step %d, offset %d: %w", i+1, w.Offset, err)
			} else if n != len(w.Data) {
				return fmt.Errorf("write label: step %d, offset %d: %w", i+1, w.Offset, io.ErrShortWrite)
			}
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync image: step %d: %w", i+1, err)
		}
		for _, w := range s.Writes {
			if err := expect(f, w); err != nil {
				return fmt.Errorf("verify label: step %d: %w", i+1, err)
			}
		}
	}
	return nil
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
