package bench

import (
	"compress/gzip"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/solver/online"
)

func TestReadTrace(t *testing.T) {
	t.Parallel()
	v, err := ReadTrace(strings.NewReader("vmid,cpu,mem,at,lt\n0,4,16,0.0,194.0\n1,1,2,5,7\n"))
	if err != nil || len(v) != 2 || v[0] != (TraceVM{4, 16, 0, 194}) || v[1] != (TraceVM{1, 2, 5, 7}) {
		t.Fatalf("read %v, %v", v, err)
	}
	for _, bad := range []string{
		"", "vmid,cpu,mem,at,lt\n", "cpu\n1\n", "vmid,cpu,mem,at,lt\n0,4,16,0\n", "vmid,cpu,mem,at,lt\n0,-4,16,0,1\n",
		"vmid,cpu,mem,at,lt\n0,4,NaN,0,1\n", "vmid,cpu,mem,at,lt\n0,4,16,0.5,1\n", "vmid,cpu,mem,at,lt\n0,4,16,9,1\n1,4,16,8,1\n",
		"vmid,cpu,mem,at,lt\n0,4,16,0,99999999999\n", "vmid,cpu,mem,at,lt\n0,99999999999999999999,16,0,1\n",
	} {
		if v, err := ReadTrace(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: read as %v", bad, v)
		}
	}
	if s, err := ReadStarts(strings.NewReader("3\n1\n"), 4); err != nil || len(s) != 2 || s[0] != 3 {
		t.Fatalf("read %v, %v", s, err)
	}
	for _, bad := range []string{"", "4\n", "-1\n", "x\n"} {
		if s, err := ReadStarts(strings.NewReader(bad), 4); err == nil {
			t.Errorf("%q: read as %v", bad, s)
		}
	}
}

// drawTrace makes a small trace whose VMs fit on a host.
func drawTrace(t *rapid.T, host TraceVM) []TraceVM {
	var out []TraceVM
	at := int64(0)
	for range rapid.IntRange(1, 60).Draw(t, "vms") {
		at += rapid.Int64Range(0, 2000).Draw(t, "gap")
		out = append(out, TraceVM{
			rapid.Int64Range(1, host.CPU).Draw(t, "cpu"), rapid.Int64Range(1, host.Memory).Draw(t, "mem"), at,
			rapid.Int64Range(0, 20_000).Draw(t, "life"),
		})
	}
	return out
}

// TestRunTrace: every VM is placed, no run beats the bound, no host is counted for longer than the trace lasts, and moves
// keep to their budget. RunTrace itself asks the referee.
func TestRunTrace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		host := TraceVM{CPU: 8, Memory: 18}
		trace := drawTrace(t, host)
		bound, peak := TraceBound(trace, host)
		for _, o := range []online.Options{{}, {Score: online.BestFit}, {Rater: online.Oldest{}}} {
			for _, perMille := range []int{0, 300} {
				r, err := RunTrace(trace, TraceRun{Host: host, Options: o, PerMille: perMille, Drain: true})
				if err != nil {
					t.Fatal(err)
				}
				lives := int64(0)
				for _, v := range trace {
					lives += v.Life
				}
				if r.Placed != len(trace) || r.HostSeconds < bound || r.HostSeconds > lives || int64(r.Peak) < peak || r.Moves > r.Budget {
					t.Fatalf("%+v, the bound is %d and the peak %d", r, bound, peak)
				}
			}
		}
	})
}

// TestSpaneQueue: on a drawn trace, first fit waits for nothing before its first failure.
func TestSpaneQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		numa := Numa{CPU: 4, Memory: 9, Split: 4}
		var trace []TraceVM
		for range 5 {
			trace = append(trace, drawTrace(t, TraceVM{CPU: 4, Memory: 9})...)
		}
		for i := range trace {
			trace[i].CPU, trace[i].Memory = trace[i].CPU/2*2, trace[i].Memory/2*2
			if i > 0 {
				trace[i].At = max(trace[i].At, trace[i-1].At)
			}
		}
		n, err := SpaneLength(trace, 0, 2, numa)
		if err != nil {
			return // it ends before a failure
		}
		if wait, err := SpaneWait(trace, 0, n-spaneMore, 2, numa, online.Options{}); err == nil && wait != 0 {
			t.Fatalf("%d VMs wait %d s", n-spaneMore, wait)
		}
	})
}

func TestTrimmedMean(t *testing.T) {
	t.Parallel()
	if m, err := TrimmedMean([]int64{1000, 1, 2, 3, 4, 5, 6, 7, 8, -50}); err != nil || m != 4.5 {
		t.Fatalf("mean %v, %v", m, err)
	}
	if _, err := TrimmedMean(nil); err == nil {
		t.Fatal("the mean of nothing")
	}
}

// benchData opens a file of the public data, or skips.
func benchData(t *testing.T, name string) *os.File {
	t.Helper()
	dir := os.Getenv("BERTH_BENCH_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "bench")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the benchmark's data is not here: set BERTH_BENCH_DATA")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestHuaweiReproduced: the adapter gives the figures that others computed of the same trace, so that ours compare.
func TestHuaweiReproduced(t *testing.T) {
	t.Parallel()
	z, err := gzip.NewReader(benchData(t, filepath.Join("huawei-east-1", "Huawei-East-1-lt.csv.gz")))
	if err != nil {
		t.Fatal(err)
	}
	trace, err := ReadTrace(z)
	if err != nil {
		t.Fatal(err)
	}
	bound, peak := TraceBound(trace, HuaweiHost)
	if got := fmt.Sprintf("%.2f %d", float64(bound)/86400, peak); got != "726.75 54" {
		t.Errorf("bound %s", got)
	}
	first := 0.0
	for _, c := range []struct {
		o    online.Options
		want string
	}{{online.Options{}, "1052.81 65"}, {online.Options{Score: online.BestFit}, "1160.95 61"}, {online.Options{Score: online.WorstFit}, "1508.70 77"}} {
		r, err := RunTrace(trace, TraceRun{Host: HuaweiHost, Options: c.o})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%.2f %d", r.HostDays(), r.Peak); got != c.want {
			t.Errorf("score %d: %s, want %s", c.o.Score, got, c.want)
		}
		if c.o.Score == online.FirstFit {
			first = r.HostDays()
		}
	}
	r, err := RunTrace(trace, TraceRun{Host: HuaweiHost, Options: online.Options{Rater: online.Oldest{}}})
	if err != nil || r.HostDays() >= first {
		t.Errorf("oldest: %.2f host-days, first fit %.2f (%v)", r.HostDays(), first, err)
	}
	r, err = RunTrace(trace, TraceRun{Host: HuaweiHost, PerMille: 10, Drain: true, Options: online.Options{Rater: online.Oldest{}}})
	if err != nil || float64(r.HostSeconds) > 1.1*float64(bound) {
		t.Errorf("with moves: %.2f host-days, the bound %.2f (%v)", r.HostDays(), float64(bound)/86400, err)
	}
}

// TestSpaneReproduced: first fit and balance fit give the published waiting times to the second.
func TestSpaneReproduced(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("two thousand queues")
	}
	z, err := gzip.NewReader(benchData(t, filepath.Join("huawei-east-1", "Huawei-East-1-lt.csv.gz")))
	if err != nil {
		t.Fatal(err)
	}
	trace, err := ReadTrace(z)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := ReadStarts(benchData(t, filepath.Join("huawei-east-1", "test_start_index_1000.txt")), len(trace))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    online.Options
		want float64
	}{{online.Options{}, 89822.5225}, {online.Options{Rater: BalanceFit{SpaneNuma}}, 86009.90875}} {
		waits, err := spaneWaits(trace, starts, 5, func() online.Options { return c.o }, func() bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if got, err := TrimmedMean(waits); err != nil || math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%v, want %v (%v)", got, c.want, err)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add("vmid,cpu,mem,at,lt\n0,4,16,0.0,194.0\n1,1,2,5,7\n")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ReadTrace(strings.NewReader(s))
		if err != nil {
			return
		}
		for i := range v {
			if v[i].CPU < 0 || v[i].At+v[i].Life < 0 || i > 0 && v[i].At < v[i-1].At {
				t.Fatalf("VM %d: %+v", i, v[i])
			}
		}
	})
}

func FuzzReadStarts(f *testing.F) {
	f.Add("1\n2\n")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ReadStarts(strings.NewReader(s), 10)
		if err != nil {
			return
		}
		for _, k := range v {
			if k < 0 || k >= 10 {
				t.Fatal(k)
			}
		}
	})
}

func FuzzReadBaselines(f *testing.F) {
	f.Add("benchmark,setting,policy,metric,value,origin\nvbp,s,p,m,1.5,o\n")
	f.Fuzz(func(_ *testing.T, s string) {
		if _, err := ReadBaselines(strings.NewReader(s), "vbp"); err != nil {
			return
		}
	})
}
