package diskimage_test

import (
	"errors"
	"io"
	"testing"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// stingy gives at most so many bytes of each read and says nothing, as a driver for a network file system might.
type stingy struct {
	*crash.Mem
	most int
}

func (s stingy) ReadAt(p []byte, off int64) (int, error) {
	return s.Mem.ReadAt(p[:min(len(p), s.most)], off)
}

// TestShortReads: less than was asked for is an error, never the image's end: a label behind it would be taken for none, and
// an edit be planned on half of what is there.
func TestShortReads(t *testing.T) {
	t.Parallel()
	m := mem([]byte(vmfs()))
	info, err := diskimage.Inspect(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := crash.Set(m, crash.Small(t, info.Binding(), 1)); err != nil {
		t.Fatal(err)
	}
	for most := range len(m.Data) {
		s := stingy{m, most}
		if frame, _, err := diskimage.ReadLabel(s); !errors.Is(err, io.ErrNoProgress) {
			t.Fatalf("%d bytes a read: label %v, error %v", most, frame, err)
		}
		if _, err := diskimage.PlanSet(s, crash.Small(t, info.Binding(), 2)); !errors.Is(err, io.ErrNoProgress) {
			t.Fatalf("%d bytes a read: planned, error %v", most, err)
		}
	}
}
