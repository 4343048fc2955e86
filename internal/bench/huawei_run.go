package bench

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
)

// TraceRun says how a trace is placed.
type TraceRun struct {
	Host    TraceVM // what an elastic host has
	Options online.Options
	// PerMille of the VMs that run may be moved each hour, to free hosts.
	PerMille int
	Drain    bool
}

// TraceResult is what a run came to.
type TraceResult struct {
	HostSeconds int64
	Peak        int
	Moves       int
	Budget      int // moves that were allowed, summed over the hours
	Placed      int
	Elapsed     time.Duration
}

// HostDays is the sum of the times that hosts were in use.
func (r TraceResult) HostDays() float64 { return float64(r.HostSeconds) / 86400 }

const hour = 3600

// traceWorld is a trace in the middle of its run.
type traceWorld struct {
	run   TraceRun
	x     *online.Placer
	leave departures
	used  []int64 // by host: since when it is in use; -1: it is not
	inUse int
	out   TraceResult
}

// RunTrace places a trace on hosts of which more are added as they are needed. At each full hour, with a budget, hosts
// are freed. Every tenth of the trace and at the end of it the referee judges where the VMs are.
func RunTrace(trace []TraceVM, run TraceRun) (TraceResult, error) {
	start := time.Now()
	p := &model.Problem{
		Resources: []model.Resource{{Name: "cores"}, {Name: "GB"}}, Fit: [][]model.Points{{0}},
	}
	x, err := online.New(p, nil, run.Options)
	if err != nil {
		return TraceResult{}, err
	}
	w := &traceWorld{run: run, x: x}
	next := int64(hour)
	for n, v := range trace {
		for ; next <= v.At; next += hour {
			w.until(next)
			w.consolidate(next)
		}
		w.until(v.At)
		x.Tick(v.At)
		if err := w.arrive(n, v); err != nil {
			return TraceResult{}, fmt.Errorf("run trace: VM %d: %w", n, err)
		}
		if n%(len(trace)/10+1) == 0 || n == len(trace)-1 {
			if f := model.Verify(x.Problem(), x.Assignment()); f != nil {
				return TraceResult{}, fmt.Errorf("run trace: after VM %d: %s of host %d: %s", n, f[0].Constraint, f[0].Host, f[0].Detail)
			}
		}
	}
	for ; len(w.leave) > 0; next += hour {
		w.until(next)
		w.consolidate(next)
	}
	w.out.Elapsed = time.Since(start)
	return w.out, nil
}

// until lets VMs leave up to a time.
func (w *traceWorld) until(now int64) {
	for len(w.leave) > 0 && w.leave[0].at <= now {
		d := heap.Pop(&w.leave).(departure)
		w.x.Tick(d.at)
		h := w.x.Assignment().Host[d.ix]
		if err := w.x.Remove(d.ix); err == nil {
			w.settle(h, d.at)
		}
	}
}

// settle counts the time of a host that is no longer in use.
func (w *traceWorld) settle(h model.HostIx, now int64) {
	if len(w.x.VMsOn(h)) == 0 && w.used[h] >= 0 {
		w.out.HostSeconds += now - w.used[h]
		w.used[h] = -1
		w.inUse--
	}
}

func (w *traceWorld) arrive(n int, v TraceVM) error {
	vm := model.VM{Demand: []int64{v.CPU, v.Memory}, Group: model.None, Apart: model.None, Initial: model.None}
	d, ok := w.x.Place(vm)
	if !ok {
		limit := []int64{w.run.Host.CPU, w.run.Host.Memory}
		if _, err := w.x.AddHost(model.Host{Capacity: limit, Soft: limit, Open: true, On: 1}); err != nil {
			return err
		}
		w.used = append(w.used, -1)
		if d, ok = w.x.Place(vm); !ok {
			return fmt.Errorf("%d cores, %d GB: larger than a host", v.CPU, v.Memory)
		}
	}
	ix := w.x.Commit(vm, d)
	if w.used[d.Host] < 0 {
		w.used[d.Host] = v.At
		w.inUse++
		w.out.Peak = max(w.out.Peak, w.inUse)
	}
	w.out.Placed++
	heap.Push(&w.leave, departure{v.At + v.Life, n, ix})
	return nil
}

func (w *traceWorld) consolidate(now int64) {
	if w.run.PerMille == 0 {
		return
	}
	budget := len(w.leave) * w.run.PerMille / 1000
	w.out.Budget += budget
	moves := w.x.Consolidate(online.Consolidation{Moves: budget, Drain: w.run.Drain})
	w.out.Moves += len(moves)
	for _, m := range moves {
		w.settle(m.From, now)
	}
}
