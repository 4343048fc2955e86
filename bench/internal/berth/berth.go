// Package berth drives Berth's online placer and its search as the comparison asks.
package berth

import (
	"fmt"

	"github.com/berth-project/berth/bench/internal/peer"
	"github.com/berth-project/berth/bench/internal/spec"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/online"
	"github.com/berth-project/berth/solver/search"
)

// Kinds are Berth packing, spreading, and keeping CPU and memory evenly free.
func Kinds() []peer.Kind {
	return []peer.Kind{
		{Name: "Berth place, pack", Version: "this tree", Open: opener(online.BestFit)},
		{Name: "Berth place, spread", Version: "this tree", Open: opener(online.WorstFit)},
		{Name: "Berth place, even", Version: "this tree", Open: opener(online.Even)},
	}
}

func opener(s online.Score) func(*spec.Fleet, []int) (peer.Scheduler, error) {
	return func(f *spec.Fleet, at []int) (peer.Scheduler, error) {
		p := f.Problem(at)
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("open fleet: %w", err)
		}
		forms := append([]model.VM(nil), p.VMs...)
		for i := range p.VMs { // those that are still to come are not known yet
			if p.VMs[i].Initial == model.None {
				p.VMs[i] = model.VM{Demand: make([]int64, len(p.Resources)), Group: model.None, Apart: model.None, Initial: model.None}
			}
		}
		x, err := online.New(p, nil, online.Options{Score: s})
		if err != nil {
			return nil, fmt.Errorf("open fleet: %w", err)
		}
		return &placer{f: f, at: x, forms: forms}, nil
	}
}

type placer struct {
	f     *spec.Fleet
	at    *online.Placer
	forms []model.VM // by VM of the fleet
}

// Place places one VM after another.
func (x *placer) Place(unit int) ([]int, error) {
	out := make([]int, len(x.f.Units[unit].VMs))
	for i, v := range x.f.Units[unit].VMs {
		out[i] = spec.None
		d, ok := x.at.Place(x.forms[v])
		if !ok {
			continue
		}
		x.at.Commit(x.forms[v], d)
		out[i] = int(d.Host)
	}
	return out, nil
}

// Close does nothing.
func (x *placer) Close() {}

// The search tries so many steps before it is asked whether all VMs have a host.
const (
	stepsEach = 300 // for each VM and host
	maxSteps  = 2_000_000
)

// Plan looks for a place for every VM of the fleet's first units at once, in any order: the search over the whole problem,
// until all have one or stop says so. False: it found none.
func Plan(f *spec.Fleet, units int, stop func() bool) ([]int, bool, error) {
	p := f.Problem(nil)
	for _, u := range f.Units[units:] { // the rest asks for nothing
		for _, v := range u.VMs {
			p.VMs[v] = model.VM{Demand: make([]int64, len(p.Resources)), Group: model.None, Apart: model.None, Initial: model.None}
		}
	}
	if err := p.Validate(); err != nil {
		return nil, false, fmt.Errorf("plan fleet: %w", err)
	}
	start, err := oneByOne(p)
	if err != nil {
		return nil, false, err
	}
	x, err := search.New(p, start, f.Seed)
	if err != nil {
		return nil, false, fmt.Errorf("plan fleet: %w", err)
	}
	for {
		at, all := places(f, units, x.Best())
		if all || stop() {
			return at, all, nil
		}
		x.Run(min(maxSteps, stepsEach*int64(len(p.VMs)+len(p.Hosts))), nil)
	}
}

// oneByOne is where the VMs go when each is placed as it comes: the start of the search.
func oneByOne(p *model.Problem) (*model.Assignment, error) {
	x, err := online.New(p, nil, online.Options{Score: online.Even})
	if err != nil {
		return nil, fmt.Errorf("plan fleet: %w", err)
	}
	for v := range p.VMs {
		if d, ok := x.PlaceWaiting(v); ok {
			if err := x.CommitAt(v, d); err != nil {
				return nil, fmt.Errorf("plan fleet: %w", err)
			}
		}
	}
	return x.Assignment(), nil
}

func places(f *spec.Fleet, units int, a *model.Assignment) ([]int, bool) {
	out, all := make([]int, len(a.Host)), true
	for i := range out {
		out[i] = spec.None
	}
	for _, u := range f.Units[:units] {
		for _, v := range u.VMs {
			if a.Host[v] == model.None {
				all = false
				continue
			}
			out[v] = int(a.Host[v])
		}
	}
	return out, all
}
