package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// findImages is how many images the benchmark looks through; qemuImages how many qemu-img is asked for, which
// takes about 10 ms each.
const (
	findImages = 10_000
	qemuImages = 100
)

// BenchmarkLabelFind runs the whole command over 10,000 images of QEMU's, a tenth of them labelled, in folders of
// 100, and qemu-img info over some of them in the same run. The page cache is warm.
func BenchmarkLabelFind(b *testing.B) {
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		b.Skip("qemu-img is not installed")
	}
	root := b.TempDir()
	names := makeImages(b, qemu, root)
	run := func() (out bytes.Buffer) {
		env := Process()
		env.Out, env.Err = &out, os.Stderr
		if code := Main(b.Context(), []string{"label", "find", root}, env); code != codeOK {
			b.Fatalf("exit code %d", code)
		}
		return out
	}
	out := run() // warms the cache
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != findImages/10 {
		b.Fatalf("found %d images, expected %d", n, findImages/10)
	}
	for b.Loop() {
		run()
	}
	perSecond := float64(b.N) * findImages / b.Elapsed().Seconds()
	b.ReportMetric(perSecond, "images/s")

	began := time.Now()
	for _, name := range names[:qemuImages] {
		cmd := exec.CommandContext(b.Context(), qemu, "info", name)
		cmd.Stdout = io.Discard
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	theirs := qemuImages / time.Since(began).Seconds()
	b.ReportMetric(theirs, "qemu-img-info/s")
	b.ReportMetric(perSecond/theirs, "times")
}

// makeImages copies one labelled and one unlabelled image of QEMU's all over root.
func makeImages(b *testing.B, qemu, root string) []string {
	b.Helper()
	plain, labelled := filepath.Join(root, "plain"), filepath.Join(root, "labelled")
	for _, f := range []string{plain, labelled} {
		if out, err := exec.CommandContext(b.Context(), qemu, "create", "-q", "-f", "vmdk", f, "1G").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	env := Process()
	env.Err = os.Stderr
	if code := Main(b.Context(), []string{"label", "set", "--level", "gold", labelled}, env); code != codeOK {
		b.Fatalf("exit code %d", code)
	}
	content := make([][]byte, 2)
	for i, f := range []string{plain, labelled} {
		data, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(f); err != nil {
			b.Fatal(err)
		}
		content[i] = data
	}
	var names []string
	for i := range findImages {
		folder := filepath.Join(root, fmt.Sprintf("dir-%03d", i/100))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			b.Fatal(err)
		}
		name := filepath.Join(folder, fmt.Sprintf("vm-%05d.vmdk", i))
		data := content[0]
		if i%10 == 0 {
			data = content[1]
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			b.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}
