package solver

import (
	"slices"
)

// A VM that moves anyway may as well go elsewhere: that costs no further move, only another target. So the local search is
// run once more on a model in which the moves made so far are paid, and the log is then made anew with other targets.

// redirect looks for a cheaper fleet among those that the moves of the log may as well lead to, and makes the log anew where
// that saves enough. It says whether it did; else nothing has changed.
func (x *search) redirect() bool {
	if x.opts.Effort < 0 || x.over() || !x.pricesHosts() || len(x.log) == 0 {
		return false
	}
	c, err := (&compiler{s: x.state, paid: true}).build()
	if err != nil {
		return false
	}
	l := newLedger(c.p)
	if !l.promising() || x.over() {
		return false
	}
	sets, least := x.polished(c, l, c.p.Start())
	if sets == nil {
		return false
	}
	goals := make(map[vmIx]goal)
	for i := range sets {
		if sets[i].gain <= 0 {
			continue
		}
		why := x.whySet(len(sets[i].vms), sets[i].gain/c.scale)
		for _, n := range sets[i].vms {
			v, to := c.items[n].vms[0], c.target(l, n).to
			if x.vms[v].host != to.host && x.host(x.vms[v].snap.Host) == to.host {
				continue // it left for a reason that the model may not know
			}
			goals[v] = goal{to, why}
		}
	}
	return x.relog(goals, least)
}

// goal is where a VM is to go, and why, were it not to move by now.
type goal struct {
	to  place
	why func(vmIx, place) string
}

// relog makes the moves of the log again, the last one of each VM with a goal to there, and then what else has a goal. A
// move that is not legal at its turn waits until it is; what cannot reach its goal goes where it went before. It says
// whether that saved at least so many parts of a point, and left no more failures without a place for all; else nothing has changed.
func (x *search) relog(goals map[vmIx]goal, least int64) bool {
	all, before, broken, lost := slices.Clone(x.log), x.parts(), x.faults(), x.unsurvived()
	r := &relogger{search: x, goals: goals, old: all, last: make(map[vmIx]int, len(all)), late: map[vmIx]bool{}}
	for n := range all {
		if all[n].attach == nil {
			r.last[all[n].vm] = n
		}
	}
	r.add()
	x.undo(0)
	ok := r.again() && r.settle()
	x.version++
	if ok && before-x.parts() >= least && x.faults() <= broken && x.unsurvived() <= lost {
		return true
	}
	x.replayAll(0, all)
	if x.reserve != nil {
		x.reserve.Mark()
	}
	return false
}

// unsurvived counts the failures that protected VMs do not survive now, those looked at once more that may be survived in another way.
func (x *search) unsurvived() int {
	if x.reserve == nil {
		return 0
	}
	n := 0
	for _, k := range x.reserve.Unsurvived() {
		if !x.reserve.Recheck(k) {
			n++
		}
	}
	return n
}

// relogger is one run of relog.
type relogger struct {
	*search
	goals map[vmIx]goal
	old   []move       // the old log
	last  map[vmIx]int // the last move of each VM in it
	waits []move
	late  map[vmIx]bool // a move of these waits
	fresh []move        // of VMs that the old log does not move
}

// add lists the moves of VMs that have a goal and have not moved yet, by index.
func (r *relogger) add() {
	for i := range r.vms {
		g, ok := r.goals[vmIx(i)] // fewer VMs than 2^31
		if _, moved := r.last[vmIx(i)]; !ok || moved {
			continue
		}
		r.fresh = append(r.fresh, move{vm: vmIx(i), to: g.to.host, is: g.to.disks, why: g.why(vmIx(i), g.to)})
	}
}

// again makes the moves of the old log, as far as they are legal at their turn. It says no where a module cannot move as
// it did.
func (r *relogger) again() bool {
	for n := range r.old {
		m := r.old[n]
		if m.attach != nil {
			if !r.attachable(m.attach.module, m.to) {
				return false
			}
			r.repeat(&m)
			continue
		}
		if g, ok := r.goals[m.vm]; ok && n == r.last[m.vm] && !m.below {
			m.to, m.is, m.where = g.to.host, g.to.disks, ""
		}
		if r.late[m.vm] || !r.makes(&m) {
			r.late[m.vm] = true
			r.waits = append(r.waits, m)
		}
	}
	r.waits = append(r.waits, r.fresh...)
	return true
}

// makes carries out a move if it is legal now.
func (r *relogger) makes(m *move) bool {
	v := &r.vms[m.vm]
	if v.host == m.to && slices.Equal(v.disks, m.is) {
		return true
	}
	if len(r.log) >= r.opts.MaxSteps || !r.legalAgain(m) && !r.mends(m) {
		return false
	}
	if m.where == "" {
		m.where = r.where(v, m.to, m.is)
	}
	r.repeat(m)
	if r.reserve != nil {
		r.reserve.Mark()
	}
	return true
}

// mends says whether the VM of m is wrong where it is, and m is the old move, to which the reserve alone is in the way: that was
// made although it breaks a failure, since being right comes before being safe.
func (r *relogger) mends(m *move) bool {
	if r.reserve == nil {
		return false
	}
	if n, ok := r.last[m.vm]; !ok || m.to != r.old[n].to || !slices.Equal(m.is, r.old[n].is) {
		return false
	}
	v := &r.vms[m.vm]
	if r.wrong(&r.units[v.unit]) == "" && r.overfull(v.host) == "" && !r.conflicted(m.vm) {
		return false
	}
	lax, strand := r.lax, r.strand
	r.lax, r.strand = true, true
	defer func() { r.lax, r.strand = lax, strand }()
	return r.legalAgain(m)
}

// settle makes what waits as soon as it becomes legal: to the goals, then to where it went before. It says whether all that
// the old log moved has arrived.
func (r *relogger) settle() bool {
	for r.advance() {
	}
	kept := r.waits[:0]
	for _, m := range r.waits {
		n, ok := r.last[m.vm]
		if !ok {
			continue // it stays where it is
		}
		if _, ok := r.goals[m.vm]; ok {
			m.to, m.is, m.where = r.old[n].to, r.old[n].is, ""
		}
		kept = append(kept, m)
	}
	r.waits = kept
	for r.advance() {
	}
	return len(r.waits) == 0
}

// advance makes every move that has become legal, those of one VM in their order. It says whether there was one.
func (r *relogger) advance() bool {
	before := len(r.waits)
	blocked := map[vmIx]bool{}
	r.waits = slices.DeleteFunc(r.waits, func(m move) bool {
		if !blocked[m.vm] && r.makes(&m) {
			return true
		}
		blocked[m.vm] = true
		return false
	})
	return len(r.waits) < before
}

// faults counts what is broken: units, hosts that have promised too much, VMs too near to others of their group.
func (x *search) faults() int {
	n := 0
	for i := range x.units {
		if x.wrong(&x.units[i]) != "" {
			n++
		}
	}
	for i := range x.hosts {
		if x.overfull(hostIx(i)) != "" { // fewer hosts than 2^31
			n++
		}
	}
	for i := range x.vms {
		if x.conflicted(vmIx(i)) {
			n++
		}
	}
	return n
}

// parts is the cost so far, moves included, in parts of a point.
func (x *search) parts() int64 {
	soft, parts := x.spent()
	return int64(soft)*x.prices.Scale() + parts // compile has seen that no such product overflows
}

// paidFor says what of v the log has moved, in a model of what is paid: its host, any of its disks.
func (c *compiler) paidFor(v *vmState) (host, storage bool) {
	if !c.paid || v.moves == 0 {
		return false, false
	}
	for j := range v.disks {
		storage = storage || c.copied(v, j)
	}
	return v.host != c.s.host(v.snap.Host), storage
}

// copied says whether the j-th disk of v has been copied, in a model of what is paid.
func (c *compiler) copied(v *vmState, j int) bool {
	return c.paid && v.moves > 0 && c.s.pool(v.snap.Disks[j].Pool) != v.disks[j]
}
