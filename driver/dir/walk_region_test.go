package dir

import (
	"encoding/binary"
	"slices"
	"testing"
)

// TestRegion grows a region through both kinds of memory and gives it back, twice.
func TestRegion(t *testing.T) {
	t.Parallel()
	var r region
	for range 2 {
		want := make([]uint32, 0, 300_000)
		for i := range uint32(300_000) {
			b, err := r.extend(4)
			if err != nil {
				t.Fatal(err)
			}
			binary.NativeEndian.PutUint32(b, i*2654435761)
			want = append(want, i*2654435761)
			if i == 1000 && (r.mapped || !slices.Equal(r.uint32s(), want)) {
				t.Fatal("the begin is lost, or came from the kernel")
			}
		}
		if !r.mapped || !slices.Equal(r.uint32s(), want) {
			t.Fatal("not what was put in, or still on the heap")
		}
		if !r.release() || r.release() || r.n != 0 || r.uint32s() != nil {
			t.Fatal("not given back once")
		}
	}
}

// TestListingLimits: a name beyond the kernel's limit cannot be, and is refused.
func TestListingLimits(t *testing.T) {
	t.Parallel()
	var l listing
	if err := l.add(8, make([]byte, 256)); err == nil {
		t.Error("a name of 256 bytes is taken")
	}
	if err := l.addAll(-1, []byte{20: 1, 16: 200, 18: 8}); err == nil {
		t.Error("a record longer than the answer is taken")
	}
}
