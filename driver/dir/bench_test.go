package dir_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// folderOf makes n small images, every other one labelled, in folders of 100.
func folderOf(b *testing.B, n int) (string, []string) {
	b.Helper()
	root := b.TempDir()
	plain := &crash.Mem{Data: crash.Stream(crash.StreamText(false), 20, 0)}
	labelled := &crash.Mem{Data: crash.Stream(crash.StreamText(false), 20, 0)}
	info, err := diskimage.Inspect(plain)
	if err != nil {
		b.Fatal(err)
	}
	if err := crash.Set(labelled, crash.Small(b, info.Binding(), 1)); err != nil {
		b.Fatal(err)
	}
	var paths []string
	for i := range n {
		folder := filepath.Join(root, fmt.Sprint(i/100))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(folder, fmt.Sprintf("vm-%d.vmdk", i))
		data := plain.Data
		if i%2 == 0 {
			data = labelled.Data
		}
		paths = append(paths, write(b, path, string(data)))
	}
	return root, paths
}

// BenchmarkFind walks 10,000 images (warm: they were just written) and reads the label of each.
func BenchmarkFind(b *testing.B) {
	const images = 10_000
	root, _ := folderOf(b, images)
	for b.Loop() {
		var labelled, failed atomic.Int64
		err := dir.Walk(context.Background(), []string{root}, runtime.NumCPU(), func(path string) {
			f, err := dir.Open(path)
			if err != nil {
				failed.Add(1)
				return
			}
			frame, _, err := diskimage.ReadLabel(f)
			if err != nil || f.Close() != nil {
				failed.Add(1)
			}
			if frame != nil {
				labelled.Add(1)
			}
		})
		if err != nil || failed.Load() != 0 || labelled.Load() != images/2 {
			b.Fatalf("%d labelled, %d failed, %v", labelled.Load(), failed.Load(), err)
		}
	}
	b.ReportMetric(images*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}

// BenchmarkQEMUInfo reads a sample of the same images with qemu-img info, one process after another.
func BenchmarkQEMUInfo(b *testing.B) {
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		b.Skip("qemu-img is not installed")
	}
	const images = 100
	_, paths := folderOf(b, images)
	for b.Loop() {
		for _, p := range paths {
			if out, err := exec.CommandContext(context.Background(), qemu, "info", "--output=json", p).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	}
	b.ReportMetric(images*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
