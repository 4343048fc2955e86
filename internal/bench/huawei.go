package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// TraceVM is one VM of a trace: what it asks for, when it comes and how long it runs.
type TraceVM struct {
	CPU, Memory int64 // cores, GB
	At, Life    int64 // seconds
}

// Limits of a trace.
const (
	maxTraceVMs  = 1 << 20
	maxTraceSize = 1 << 16 // of one VM, in cores or GB
	maxTraceTime = 1 << 32 // seconds
)

// ReadTrace reads the Huawei-East-1 form: a line of names, then "vmid,cpu,mem,at,lt" by arrival. Times may have a
// fraction of nothing (".0"). Errors name the line.
func ReadTrace(r io.Reader) ([]TraceVM, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4096)
	var out []TraceVM
	for line := 1; s.Scan(); line++ {
		if line == 1 {
			if s.Text() != "vmid,cpu,mem,at,lt" {
				return nil, errors.New("read trace: line 1: want vmid,cpu,mem,at,lt")
			}
			continue
		}
		if len(out) == maxTraceVMs {
			return nil, fmt.Errorf("read trace: line %d: more than %d VMs", line, maxTraceVMs)
		}
		v, err := traceVM(s.Text())
		if err == nil && len(out) > 0 && v.At < out[len(out)-1].At {
			err = errors.New("it comes before the VM of the line before")
		}
		if err != nil {
			return nil, fmt.Errorf("read trace: line %d: %w", line, err)
		}
		out = append(out, v)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	if len(out) == 0 {
		return nil, errors.New("read trace: no VMs")
	}
	return out, nil
}

func traceVM(line string) (TraceVM, error) {
	f := strings.Split(line, ",")
	if len(f) != 5 {
		return TraceVM{}, fmt.Errorf("%d fields, want 5", len(f))
	}
	var v TraceVM
	for k, field := range []struct {
		name  string
		to    *int64
		limit int64
	}{{"cpu", &v.CPU, maxTraceSize}, {"mem", &v.Memory, maxTraceSize}, {"at", &v.At, maxTraceTime}, {"lt", &v.Life, maxTraceTime}} {
		n, err := strconv.ParseInt(strings.TrimSuffix(f[k+1], ".0"), 10, 64)
		if err != nil {
			return TraceVM{}, fmt.Errorf("%s %q: not a whole number", field.name, f[k+1])
		}
		if n < 0 || n > field.limit {
			return TraceVM{}, fmt.Errorf("%s %d: want 0 to %d", field.name, n, field.limit)
		}
		*field.to = n
	}
	return v, nil
}

// ReadStarts reads the start indices of a protocol, one a line, each of a trace of n VMs.
func ReadStarts(r io.Reader, n int) ([]int, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4096)
	var out []int
	for line := 1; s.Scan(); line++ {
		k, err := strconv.Atoi(s.Text())
		if err != nil || k < 0 || k >= n {
			return nil, fmt.Errorf("read starts: line %d: %q is no index of %d VMs", line, s.Text(), n)
		}
		if len(out) == maxTraceVMs {
			return nil, fmt.Errorf("read starts: line %d: more than %d", line, maxTraceVMs)
		}
		out = append(out, k)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read starts: %w", err)
	}
	if len(out) == 0 {
		return nil, errors.New("read starts: none")
	}
	return out, nil
}

// departures are VMs by when they leave.
type departures []departure

type departure struct {
	at int64
	vm int // of the trace
	ix int // of the placer
}

func (d departures) Len() int { return len(d) }
func (d departures) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].vm < d[j].vm
}
func (d departures) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push and Pop implement heap.Interface.
func (d *departures) Push(x any) { *d = append(*d, x.(departure)) }

// Pop takes the last.
func (d *departures) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// TraceBound is the integral of how many hosts the trace needs at least, in host-seconds, and the greatest such number:
// no fewer than its cores and its memory fill at each moment.
func TraceBound(trace []TraceVM, host TraceVM) (seconds, peak int64) {
	type change struct{ at, cpu, mem int64 }
	var list []change
	for _, v := range trace {
		list = append(list, change{v.At, v.CPU, v.Memory}, change{v.At + v.Life, -v.CPU, -v.Memory})
	}
	slices.SortStableFunc(list, func(a, b change) int { return int(a.at - b.at) })
	var cpu, mem, last int64
	for _, c := range list {
		need := max((cpu+host.CPU-1)/host.CPU, (mem+host.Memory-1)/host.Memory)
		if c.at > last {
			peak = max(peak, need)
			seconds += need * (c.at - last)
			last = c.at
		}
		cpu, mem = cpu+c.cpu, mem+c.mem
	}
	return seconds, peak
}
