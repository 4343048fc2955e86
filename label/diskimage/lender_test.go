package diskimage_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/label/diskimage"
)

// lent is an image whose reader lends its buffer.
type lent struct {
	*bytes.Reader
	buf []byte
}

func (l *lent) Lend() []byte { return l.buf }

// checkLender reads image with a lent buffer, overwrites the buffer, and compares with what a reader without one gives.
func checkLender(tb testing.TB, image []byte) {
	tb.Helper()
	frame, info, err := diskimage.ReadLabel(bytes.NewReader(image))
	for _, size := range []int{0, 100, 12 << 10, 64 << 10} {
		l := &lent{Reader: bytes.NewReader(image), buf: bytes.Repeat([]byte("x"), size)}
		lframe, linfo, lerr := diskimage.ReadLabel(l)
		for i := range l.buf {
			l.buf[i] ^= 0x55
		}
		if d := cmp.Diff(frame, lframe) + cmp.Diff(info, linfo); d != "" || (err == nil) != (lerr == nil) || err != nil && err.Error() != lerr.Error() {
			tb.Fatalf("with a buffer of %d bytes: error %v, expected %v; %s", size, lerr, err, d)
		}
	}
}

// FuzzLender: what ReadLabel gives does not refer to the reader's buffer, which the next image overwrites.
func FuzzLender(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, image []byte) { checkLender(t, image) })
}
