package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// PlanRow is a plan for a whole fleet, from cold.
type PlanRow struct {
	Hosts int `json:"hosts"`
	VMs   int `json:"vms"`
	// First is when the first legal plan was there, of which Resolve went into the policy; Total when the last one was
	// sealed. Seconds.
	Resolve float64 `json:"resolveSeconds"`
	First   float64 `json:"firstSeconds"`
	Total   float64 `json:"totalSeconds"`
	// FirstPeak and Peak are the most memory that the process had until then, in bytes; 0 where it cannot be known.
	FirstPeak int64 `json:"firstPeakBytes"`
	Peak      int64 `json:"peakBytes"`
	// Curve is the cost over time, in points of the policy, moves included.
	Curve      []CostPoint `json:"curve"`
	Bound      int64       `json:"bound"`
	Steps      int         `json:"steps"`
	Broken     int         `json:"brokenBefore"`
	BrokenLeft int         `json:"brokenAfter"`
	// Check is how long plan.Check took, Faults what it found.
	Check  float64 `json:"checkSeconds"`
	Faults int     `json:"faults"`
	// LateGain is how much of the cost at 60 seconds was gained later, per cent; negative: the run was not that long.
	LateGain float64 `json:"lateGainPercent"`
}

// CostPoint is a cost at a time since the start.
type CostPoint struct {
	Seconds float64 `json:"seconds"`
	Cost    int64   `json:"cost"`
}

// late is when a plan should be within a per cent of what it comes to in the end, in seconds.
const late = 60

func (o *ScaleOptions) plan(hosts int) (PlanRow, error) {
	row := PlanRow{Hosts: hosts, VMs: hosts * o.VMsPerHost, LateGain: -1}
	o.Say(fmt.Sprintf("full plan: %d hosts, up to %d s", hosts, o.Seconds))
	shape := ScaleShape()
	s := sim.Generate(sim.Options{Hosts: hosts, VMs: row.VMs, Seed: 1, Shape: &shape})
	tidy()
	start := time.Now()
	since := func() float64 { return time.Since(start).Seconds() }
	p, err := policy.Resolve(policy.Default(), s)
	if err != nil {
		return row, err
	}
	price(p)
	if o.Reserve {
		protect(p)
	}
	row.Resolve = since()
	limit := time.Duration(o.Seconds) * time.Second
	made, err := solver.Solve(p, solver.Options{
		Stop: func() bool { return time.Since(start) > limit || o.Stop() },
		Progress: func(cost int64) {
			if len(row.Curve) == 0 {
				row.First, row.FirstPeak = since(), peak()
			}
			row.Curve = append(row.Curve, CostPoint{since(), cost})
		},
	})
	if err != nil {
		return row, err
	}
	row.Total, row.Peak = since(), peak()
	if len(row.Curve) == 0 {
		row.First, row.FirstPeak, row.Curve = row.Total, row.Peak, []CostPoint{}
	}
	row.Bound, row.Steps = made.Summary.Bound, len(made.Steps)
	row.Broken, row.BrokenLeft = made.Summary.BrokenBefore, made.Summary.BrokenAfter
	start = time.Now()
	row.Faults = len(plan.Check(p, made))
	row.Check = since()
	row.LateGain = lateGain(row.Curve, o.Seconds)
	return row, nil
}

// lateGain is what the curve gains after late seconds, in per cent of its end.
func lateGain(curve []CostPoint, seconds int) float64 {
	if len(curve) == 0 || seconds <= late {
		return -1
	}
	at, end := curve[0].Cost, curve[len(curve)-1].Cost
	for _, c := range curve {
		if c.Seconds <= late {
			at = c.Cost
		}
	}
	if end <= 0 {
		return 0
	}
	return float64(at-end) * 100 / float64(end)
}

// Machine is what the figures were measured on.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	// Load is the load average of the last minute when the measurement began: near 0 on a machine with nothing else to do.
	Load string `json:"load"`
}

// ThisMachine is the machine that the process runs on.
func ThisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version(), Load: "unknown"}
	if name := procValue("/proc/cpuinfo", "model name"); name != "" {
		m.CPU = name
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(b), " ")
	}
	return m
}

// peak is the most memory that the process had since resetPeak, in bytes; 0 where the kernel does not say.
func peak() int64 {
	kib, _, _ := strings.Cut(procValue("/proc/self/status", "VmHWM"), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// resetPeak makes the kernel count the peak from now on; where it cannot, the peak is that of the whole process.
func resetPeak() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600)
}

// procValue is the value of the first line "key : value" of a file of the kernel.
func procValue(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	for in := bufio.NewScanner(f); in.Scan(); {
		if name, value, ok := strings.Cut(in.Text(), ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
