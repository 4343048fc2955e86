package solver

import (
	"slices"
)

// Bounds of takeBack: pairs of VMs looked at, and logs replayed.
const (
	maxTakePairs   = 500_000
	maxTakeReplays = 64
)

// takeBack looks for a move that mended a VM and thereby took the place of one of higher priority, which has
// become possible only later: it strikes the lower one's moves from the log, where all others stay legal, and
// places the higher one. It says whether it did.
func (x *search) takeBack() bool {
	pairs, replays := maxTakePairs, maxTakeReplays
	var moved []unitIx
	var first map[vmIx]int
	for _, ui := range x.pending() {
		u := &x.units[ui]
		if moved == nil {
			moved, first = x.movedUnits()
		}
		for _, wi := range moved {
			w := &x.units[wi]
			if pairs--; pairs < 0 || replays <= 0 || x.over() {
				return false
			}
			if w.priority >= u.priority || wi == ui || !x.fitsWithout(u, w, first) {
				continue
			}
			replays--
			if x.strike(u, w) {
				return true
			}
		}
	}
	return false
}

// movedUnits lists the units with a move in the log, lowest priority first, and gives the first move of each VM.
func (s *state) movedUnits() ([]unitIx, map[vmIx]int) {
	first := make(map[vmIx]int, len(s.log))
	var out []unitIx
	for n := range s.log {
		i := s.log[n].vm
		if _, ok := first[i]; ok || i == none {
			continue
		}
		first[i] = n
		out = append(out, s.vms[i].unit)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	s.sortVictims(out)
	return out, first
}

// fitsWithout says whether u has a place where w is now, were w where it was before the plan.
func (s *state) fitsWithout(u, w *unit, first map[vmIx]int) bool {
	h := s.vms[w.vms[0]].host
	if s.fixedRefusal(u, h) != "" && s.fixedRefusal(u, s.vms[u.vms[0]].host) != "" {
		return false // the usual case, at no cost
	}
	mark := len(s.log)
	hosts := []hostIx{h}
	for _, i := range w.vms {
		for _, p := range s.vms[i].disks {
			hosts = append(hosts, s.pools[p].hosts[:min(len(s.pools[p].hosts), maxFreed)]...)
		}
		if n, ok := first[i]; ok {
			s.shift(i, s.log[n].from, s.log[n].was)
		}
	}
	slices.Sort(hosts)
	ok := slices.ContainsFunc(slices.Compact(hosts), func(h hostIx) bool {
		_, refused := s.fit(u, h, anywhere)
		return refused == ""
	})
	s.undo(mark)
	return ok
}

// strike takes the moves of w out of the log and places u, or leaves all as it is.
func (x *search) strike(u, w *unit) bool {
	all := slices.Clone(x.log)
	rest := slices.DeleteFunc(slices.Clone(all), func(m move) bool { return slices.Contains(w.vms, m.vm) })
	if x.replay(0, rest) {
		if p, ok := x.find(u, anywhere, x.opts.Seed); ok && x.commit(u, p, x.whyWrong) {
			return true
		}
	}
	x.replayAll(0, all)
	return false
}
