package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func records(n int) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, fmt.Appendf(nil, `{"step":%d,"vm":"vm-db"}`, i))
	}
	return out
}

func mustOpen(t *testing.T, path string) (*Journal, [][]byte) {
	t.Helper()
	j, recs, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, recs
}

func mustAppend(t *testing.T, j *Journal, recs ...[]byte) {
	t.Helper()
	for _, r := range recs {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
}

func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestAppendSurvivesReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "deep", "plan.journal")
	want := records(5)
	j, recs := mustOpen(t, path)
	if len(recs) != 0 {
		t.Fatalf("a new journal has %d records", len(recs))
	}
	mustAppend(t, j, want[:3]...)
	if live, err := Read(path); err != nil || !equal(live, want[:3]) {
		t.Errorf("read while it is open: %q, %v", live, err)
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	j, recs = mustOpen(t, path)
	if !equal(recs, want[:3]) {
		t.Errorf("reopened: %q, expected %q", recs, want[:3])
	}
	mustAppend(t, j, want[3:]...)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, recs = mustOpen(t, path); !equal(recs, want) {
		t.Errorf("reopened twice: %q, expected %q", recs, want)
	}
	for _, m := range []struct {
		path string
		mode os.FileMode
	}{{path, 0o600}, {filepath.Dir(path), 0o700}, {filepath.Dir(filepath.Dir(path)), 0o700}} {
		info, err := os.Stat(m.path)
		if err != nil || info.Mode().Perm() != m.mode {
			t.Errorf("%s: %v, %v, expected %v", m.path, info.Mode(), err, m.mode)
		}
	}
}

func TestSecondOpenerIsLockedOut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "plan.journal")
	j, _ := mustOpen(t, path)
	mustAppend(t, j, records(1)...)
	if _, _, err := Open(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("second open: %v, expected ErrLocked that names the file", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "plan.journal")
	j, _ := mustOpen(t, path)
	for _, n := range []int{0, MaxRecord + 1} {
		if err := j.Append(make([]byte, n)); !errors.Is(err, ErrRecordSize) {
			t.Errorf("append %d bytes: %v", n, err)
		}
	}
	mustAppend(t, j, make([]byte, MaxRecord)) // refusals poison nothing
	j.records = MaxRecords
	if err := j.Append([]byte("x")); !errors.Is(err, ErrFull) {
		t.Errorf("append beyond MaxRecords: %v", err)
	}
	j.records, j.size = 1, MaxSize
	if err := j.Append([]byte("x")); !errors.Is(err, ErrFull) {
		t.Errorf("append beyond MaxSize: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo, link, target := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "target")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(target, nil, 0o600), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, dir} {
		if _, _, err := Open(path); err == nil {
			t.Errorf("open %s: no error", path)
		}
	}
}

// journalBytes is a whole journal file.
func journalBytes(recs ...[]byte) []byte {
	b := header()
	for _, r := range recs {
		b = append(b, encodeRecord(r)...)
	}
	return b
}

// TestEveryTruncation cuts a journal at every byte: all whole records are there, nothing else, and it can be
// written to again.
func TestEveryTruncation(t *testing.T) {
	t.Parallel()
	recs := records(3)
	whole := journalBytes(recs...)
	ends := []int{headerSize}
	for _, r := range recs {
		ends = append(ends, ends[len(ends)-1]+frameSize+len(r))
	}
	path := filepath.Join(t.TempDir(), "plan.journal")
	for n := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		want := [][]byte{}
		for i, end := range ends[1:] {
			if n >= end {
				want = recs[:i+1]
			}
		}
		j, got, err := Open(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if !equal(got, want) {
			t.Fatalf("cut at %d: %q, expected %q", n, got, want)
		}
		mustAppend(t, j, []byte("after"))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err = Read(path); err != nil || !equal(got, append(slices.Clone(want), []byte("after"))) {
			t.Fatalf("cut at %d, appended: %q, %v", n, got, err)
		}
	}
}

// TestEveryFlippedByte damages a journal at every byte: in the last record it reads as a torn tail, anywhere
// before that it is corruption, and the offset is the damaged record's.
func TestEveryFlippedByte(t *testing.T) {
	t.Parallel()
	recs := records(3)
	whole := journalBytes(recs...)
	last := len(whole) - frameSize - len(recs[2])
	second := last - frameSize - len(recs[1])
	for n := range whole {
		bad := slices.Clone(whole)
		bad[n] ^= 0x41
		got, valid, err := Decode(bad)
		var ce *CorruptError
		switch {
		case n >= last:
			if err != nil || !equal(got, recs[:2]) || valid != int64(last) {
				t.Errorf("byte %d of the last record: %q, %d, %v", n, got, valid, err)
			}
		case !errors.As(err, &ce):
			t.Errorf("byte %d: %q, %v, expected corruption", n, got, err)
		case n >= second && ce.Offset != int64(second):
			t.Errorf("byte %d: offset %d, expected %d", n, ce.Offset, second)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	later := header()
	later[8] = 2
	binary.LittleEndian.PutUint32(later[12:], crc32.Checksum(later[:12], castagnoli))
	for _, c := range []struct {
		name, reason string
		data         []byte
	}{
		{"another file", "not a journal", []byte("#!/bin/sh\necho this is not a journal\n")},
		{"short other file", "not a journal", []byte("hello")},
		{"later version", "later version", later},
		{"two records' worth of rubbish", "more than one record", append(journalBytes(), make([]byte, MaxRecord+frameSize+1)...)},
	} {
		_, _, err := Decode(c.data)
		var ce *CorruptError
		if !errors.As(err, &ce) || !strings.Contains(ce.Reason, c.reason) {
			t.Errorf("%s: %v, expected a *CorruptError with %q", c.name, err, c.reason)
		}
	}
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte("important notes of somebody"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("open another file: %v, expected an error that names it", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "important notes of somebody" {
		t.Errorf("another file was changed to %q, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(header())
	f.Add(journalBytes(records(3)...))
	f.Add(journalBytes(records(2)...)[:40])
	f.Add(append(journalBytes(records(1)...), make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		recs, valid, err := Decode(data)
		if err != nil {
			if recs != nil || valid != 0 {
				t.Fatalf("%d records up to %d beside %v", len(recs), valid, err)
			}
			return
		}
		if valid == 0 && len(recs) == 0 {
			return
		}
		if again := journalBytes(recs...); !bytes.Equal(again, data[:valid]) {
			t.Fatalf("records encode to %d bytes that are not the %d read", len(again), valid)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(journalBytes(records(3)...))
	f.Add(journalBytes(records(2)...)[:41])
	f.Add([]byte("BERTHJNL"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "j")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		j, recs, err := Open(path)
		if err != nil {
			if now, _ := os.ReadFile(path); !bytes.Equal(now, data) {
				t.Fatalf("refused (%v), but changed", err)
			}
			return
		}
		mustAppend(t, j, []byte("next"))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if again, err := Read(path); err != nil || !equal(again, append(recs, []byte("next"))) {
			t.Fatalf("read again: %q, %v, expected %q and one more", again, err, recs)
		}
	})
}
