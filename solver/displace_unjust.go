package solver

import "slices"

// Bounds of reconsider: how often a plan is made anew because somebody gave way in it for nobody, and joined moves that are judged one by one.
const (
	maxUnjust  = 16
	maxCareful = 64
)

// concession is who gave way to whom.
type concession struct{ giver, taker unitIx }

// reconsider looks whether each VM that was displaced gives way to one that it may give way to, when the moves are in the order of the plan. What
// came later may have taken the reason away: the one for whom it left found another place, or it came back itself, or one of lower priority
// took the room. The moves of such a VM are struck, with what depends on them, and the search goes on without that displacement, so
// that what is free goes to the highest priority again. It says whether anything was struck.
func (x *search) reconsider() bool {
	if x.giving.unjust >= maxUnjust || !slices.ContainsFunc(x.log, func(m move) bool { return m.below }) {
		return false
	}
	all := slices.Clone(x.log)
	if x.giving.joined = x.joinedJustly(all); x.giving.joined {
		return false
	}
	gone := x.unjust()
	for n := range all {
		if m := &all[n]; m.below && m.winner != none && gone[x.vms[m.vm].unit] {
			x.giving.refuse(x.vms[m.vm].unit, x.vms[m.winner].unit)
		}
	}
	x.giving.unjust++
	x.leaveOut(all, gone, nil)
	x.version++
	return true
}

// joinedJustly joins moves as compact does, and says whether everybody who gives way then does so for somebody; else the log is all.
func (x *search) joinedJustly(all []move) bool {
	if x.compact(); len(x.unjust()) == 0 {
		return true
	}
	x.replayAll(0, all)
	sorted := x.sorted()
	if len(x.unjust()) == 0 { // one who came to a right place on the way, and gave way there, did so for somebody
		x.joinEach()
		return true
	}
	x.replayAll(0, sorted) // one who came back once another had left need not have left
	if x.compact(); len(x.unjust()) == 0 {
		return true
	}
	x.replayAll(0, all)
	return false
}

// refuse notes that a way in which the one gives way to the other came to nothing.
func (g *giving) refuse(giver, taker unitIx) {
	if g.vain == nil {
		g.vain = map[concession]bool{}
	}
	g.vain[concession{giver, taker}] = true
}

// sorted is the log in the order of the plan.
func (x *search) sorted() []move {
	log := x.log
	defer func() { x.log = log }()
	x.log = slices.Clone(log)
	x.order()
	return x.log
}

// unjust are the units that would give way for nobody, were the log a plan.
func (x *search) unjust() map[unitIx]bool {
	log := x.log
	defer func() { x.log = log }()
	x.log = x.sorted()
	gone := map[unitIx]bool{}
	for _, n := range x.unjustified() {
		gone[x.vms[x.log[n].vm].unit] = true
	}
	return gone
}

// joinEach is compact where a join may take away for whom somebody gives way: each is judged by itself.
func (x *search) joinEach() {
	again, judged := maxKept, 0
	for i := range x.vms {
		for x.vms[i].moves > 1 && judged < maxCareful {
			if !x.joinMoves(vmIx(i), &again, func() bool { judged++; return len(x.unjust()) == 0 }) { // fewer VMs than 2^31
				break
			}
		}
	}
}
