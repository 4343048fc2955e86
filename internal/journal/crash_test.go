package journal

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// errCrash is returned by everything after the power went.
var errCrash = errors.New("crash")

// disk is a file system of one file that loses power at its k-th operation: what was not synced may be on disk
// or not, in part, and a name that was not synced with its folder may be gone.
type disk struct {
	synced  []byte // what is on disk for sure
	cache   []byte // what the process sees
	named   bool   // the folder is synced
	ops     int
	crashAt int // 0: never
	failAt  int // this operation fails, and those after it work
	partial int // of a write that is cut off, this many bytes reach the cache
	locked  bool
	log     []string
}

// operate counts one operation and says how it ends.
func (d *disk) operate(name string) error {
	d.ops++
	d.log = append(d.log, name)
	if d.crashAt > 0 && d.ops >= d.crashAt {
		return errCrash
	}
	if d.ops == d.failAt {
		return errors.New("input/output error")
	}
	return nil
}

func (d *disk) Open(string) (file, error) {
	if d.locked {
		return nil, ErrLocked
	}
	d.locked = true
	return d, nil
}

func (d *disk) SyncFolder(string) error {
	err := d.operate("sync folder")
	if err == nil {
		d.named = true
	}
	return err
}

func (d *disk) ReadAll() ([]byte, error) { return slices.Clone(d.cache), d.operate("read") }

func (d *disk) Write(b []byte) (int, error) {
	if err := d.operate("write"); err != nil {
		n := min(d.partial, len(b))
		d.cache = append(d.cache, b[:n]...)
		return n, err
	}
	d.cache = append(d.cache, b...)
	return len(b), nil
}

func (d *disk) Truncate(size int64) error {
	if err := d.operate("truncate"); err != nil {
		return err
	}
	d.cache = d.cache[:size]
	return nil
}

func (d *disk) Sync() error {
	if err := d.operate("sync"); err != nil {
		return err
	}
	d.synced = slices.Clone(d.cache)
	return nil
}

func (d *disk) Close() error {
	d.locked = false
	return nil
}

// outcomes are the contents that the file can have after the crash: as synced, as in the cache, the cache with
// the unsynced part cut off after each byte, and with its first or second half never written (zeros).
func (d *disk) outcomes() [][]byte {
	out := [][]byte{d.synced, d.cache}
	if !d.named {
		out = append(out, nil)
	}
	from := min(len(d.synced), len(d.cache))
	for n := from; n < len(d.cache); n++ {
		out = append(out, d.cache[:n])
	}
	for _, zero := range [][2]int{{from, len(d.cache)}, {from, (from + len(d.cache)) / 2}, {(from + len(d.cache)) / 2, len(d.cache)}} {
		b := slices.Clone(d.cache)
		clear(b[zero[0]:zero[1]])
		out = append(out, b)
	}
	return out
}

// session opens the journal on d and appends recs; it returns what was there and how many were acknowledged.
func session(d *disk, recs [][]byte) (before [][]byte, acked int, err error) {
	j, before, err := open(d, "plan.journal")
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = j.Close() }()
	for _, r := range recs {
		if err := j.Append(r); err != nil {
			return before, acked, err
		}
		acked++
	}
	return before, acked, nil
}

// TestCrashAtEveryOperation cuts the power at each write, truncation and sync, and looks at every content that
// the file can then have: what was acknowledged is there, at most the one after it too, and nothing half.
func TestCrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	recs := records(4)
	worlds := 0
	for _, torn := range []int{0, 5} { // bytes of a torn record that an earlier crash left
		whole := &disk{}
		prepare(t, whole, torn)
		ops := whole.ops
		if _, n, err := session(whole, recs); n != len(recs) || err != nil {
			t.Fatal(n, err)
		}
		for k := 1; k <= whole.ops-ops; k++ {
			for _, partial := range []int{0, 1, 9, 1000} {
				d := &disk{partial: partial}
				prepare(t, d, torn)
				d.crashAt = d.ops + k
				_, acked, err := session(d, recs)
				if !errors.Is(err, errCrash) {
					t.Fatalf("crash at %d: %v", k, err)
				}
				for i, content := range d.outcomes() {
					worlds++
					check(t, fmt.Sprintf("torn %d, crash at %d (%s), partial %d, content %d", torn, k, d.log[len(d.log)-1], partial, i), content, recs, acked)
				}
			}
		}
	}
	t.Logf("%d contents of the file", worlds)
}

// prepare leaves a torn tail of n bytes in an otherwise empty journal.
func prepare(t *testing.T, d *disk, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	if _, _, err := session(d, nil); err != nil {
		t.Fatal(err)
	}
	d.cache = append(d.cache, encodeRecord([]byte("never acknowledged"))[:n]...)
	d.synced = slices.Clone(d.cache)
}

func check(t *testing.T, at string, content []byte, recs [][]byte, acked int) {
	t.Helper()
	next := &disk{cache: slices.Clone(content), synced: slices.Clone(content), named: true}
	got, n, err := session(next, [][]byte{[]byte("after")})
	if err != nil || n != 1 {
		t.Fatalf("%s: open again: %v", at, err)
	}
	if len(got) < acked || len(got) > acked+1 || !equal(got, recs[:len(got)]) {
		t.Fatalf("%s: %d records %q, %d were acknowledged", at, len(got), got, acked)
	}
	last, _, err := session(next, nil)
	if err != nil || !equal(last, append(slices.Clone(got), []byte("after"))) {
		t.Fatalf("%s: after one more: %q, %v", at, last, err)
	}
}

// TestFailurePoisons makes one write or sync fail: nothing is appended after it, though the disk works again.
func TestFailurePoisons(t *testing.T) {
	t.Parallel()
	recs := records(2)
	for _, op := range []struct {
		name string
		at   int // operations after the first record
	}{{"write", 1}, {"sync", 2}} {
		d := &disk{partial: 3}
		j, _, err := open(d, "plan.journal")
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, j, recs[0])
		d.failAt = d.ops + op.at
		if err := j.Append(recs[1]); err == nil || errors.Is(err, ErrPoisoned) {
			t.Errorf("failing %s: %v", op.name, err)
		}
		before := d.ops
		if err := j.Append(recs[1]); !errors.Is(err, ErrPoisoned) {
			t.Errorf("after a failed %s: %v, expected ErrPoisoned", op.name, err)
		}
		if d.ops != before {
			t.Errorf("after a failed %s: the file was touched: %v", op.name, d.log[before:])
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		got, _, err := session(d, nil)
		if err != nil || len(got) < 1 || !equal(got, recs[:len(got)]) {
			t.Errorf("opened after a failed %s: %q, %v", op.name, got, err)
		}
	}
}

// TestOpenFails makes each operation of Open fail: an error, and no lock is left.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	for k := 1; ; k++ {
		d := &disk{}
		prepare(t, d, 5)
		ops := d.ops
		d.failAt = d.ops + k
		_, _, err := open(d, "plan.journal")
		if err == nil {
			if k != d.ops-ops+1 {
				t.Errorf("operation %d of %d failed without an error", k, d.ops-ops)
			}
			return
		}
		if d.locked {
			t.Errorf("operation %d failed: the file is still locked", k)
		}
	}
}
