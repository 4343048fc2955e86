package replay

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Placer places VMs one at a time into the fleet that it was opened with.
type Placer interface {
	// Place finds a place for a VM, and takes it. The VM's host and pools are not looked at.
	Place(vm fleet.VM, need policy.Requirement) (Answer, error)
	// Remove takes a VM away.
	Remove(vm fleet.VMID) error
}

// Answer is what a Placer says of one VM.
type Answer struct {
	Placed bool
	To     fleet.Placement
	// Refused is the constraint that refuses most hosts, where there is no place.
	Refused string
	// Moved are VMs that got another place for this one, Evicted those that gave way to it and have none now: all of
	// lower priority.
	Moved   []Moved
	Evicted []fleet.VMID
}

// Moved is the new place of a VM.
type Moved struct {
	VM fleet.VMID
	To fleet.Placement
}

// Options of a replay.
type Options struct {
	Catalogue *policy.Catalogue
	// Open makes the placer of a fleet as it is: at the start, after a plan was carried out, after a host was lost.
	Open func(*policy.Problem) (Placer, error)
	// Improve makes a plan of at most maxSteps steps. It is called every Every seconds (0: never) with what Budget
	// allows: so many of 10,000 live VMs may be moved in an hour. Only where thorough is true has it to search the whole fleet for what
	// would cost less: where it is not, that was in vain and little has changed since.
	Improve func(p *policy.Problem, maxSteps int, thorough bool) (*plan.Plan, error)
	Every   Second
	Budget  int
	// Settle is how long a VM that was moved is left alone.
	Settle Second
	Losses []Loss
	// Queue is how many VMs may wait for a place.
	Queue int
	// Samples is how often the state is looked at and judged; 0: DefaultSamples.
	Samples int
	// Latency, when set, is asked at each sample for the decisions since the last one, and with all set for those of the
	// whole replay. It is the one thing that may read a clock.
	Latency func(all bool) Latency
	// Stop, when set, is asked now and then whether to give up; Tell, when set, is told at each sample how far it is.
	Stop func() bool
	Tell func(now, end Second, live int)
}

// Loss is the failure of a host at a time.
type Loss struct {
	Host fleet.HostID
	At   Second
}

// Limits and defaults of Options.
const (
	MaxQueue       = 100_000
	MaxSamples     = 10_000
	DefaultSamples = 240
	// FlipFlop is how soon after it was moved away a move back to the same host counts as undecided.
	FlipFlop = Second(86_400)
	// retries is how many of those that wait are tried when a VM departs.
	retries = 8
)

// ErrStopped is what Run gives when Options.Stop said so.
var ErrStopped = errors.New("stopped")

// Run replays t from the fleet of s, whose own VMs stay. s must be valid and sorted.
func Run(s *fleet.Snapshot, t *Trace, o Options) (*Report, error) {
	if err := o.validate(s); err != nil {
		return nil, err
	}
	r, err := newRun(s, t, o)
	if err != nil {
		return nil, err
	}
	if err := r.loop(); err != nil {
		return nil, fmt.Errorf("replay trace: %s: %w", clock(r.now), err)
	}
	r.finish()
	return &r.report, nil
}

func (o *Options) validate(s *fleet.Snapshot) error {
	switch {
	case o.Catalogue == nil || o.Open == nil || o.Every > 0 && o.Improve == nil:
		return errors.New("replay trace: options without catalogue, placer or planner")
	case o.Queue < 0 || o.Queue > MaxQueue:
		return fmt.Errorf("replay trace: queue: is %d, expected 0 to %d", o.Queue, MaxQueue)
	case o.Samples < 0 || o.Samples > MaxSamples:
		return fmt.Errorf("replay trace: samples: is %d, expected 0 to %d", o.Samples, MaxSamples)
	case o.Budget < 0 || o.Budget > 10_000:
		return fmt.Errorf("replay trace: budget: is %d of 10000, expected 0 to 10000", o.Budget)
	case o.Every < 0 || o.Every > MaxSeconds || o.Settle < 0 || o.Settle > MaxSeconds:
		return errors.New("replay trace: a time is negative or above ten years")
	}
	for _, l := range o.Losses {
		if s.Host(l.Host) == nil {
			return fmt.Errorf("replay trace: lose host %s: the fleet has no such host", l.Host)
		}
		if l.At < 0 || l.At > MaxSeconds {
			return fmt.Errorf("replay trace: lose host %s: at %d, expected 0 to %d", l.Host, l.At, MaxSeconds)
		}
	}
	return nil
}

// clock is a time as people say it.
func clock(s Second) string {
	return fmt.Sprintf("%dd%02d:%02d:%02d", s/86_400, s/3600%24, s/60%60, s%60)
}

// run is a replay under way.
type run struct {
	o       Options
	all     []*guest
	guests  map[fleet.VMID]*guest // all, and the fleet's own
	running map[fleet.VMID]*guest
	waiting []*guest // by priority, then arrival
	due     departures
	losses  []Loss

	base   policy.Problem // what does not change: facts, weights
	snap   fleet.Snapshot // without VMs
	placer Placer
	use    usage

	now, end, step          Second
	nextImprove, nextSample Second
	credit                  int64 // of moves, in 1/10,000 of a VM-hour
	changed                 int   // VMs that came, went or moved since the last thorough search,
	vain                    bool  // which found nothing,
	searched                Second
	refusals                map[string]int
	events                  int
	last                    Report // at the last sample
	report                  Report
}

func newRun(s *fleet.Snapshot, t *Trace, o Options) (*run, error) {
	r := &run{
		o: o, guests: map[fleet.VMID]*guest{}, running: map[fleet.VMID]*guest{}, refusals: map[string]int{}, snap: *s,
		losses: slices.Clone(o.Losses),
	}
	slices.SortStableFunc(r.losses, func(a, b Loss) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Host, b.Host)) })
	r.snap.Hosts, r.snap.Pools = slices.Clone(s.Hosts), slices.Clone(s.Pools)
	r.fixModules()
	problem, err := policy.Resolve(o.Catalogue, &r.snap)
	if err != nil {
		return nil, fmt.Errorf("replay trace: %w", err)
	}
	if r.all, err = guests(o.Catalogue, &r.snap, t); err != nil {
		return nil, err
	}
	r.base = *problem
	for i := range s.VMs {
		g := &guest{vm: s.VMs[i], need: problem.VMs[s.VMs[i].ID], life: never, seq: -1, moved: never}
		r.guests[g.vm.ID], r.running[g.vm.ID] = g, g
	}
	for _, g := range r.all {
		r.guests[g.vm.ID] = g
	}
	if n := len(t.Arrivals); n > 0 {
		r.end = t.Arrivals[n-1].At
	}
	r.step = max(r.end/Second(cmp.Or(o.Samples, DefaultSamples)), 1)
	r.nextImprove = o.Every
	r.use = newUsage(problem)
	r.report.Hosts, r.report.Arrivals = len(s.Hosts), len(r.all)
	if r.placer, err = o.Open(r.problem()); err != nil {
		return nil, fmt.Errorf("replay trace: %w", err)
	}
	broken, err := r.broken()
	if err != nil {
		return nil, err
	}
	r.report.BrokenAtStart = broken
	return r, nil
}

// fixModules takes I/O modules for parts of the hosts that they are attached to: in a replay they stay there.
func (r *run) fixModules() {
	r.snap.Modules = nil
	for i := range r.snap.Hosts {
		h := &r.snap.Hosts[i]
		h.NICs = slices.Clone(h.NICs)
		for j := range h.NICs {
			h.NICs[j].Module = ""
		}
	}
}

// problem is the fleet as it is now.
func (r *run) problem() *policy.Problem {
	p, s := r.base, r.snap
	s.VMs = make([]fleet.VM, 0, len(r.running))
	p.VMs = make(map[fleet.VMID]policy.Requirement, len(r.running))
	for _, id := range slices.Sorted(maps.Keys(r.running)) {
		g := r.running[id]
		s.VMs = append(s.VMs, g.vm)
		need := g.need
		if g.moved >= 0 && r.o.Settle > 0 && r.now-g.moved < r.o.Settle && need.Hold == "" {
			need.Hold = "moved at " + clock(g.moved) + ": it is left alone for a while"
		}
		p.VMs[id] = need
	}
	p.Snapshot = &s
	s.Pools = slices.Clone(r.snap.Pools)
	return &p
}

// loop runs the events in the order of their times; at one time departures come first, then losses, arrivals,
// improvement, and a look at the result.
func (r *run) loop() error {
	next := 0
	for {
		at, what := r.end+1, eventEnd
		earlier := func(t Second, e event) {
			if t < at || t == at && e < what {
				at, what = t, e
			}
		}
		if len(r.due) > 0 {
			earlier(r.due[0].at, eventDeparture)
		}
		if len(r.losses) > 0 {
			earlier(r.losses[0].At, eventLoss)
		}
		if next < len(r.all) {
			earlier(r.all[next].at, eventArrival)
		}
		if r.o.Every > 0 {
			earlier(r.nextImprove, eventImprove)
		}
		earlier(r.nextSample, eventSample)
		if what == eventEnd || at > r.end {
			return nil
		}
		if r.events++; r.o.Stop != nil && r.events%64 == 0 && r.o.Stop() {
			return ErrStopped
		}
		r.advance(at)
		var err error
		switch what {
		case eventDeparture:
			err = r.depart()
		case eventLoss:
			err = r.lose()
		case eventArrival:
			err = r.arrive(r.all[next])
			next++
		case eventImprove:
			r.nextImprove += r.o.Every
			err = r.improve()
		default:
			r.nextSample += r.step
			err = r.sample()
		}
		if err != nil {
			return err
		}
	}
}

// event is a kind of event; at one time the lower comes first.
type event int

const (
	eventDeparture event = iota
	eventLoss
	eventArrival
	eventImprove
	eventSample
	eventEnd
)

// advance lets time pass.
func (r *run) advance(to Second) {
	r.use.pass(to - r.now)
	r.now = to
}

// departures is a heap of the guests that leave, by time and then arrival.
type departures []departure

type departure struct {
	at    Second
	g     *guest
	start int
}

func (d departures) Len() int { return len(d) }

func (d departures) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(d[i].at, d[j].at), cmp.Compare(d[i].g.seq, d[j].g.seq), cmp.Compare(d[i].start, d[j].start)) < 0
}

func (d departures) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push is for container/heap.
func (d *departures) Push(x any) { *d = append(*d, x.(departure)) } //nolint:forcetypeassert // of our own heap

// Pop is for container/heap.
func (d *departures) Pop() any {
	n := len(*d) - 1
	x := (*d)[n]
	*d = (*d)[:n]
	return x
}

var _ heap.Interface = (*departures)(nil)
