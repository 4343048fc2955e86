package journal

import (
	"path/filepath"
	"testing"
)

// BenchmarkAppend is one record of the executor's size with its fsync.
func BenchmarkAppend(b *testing.B) {
	j, _, err := Open(filepath.Join(b.TempDir(), "plan.journal"))
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 300)
	for b.Loop() {
		if err := j.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDecode reads a journal of 30,000 records: a plan of 10,000 steps.
func BenchmarkDecode(b *testing.B) {
	rec := make([]byte, 300)
	data := header()
	for range 30_000 {
		data = append(data, encodeRecord(rec)...)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if recs, _, err := Decode(data); err != nil || len(recs) != 30_000 {
			b.Fatal(len(recs), err)
		}
	}
}
