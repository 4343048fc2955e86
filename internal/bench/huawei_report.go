package bench

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/berth-project/berth/solver/online"
)

// Baseline is one figure that others have published or that was computed before, as the collection's table has it.
type Baseline struct {
	Setting string  `json:"setting"`
	Policy  string  `json:"policy"`
	Metric  string  `json:"metric"`
	Value   float64 `json:"value"`
	Origin  string  `json:"origin"`
}

// ReadBaselines reads the rows of one benchmark of a table "benchmark,setting,policy,metric,value,origin".
func ReadBaselines(r io.Reader, benchmark string) ([]Baseline, error) {
	c := csv.NewReader(io.LimitReader(r, 1<<20))
	c.FieldsPerRecord = 6
	rows, err := c.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read baselines: %w", err)
	}
	var out []Baseline
	for n, row := range rows {
		if n == 0 || row[0] != benchmark {
			continue
		}
		v, err := strconv.ParseFloat(row[4], 64)
		if err != nil {
			return nil, fmt.Errorf("read baselines: line %d: %q is no value", n+1, row[4])
		}
		out = append(out, Baseline{row[1], row[2], row[3], v, row[5]})
	}
	return out, nil
}

// baselines reads baselines.csv of a directory or of the one above; without one there are none.
func baselines(dir, benchmark string) ([]Baseline, error) {
	for _, d := range []string{dir, filepath.Dir(filepath.Clean(dir))} {
		f, err := os.Open(filepath.Join(d, "baselines.csv"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		b, err := ReadBaselines(f, benchmark)
		return b, errors.Join(err, f.Close())
	}
	return []Baseline{}, nil
}

// open opens a file of the data, in the directory or in one of its own there, unpacked where it is a .gz.
func open(dir, sub, name string) (io.Reader, func() error, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		var again error
		if f, again = os.Open(filepath.Join(dir, sub, name)); again != nil {
			return nil, nil, err // of the two names, the one that was asked for
		}
		err = nil
	}
	if err != nil {
		return nil, nil, err
	}
	if filepath.Ext(name) != ".gz" {
		return f, f.Close, nil
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read %s: %w", f.Name(), err), f.Close())
	}
	return z, f.Close, nil
}

// HuaweiOptions say what to run.
type HuaweiOptions struct {
	Dir    string
	Hosts  []int // numbers of hosts of the SPANE protocol; none: leave it out
	Starts int   // how many of the protocol's starts; 0: all
	Say    func(string)
	Stop   func() bool
}

// TraceRow is one policy on the whole trace.
type TraceRow struct {
	Policy    string  `json:"policy"`
	PerMille  int     `json:"moved_per_mille_an_hour"`
	HostDays  float64 `json:"host_days"`
	OverBound float64 `json:"times_the_bound"`
	Peak      int     `json:"peak_hosts"`
	Moves     int     `json:"moves"`
	Budget    int     `json:"moves_allowed"`
	Seconds   float64 `json:"seconds"`
}

// SpaneRow is one policy of the SPANE protocol.
type SpaneRow struct {
	Hosts   int     `json:"hosts"`
	Policy  string  `json:"policy"`
	Wait    float64 `json:"wait_seconds"` // mean, trimmed by a tenth on each side
	Starts  int     `json:"starts"`
	Seconds float64 `json:"seconds"`
}

// Huawei is what the benchmark came to.
type Huawei struct {
	VMs       int        `json:"vms"`
	Bound     float64    `json:"bound_host_days"`
	BoundPeak int        `json:"bound_peak_hosts"`
	Trace     []TraceRow `json:"trace"`
	Spane     []SpaneRow `json:"spane"`
	Published []Baseline `json:"published"`
}

// HuaweiHost is the elastic host of the whole trace.
var HuaweiHost = TraceVM{CPU: 80, Memory: 180}

// RunHuawei runs the whole trace and the SPANE protocol. No policy knows how long a VM will run.
func RunHuawei(o HuaweiOptions) (*Huawei, error) {
	r, done, err := open(o.Dir, "huawei-east-1", "Huawei-East-1-lt.csv.gz")
	if err != nil {
		return nil, err
	}
	trace, err := ReadTrace(r)
	if err = errors.Join(err, done()); err != nil {
		return nil, fmt.Errorf("Huawei-East-1-lt.csv.gz: %w", err)
	}
	seconds, peak := TraceBound(trace, HuaweiHost)
	out := &Huawei{VMs: len(trace), Bound: float64(seconds) / 86400, BoundPeak: int(peak), Trace: []TraceRow{}, Spane: []SpaneRow{}}
	if out.Published, err = baselines(o.Dir, "huawei-east-1"); err != nil {
		return nil, err
	}
	for _, row := range []struct {
		name string
		run  TraceRun
	}{
		{"first fit", TraceRun{}},
		{"best fit", TraceRun{Options: online.Options{Score: online.BestFit}}},
		{"worst fit", TraceRun{Options: online.Options{Score: online.WorstFit}}},
		{"oldest", TraceRun{Options: online.Options{Rater: online.Oldest{}}}},
		{"first fit", TraceRun{PerMille: 10, Drain: true}},
		{"oldest", TraceRun{PerMille: 10, Drain: true, Options: online.Options{Rater: online.Oldest{}}}},
	} {
		o.Say(row.name)
		row.run.Host = HuaweiHost
		t, err := RunTrace(trace, row.run)
		if err != nil {
			return nil, err
		}
		out.Trace = append(out.Trace, TraceRow{
			Policy: row.name, PerMille: row.run.PerMille, HostDays: t.HostDays(), OverBound: t.HostDays() / out.Bound,
			Peak: t.Peak, Moves: t.Moves, Budget: t.Budget, Seconds: t.Elapsed.Seconds(),
		})
		if o.Stop() {
			return out, nil
		}
	}
	return out, out.spane(trace, o)
}

// Half and power of the mix that keeps room: chosen on the protocol's 150 validation starts, on 5 hosts.
const (
	mixHalf  = 2
	mixPower = 0
)

func (h *Huawei) spane(trace []TraceVM, o HuaweiOptions) error {
	if len(o.Hosts) == 0 {
		return nil
	}
	r, done, err := open(o.Dir, "huawei-east-1", "test_start_index_1000.txt")
	if err != nil {
		return err
	}
	starts, err := ReadStarts(r, len(trace))
	if err = errors.Join(err, done()); err != nil {
		return fmt.Errorf("test_start_index_1000.txt: %w", err)
	}
	seen := SpaneNuma.ObservedSizes(trace[:slices.Min(starts)]) // what every start has behind it
	if o.Starts > 0 {
		starts = starts[:min(o.Starts, len(starts))]
	}
	for _, n := range o.Hosts {
		for _, policy := range []struct {
			name string
			make func() online.Options // for one worker
		}{
			{"first fit", func() online.Options { return online.Options{} }},
			{"balance fit", func() online.Options { return online.Options{Rater: BalanceFit{SpaneNuma}} }},
			{"usual mix", func() online.Options { return online.Options{Rater: online.NewMix(seen, mixHalf, mixPower)} }},
		} {
			o.Say(fmt.Sprintf("%d hosts, %s", n, policy.name))
			from := time.Now()
			waits, err := spaneWaits(trace, starts, n, policy.make, o.Stop)
			if err != nil || o.Stop() {
				return err
			}
			mean, err := TrimmedMean(waits)
			if err != nil {
				return err
			}
			h.Spane = append(h.Spane, SpaneRow{n, policy.name, mean, len(waits), time.Since(from).Seconds()})
		}
	}
	return nil
}

// spaneWaits runs all starts, one worker a core.
func spaneWaits(trace []TraceVM, starts []int, hosts int, options func() online.Options, stop func() bool) ([]int64, error) {
	waits := make([]int64, len(starts))
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			opt := options()
			for k := w; k < len(starts) && errs[w] == nil && !stop(); k += workers {
				var length int
				if length, errs[w] = SpaneLength(trace, starts[k], hosts, SpaneNuma); errs[w] == nil {
					waits[k], errs[w] = SpaneWait(trace, starts[k], length, hosts, SpaneNuma, opt)
				}
			}
		})
	}
	group.Wait()
	return waits, errors.Join(errs...)
}
