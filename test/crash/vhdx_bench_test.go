package crash_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// BenchmarkVHDX opens and reads labelled VHDX images through driver/dir, as `label find` does, with all of them in the
// page cache. They are sparse files: 64 KiB or so each on the disk.
func BenchmarkVHDX(b *testing.B) {
	v := crash.VHDX{Size: 3 << 30, UUID: "01020304-0506-4708-890a-0b0c0d0e0f10"}
	m := &crash.Mem{Data: v.Image()}
	info, err := diskimage.Inspect(m)
	if err != nil {
		b.Fatal(err)
	}
	if err := crash.Set(m, crash.Small(b, info.Binding(), 1)); err != nil {
		b.Fatal(err)
	}
	folder := b.TempDir()
	var paths []string
	for i := range 500 {
		path := filepath.Join(folder, fmt.Sprintf("vm-%03d.vhdx", i))
		writeSparse(b, path, m.Data)
		paths = append(paths, path)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f, err := dir.Open(paths[i%len(paths)])
		if err != nil {
			b.Fatal(err)
		}
		if frame, _, err := diskimage.ReadLabel(f); err != nil || frame == nil {
			b.Fatalf("label %v, %v", frame, err)
		}
		_ = f.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
}

func writeSparse(b *testing.B, path string, data []byte) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	for at := 0; at < len(data); at += 4096 {
		if block := data[at : at+4096]; len(bytes.Trim(block, "\x00")) > 0 {
			if _, err := f.WriteAt(block, int64(at)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
