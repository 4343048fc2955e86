package solver

import (
	"fmt"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Options bound and vary a search.
type Options struct {
	// Seed picks among places of equal cost and headroom; 0 takes the first by name.
	Seed uint64
	// MaxSteps bounds the steps of the plan; 0, or more than plan.MaxSteps, is plan.MaxSteps.
	MaxSteps int
	// Stop, when not nil, is asked now and then; once it says true the plan found so far is returned, with what the run of
	// the local search under way has found. A plan cut short by a clock is still legal but no longer the same on every run.
	Stop func() bool
	// Effort multiplies the steps of each run of the local search that follows repair; 0 is 1, a negative one leaves it
	// out. Solving a plan's result again moves nothing as long as the effort is the same.
	Effort int
	// Progress, when not nil, is told the cost, moves included, each time that the plan so far is legal and has
	// changed: first after repair, then once no single move saves anything, then after each run of the local search that found something.
	Progress func(cost int64)
	// Rules, when not nil, say what the policy would make of a host that changes, so that a plan can name a patch that
	// a VM without a place is waiting for.
	Rules Rules
}

// maxPasses bounds how often repair and improvement follow each other. Each pass but the last mends a VM or
// saves points, and two or three are usual.
const maxPasses = 64

// Solve makes a sealed plan for p. The error says what is wrong with p; that something cannot be placed is
// no error but part of the plan.
func Solve(p *policy.Problem, opts Options) (*plan.Plan, error) {
	s, err := newState(p)
	if err != nil {
		return nil, err
	}
	x := newSearch(s, opts)
	floor := s.openFloor()
	x.run()
	if !x.giving.joined {
		s.compact()
	}
	unordered := s.orderSafely()
	out := &plan.Plan{
		Version: plan.Version, SnapshotID: p.Snapshot.Digest(), PolicyID: p.PolicyID,
		Steps: s.steps(), Unplaced: x.unplaced(), Held: s.held(), Unordered: unordered,
	}
	floor.excuse(s)
	out.Summary.Bound = floor.below(s)
	out.Summary.Reserve.Untried = s.restored.untried
	s.nearest(out.Unplaced, opts.Rules)
	if out.Summary, err = summarize(p, out); err != nil {
		return nil, fmt.Errorf("solve problem: %w", err)
	}
	if err := out.Seal(); err != nil {
		return nil, fmt.Errorf("solve problem: %w", err)
	}
	return out, nil
}

// summarize counts the plan. A bound above the cost that the plan reaches shows that an absurd price was cut off in the counting, and that
// the two cannot be compared: no bound is known then.
func summarize(p *policy.Problem, out *plan.Plan) (plan.Summary, error) {
	s, err := plan.Summarize(p, out)
	if err == nil && s.Bound > s.Cost() {
		out.Summary.Bound = 0
		s, err = plan.Summarize(p, out)
	}
	return s, err //nolint:wrapcheck // by the caller
}

// search is one run over a state.
type search struct {
	*state
	opts Options
	// version counts changes; failed is the version at which a unit was last found to have no place, since
	// without a change it still has none; stuck the same for a place on another host.
	version int
	failed  map[unitIx]int
	stuck   map[unitIx]int
	futile  map[likeness]int // units for which no room was found in this round, since it was found for one that is alike
	refused []shape          // of units that found no place while room is made for one
	vain    map[unitIx]vain  // units that found no cheaper place
	tops    []top            // scratch of wake
	stopped bool             // by MaxSteps or Stop
	halted  bool             // by Stop
	closing bool             // Stop has spoken, and what was found before goes into the plan still
	giving  giving           // what displace keeps
}

func newSearch(s *state, opts Options) *search {
	if opts.MaxSteps <= 0 || opts.MaxSteps > plan.MaxSteps {
		opts.MaxSteps = plan.MaxSteps
	}
	return &search{state: s, opts: opts, version: 1, failed: map[unitIx]int{}, stuck: map[unitIx]int{}, futile: map[likeness]int{}, vain: map[unitIx]vain{}}
}

func (x *search) run() {
	for pass := range maxPasses {
		repaired := x.repair()
		repaired = x.restore() || repaired
		if pass == 0 {
			x.progress() // all that can be mended is, and the plan is legal
		}
		improved := x.improve()
		if x.stopped || !repaired && !improved && !x.takeBack() && !x.displace() && !x.rearranged() && !x.reconsider() {
			return
		}
	}
}

// over says whether the budget has ended.
func (x *search) over() bool {
	if !x.stopped && !x.closing && x.asked() {
		x.stopped, x.halted = true, true
	}
	return x.stopped
}

// asked says whether Stop has spoken.
func (x *search) asked() bool { return x.opts.Stop != nil && x.opts.Stop() }

// commit moves u to p for the reason that why gives for each of its VMs, unless the budget forbids it.
func (x *search) commit(u *unit, p place, why func(i vmIx, p place) string) bool {
	if len(x.log)+len(u.vms) > x.opts.MaxSteps {
		x.stopped = true
		return false
	}
	// All reasons speak of the state before the unit moves.
	type words struct{ why, where string }
	said := make([]words, len(u.vms))
	at := 0
	for n, i := range u.vms {
		v := &x.vms[i]
		said[n] = words{why(i, p), x.where(v, p.host, p.disks[at:at+len(v.disks)])}
		at += len(v.disks)
	}
	at = 0
	for n, i := range u.vms {
		mark := len(x.log)
		at += x.shiftTo(i, p, at)
		if len(x.log) > mark {
			x.log[mark].why, x.log[mark].where = said[n].why, said[n].where
		}
	}
	x.version++
	if x.reserve != nil {
		x.reserve.Mark() // what it broke is broken: only a unit without a legal place may
	}
	return true
}

// shiftTo moves one VM of a unit, whose disks begin at p.disks[at], if it is not there yet; it gives the
// number of its disks.
func (s *state) shiftTo(i vmIx, p place, at int) int {
	v := &s.vms[i]
	disks := p.disks[at : at+len(v.disks)]
	same := v.host == p.host
	for j, d := range disks {
		same = same && v.disks[j] == d
	}
	if !same {
		s.shift(i, p.host, disks)
	}
	return len(disks)
}

func (s *state) shiftUnit(u *unit, p place) {
	at := 0
	for _, i := range u.vms {
		at += s.shiftTo(i, p, at)
	}
}
