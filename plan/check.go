package plan

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Violation is one way in which a plan breaks a hard constraint or is not true.
type Violation struct {
	Step       int        `json:"step"` // number of the step, from 1; 0: the plan as a whole
	VM         fleet.VMID `json:"vm,omitempty"`
	Constraint string     `json:"constraint"` // one of the Constraint constants
	Detail     string     `json:"detail"`
}

func (v Violation) String() string {
	at := "plan"
	if v.Step > 0 {
		at = fmt.Sprintf("step %d", v.Step)
	}
	if v.VM != "" {
		at += " (" + string(v.VM) + ")"
	}
	return at + ": " + v.Constraint + ": " + v.Detail
}

// MaxViolations bounds what Check reports.
const MaxViolations = 100

// Check verifies p against problem, which must be that of the plan's own snapshot and policy, without a line
// of the solver: each step in the state that the ones before it leave, then the plan's lists, counts and
// seal. What was broken before the plan and is not yet mended is no fault of the plan; only worse is. A legal
// plan gives nothing.
func Check(problem *policy.Problem, p *Plan) []Violation {
	w, err := newWorld(problem)
	if err != nil {
		return []Violation{{Constraint: ConstraintProblem, Detail: err.Error()}}
	}
	c := &checker{w: w, own: true}
	c.identity(p)
	c.steps(p.Steps)
	c.lists(p)
	if s, err := Summarize(problem, p); err != nil {
		c.say(ConstraintSummary, "%v", err)
	} else if s != p.Summary {
		c.say(ConstraintSummary, "says %+v, counted %+v", p.Summary, s)
	} else if r := s.bounded(); r != "" {
		c.say(ConstraintSummary, "bound %d, cost %d: %s", s.Bound, s.Cost(), r)
	}
	return c.out
}

// CheckSteps verifies that steps are legal one after another from problem's snapshot, which may be newer
// than the plan: it answers whether what remains of a plan may still be applied. What passes without harm is no
// violation: disks grow, free space and tags change, and a VM whose earlier step is done has new paths. A
// Violation's Step is the step's own number.
func CheckSteps(problem *policy.Problem, steps []Step) []Violation {
	w, err := newWorld(problem)
	if err != nil {
		return []Violation{{Constraint: ConstraintProblem, Detail: err.Error()}}
	}
	c := &checker{w: w}
	c.steps(steps)
	return c.out
}

type checker struct {
	w     *world
	res   *Reserve   // nil: nothing is protected
	own   bool       // w is of the very snapshot that the plan was made from: all has to be as in it
	at    int        // number of the step being checked
	vm    fleet.VMID // of that step
	out   []Violation
	below displacements
}

func (c *checker) say(constraint, format string, args ...any) {
	if len(c.out) < MaxViolations {
		c.out = append(c.out, Violation{Step: c.at, VM: c.vm, Constraint: constraint, Detail: fmt.Sprintf(format, args...)})
	}
}

func (c *checker) identity(p *Plan) {
	if p.Version != Version {
		c.say(ConstraintVersion, "is version %d, expected %d", p.Version, Version)
	}
	if d := c.w.p.Snapshot.Digest(); p.SnapshotID != d {
		c.say(ConstraintVersion, "was made from snapshot %q, this one is %s", p.SnapshotID, d)
	}
	if p.PolicyID != c.w.p.PolicyID {
		c.say(ConstraintVersion, "was made with policy %q, this one is %s", p.PolicyID, c.w.p.PolicyID)
	}
	if id, err := p.seal(); err != nil || id != p.ID {
		c.say(ConstraintSeal, "the ID is %q, the content gives %q", p.ID, id)
	}
	for i := range p.Steps {
		if p.Steps[i].N != i+1 {
			c.say(ConstraintNumber, "step %d of the list has number %d", i+1, p.Steps[i].N)
			return
		}
	}
}

// steps walks the steps, wave by wave. Affinity is judged at the end alone: a group that moves is on two hosts
// while it moves.
func (c *checker) steps(steps []Step) {
	c.numbers(steps)
	c.keepReserve()
	before := map[string]int{}
	for _, wave := range Waves(steps) {
		c.wave(wave)
		moves := c.reserve(wave)
		for i := range wave {
			st := &wave[i]
			c.at, c.vm = st.N, st.Move.VM.ID
			if v := c.w.vms[c.vm]; v != nil && v.need.AffinityGroup != "" {
				g := v.need.AffinityGroup
				if _, seen := before[g]; !seen {
					before[g] = c.w.parts(c.w.affine[g])
				}
			}
			c.step(st)
		}
		c.settled(moves)
	}
	c.justify()
	c.at, c.vm = 0, ""
	groups := make([]string, 0, len(before))
	for g := range before {
		groups = append(groups, g)
	}
	slices.Sort(groups)
	for _, g := range groups {
		if n := c.w.parts(c.w.affine[g]); n > before[g] {
			c.say(ConstraintAffinity, "group %s sits on %d hosts after the steps, on %d before", g, n, before[g])
		}
	}
}

// step checks one step and makes it, so that the next is checked in the state that this one leaves; a step
// that cannot be made because it names what there is not is left out.
func (c *checker) step(st *Step) {
	if st.Attach != nil {
		c.attach(st)
		return
	}
	v := c.w.vms[st.Move.VM.ID]
	if v == nil {
		c.say(ConstraintPlace, "there is no such VM")
		return
	}
	to := st.Move.To
	if !st.Move.From.Equal(v.at) {
		c.say(ConstraintPlace, "starts from %s, but the VM is on %s then", placeText(st.Move.From), placeText(v.at))
	}
	if what := c.w.unknown(v, to); what != "" {
		c.say(ConstraintPlace, "%s", what)
		return
	}
	if to.Equal(v.at) {
		c.say(ConstraintPlace, "goes nowhere")
		return
	}
	c.details(v, st)
	if r := HoldReason(c.w.p, v.vm); r != "" {
		c.say(ConstraintHeld, "%s", r)
	}
	displaced := c.displaces(v, st)
	if to.Host != v.at.Host {
		c.host(v, to.Host, displaced)
	}
	c.storage(v, to, displaced)
	c.mode(v, st, displaced)
	c.below.pass(c.w, v, st, displaced)
	c.w.move(v, to)
	if displaced {
		c.lowest(v)
	}
}

// lists checks that the plan's lists name VMs once and that those held are those that must be.
func (c *checker) lists(p *Plan) {
	held := make(map[fleet.VMID]bool, len(p.Held))
	for _, h := range p.Held {
		v := c.w.vms[h.VM]
		if v == nil || held[h.VM] || HoldReason(c.w.p, v.vm) == "" {
			c.say(ConstraintSummary, "holds %s, which does not exist, may move, or is listed twice", h.VM)
		} else if r := HoldReason(c.w.p, v.vm); r != h.Reason {
			c.say(ConstraintSummary, "holds %s because %q, expected %q", h.VM, h.Reason, r)
		}
		held[h.VM] = true
	}
	for i := range c.w.p.Snapshot.VMs {
		if v := &c.w.p.Snapshot.VMs[i]; !held[v.ID] && HoldReason(c.w.p, v) != "" {
			c.say(ConstraintSummary, "does not list %s as held: %s", v.ID, HoldReason(c.w.p, v))
		}
	}
	unplaced := make(map[fleet.VMID]bool, len(p.Unplaced))
	for _, u := range p.Unplaced {
		if c.w.vms[u.VM] == nil || unplaced[u.VM] || held[u.VM] {
			c.say(ConstraintSummary, "cannot place %s, which does not exist, is held, or is listed twice", u.VM)
		} else if l := c.w.p.VMs[u.VM].Level; l != u.Level {
			c.say(ConstraintSummary, "cannot place %s of level %q, the VM's is %q", u.VM, u.Level, l)
		}
		unplaced[u.VM] = true
	}
	for _, d := range c.below.list {
		if id := d.st.Move.VM.ID; !unplaced[id] && c.w.brokenAlone(c.w.vms[id]) {
			c.say(ConstraintSummary, "does not list %s as without a right place, and displaces it", id)
		}
	}
	c.unordered(p, held)
}

// unordered checks that each VM that would be better off elsewhere may move, and that the place is one, and not its own.
func (c *checker) unordered(p *Plan, held map[fleet.VMID]bool) {
	seen := make(map[fleet.VMID]bool, len(p.Unordered))
	for _, u := range p.Unordered {
		v := c.w.vms[u.VM]
		switch {
		case v == nil || held[u.VM] || seen[u.VM]:
			c.say(ConstraintSummary, "has no order for %s, which does not exist, is held, or is listed twice", u.VM)
		case c.w.unknown(v, u.To) != "":
			c.say(ConstraintSummary, "has no order for %s: %s", u.VM, c.w.unknown(v, u.To))
		case u.To.Equal(v.at):
			c.say(ConstraintSummary, "has no order for %s to where it is", u.VM)
		}
		seen[u.VM] = true
	}
}

func placeText(p fleet.Placement) string {
	s := "host " + string(p.Host)
	for _, d := range p.Disks {
		s += fmt.Sprintf(", %s on %s", d.Disk, d.Pool)
	}
	return s
}
