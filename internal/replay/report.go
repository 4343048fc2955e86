package replay

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Report is what became of a trace. All but Latency is a function of the input alone.
type Report struct {
	Hosts    int     `json:"hosts"`
	Hours    float64 `json:"hours"` // from 0 to the last arrival
	Arrivals int     `json:"arrivals"`
	// Placed counts VMs that got a place, PlacedLater those of them that had to wait for it.
	Placed      int `json:"placed"`
	PlacedLater int `json:"placedLater"`
	// Refused counts VMs that had no place when they arrived, by what refuses most hosts. Waiting are those that still
	// have none at the end, TurnedAway those for which the queue had no room.
	Refused    int      `json:"refused"`
	Reasons    []Reason `json:"reasons"`
	Waiting    int      `json:"waiting"`
	TurnedAway int      `json:"turnedAway"`
	// WaitSeconds is what those that were placed later waited in all.
	WaitSeconds int64 `json:"waitSeconds"`
	Departed    int   `json:"departed"`
	// Preempted counts VMs that gave way to one of higher priority, Restarted those whose host was lost.
	Preempted int `json:"preempted"`
	Restarted int `json:"restarted"`
	// Improved counts the plans made, Searched those for which the whole fleet was searched, Moves and MovedBytes what they moved.
	Improved   int         `json:"improved"`
	Searched   int         `json:"searched"`
	Moves      int         `json:"moves"`
	MovedBytes fleet.Bytes `json:"movedBytes"`
	// FlipFlops counts moves of a VM to a host that it had been moved away from within FlipFlop.
	FlipFlops int `json:"flipFlops"`
	// HostHours is the time that hosts had a VM on them, in sum.
	HostHours float64 `json:"hostHours"`
	HostsMost int     `json:"hostsMost"`
	LiveMost  int     `json:"liveMost"`
	Live      int     `json:"live"`
	// CPUMean and MemoryMean are over time, of what all hosts together can promise; per cent.
	CPUMean    float64 `json:"cpuMean"`
	MemoryMean float64 `json:"memoryMean"`
	// Violations counts VMs with a broken hard constraint, summed over all Checks, above what was broken at the start;
	// and the faults that plan.Check finds in the plans. Detail is the first.
	Violations    int      `json:"violations"`
	Checks        int      `json:"checks"`
	BrokenAtStart int      `json:"brokenAtStart"`
	Detail        string   `json:"detail,omitempty"`
	Samples       []Sample `json:"samples"`
	// Latency of decisions, by the wall clock; nil when nobody measured.
	Latency *Latency `json:"latency,omitempty"`
}

// Reason counts the arrivals that one constraint refused.
type Reason struct {
	Constraint string `json:"constraint"`
	VMs        int    `json:"vms"`
}

// Sample is the state at one time.
type Sample struct {
	At        Second  `json:"at"`
	CPU       float64 `json:"cpu"`    // per cent of what hosts can promise
	Memory    float64 `json:"memory"` // per cent
	HostsUsed int     `json:"hostsUsed"`
	Live      int     `json:"live"`
	Waiting   int     `json:"waiting"`
	// Refused, Moves and Violations are those since the sample before.
	Refused    int      `json:"refused"`
	Moves      int      `json:"moves"`
	Violations int      `json:"violations"`
	Latency    *Latency `json:"latency,omitempty"`
}

// Latency is how long decisions took by the wall clock, in microseconds.
type Latency struct {
	Decisions int64   `json:"decisions"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
}

// reasons are the refusals, most frequent first.
func reasons(count map[string]int) []Reason {
	out := make([]Reason, 0, len(count))
	for c, n := range count {
		out = append(out, Reason{Constraint: c, VMs: n})
	}
	slices.SortFunc(out, func(a, b Reason) int { return cmp.Or(b.VMs-a.VMs, cmp.Compare(a.Constraint, b.Constraint)) })
	return out
}
