package solver

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// Fate is what a plan does with a VM.
type Fate string

// The fates.
const (
	FateRight    Fate = "right"    // stays, and is where its label asks
	FateMoves    Fate = "moves"    // moves to where its label asks, or makes room
	FateUnplaced Fate = "unplaced" // its need cannot be met in full
	FateHeld     Fate = "held"     // is left alone
	// FateDisplaced: gives way to a VM of higher priority, and goes below what its label asks for.
	FateDisplaced Fate = "displaced"
)

// Explanation says why one VM is, or will be, where it is, and why not elsewhere.
type Explanation struct {
	VM   fleet.VMID `json:"vm"`
	Fate Fate       `json:"fate"`
	// Label says where the need comes from, Level what it came to, Notes what trust or defaults changed.
	Label string       `json:"label"`
	Level string       `json:"level"`
	Notes []string     `json:"notes,omitempty"`
	Need  ExplainNeed  `json:"need"`
	From  ExplainHost  `json:"from"`
	To    *ExplainHost `json:"to,omitempty"` // when it moves
	// Disks are the pools of each disk, in the order of the VM's disks.
	Disks []ExplainDisk `json:"disks"`
	// Steps are those of this VM, Reasons theirs, or why it is held or unplaced.
	Steps   []int    `json:"steps,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
	// GaveWay are those who give way to it, each with the step in which it is displaced.
	GaveWay []GaveWay `json:"gaveWay,omitempty"`
	// Refused counts the hosts not chosen by the first constraint that refuses each, judged in the state in
	// which the VM's (last) step runs, or at the end of the plan when it has none, or that displaces it.
	Refused []plan.RefusedHost `json:"refused"`
	// Others are hosts that are legal too, the cheapest first, at most maxNamed of LegalOthers.
	Others      []OtherHost `json:"others"`
	LegalOthers int         `json:"legalOthers"`
	// Costs are what it costs on the chosen host, first, and on the three others that are legal and cost least, by part.
	Costs []PlaceCost `json:"costs,omitempty"`
	// Help is what Relax found, filled in by who asks for it: the smallest changes that would give it a place.
	Help []Relaxation `json:"help,omitempty"`
}

// ExplainNeed is a requirement in words.
type ExplainNeed struct {
	Priority policy.Priority `json:"priority"`
	Server   string          `json:"server"`
	Security string          `json:"security"`
	NICClass fleet.NICClass  `json:"nicClass"`
	Queues   fleet.Queues    `json:"queues"`
	Rate     fleet.Mbps      `json:"rate,omitempty"`
	// Hypervisors are the kinds that will do, none for any; Baseline is the processor that the guest was given.
	Hypervisors []fleet.Hypervisor `json:"hypervisors,omitempty"`
	Baseline    string             `json:"baseline,omitempty"`
	Spread      string             `json:"spread,omitempty"`   // "web over chassis"
	Affinity    string             `json:"affinity,omitempty"` // group
}

// ExplainHost is a host with its tier, and why the rules give it that.
type ExplainHost struct {
	Host fleet.HostID `json:"host"`
	Tier string       `json:"tier"`
	Rule string       `json:"rule,omitempty"`
}

// ExplainDisk is a disk with its pools.
type ExplainDisk struct {
	Disk     fleet.DiskID `json:"disk"`
	Need     string       `json:"need"` // storage tier
	Level    string       `json:"level"`
	From     fleet.PoolID `json:"from"`
	FromTier string       `json:"fromTier"`
	To       fleet.PoolID `json:"to"`
	ToTier   string       `json:"toTier"`
}

// GaveWay is a VM that gives way, and the step that displaces it.
type GaveWay struct {
	VM   fleet.VMID `json:"vm"`
	Step int        `json:"step"`
}

// OtherHost is a legal host that was not chosen.
type OtherHost struct {
	Host fleet.HostID `json:"host"`
	// More is what it costs more, in points, the move included; 0: it has less headroom, or comes later.
	More int64 `json:"more"`
}

// Explain explains what pl does with the VM id. The error says that there is no such VM, or that pl was not
// made from p.
func Explain(p *policy.Problem, pl *plan.Plan, id fleet.VMID) (*Explanation, error) {
	s, err := newState(p)
	if err != nil {
		return nil, fmt.Errorf("explain vm %s: %w", id, err)
	}
	i := s.vm(id)
	if i == none {
		return nil, fmt.Errorf("explain vm %s: %w", id, fleet.ErrNotFound)
	}
	if d := p.Snapshot.Digest(); pl.SnapshotID != d {
		return nil, fmt.Errorf("explain vm %s: the plan was made from snapshot %s, this one is %s", id, pl.SnapshotID, d)
	}
	e := s.explainNeed(i)
	last := -1
	for n := range pl.Steps {
		if pl.Steps[n].GivesWayTo == id {
			e.GaveWay = append(e.GaveWay, GaveWay{pl.Steps[n].Move.VM.ID, pl.Steps[n].N})
		}
		if pl.Steps[n].Move.VM.ID == id {
			last = n
			e.Steps = append(e.Steps, pl.Steps[n].N)
			e.Reasons = append(e.Reasons, pl.Steps[n].Reason)
		}
	}
	if last >= 0 && slices.Contains(pl.Steps[last].Risks, plan.RiskDisplaced) {
		e.Fate, last = FateDisplaced, -1 // what it left is no place for it once it is taken
	}
	until := len(pl.Steps)
	if last >= 0 {
		until = last
	}
	for n := range pl.Steps[:until] {
		if _, err := s.apply(&pl.Steps[n]); err != nil {
			return nil, fmt.Errorf("explain vm %s: %w", id, err)
		}
	}
	if err := s.explainFate(e, i, pl, last); err != nil {
		return nil, fmt.Errorf("explain vm %s: %w", id, err)
	}
	return e, nil
}

func (s *state) vm(id fleet.VMID) vmIx {
	i, ok := slices.BinarySearchFunc(s.vms, id, func(v vmState, id fleet.VMID) int { return cmp.Compare(v.snap.ID, id) })
	if !ok {
		return none
	}
	return vmIx(i) // fewer VMs than 2^31
}

// apply makes a step of a plan, and gives the place that it leads to.
func (s *state) apply(st *plan.Step) (place, error) {
	if st.Attach != nil {
		return place{}, s.applyModule(st)
	}
	i, h := s.vm(st.Move.VM.ID), s.host(st.Move.To.Host)
	if i == none || h == none || len(st.Move.To.Disks) != len(s.vms[i].disks) {
		return place{}, fmt.Errorf("step %d names what there is not", st.N)
	}
	to := place{host: h}
	for _, d := range st.Move.To.Disks {
		p := s.pool(d.Pool)
		if p == none {
			return place{}, fmt.Errorf("step %d names what there is not", st.N)
		}
		to.disks = append(to.disks, p)
	}
	v := &s.vms[i]
	to.cost = s.softCost(v, h, to.disks) +
		points(plan.MoveCost(s.p.Weights, v.copied(to.disks), st.Move.Mode == fleet.Offline && v.snap.Power == fleet.Running)+
			plan.LinkCost(s.p.Weights, v.snap, st.Move.Mode, v.host != h))
	s.shift(i, h, to.disks)
	return to, nil
}

func (s *state) explainNeed(i vmIx) *Explanation {
	v := &s.vms[i]
	e := &Explanation{
		VM: v.snap.ID, Fate: FateRight, Label: s.label(v), Level: v.need.Level, Notes: v.need.Notes,
		Need: ExplainNeed{
			Priority: v.need.Priority, Server: s.p.ServerTier(max(v.need.Server, 0)), Security: s.p.SecurityClass(v.need.Security), NICClass: v.need.NICClass,
			Queues: v.need.Queues, Rate: v.need.Rate, Hypervisors: v.need.Hypervisors, Baseline: v.snap.CPUBaseline, Affinity: v.need.AffinityGroup,
		},
		From: s.explainHost(v.host), Others: []OtherHost{},
	}
	if g := v.need.SpreadGroup; g != "" {
		e.Need.Spread = fmt.Sprintf("%s over %s", g, kinds[v.kind])
	}
	for n, p := range v.disks {
		tier := s.p.PoolTier(s.pools[p].facts.Tier)
		e.Disks = append(e.Disks, ExplainDisk{
			Disk: v.snap.Disks[n].ID, Need: s.p.PoolTier(max(v.need.Disks[n].Tier, 0)), Level: v.need.Disks[n].Level,
			From: s.pools[p].snap.ID, FromTier: tier, To: s.pools[p].snap.ID, ToTier: tier,
		})
	}
	return e
}

func (s *state) explainHost(h hostIx) ExplainHost {
	return ExplainHost{Host: s.hosts[h].snap.ID, Tier: s.p.ServerTier(s.hosts[h].facts.Tier), Rule: s.hosts[h].facts.Rule}
}

// explainFate fills in what happens to i. The state is that before the step last, or at the end of the plan.
func (s *state) explainFate(e *Explanation, i vmIx, pl *plan.Plan, last int) error {
	v := &s.vms[i]
	for _, u := range pl.Unplaced {
		if u.VM != e.VM {
			continue
		}
		if e.Reasons = append(e.Reasons, u.Reason); e.Fate != FateDisplaced {
			e.Fate = FateUnplaced
		}
	}
	if v.hold != "" {
		e.Fate, e.Reasons = FateHeld, append(e.Reasons, v.hold)
	}
	chosen := place{host: v.host, disks: v.disks, cost: s.softCost(v, v.host, v.disks)}
	mark := len(s.log)
	if last >= 0 {
		var err error
		if chosen, err = s.apply(&pl.Steps[last]); err != nil {
			return err
		}
		s.undo(mark)
		if e.Fate == FateRight {
			e.Fate = FateMoves
		}
	}
	if chosen.host != s.host(e.From.Host) {
		to := s.explainHost(chosen.host)
		e.To = &to
	}
	for n, p := range chosen.disks {
		e.Disks[n].To, e.Disks[n].ToTier = s.pools[p].snap.ID, s.p.PoolTier(s.pools[p].facts.Tier)
	}
	s.explainOthers(e, i, chosen)
	return nil
}

// explainOthers judges every host but the chosen one. The VMs of an affinity group are judged one by one when
// the group has a home, which anchors them.
func (s *state) explainOthers(e *Explanation, i vmIx, chosen place) {
	u := *s.single(i)
	by := make([]plan.RefusedHost, len(order))
	var legal []place
	for h := range s.hosts {
		if hostIx(h) == chosen.host { // fewer hosts than 2^31
			continue
		}
		p, r := s.fit(&u, hostIx(h), anywhere) // as above
		if r == "" && s.vms[i].unit != none && len(s.units[s.vms[i].unit].vms) > 1 || r == "" && s.anchored(i, chosen.host) {
			r = plan.ConstraintAffinity
		}
		if r == "" && hostIx(h) == s.vms[i].host { // as above
			r = s.leaving(i)
		}
		if n := slices.Index(order, r); n >= 0 {
			by[n].Constraint = r
			by[n].Count++
			if len(by[n].Hosts) < maxNamed {
				by[n].Hosts = append(by[n].Hosts, s.hosts[h].snap.ID)
			}
			continue
		}
		e.Others = append(e.Others, OtherHost{Host: s.hosts[h].snap.ID, More: int64(p.cost - chosen.cost)})
		legal = append(legal, p)
	}
	if e.Fate == FateRight || e.Fate == FateMoves {
		e.Costs = s.compare(i, chosen, legal)
	}
	e.LegalOthers = len(e.Others)
	slices.SortStableFunc(e.Others, func(a, b OtherHost) int { return cmp.Compare(a.More, b.More) })
	e.Others = e.Others[:min(len(e.Others), maxNamed)]
	by = slices.DeleteFunc(by, func(r plan.RefusedHost) bool { return r.Count == 0 })
	slices.SortStableFunc(by, func(a, b plan.RefusedHost) int { return cmp.Compare(b.Count, a.Count) })
	e.Refused = by
}

// leaving is what is wrong with the host of i besides i's own needs: fit lets a VM stay with what was broken
// before, but where that is mended it is no choice that the plan had.
func (s *state) leaving(i vmIx) string {
	if s.conflicted(i) {
		return plan.ConstraintSpread
	}
	if c := s.overfull(s.vms[i].host); c != "" {
		return c
	}
	c, _ := s.starved(&s.vms[i])
	return s.refusedAt(s.single(i), s.vms[i].host, c)
}

// anchored says whether held VMs of i's affinity group are on the host at.
func (s *state) anchored(i vmIx, at hostIx) bool {
	u := s.vms[i].unit
	return u != none && s.units[u].anchor == at
}
