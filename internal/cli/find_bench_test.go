package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// findImages is how many images the benchmarks look through; otherImages how many the other tools are asked for, which
// takes them about 10 ms each.
const (
	findImages  = 10_000
	otherImages = 100
)

// BenchmarkFind runs the whole command over 10,000 mixed images of QEMU's, a tenth of them labelled, in folders of 100, and
// the other tools over some of them in the same run. The page cache is warm.
func BenchmarkFind(b *testing.B) {
	root := b.TempDir()
	names, labelled := mixedImages(b, root, findImages)
	perSecond := timeFind(b, root, findImages, labelled)
	compare(b, "qemu-img", names, perSecond, "info")
	var vmdks []string
	for _, n := range names {
		if strings.HasSuffix(n, ".vmdk") {
			vmdks = append(vmdks, n)
		}
	}
	compare(b, "vmdkinfo", vmdks, perSecond)
}

// BenchmarkFindByFormat shows what an image of each format costs.
func BenchmarkFindByFormat(b *testing.B) {
	for _, format := range mixedFormats() {
		b.Run(format, func(b *testing.B) {
			root := b.TempDir()
			_, labelled := mixedImages(b, root, findImages/2, format)
			timeFind(b, root, findImages/2, labelled)
		})
	}
}

// BenchmarkFindCold drops the caches before each run, and measures in the same run what the device gives to random reads of
// 4 KiB with as many under way, past the page cache.
func BenchmarkFindCold(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("dropping the caches needs root")
	}
	root := b.TempDir()
	_, labelled := mixedImages(b, root, findImages)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		dropCaches(b)
		b.StartTimer()
		began := time.Now()
		runFind(b, root, labelled)
		spent += time.Since(began)
	}
	perSecond := float64(b.N) * findImages / spent.Seconds()
	b.ReportMetric(perSecond, "images/s")
	iops := deviceLimit(b, scanJobs())
	b.ReportMetric(iops, "device-reads/s")
	b.ReportMetric(iops/perSecond, "reads/image")
}

func dropCaches(tb testing.TB) {
	tb.Helper()
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		tb.Skipf("drop caches: %v", err)
	}
}

// deviceLimit is how many random reads of 4 KiB a second the device of the temporary folder gives, with queue of them under way.
func deviceLimit(b *testing.B, queue int) float64 {
	b.Helper()
	const size = 1 << 30
	name := filepath.Join(b.TempDir(), "device")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*31) | 1
	}
	for range size / len(block) {
		if _, err := f.Write(block); err != nil {
			b.Skipf("write %s: %v", name, err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	dropCaches(b)
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Skipf("O_DIRECT: %v", err)
	}
	defer func() { _ = unix.Close(fd) }()
	const reads = 20_000
	done := make(chan error, queue)
	began := time.Now()
	for w := range queue {
		go func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			mem, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned, as O_DIRECT wants it
			for i := 0; err == nil && i < reads/queue; i++ {
				_, err = unix.Pread(fd, mem, r.Int64N(size/4096)*4096)
			}
			done <- err
		}()
	}
	for range queue {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return reads / time.Since(began).Seconds()
}

// compare asks another tool, one process an image as it is made for.
func compare(b *testing.B, tool string, names []string, ours float64, args ...string) {
	b.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		b.Logf("%s is not installed", tool)
		return
	}
	began := time.Now()
	for _, name := range names[:otherImages] {
		cmd := exec.CommandContext(b.Context(), path, append(args, name)...)
		cmd.Stdout = io.Discard
		if err := cmd.Run(); err != nil {
			b.Fatalf("%s %s: %v", tool, name, err)
		}
	}
	theirs := otherImages / time.Since(began).Seconds()
	b.ReportMetric(theirs, tool+"/s")
	b.ReportMetric(ours/theirs, "times-"+tool)
}

// timeFind reports how many images a second the command gets through, and what processor time one takes: that tells on a busy
// machine too.
func timeFind(b *testing.B, root string, count, labelled int) float64 {
	b.Helper()
	runFind(b, root, labelled) // warms the cache
	before := processorTime(b)
	for b.Loop() {
		runFind(b, root, labelled)
	}
	images := float64(b.N) * float64(count)
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/images, "cpu-us/image")
	b.ReportMetric(images/b.Elapsed().Seconds(), "images/s")
	return images / b.Elapsed().Seconds()
}

func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runFind runs the command in this process.
func runFind(tb testing.TB, root string, want int) {
	tb.Helper()
	var out bytes.Buffer
	env := Process()
	env.Out, env.Err = &out, os.Stderr
	if code := Main(tb.Context(), []string{"label", "find", root}, env); code != codeOK {
		tb.Fatalf("exit code %d", code)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != want {
		tb.Fatalf("found %d images, expected %d", n, want)
	}
}

func mixedFormats() []string { return []string{"vmdk", "qcow2", "vhdx", "vdi", "vpc", "raw"} }

// mixedImages makes count images of the formats in turn, each tenth labelled, in folders of 100: copies of two of QEMU's a
// format, as sparse as those are.
func mixedImages(b *testing.B, root string, count int, formats ...string) (names []string, labelled int) {
	b.Helper()
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		b.Skip("qemu-img is not installed")
	}
	if len(formats) == 0 {
		formats = mixedFormats()
	}
	models := b.TempDir()
	for _, format := range formats {
		for _, kind := range []string{"plain", "labelled"} {
			name := filepath.Join(models, kind+"."+format)
			if out, err := exec.CommandContext(b.Context(), qemu, "create", "-q", "-f", format, name, "64M").CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
		env := Process()
		env.Err = os.Stderr
		if code := Main(b.Context(), []string{"label", "set", "--level", "gold", filepath.Join(models, "labelled."+format)}, env); code != codeOK {
			b.Fatalf("label %s: exit code %d", format, code)
		}
	}
	for i := range count {
		folder := filepath.Join(root, fmt.Sprintf("dir-%03d", i/100))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			b.Fatal(err)
		}
		kind, format := "plain", formats[i%len(formats)]
		if i/len(formats)%10 == 0 {
			kind, labelled = "labelled", labelled+1
		}
		name := filepath.Join(folder, fmt.Sprintf("vm-%05d.%s", i, format))
		model := filepath.Join(models, kind+"."+format)
		copySparse(b, model, name)
		if _, err := os.Stat(model + ".berth"); err == nil {
			copySparse(b, model+".berth", name+".berth")
		}
		names = append(names, name)
	}
	return names, labelled
}

// copySparse copies the parts of a file that are not all zero, and the attributes of labels.
func copySparse(b *testing.B, from, to string) {
	b.Helper()
	src, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	st, err := src.Stat()
	if err != nil {
		b.Fatal(err)
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = dst.Close() }()
	if err := dst.Truncate(st.Size()); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for off := int64(0); off < st.Size(); {
		data, err := unix.Seek(int(src.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		n, err := src.ReadAt(buf, data)
		if err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		for at := 0; at < n; at += 4096 {
			page := buf[at:min(at+4096, n)]
			if bytes.Count(page, []byte{0}) == len(page) {
				continue
			}
			if _, err := dst.WriteAt(page, data+int64(at)); err != nil {
				b.Fatal(err)
			}
		}
		off = data + int64(n)
	}
	value := make([]byte, 4096)
	for _, name := range []string{"user.berth.label", "user.berth.level"} {
		if n, err := unix.Fgetxattr(int(src.Fd()), name, value); err == nil {
			if err := unix.Fsetxattr(int(dst.Fd()), name, value[:n], 0); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// millionFiles is what BenchmarkFindMillion looks through; BERTH_MILLION changes it.
func millionFiles(b *testing.B) int {
	b.Helper()
	n := 1_000_000
	if s := os.Getenv("BERTH_MILLION"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1000 {
			b.Fatalf("BERTH_MILLION %q: expected a number from 1000", s)
		}
	}
	return n
}

// BenchmarkFindMillion builds berth, runs it over a million files, in folders of 1000 and in one folder, and reports the
// most memory that the process had (ru_maxrss). Most names are further links to a few images: what counts is how many there are.
func BenchmarkFindMillion(b *testing.B) {
	n := millionFiles(b)
	berth := filepath.Join(b.TempDir(), "berth")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", berth, "github.com/berth-project/berth/cmd/berth")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Skipf("build berth: %v: %s", err, out)
	}
	for name, perFolder := range map[string]int{"folders-of-1000": 1000, "one-folder": n} {
		b.Run(name, func(b *testing.B) {
			root := b.TempDir()
			labelled := manyLinks(b, root, n, perFolder)
			var most int64
			for b.Loop() {
				out, err := os.CreateTemp(b.TempDir(), "out")
				if err != nil {
					b.Fatal(err)
				}
				cmd := exec.CommandContext(b.Context(), berth, "label", "find", root)
				cmd.Stdout, cmd.Stderr = out, os.Stderr
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				rss := highWater(b, cmd.Process.Pid)
				if err := cmd.Wait(); err != nil {
					b.Fatal(err)
				}
				most = max(most, <-rss)
				data, err := os.ReadFile(out.Name())
				if err != nil {
					b.Fatal(err)
				}
				if got := bytes.Count(data, []byte("\n")); got != labelled {
					b.Fatalf("found %d, expected %d", got, labelled)
				}
			}
			b.ReportMetric(float64(most)/1024, "MiB-RSS")
			b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

// highWater gives the most memory that a process had, in KiB, once it has ended. It looks again and again, since what the kernel
// tells of an ended process (ru_maxrss) is never less than what its parent had when it was started.
func highWater(b *testing.B, pid int) <-chan int64 {
	b.Helper()
	found := make(chan int64, 1)
	go func() {
		var most int64
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, line, ok := strings.Cut(string(status), "VmHWM:")
			if err != nil || !ok { // it has ended
				found <- most
				return
			}
			var kib int64
			if _, err := fmt.Sscan(line, &kib); err == nil {
				most = max(most, kib)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return found
}

// manyLinks makes n names in folders of perFolder, of 60 images: ext4 takes 65,000 names of one. It counts those with a label.
func manyLinks(b *testing.B, root string, n, perFolder int) (labelled int) {
	b.Helper()
	models := filepath.Join(b.TempDir(), "models")
	if err := os.Mkdir(models, 0o755); err != nil {
		b.Fatal(err)
	}
	first, _ := mixedImages(b, models, 60)
	for i := range n {
		folder := filepath.Join(root, fmt.Sprintf("dir-%04d", i/perFolder))
		if i%perFolder == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		model := first[i%len(first)]
		if err := os.Link(model, filepath.Join(folder, fmt.Sprintf("vm-%07d%s", i, filepath.Ext(model)))); err != nil {
			b.Fatal(err)
		}
		if i%len(first) < len(mixedFormats()) {
			labelled++
		}
	}
	return labelled
}
