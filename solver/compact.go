package solver

import (
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Bounds of compact: VMs whose moves are tried to be joined, and moves that are made again for it.
const (
	maxCompact = 256
	maxAgain   = 400_000
	maxKept    = 40_000 // the same where each is held against a reserve
)

// compact joins the moves of a VM that moved more than once into one where every state in between stays
// legal, and drops those that lead nowhere. The state at the end stays the same.
func (s *state) compact() {
	tried, again := 0, maxAgain
	if s.reserve != nil {
		again = maxKept
	}
	for i := range s.vms {
		for s.vms[i].moves > 1 && tried < maxCompact {
			tried++
			if !s.joinMoves(vmIx(i), &again, nil) { // fewer VMs than 2^31
				break
			}
		}
	}
}

// joinMoves joins two moves of a VM that follow each other, at the place of the later or of the earlier one. may, where there is one, has to agree
// to the log as it is then.
func (s *state) joinMoves(v vmIx, again *int, may func() bool) bool {
	var at []int
	for n := range s.log {
		if s.log[n].vm == v {
			at = append(at, n)
		}
	}
	for k := range len(at) - 1 {
		a, b := at[k], at[k+1]
		joined := s.log[b]
		if !joined.below {
			joined.why = s.log[a].why
		}
		for _, pos := range []int{b, a} {
			if *again -= len(s.log) - a; *again < 0 {
				return false
			}
			tail := slices.Clone(s.log[a:])
			rest := make([]move, 0, len(tail))
			for n, m := range tail {
				switch {
				case n+a == pos && s.returns(s.log[a], joined):
				case n+a == pos:
					rest = append(rest, joined)
				case n+a != a && n+a != b:
					rest = append(rest, m)
				}
			}
			if s.replay(a, rest) && (may == nil || may()) {
				return true
			}
			s.replayAll(a, tail)
		}
	}
	return false
}

func (s *state) returns(first, last move) bool {
	return first.from == last.to && slices.Equal(first.was, last.is)
}

// replay puts rest in the place of the log from a on. It stops and says no at the first move that is not
// legal in its new place.
func (s *state) replay(a int, rest []move) bool {
	s.undo(a)
	for _, m := range rest {
		if m.attach != nil {
			if !s.attachable(m.attach.module, m.to) {
				return false
			}
		} else if !s.legalAgain(&m) {
			return false
		}
		s.repeat(&m)
	}
	return true
}

// replayAll restores a log that was legal before.
func (s *state) replayAll(a int, tail []move) {
	s.undo(a)
	for _, m := range tail {
		s.repeat(&m)
	}
}

// repeat makes a move of an earlier log again.
func (s *state) repeat(m *move) {
	if m.attach != nil {
		s.attach(m.attach.module, m.to)
	} else {
		s.shift(m.vm, m.to, m.is)
	}
	last := &s.log[len(s.log)-1]
	last.why, last.where, last.winner = m.why, m.where, m.winner
	last.below = m.below && s.goesBelow(last)
}

// legal says whether the VM i may move to h and disks now. Affinity is left aside: it is judged at the end
// of a plan, which compact does not change.
func (s *state) legal(i vmIx, h hostIx, disks []poolIx) bool {
	v, u := &s.vms[i], s.single(i)
	if v.host != h && s.hostRefusal(u, h) != "" || s.mode(v, h, disks) == "" {
		return false
	}
	added, io := map[poolIx]fleet.Bytes{}, map[poolIx]ioUse{}
	for n, p := range disks {
		if _, ok := slices.BinarySearch(s.hosts[h].pools, p); !ok {
			return false
		}
		if p == v.disks[n] {
			if h != v.host && !s.chainReached(v, n, &s.hosts[h]) {
				return false
			}
			continue
		}
		if s.strands(v, h, p) {
			return false
		}
		pool := &s.pools[p]
		added[p] += v.snap.Disks[n].Used
		if s.ioRefusal(p, io[p], v.io(n)) != "" {
			return false
		}
		io[p] = io[p].plus(v.io(n))
		if pool.facts.Tier < max(v.need.Disks[n].Tier, 0) || pool.snap.Source != v.snap.Source || added[p] > s.room(p) {
			return false
		}
	}
	return true
}
