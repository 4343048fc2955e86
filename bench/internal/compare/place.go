// Package compare gives the same fleets to all schedulers and measures what they make of them.
package compare

import (
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/bench/internal/berth"
	"github.com/berth-project/berth/bench/internal/peer"
	"github.com/berth-project/berth/bench/internal/spec"
)

// Options say what is measured.
type Options struct {
	Nodes []int
	Seed  uint64
	Full  bool
	// Load is the share of the capacity in use when decisions are timed.
	Load float64
	// Decisions are timed at most, by scheduler and size, and no longer than Budget; filling ends at Budget too.
	Decisions int
	Budget    time.Duration
	Say       func(string, ...any)
}

// FillRow is a fleet filled from empty, in one order for all.
type FillRow struct {
	Scheduler string `json:"scheduler"`
	Version   string `json:"version"`
	Nodes     int    `json:"nodes"`
	Offered   int    `json:"offered"` // VMs
	// First is how many VMs were placed before the first was refused; -1: none was refused, or time was over.
	First    int     `json:"beforeFirstRefusal"`
	FirstCPU float64 `json:"cpuAtFirstRefusal"`
	FirstMem float64 `json:"memoryAtFirstRefusal"`
	// Placed of all that were offered, with those left out that were refused.
	Placed int     `json:"placed"`
	CPU    float64 `json:"cpu"` // share used in the end
	Memory float64 `json:"memory"`
	// Waste is how many VMs sit on a better tier than they ask for.
	Waste     int     `json:"onBetterTier"`
	Broken    int     `json:"violations"`
	BrokenBy  string  `json:"violationsBy"`
	Seconds   float64 `json:"seconds"`
	TimedOut  bool    `json:"timedOut"`
	PerSecond float64 `json:"perSecond"`
	Note      string  `json:"note"`
}

// SpeedRow is decisions on a fleet in use, the same for all.
type SpeedRow struct {
	Scheduler string  `json:"scheduler"`
	Nodes     int     `json:"nodes"`
	Running   int     `json:"running"`   // VMs at the start
	Decisions int     `json:"decisions"` // VMs
	Refused   int     `json:"refused"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50us"` // microseconds a VM; replicas of a service share theirs equally
	P99       float64 `json:"p99us"`
	Broken    int     `json:"violations"`
}

// Fill measures density.
func Fill(kinds []peer.Kind, o *Options) ([]FillRow, error) {
	var out []FillRow
	for _, n := range o.Nodes {
		f := spec.Generate(n, o.Seed, o.Full)
		units := f.UnitsWithin(1)
		for i := range kinds {
			if kinds[i].MaxNodes > 0 && n > kinds[i].MaxNodes {
				continue
			}
			o.Say("fill %d nodes: %s", n, kinds[i].Name)
			r, err := fill(&kinds[i], f, units, o)
			if err != nil {
				return nil, fmt.Errorf("fill %d nodes by %s: %w", n, kinds[i].Name, err)
			}
			out = append(out, *r)
		}
		o.Say("fill %d nodes: Berth plan", n)
		r, err := plan(f, units, o)
		if err != nil {
			return nil, err
		}
		out = append(out, *r)
	}
	return out, nil
}

func fill(k *peer.Kind, f *spec.Fleet, units int, o *Options) (*FillRow, error) {
	s, err := k.Open(f, nil)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r := &FillRow{Scheduler: k.Name, Version: k.Version, Nodes: len(f.Nodes), First: -1, Note: k.Note}
	at := nowhere(f)
	start := time.Now()
	for u := range units {
		if time.Since(start) > o.Budget {
			r.TimedOut = true
			break
		}
		hosts, err := s.Place(u)
		if err != nil {
			return nil, err
		}
		for i, v := range f.Units[u].VMs {
			at[v] = hosts[i]
			r.Offered++
			if hosts[i] == spec.None {
				if r.First < 0 {
					r.First = r.Placed
					r.FirstCPU, r.FirstMem = f.Used(at)
				}
				continue
			}
			r.Placed++
		}
	}
	r.Seconds = time.Since(start).Seconds()
	r.finish(f, at)
	return r, nil
}

func (r *FillRow) finish(f *spec.Fleet, at []int) {
	r.CPU, r.Memory = f.Used(at)
	r.Broken, r.BrokenBy = f.Judge(at)
	r.PerSecond = float64(r.Offered) / r.Seconds
	r.Placed, r.Waste = 0, 0
	for v, h := range at {
		if h == spec.None {
			continue
		}
		r.Placed++
		if f.Nodes[h].Tier > f.VMs[v].Tier {
			r.Waste++
		}
	}
}

// tries of plan: each halves what is not known about the longest list that has a place as a whole.
const tries = 8

// plan finds how many of the VMs, from the first on, Berth's planner places when it sees all of them at once.
func plan(f *spec.Fleet, units int, o *Options) (*FillRow, error) {
	r := &FillRow{Scheduler: "Berth plan (all at once)", Version: "this tree", Nodes: len(f.Nodes), Note: "the longest list found that has a place as a whole"}
	for _, u := range f.Units[:units] {
		r.Offered += len(u.VMs)
	}
	start := time.Now()
	best, low, err := oneByOne(f, units)
	if err != nil {
		return nil, err
	}
	high := units + 1 // low has a place as a whole, high not, as far as is known
	for n := 0; n < tries && high-low > 1; n++ {
		mid := (low + high) / 2
		from := time.Now()
		at, all, err := berth.Plan(f, mid, func() bool { return time.Since(from) > o.Budget/tries })
		if err != nil {
			return nil, err
		}
		if all {
			best, low = at, mid
		} else {
			high = mid
		}
	}
	r.Seconds = time.Since(start).Seconds()
	for _, u := range f.Units[:low] {
		r.First += len(u.VMs)
	}
	r.FirstCPU, r.FirstMem = f.Used(best)
	r.finish(f, best)
	return r, nil
}

// oneByOne places units as they come until one is refused.
func oneByOne(f *spec.Fleet, units int) (at []int, placed int, err error) {
	s, err := berth.Kinds()[1].Open(f, nil)
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	at = nowhere(f)
	for u := range units {
		hosts, err := s.Place(u)
		if err != nil {
			return nil, 0, err
		}
		if slices.Contains(hosts, spec.None) {
			return at, u, nil
		}
		for i, v := range f.Units[u].VMs {
			at[v] = hosts[i]
		}
	}
	return at, units, nil
}

// Speed measures decisions.
func Speed(kinds []peer.Kind, o *Options) ([]SpeedRow, error) {
	var out []SpeedRow
	for _, n := range o.Nodes {
		f := spec.Generate(n, o.Seed, o.Full)
		at, first := f.Load(o.Load)
		if broken, by := f.Judge(at); broken > 0 {
			return nil, fmt.Errorf("load %d nodes: the start is broken: %s", n, by)
		}
		for i := range kinds {
			if kinds[i].MaxNodes > 0 && n > kinds[i].MaxNodes {
				continue
			}
			o.Say("time %d nodes: %s", n, kinds[i].Name)
			r, err := speed(&kinds[i], f, slices.Clone(at), first, o)
			if err != nil {
				return nil, fmt.Errorf("time %s on %d nodes: %w", kinds[i].Name, n, err)
			}
			out = append(out, *r)
		}
	}
	return out, nil
}

func speed(k *peer.Kind, f *spec.Fleet, at []int, first int, o *Options) (*SpeedRow, error) {
	s, err := k.Open(f, at)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r := &SpeedRow{Scheduler: k.Name, Nodes: len(f.Nodes)}
	for _, h := range at {
		if h != spec.None {
			r.Running++
		}
	}
	var took []float64
	var all time.Duration
	for u := first; u < len(f.Units) && r.Decisions < o.Decisions && all < o.Budget; u++ {
		start := time.Now()
		hosts, err := s.Place(u)
		t := time.Since(start)
		if err != nil {
			return nil, err
		}
		all += t
		for i, v := range f.Units[u].VMs {
			at[v] = hosts[i]
			r.Decisions++
			if hosts[i] == spec.None {
				r.Refused++
			}
			took = append(took, float64(t.Nanoseconds())/1e3/float64(len(hosts)))
		}
	}
	slices.Sort(took)
	r.PerSecond = float64(r.Decisions) / all.Seconds()
	if n := len(took); n > 0 {
		r.P50, r.P99 = took[n/2], took[min(n-1, n*99/100)]
	}
	r.Broken, _ = f.Judge(at)
	return r, nil
}

func nowhere(f *spec.Fleet) []int {
	at := make([]int, len(f.VMs))
	for i := range at {
		at[i] = spec.None
	}
	return at
}
