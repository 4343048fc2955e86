package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// shift moves a VM and logs it. Nothing is judged here.
func (s *state) shift(i vmIx, to hostIx, disks []poolIx) {
	v := &s.vms[i]
	m := move{vm: i, from: v.host, to: to, was: v.disks, is: slices.Clone(disks), wasFlat: v.flat, gained: make([]fleet.Bytes, len(disks))}
	v.flat = slices.Clone(v.flat)
	for j, p := range disks {
		from, d := v.disks[j], &v.snap.Disks[j]
		if from == p {
			continue
		}
		left := &s.pools[from]
		m.gained[j] = min(plan.Freed(d, v.flat[j]), left.snap.Capacity-left.free)
		left.free += m.gained[j]
		s.leftPool(from)
		s.pools[p].free -= d.Used
		left.io = left.io.minus(v.io(j))
		s.pools[p].io = s.pools[p].io.plus(v.io(j))
		v.flat[j] = true
	}
	s.rehost(i, v.host, to)
	s.keep(i, v.host, to, m.is)
	s.unjudge(v)
	v.host, v.disks = to, m.is
	v.moves++
	s.log = append(s.log, m)
}

// unjudge forgets what was found of the unit of v.
func (s *state) unjudge(v *vmState) {
	if v.unit != none {
		s.units[v.unit].epoch = 0
	}
}

// source is the index of a source in the snapshot, none when there is none.
func (s *state) source(id fleet.SourceID) int32 {
	i, ok := slices.BinarySearchFunc(s.p.Snapshot.Sources, id, func(x fleet.Source, id fleet.SourceID) int { return cmp.Compare(x.ID, id) })
	if !ok {
		return none
	}
	return int32(i) // a snapshot has fewer sources than 2^31
}

func (s *state) rehost(i vmIx, from, to hostIx) {
	if from == to {
		return
	}
	s.leave(i, from)
	s.left(from)
	s.enter(i, to)
	s.index.update(s, from)
	s.index.update(s, to)
}

// undo takes the log back to its first n moves.
func (s *state) undo(n int) {
	for len(s.log) > n {
		m := s.log[len(s.log)-1]
		s.log = s.log[:len(s.log)-1]
		if m.attach != nil {
			s.detach(&m)
			continue
		}
		v := &s.vms[m.vm]
		for j, p := range m.is {
			if from := m.was[j]; from != p {
				s.pools[p].free += v.snap.Disks[j].Used
				s.leftPool(p)
				s.pools[from].free -= m.gained[j]
				s.pools[p].io = s.pools[p].io.minus(v.io(j))
				s.pools[from].io = s.pools[from].io.plus(v.io(j))
			}
		}
		s.rehost(m.vm, m.to, m.from)
		s.keep(m.vm, m.to, m.from, m.was)
		s.unjudge(v)
		v.host, v.disks, v.flat = m.from, m.was, m.wasFlat
		v.moves--
	}
	if s.reserve != nil {
		s.reserve.Revive()
	}
}
