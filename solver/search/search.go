package search

import (
	"errors"
	"fmt"

	"github.com/berth-project/berth/plan/model"
)

// Search is one run of the local search over a problem. It is not safe for use by several goroutines; several searches
// over one problem are.
type Search struct {
	s        *state
	seed     uint64
	rnd      random
	from     *model.Assignment // where it started
	best     *model.Assignment
	bestCost int64
	bestLost int
	dirty    []int32 // VMs that may differ from best
	isDirty  []bool
	steps    int64
	block    int64 // steps between two looks at the progress
	// swapSaved holds the pools of the first VM of a swap that is being judged.
	swapSaved []int32
	meet      func(*Search) *model.Assignment
	how       pricing // of room
	eject     bool    // ejections are tried
	lax       bool    // rules about groups have a price in the relaxed part
	// Of the ejection that is being judged: what host b had free, who has moved, and what missing room is rated at.
	slackWas    []int64
	chain       []ejected
	reliefPrice []int64
	twin        []int32 // where all that moves comes in pairs, the other VM of each one's
	mended      []int32 // VMs that have changed places with their twins, of the step that is being judged
}

// New is a search over p that starts at from; nil: the initial places. Which way it goes depends on seed alone. It keeps
// p and does not change it.
func New(p *model.Problem, from *model.Assignment, seed uint64) (*Search, error) {
	if from == nil {
		from = p.Start()
	}
	if err := checkShape(p, from); err != nil {
		return nil, err
	}
	x := &Search{s: newState(newTables(p)), seed: seed, rnd: random(seed), isDirty: make([]bool, len(p.VMs))}
	for range 4 {
		x.rnd.next()
	}
	x.twin = x.s.pairsOf()
	x.s.load(from)
	x.from = from.Clone()
	x.best, x.bestCost, x.bestLost = from.Clone(), x.s.total, len(p.VMs)+1
	x.place()
	x.note()
	return x, nil
}

// checkShape refuses an assignment that is none of p.
func checkShape(p *model.Problem, a *model.Assignment) error {
	if len(a.Host) != len(p.VMs) {
		return fmt.Errorf("start search: the assignment has %d VMs, the problem %d", len(a.Host), len(p.VMs))
	}
	for i, h := range a.Host {
		if h < model.None || int(h) >= len(p.Hosts) {
			return fmt.Errorf("start search: VM %d is on host %d of %d", i, h, len(p.Hosts))
		}
		if len(p.VMs[i].Disks) == 0 {
			continue
		}
		if i >= len(a.Pool) || len(a.Pool[i]) != len(p.VMs[i].Disks) {
			return fmt.Errorf("start search: VM %d has %d disks, the assignment names other pools", i, len(p.VMs[i].Disks))
		}
		for _, q := range a.Pool[i] {
			if q < model.None || int(q) >= len(p.Pools) {
				return fmt.Errorf("start search: a disk of VM %d is in pool %d of %d", i, q, len(p.Pools))
			}
		}
	}
	if len(p.Hosts) == 0 && len(p.VMs) > 0 {
		return errors.New("start search: no hosts")
	}
	return nil
}

// Restart goes on from a, with Best kept where it is better.
func (x *Search) Restart(from *model.Assignment) error {
	if err := checkShape(x.s.p, from); err != nil {
		return err
	}
	x.again(from)
	return nil
}

// touch records that v may differ from best.
func (x *Search) touch(v int32) {
	if !x.isDirty[v] {
		x.isDirty[v] = true
		x.dirty = append(x.dirty, v)
	}
}

// note keeps the present state if it is the best so far: fewer VMs without a host, or else cheaper.
func (x *Search) note() {
	s := x.s
	if s.dear != 1 || s.shortTotal > 0 || s.broken > 0 || len(s.lost) > x.bestLost || s.total >= x.bestCost && len(s.lost) == x.bestLost {
		return
	}
	x.bestCost, x.bestLost = s.total, len(s.lost)
	x.sync()
}

// sync makes best the present state.
func (x *Search) sync() {
	for _, v := range x.dirty {
		x.isDirty[v] = false
		x.best.Host[v] = model.HostIx(x.s.host[v])
		for j := range x.best.Pool[v] {
			x.best.Pool[v][j] = model.PoolIx(x.s.pools(v)[j])
		}
	}
	x.dirty = x.dirty[:0]
}

// revert makes the present state best.
func (x *Search) revert() {
	s := x.s
	whole := len(s.lost) != x.bestLost
	for _, v := range x.dirty {
		x.isDirty[v] = false
		whole = whole || s.host[v] < 0 || x.best.Host[v] < 0
	}
	if whole {
		s.load(x.best)
		x.place() // places nothing: it has tried
	} else {
		for _, v := range x.dirty {
			s.put(v, x.best)
		}
	}
	x.dirty = x.dirty[:0]
}

// Best is a copy of the best assignment so far.
func (x *Search) Best() *model.Assignment { return x.best.Clone() }

// BestCost is the cost of Best.
func (x *Search) BestCost() model.Points { return x.bestCost }
