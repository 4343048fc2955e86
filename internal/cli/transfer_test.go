package cli

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/berth-project/berth/label"
	"github.com/vbauerster/mpb/v8"
)

// TestTransferBarEnds: whatever was told before, finish returns: a bar that never ends would hang the command.
func TestTransferBarEnds(t *testing.T) {
	t.Parallel()
	for name, told := range map[string][][2]label.Bytes{
		"nothing": nil, "all": {{0, 10}, {10, 10}}, "some": {{3, 10}}, "no size": {{0, 0}}, "too much": {{20, 10}}, "back": {{5, 10}, {2, 10}, {10, 10}, {10, 10}},
	} {
		for _, ok := range []bool{true, false} {
			b := newTransferBar(string(bytes.Repeat([]byte("long "), 40)), mpb.WithOutput(io.Discard), mpb.WithAutoRefresh())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for _, d := range told {
					b.update(d[0], d[1])
				}
				b.finish(ok)
			}()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				t.Fatalf("%s, %v: finish does not return", name, ok)
			}
		}
	}
}

// TestTransferLines: where nobody looks, a line every ten seconds and none before.
func TestTransferLines(t *testing.T) {
	t.Parallel()
	var diag bytes.Buffer
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	a := newApp(Env{In: bytes.NewReader(nil), Out: io.Discard, Err: &diag, Getenv: func(string) string { return "" }, Now: func() time.Time { return now }})
	p := a.newTransfer("convert a -> b")
	for i := range 25 {
		p.update(label.Bytes(i)<<20, 25<<20)
		now = now.Add(time.Second)
	}
	p.finish(true)
	const want = "convert a -> b: 10 MiB of 25 MiB\nconvert a -> b: 20 MiB of 25 MiB\n"
	if diag.String() != want {
		t.Errorf("%q, expected %q", diag.String(), want)
	}
}
