package cli

import (
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/bench"
	"github.com/berth-project/berth/internal/replay"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// onlinePlacer is the planner's placer as a replay sees it.
type onlinePlacer struct{ at *solver.Placer }

func openPlacer(p *policy.Problem) (replay.Placer, error) {
	at, err := solver.NewPlacer(p, solver.PlacerOptions{Preempt: true})
	if err != nil {
		return nil, err
	}
	return onlinePlacer{at}, nil
}

func (o onlinePlacer) Place(vm fleet.VM, need policy.Requirement) (replay.Answer, error) {
	placed, err := o.at.Place(vm, need)
	if err != nil {
		return replay.Answer{}, err
	}
	out := replay.Answer{Placed: placed.OK, To: placed.To, Refused: placed.Refused, Evicted: placed.Evicted}
	for _, m := range placed.Moved {
		out.Moved = append(out.Moved, replay.Moved{VM: m.VM, To: m.To})
	}
	return out, nil
}

func (o onlinePlacer) Remove(id fleet.VMID) error { return o.at.Remove(id) }

// stopwatch measures how long placements take.
type stopwatch struct {
	replay.Placer
	window, all bench.Histogram
}

// open opens a placer whose placements w measures; one at a time.
func (w *stopwatch) open(p *policy.Problem) (replay.Placer, error) {
	at, err := openPlacer(p)
	w.Placer = at
	return w, err
}

// Place measures a placement.
func (w *stopwatch) Place(vm fleet.VM, need policy.Requirement) (replay.Answer, error) {
	start := time.Now()
	answer, err := w.Placer.Place(vm, need)
	d := time.Since(start)
	w.window.Add(d)
	w.all.Add(d)
	return answer, err
}

// latency is that of all placements, or of those since it was last asked.
func (w *stopwatch) latency(all bool) replay.Latency {
	h := &w.window
	if all {
		h = &w.all
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	l := replay.Latency{Decisions: h.Count(), P50: us(h.Quantile(0.5)), P99: us(h.Quantile(0.99)), Max: us(h.Max())}
	if !all {
		*h = bench.Histogram{}
	}
	return l
}
