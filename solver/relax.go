package solver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// AdjustKind is what an Adjustment changes.
type AdjustKind string

// The kinds of adjustments, from the cheapest to the dearest. What a person can configure comes before what has to be bought, and that
// before a label that asks for less.
const (
	AdjustMove        AdjustKind = "move"        // another VM goes elsewhere
	AdjustModule      AdjustKind = "module"      // an I/O module is attached to a host
	AdjustMaintenance AdjustKind = "maintenance" // a host is taken out of maintenance
	AdjustPatch       AdjustKind = "patch"       // a vulnerability of a host is fixed
	AdjustNetwork     AdjustKind = "network"     // a host gets a network
	AdjustReach       AdjustKind = "reach"       // a host is connected to a pool
	AdjustSpace       AdjustKind = "space"       // a pool gets more room
	AdjustIOPS        AdjustKind = "iops"        // a pool can promise more operations a second
	AdjustThroughput  AdjustKind = "throughput"  // a pool can promise more MB/s
	AdjustCPU         AdjustKind = "cpu"         // a host can promise more CPU
	AdjustMemory      AdjustKind = "memory"      // a host can promise more memory
	AdjustQueues      AdjustKind = "queues"      // a NIC gets more queues
	AdjustRate        AdjustKind = "rate"        // a NIC can guarantee more bandwidth
	AdjustNIC         AdjustKind = "nic"         // a host gets another NIC
	AdjustLabel       AdjustKind = "label"       // the VM's label asks for less
)

// adjustCost orders adjustments. To each comes its size: 1 for each GiB, thread, queue, 100 operations or 100 Mb/s, at most 999.
var adjustCost = map[AdjustKind]int{
	AdjustMove: 1_000, AdjustModule: 2_000, AdjustMaintenance: 3_000, AdjustPatch: 4_000, AdjustNetwork: 5_000,
	AdjustReach: 20_000, AdjustSpace: 21_000, AdjustIOPS: 22_000, AdjustThroughput: 22_000, AdjustCPU: 23_000, AdjustMemory: 23_000,
	AdjustQueues: 25_000, AdjustRate: 25_000, AdjustNIC: 26_000, AdjustLabel: 100_000,
}

// Adjustment is one change of a fleet, of what the policy says of it, or of a label.
type Adjustment struct {
	Kind AdjustKind `json:"kind"`
	// Text is the change in words: "attach io-7 to host-c".
	Text   string         `json:"text"`
	Host   fleet.HostID   `json:"host,omitempty"`
	Pool   fleet.PoolID   `json:"pool,omitempty"`
	Module fleet.ModuleID `json:"module,omitempty"`
	NIC    fleet.NICID    `json:"nic,omitempty"`
	VM     fleet.VMID     `json:"vm,omitempty"`
	// To is where VMs of a move go.
	To []MovedVM `json:"to,omitempty"`
	// Name is of a vulnerability, a network, or what a label asks for by the key of its override ("nic.class"); Value what it
	// then asks for, empty: nothing.
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
	// Amount is how much more there is: thousandths of a thread, bytes, queues, Mb/s, MB/s or operations a second. Class and
	// Rate are those of a NIC that comes with as many queues.
	Amount int64          `json:"amount,omitempty"`
	Class  fleet.NICClass `json:"class,omitempty"`
	Rate   fleet.Mbps     `json:"rate,omitempty"`

	cost int
}

// Relaxation is a smallest change that gives a VM a legal place, tried and found to do so.
type Relaxation struct {
	Text    string       `json:"text"`
	Cost    int          `json:"cost"` // see docs/planner.md; comparable among relaxations only
	Changes []Adjustment `json:"changes"`
	// Places are those that the VM, and those that have to be with it, then get.
	Places []MovedVM `json:"places"`
}

// Rules say what a policy makes of a host that changes; a *policy.Catalogue does.
type Rules interface {
	// HostFacts is what the rules say of one host of s as h describes it.
	HostFacts(s *fleet.Snapshot, h *fleet.Host) (policy.HostFacts, error)
	// Patches are the vulnerabilities that rules ask for by name, sorted.
	Patches() []string
}

// Bounds of the search for relaxations of one VM: those shown, changes of each, hosts tried for each constraint that refuses
// them first, VMs tried on each, and places judged in all.
const (
	maxRelaxations  = 5
	maxAdjustments  = 3
	maxRelaxHosts   = 24
	maxRelaxMoves   = 4
	maxRelaxJudged  = 4000
	maxNearestVMs   = 64
	maxNearestHosts = 50_000 // looked at for all VMs of a plan
	maxNearestJudge = 300
)

// Relax finds the smallest changes that would give the VM id, which has no right place in pl, a legal one once pl is done: at
// most five, the cheapest first. rules may be nil: then nothing that a rule would have to be asked for is proposed. A VM that has
// a right place gives none. The error says that there is no such VM, or that pl was not made from p.
func Relax(p *policy.Problem, pl *plan.Plan, id fleet.VMID, rules Rules) ([]Relaxation, error) {
	s, err := newState(p)
	if err != nil {
		return nil, fmt.Errorf("relax vm %s: %w", id, err)
	}
	i := s.vm(id)
	if i == none {
		return nil, fmt.Errorf("relax vm %s: %w", id, fleet.ErrNotFound)
	}
	if d := p.Snapshot.Digest(); pl.SnapshotID != d {
		return nil, fmt.Errorf("relax vm %s: the plan was made from snapshot %s, this one is %s", id, pl.SnapshotID, d)
	}
	if !slices.ContainsFunc(pl.Unplaced, func(u plan.Unplaced) bool { return u.VM == id }) {
		return nil, nil
	}
	for n := range pl.Steps {
		if _, err := s.apply(&pl.Steps[n]); err != nil {
			return nil, fmt.Errorf("relax vm %s: %w", id, err)
		}
	}
	r := newRelaxer(s, i, rules, maxRelaxJudged)
	r.run()
	return r.best(maxRelaxations), nil
}

// relaxer looks for relaxations of one unit in a state that it leaves as it was.
type relaxer struct {
	*state
	vm     vmIx
	u      *unit
	rules  Rules
	left   int // places that may still be judged
	path   []Adjustment
	out    []Relaxation
	patchy map[hostIx]bool // hosts whose facts stand for a patch already
}

func newRelaxer(s *state, i vmIx, rules Rules, judged int) *relaxer {
	u := s.single(i)
	if x := s.vms[i].unit; x != none {
		u = &s.units[x]
	}
	return &relaxer{state: s, vm: i, u: u, rules: rules, left: judged, patchy: map[hostIx]bool{}}
}

func (r *relaxer) run() {
	for _, h := range r.candidates() {
		r.deepen(h)
	}
	r.lessAsked()
}

// best are the cheapest relaxations, at most n, and of one sequence of kinds two at most, so that they differ.
func (r *relaxer) best(n int) []Relaxation {
	slices.SortStableFunc(r.out, func(a, b Relaxation) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Text, b.Text))
	})
	out := make([]Relaxation, 0, n)
	alike, said := map[string]int{}, map[string]bool{}
	for _, x := range r.out {
		kinds := ""
		for _, c := range x.Changes {
			kinds += string(c.Kind) + c.Name + " "
		}
		if alike[kinds]++; alike[kinds] > 2 || said[x.Text] {
			continue
		}
		said[x.Text] = true
		if out = append(out, x); len(out) == n {
			break
		}
	}
	return out
}

// judge says what refuses the unit on h now. On the host where it is that is also what is wrong there beside its own needs.
func (r *relaxer) judge(h hostIx) (place, string) {
	r.left--
	p, refused := r.fit(r.u, h, anywhere)
	if refused == "" {
		refused = r.stillWrong(p)
	}
	if refused != "" || r.vms[r.u.vms[0]].host != h {
		return p, refused
	}
	for _, i := range r.u.vms {
		if r.vms[i].host != h {
			continue
		}
		if r.conflicted(i) {
			return p, plan.ConstraintSpread
		}
		if c := r.overfull(h); c != "" {
			return p, c
		}
	}
	return p, ""
}

// stillWrong is what would be wrong with the place p that fit does not ask for: a VM that takes nothing of what its host has
// promised too much of fits there, and so does a disk that stays in a pool that has.
func (r *relaxer) stillWrong(p place) string {
	switch host := &r.hosts[p.host]; {
	case host.freeCPU() < 0:
		return plan.ConstraintCPU
	case host.freeMemory() < 0:
		return plan.ConstraintMemory
	}
	at := 0
	for _, i := range r.u.vms {
		v := &r.vms[i]
		for n := range v.disks {
			for _, c := range ioConstraints {
				pool := &r.pools[p.disks[at]]
				if all := offered(c, pool.snap); v.disks[n] == p.disks[at] && all > 0 && promised(c, v.io(n)) > 0 && promised(c, pool.io) > all {
					return c
				}
			}
			at++
		}
	}
	return ""
}

// candidates are the hosts that little seems to be missing on: of each constraint that refuses hosts first some, those that
// lack least.
func (r *relaxer) candidates() []hostIx {
	type refused struct {
		h    hostIx
		lack float64
	}
	by := make([][]refused, len(order))
	for i := range r.hosts {
		h := hostIx(i) // fewer hosts than 2^31
		_, c := r.judge(h)
		r.left++ // each host is looked at once, whatever the bound
		if n := slices.Index(order, c); n >= 0 {
			lack := 0.0
			if c == plan.ConstraintCPU || c == plan.ConstraintMemory {
				lack = r.lack(r.u, h)
			}
			by[n] = append(by[n], refused{h, lack})
		}
	}
	var out []hostIx
	for n := len(by) - 1; n >= 0; n-- { // what is judged last is nearest
		slices.SortStableFunc(by[n], func(a, b refused) int { return cmp.Compare(a.lack, b.lack) })
		for _, x := range by[n][:min(len(by[n]), maxRelaxHosts)] {
			out = append(out, x.h)
		}
	}
	return out
}

// deepen adds one change against what refuses the unit on h, and goes on until it fits or there are too many.
func (r *relaxer) deepen(h hostIx) {
	if r.left <= 0 {
		return
	}
	p, refused := r.judge(h)
	if refused == "" {
		if len(r.path) > 0 {
			r.found(p)
		}
		return
	}
	if len(r.path) == maxAdjustments {
		return
	}
	for _, t := range r.against(h, refused) {
		mark := len(r.log)
		r.epoch++
		if t.do(); t.adjustment.Kind != "" {
			r.path = append(r.path, t.adjustment)
			r.deepen(h)
			r.path = r.path[:len(r.path)-1]
		}
		t.undo()
		r.undo(mark)
		r.epoch++
		r.index.update(r.state, h)
	}
}

// trial is a change that can be made and taken back.
type trial struct {
	adjustment Adjustment
	do, undo   func()
}

// found notes that the changes of the path give the unit the place p.
func (r *relaxer) found(p place) {
	x := Relaxation{Changes: slices.Clone(r.path)}
	texts := make([]string, len(r.path))
	for n := range r.path {
		texts[n] = r.path[n].Text
		x.Cost += r.path[n].cost
	}
	x.Text = strings.Join(texts, ", and ")
	x.Places = r.places(r.u, p)
	r.out = append(r.out, x)
}

func (s *state) places(u *unit, p place) []MovedVM {
	out := make([]MovedVM, 0, len(u.vms))
	at := 0
	for _, i := range u.vms {
		v := &s.vms[i]
		out = append(out, MovedVM{VM: v.snap.ID, To: s.placement(v, p.host, p.disks[at:at+len(v.disks)])})
		at += len(v.disks)
	}
	return out
}

// costOf is that of an adjustment with its size.
func costOf(k AdjustKind, size int64) int { return adjustCost[k] + int(min(max(size, 0), 999)) }

// nearest gives each of list, by its VM, the cheapest relaxation in words, as far as the bounds go.
func (s *state) nearest(list []plan.Unplaced, rules Rules) {
	for n := range list[:min(len(list), maxNearestVMs, maxNearestHosts/max(len(s.hosts), 1))] {
		if i := s.vm(list[n].VM); i != none {
			r := newRelaxer(s, i, rules, maxNearestJudge)
			r.run()
			if best := r.best(1); len(best) > 0 {
				list[n].Nearest = best[0].Text
			}
		}
	}
}
