package bench

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// ScaleOptions say what Scale measures.
type ScaleOptions struct {
	Hosts      []int // sizes of fleets, each 1 to 10,000
	VMsPerHost int
	Seeds      int // fleets of each size that placements are measured on
	Placements int // measured on each of them, for each setting of the reserve
	// Seconds is how long a plan is improved; 0 leaves plans out.
	Seconds int
	// Reserve lets plans keep the reserve (N+1) too.
	Reserve bool
	// Say, when set, is told what is being done.
	Say func(string)
	// Stop, when set, is asked now and then whether to give up; what was measured so far is reported.
	Stop func() bool
}

// Scale is what was measured.
type Scale struct {
	Machine Machine     `json:"machine"`
	Places  []PlaceRow  `json:"placements"`
	Growth  []GrowthRow `json:"growth"`
	Plans   []PlanRow   `json:"plans"`
}

// PlaceRow is the placement of one VM after another in fleets of one size.
type PlaceRow struct {
	Hosts    int  `json:"hosts"`
	VMs      int  `json:"vms"`
	Reserved bool `json:"reserved"` // N+1: gold VMs are protected over hosts and chassis
	// Decisions were measured, Refused of them were "no place".
	Decisions int64   `json:"decisions"`
	Refused   int64   `json:"refused"`
	P50       float64 `json:"p50us"` // microseconds
	P99       float64 `json:"p99us"`
	Max       float64 `json:"maxus"`
	Mean      float64 `json:"meanus"`
	// PerSecond counts placements alone, Churn placements each followed by the departure of another VM.
	PerSecond float64 `json:"perSecond"`
	Churn     float64 `json:"churnPerSecond"`
	Open      float64 `json:"openSeconds"` // to read the fleet, once
	// Broken counts the VMs with a broken constraint in the fleet that the placements left, as package plan sees it.
	Broken int `json:"broken"`
	// Lost and LostBefore count the failures that protected VMs do not survive, after and before the placements; where
	// Reserved.
	Lost       int `json:"notSurvived"`
	LostBefore int `json:"notSurvivedBefore"`
}

// GrowthRow is how many times longer a placement takes on the largest fleet than on the smallest.
type GrowthRow struct {
	Reserved bool    `json:"reserved"`
	From     int     `json:"from"` // hosts
	To       int     `json:"to"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	Mean     float64 `json:"mean"`
}

// RunScale measures. The error says which fleet could not be placed on or planned.
func RunScale(o ScaleOptions) (*Scale, error) {
	out := &Scale{Machine: ThisMachine(), Places: []PlaceRow{}, Growth: []GrowthRow{}, Plans: []PlanRow{}}
	o.Say = orSilent(o.Say)
	if o.Stop == nil {
		o.Stop = func() bool { return false }
	}
	sizes := slices.Sorted(slices.Values(o.Hosts))
	for _, reserved := range []bool{false, true} {
		for _, hosts := range sizes {
			if o.Stop() {
				return out, nil
			}
			row, err := o.places(hosts, reserved)
			if err != nil {
				return nil, fmt.Errorf("place on %d hosts: %w", hosts, err)
			}
			out.Places = append(out.Places, row)
		}
	}
	out.grow()
	for _, hosts := range sizes {
		if o.Seconds == 0 || o.Stop() {
			break
		}
		row, err := o.plan(hosts)
		if err != nil {
			return nil, fmt.Errorf("plan for %d hosts: %w", hosts, err)
		}
		out.Plans = append(out.Plans, row)
	}
	return out, nil
}

func orSilent(say func(string)) func(string) {
	if say == nil {
		return func(string) {}
	}
	return say
}

// ScaleShape is the fleet that is measured: every constraint that there is has VMs that ask for it.
func ScaleShape() sim.Shape {
	s := sim.DefaultShape()
	s.PoolsPerCluster, s.NICs, s.Modules, s.Racks, s.Guarantee = 6, 3, 2, 20, 50
	return s
}

// price gives every soft cost a price, those too that are off by default: the planner has to weigh them all.
func price(p *policy.Problem) {
	w := &p.Weights
	w.Overload, w.HeadroomPercent, w.Stranded, w.HostOn, w.MoveLink = 10, 30, 2, 50, 1
}

// protect makes gold VMs keep a place to go to when a host or a chassis is lost.
func protect(p *policy.Problem) {
	p.Reserve = policy.Reserve{Over: []policy.Loss{policy.LossChassis, policy.LossHost}}
	for id, need := range p.VMs {
		if need.Level == "gold" {
			need.Protect = true
			p.VMs[id] = need
		}
	}
}

// lane is a fleet in which VMs are placed and leave: those that run, those that come, in a circle, and those that came.
type lane struct {
	problem *policy.Problem
	at      *solver.Placer
	comers  []fleet.VM
	needs   []policy.Requirement
	live    []int // of comers, in the order that they came
	where   map[int]fleet.Placement
	next    int
}

// comers is how many VMs come and go in a fleet, at most; a fifth of the fleet's at most.
const comers = 2000

func (o *ScaleOptions) places(hosts int, reserved bool) (PlaceRow, error) {
	row := PlaceRow{Hosts: hosts, VMs: hosts * o.VMsPerHost, Reserved: reserved}
	var all Histogram
	var open, churn time.Duration
	for seed := range o.Seeds {
		o.Say(fmt.Sprintf("placements: %d hosts, N+1 %v, seed %d of %d", hosts, reserved, seed+1, o.Seeds))
		l, opened, err := newLane(hosts, o.VMsPerHost, uint64(seed+1), reserved) //nolint:gosec // a few seeds
		if err != nil {
			return row, err
		}
		open += opened
		if err := l.survival(&row.LostBefore, reserved); err != nil {
			return row, err
		}
		if _, err := l.run(len(l.comers), nil, o.Stop); err != nil { // until the circle is closed: warm
			return row, err
		}
		runtime.GC()
		start := time.Now()
		refused, err := l.run(o.Placements, &all, o.Stop)
		if err != nil {
			return row, err
		}
		churn += time.Since(start)
		row.Refused += refused
		broken, err := l.broken()
		if err == nil {
			err = l.survival(&row.Lost, reserved)
		}
		if err != nil {
			return row, err
		}
		row.Broken += broken
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	row.Decisions = all.Count()
	row.P50, row.P99, row.Max = us(all.Quantile(0.5)), us(all.Quantile(0.99)), us(all.Max())
	if n := all.Count(); n > 0 {
		row.Mean = us(all.Sum()) / float64(n)
		row.PerSecond, row.Churn = float64(n)/all.Sum().Seconds(), float64(n)/churn.Seconds()
	}
	row.Open = open.Seconds() / float64(o.Seeds)
	return row, nil
}

// newLane makes a fleet of so many hosts and VMs, and the VMs that come.
func newLane(hosts, density int, seed uint64, reserved bool) (*lane, time.Duration, error) {
	extra := max(min(comers, hosts*density/5), 1)
	shape := ScaleShape()
	shape.Misplaced = 0
	s := sim.Generate(sim.Options{Hosts: hosts, VMs: hosts*density + extra, Seed: seed, Shape: &shape})
	p, err := policy.Resolve(policy.Default(), s)
	if err != nil {
		return nil, 0, err
	}
	price(p)
	if reserved {
		protect(p)
	}
	l := &lane{problem: p, where: map[int]fleet.Placement{}}
	step := len(s.VMs) / extra
	var stay []fleet.VM
	for i := range s.VMs {
		v := &s.VMs[i]
		if i%step != 0 || len(l.comers) == extra || plan.HoldReason(p, v) != "" {
			stay = append(stay, *v)
			continue
		}
		l.comers, l.needs = append(l.comers, *v), append(l.needs, p.VMs[v.ID])
		for _, d := range v.Disks {
			if pool := s.Pool(d.Pool); pool != nil {
				pool.Free += d.Used
			}
		}
	}
	s.VMs = stay
	for i := range l.comers {
		delete(p.VMs, l.comers[i].ID)
	}
	runtime.GC()
	start := time.Now()
	l.at, err = solver.NewPlacer(p, solver.PlacerOptions{})
	return l, time.Since(start), err
}

// run places n VMs, and lets the oldest go when half of them are there.
func (l *lane) run(n int, times *Histogram, stop func() bool) (refused int64, err error) {
	for i := range n {
		if i%1024 == 0 && stop() {
			break
		}
		if len(l.live) > len(l.comers)/2 {
			if err := l.leave(); err != nil {
				return refused, err
			}
		}
		k := l.next
		l.next = (l.next + 1) % len(l.comers)
		if _, there := l.where[k]; there {
			continue
		}
		start := time.Now()
		placed, err := l.at.Place(l.comers[k], l.needs[k])
		took := time.Since(start)
		if err != nil {
			return refused, err
		}
		if times != nil {
			times.Add(took)
		}
		if !placed.OK {
			refused++
			continue
		}
		l.where[k] = placed.To
		l.live = append(l.live, k)
	}
	return refused, nil
}

func (l *lane) leave() error {
	k := l.live[0]
	l.live = l.live[1:]
	delete(l.where, k)
	return l.at.Remove(l.comers[k].ID)
}

// broken has the fleet judged as the placements left it.
func (l *lane) broken() (int, error) {
	p := l.now()
	for i := range p.Snapshot.Pools {
		if pool := &p.Snapshot.Pools[i]; pool.Free < p.Pools[pool.ID].Reserve {
			return 0, fmt.Errorf("pool %s has less than its reserve left", pool.ID)
		}
	}
	sum, err := plan.Summarize(p, &plan.Plan{})
	return sum.BrokenBefore, err
}

// survival adds to n the failures that protected VMs do not survive now.
func (l *lane) survival(n *int, reserved bool) error {
	if !reserved {
		return nil
	}
	failures, err := plan.Survival(l.now())
	for i := range failures {
		if !failures[i].Survived {
			*n++
		}
	}
	return err
}

// now is the fleet as it is.
func (l *lane) now() *policy.Problem {
	p, s := *l.problem, *l.problem.Snapshot
	s.VMs, s.Pools, p.VMs = slices.Clone(s.VMs), slices.Clone(s.Pools), maps.Clone(p.VMs)
	p.Snapshot = &s
	for _, k := range l.live {
		v, to := l.comers[k], l.where[k]
		v.Host, v.Disks = to.Host, slices.Clone(v.Disks)
		for j := range v.Disks {
			v.Disks[j].Pool = to.Disks[j].Pool
			s.Pool(v.Disks[j].Pool).Free -= v.Disks[j].Used
		}
		s.VMs = append(s.VMs, v)
		p.VMs[v.ID] = l.needs[k]
	}
	slices.SortFunc(s.VMs, func(a, b fleet.VM) int { return cmp.Compare(a.ID, b.ID) })
	return &p
}

// grow compares the largest fleet with the smallest.
func (s *Scale) grow() {
	for _, reserved := range []bool{false, true} {
		var rows []PlaceRow
		for _, r := range s.Places {
			if r.Reserved == reserved {
				rows = append(rows, r)
			}
		}
		if len(rows) < 2 {
			continue
		}
		a, b := rows[0], rows[len(rows)-1]
		if a.P50 > 0 && a.P99 > 0 && a.Mean > 0 {
			s.Growth = append(s.Growth, GrowthRow{
				Reserved: reserved, From: a.Hosts, To: b.Hosts, P50: b.P50 / a.P50, P99: b.P99 / a.P99, Mean: b.Mean / a.Mean,
			})
		}
	}
}

// tidy gives back what earlier measurements took, so that the next one's peak is its own.
func tidy() {
	debug.FreeOSMemory()
	resetPeak()
}
