package solver

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/berth-project/berth/plan"
)

// N+1: the state keeps plan.Reserve beside it, so that every move is judged by what it leaves of the places for protected VMs.

// keep tells the reserve of a VM that has gone from one host to another, or whose disks have.
func (s *state) keep(i vmIx, from, to hostIx, disks []poolIx) {
	if s.reserve == nil {
		return
	}
	at := s.placement(&s.vms[i], to, disks)
	s.reserve.Enter(int(i), int(to), at)
	if from == to {
		from = none
	}
	s.reserve.Leave(int(i), int(from), at)
}

// spoils says whether u on h would break a failure that is survived now. Nothing does while lax is set, for a unit that
// has no legal place at all.
func (s *state) spoils(u *unit, h hostIx) bool {
	if s.reserve == nil || s.lax {
		return false
	}
	if s.spoilt >= maxSpoilt {
		return true
	}
	vms := make([]int, len(u.vms))
	for n, i := range u.vms {
		vms[n] = int(i)
	}
	broke := s.reserve.Breaks(vms, int(h))
	if broke && s.spoilt >= 0 {
		s.spoilt++
	}
	return broke
}

// strands says whether a disk of v on p would leave v on h where no reserve can help it, as one can now.
func (s *state) strands(v *vmState, h hostIx, p poolIx) bool {
	return s.reserve != nil && !s.strand && v.need.Protect && s.reserve.Strands(s.reserve.VM(v.snap.ID), int(h), s.pools[p].snap.ID)
}

// maxSpoilt bounds the hosts that one search finds to be spared for the reserve before it takes the rest for spared too.
const maxSpoilt = 8

// bounded starts a search that looks at no more than maxSpoilt of them; the result ends it.
func (s *state) bounded() func() {
	s.spoilt = 0
	return func() { s.spoilt = -1 }
}

// mendLax places a unit that is wrong where only the reserve is in the way: being right comes before being safe.
func (x *search) mendLax(u *unit, q query, why func(vmIx, place) string) bool {
	if x.reserve == nil {
		return false
	}
	x.lax, x.strand = true, true
	defer func() { x.lax, x.strand = false, false }()
	p, ok := x.find(u, q, x.opts.Seed)
	return ok && x.commit(u, p, why)
}

// moveOneLax is moveOne where only the reserve is in the way.
func (x *search) moveOneLax(list []unitIx, why func(vmIx, place) string) bool {
	if x.reserve == nil {
		return false
	}
	for _, ui := range list {
		q := anywhere
		q.host = x.vms[x.units[ui].vms[0]].host
		if x.mendLax(&x.units[ui], q, why) {
			return true
		}
	}
	return false
}

// Bounds of restore: for each failure the hosts tried, and the units on each of them, and how often it is tried; and the looks at failures and
// searches for places after which one run of Solve tries no failure again. Once each is tried, in fleets of every size.
const (
	maxRestoreHosts = 4
	maxRestoreUnits = 4
	maxRestoreTries = 8
	maxRestoreWork  = 512
)

// restoring is what restore has done so far.
type restoring struct {
	tries   map[int]int // by failure
	work    int         // looks at a failure, and searches for a place
	untried int         // failures that there was no time for, the last time
}

// restore mends failures that are not survived: it moves VMs that are not protected off hosts that protected ones could go to, best
// onto those that the failure takes anyway. It says whether it moved any.
func (x *search) restore() bool {
	if x.reserve == nil {
		return false
	}
	r := &x.restored
	if r.tries == nil {
		r.tries = map[int]int{}
	}
	start := x.version
	r.untried = 0
	for _, k := range x.reserve.Unsurvived() {
		if x.over() {
			if r.tries[k] == 0 {
				r.untried++
			}
			continue
		}
		if r.tries[k] >= maxRestoreTries || r.tries[k] > 0 && r.work >= maxRestoreWork {
			continue
		}
		r.tries[k]++
		if r.work++; x.reserve.Recheck(k) {
			continue
		}
		if list := x.reserve.Unsaved(k); len(list) > 0 {
			x.restoreFor(k, vmIx(list[0])) // an index of VMs; the largest, without which the others do not help
		}
	}
	return x.version != start
}

// restoreFor empties one host as far as it takes for the failure k to be survived, or leaves all as it is.
func (x *search) restoreFor(k int, i vmIx) bool {
	for _, h := range x.reserve.Refuges(k, int(i), maxRestoreHosts) {
		mark, version := len(x.log), x.version
		list := x.unitsOn(hostIx(h), "")
		list = slices.DeleteFunc(list, func(ui unitIx) bool { return x.protected(&x.units[ui]) })
		for _, ui := range list[:min(len(list), maxRestoreUnits)] {
			q := anywhere
			q.host = hostIx(h) // an index of hosts
			x.restored.work++
			p, ok := x.find(&x.units[ui], q, x.opts.Seed)
			if !ok || !x.commit(&x.units[ui], p, func(vmIx, place) string { return x.whyRestore(k, i) }) {
				continue
			}
			if x.reserve.Recheck(k) {
				return true
			}
		}
		x.undo(mark)
		x.version = version
	}
	return false
}

// protected says whether a VM of u is.
func (s *state) protected(u *unit) bool {
	return slices.ContainsFunc(u.vms, func(i vmIx) bool { return s.vms[i].need.Protect })
}

func (x *search) whyRestore(k int, i vmIx) string {
	v := &x.vms[i]
	return fmt.Sprintf("makes room for %s (%s, protected) after a loss of %s", v.snap.ID, v.need.Level, x.reserve.FailureName(k))
}

// maxSafe bounds how often a log is built anew because a step of it would break a failure in its wave.
const maxSafe = 8

// orderSafely orders the log so that no wave breaks a failure that was survived before the plan. Units that cannot be moved
// so are left out, with all that depends on them, and their VMs returned.
func (s *state) orderSafely() []plan.Unordered {
	out := []plan.Unordered{}
	gone, loose := map[unitIx]bool{}, map[modIx]bool{}
	for try := 0; ; try++ {
		log := slices.Clone(s.log)
		s.order()
		bad := s.unjustified()
		if s.reserve != nil {
			bad = append(bad, s.unsafe()...)
		}
		if len(bad) == 0 {
			return out
		}
		for _, n := range bad {
			if m := &s.log[n]; m.attach != nil {
				loose[m.attach.module] = true
			} else {
				gone[s.vms[m.vm].unit] = true
			}
		}
		if try == maxSafe { // no safe order was found: nothing is moved
			for _, m := range log {
				if m.attach != nil {
					loose[m.attach.module] = true
				} else {
					gone[s.vms[m.vm].unit] = true
				}
			}
		}
		s.log = log
		out = append(out, s.leaveOut(log, gone, loose)...)
	}
}

// unsafe replays the waves against the reserve of the snapshot, as plan.Check does. A wave in which a step would break a failure is
// cut in two before that step; those that do so all the same are returned, by their index in the log.
func (s *state) unsafe() []int {
	for try := 0; ; try++ {
		bad := plan.ReserveFaults(s.p, s.steps())
		cut := map[int]bool{}
		for _, n := range bad {
			if n > 0 && s.log[n-1].wave == s.log[n].wave {
				cut[n] = true
			}
		}
		if len(cut) == 0 || try == maxSafe {
			return bad
		}
		s.cut(cut)
	}
}

// cut begins a new wave before each move of the log whose index is in at.
func (s *state) cut(at map[int]bool) {
	more, last := 0, 0
	for n := range s.log {
		if s.log[n].wave != last {
			last = s.log[n].wave
		}
		if at[n] {
			more++
		}
		s.log[n].wave = last + more
	}
}

// leaveOut builds the log anew without the moves of the units that are gone and of the modules that are loose, and of those that have
// a move which is not legal without them; these are gone too then.
func (s *state) leaveOut(log []move, gone map[unitIx]bool, loose map[modIx]bool) []plan.Unordered {
	s.log = slices.Clone(log) // it is written over below
	to := map[vmIx]move{}
	for more := true; more; {
		more = false
		s.undo(0)
		for _, m := range log {
			switch {
			case m.attach != nil && (loose[m.attach.module] || !s.attachable(m.attach.module, m.to)):
				continue
			case m.attach != nil:
				s.repeat(&m)
			case gone[s.vms[m.vm].unit]:
				to[m.vm] = m
				continue
			case !s.legalAgain(&m):
				gone[s.vms[m.vm].unit], more = true, true
				continue
			default:
				s.repeat(&m)
			}
		}
	}
	out := make([]plan.Unordered, 0, len(to))
	for i, m := range to { // sorted below
		v := &s.vms[i]
		at := s.placement(v, m.to, m.is)
		if m.below || at.Equal(v.snap.Place()) {
			continue // it was to give way, or to make room for a while only
		}
		reason := "no order of moves keeps the places for protected VMs"
		if s.reserve == nil {
			reason = "a VM would give way that may not for it"
		}
		out = append(out, plan.Unordered{VM: v.snap.ID, To: at, Reason: reason})
	}
	slices.SortFunc(out, func(a, b plan.Unordered) int { return cmp.Compare(a.VM, b.VM) })
	return out
}
