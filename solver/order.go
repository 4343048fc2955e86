package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Ordering: the log is a legal sequence; here its moves go into waves whose moves may run at once. A move that is
// under way counts at both ends, so a wave is legal in any order of completion when each target has room for all that come
// to it in the wave before anything that leaves in it has left. That is linear: a target is charged from the wave of the move on,
// a source is credited from the wave after it.
//
// Moves are taken in the order of the log, and each goes into the earliest wave from which on it does no harm to the moves that
// came before it in the log. Behind the last wave the state is that of the log, where the move is legal: so there
// always is such a wave, and what the log mends by way of a third place needs no thought here.

// order puts the moves of the log into waves and sorts the log by them. The log cannot be undone afterwards.
func (s *state) order() {
	if len(s.log) == 0 {
		return
	}
	w := newWaves(s)
	for n := range s.log {
		s.log[n].wave = w.place(&s.log[n])
	}
	slices.SortStableFunc(s.log, func(a, b move) int { return cmp.Compare(a.wave, b.wave) })
	number(s.log)
}

// number makes the waves of a sorted log follow one another from 1.
func number(log []move) {
	last, n := 0, 0
	for i := range log {
		if log[i].wave != last {
			last = log[i].wave
			n++
		}
		log[i].wave = n
	}
}

// waves is a schedule that grows.
type waves struct {
	s     *state
	hosts []hostLine
	pools []poolLine
	last  []int32 // by VM: the wave of its last move, 0 without one
	limit policy.MoveLimits
	all   quota
	on    map[slot]int // moves of a host, or of a link, in one wave
	parts partings
	top   int32 // the last wave
	floor int32 // the wave of the last move of an I/O module, which has one of its own: what follows comes after it
}

// slot is a host, or a pair of hosts, in one wave. b is none for a host.
type slot struct {
	a, b hostIx
	wave int32
}

// hostLine is what is free on one host in each wave, and whose queues are reserved.
type hostLine struct {
	cpu, memory line
	base        []vmIx // that need queues, before the plan
	queues      []queueEvent
	wired       bool // an I/O module comes to it or leaves it
}

// queueEvent is a VM with queues that comes in a wave, or is gone from one on.
type queueEvent struct {
	wave  int32
	vm    vmIx
	comes bool
}

// poolLine is what is free in one pool above its reserve, in each wave.
type poolLine struct {
	space line
	iops  line // what can be promised still; without an end where the pool has no limit
	rate  line
	moves quota
	// strict: what leaves might not be credited in full, were it to leave in another order than in the log: the pool
	// claims more free than its capacity allows.
	strict bool
	last   int32
}

func newWaves(s *state) *waves {
	w := &waves{
		s: s, hosts: make([]hostLine, len(s.hosts)), pools: make([]poolLine, len(s.pools)), last: make([]int32, len(s.vms)),
		limit: s.p.Moves, on: make(map[slot]int, 2*len(s.log)), parts: newPartings(s),
	}
	for i := range s.hosts {
		w.hosts[i].cpu, w.hosts[i].memory = newLine(int64(s.hosts[i].facts.CPU)), newLine(int64(s.hosts[i].facts.Memory))
	}
	for i := range s.pools {
		p := &s.pools[i]
		w.pools[i].space = newLine(int64(p.snap.Free - p.facts.Reserve))
		w.pools[i].iops, w.pools[i].rate = newLine(limitOr(int64(p.snap.IOPS))), newLine(limitOr(int64(p.snap.Throughput)))
	}
	first := firstPlaces(s)
	for i := range s.vms {
		v, h := &s.vms[i], &w.hosts[first[i]]
		h.cpu.add(1, -int64(v.snap.CPU))
		h.memory.add(1, -int64(v.snap.Memory))
		if len(v.nics) > 0 {
			h.base = append(h.base, vmIx(i)) // fewer VMs than 2^31
		}
		for j := range v.disks {
			if io := v.io(j); io != (ioUse{}) {
				w.promise(s.pool(v.snap.Disks[j].Pool), 1, io, -1)
			}
		}
	}
	w.addLog()
	return w
}

// limitOr is a limit, or more than any sum where there is none.
func limitOr(n int64) int64 {
	if n <= 0 {
		return 1 << 62
	}
	return n
}

// promise changes what a pool can promise still from a wave on.
func (w *waves) promise(p poolIx, wave int32, io ioUse, sign int64) {
	w.pools[p].iops.add(wave, sign*int64(io.iops))
	w.pools[p].rate.add(wave, sign*int64(io.rate))
}

// addLog looks for what the log makes special: pools and hosts.
func (w *waves) addLog() {
	s := w.s
	gains := make([]fleet.Bytes, len(s.pools))
	for n := range s.log {
		m := &s.log[n]
		if m.attach != nil {
			w.hosts[m.to].wired = true
			if m.from != none {
				w.hosts[m.from].wired = true
			}
		}
		for j, p := range m.was {
			if p != m.is[j] {
				gains[p] += m.gained[j]
				room := s.pools[p].snap.Capacity - s.pools[p].snap.Free
				w.pools[p].strict = w.pools[p].strict || gains[p] > room
			}
		}
	}
}

// firstPlaces is the host of each VM before the log.
func firstPlaces(s *state) []hostIx {
	out := make([]hostIx, len(s.vms))
	for i := range s.vms {
		out[i] = s.vms[i].host
	}
	for n := len(s.log) - 1; n >= 0; n-- {
		if s.log[n].attach == nil {
			out[s.log[n].vm] = s.log[n].from
		}
	}
	return out
}

// reserves says whether v has a part of a NIC for itself.
func (v *vmState) reserves() bool { return len(v.nics) > 0 }

// place finds the wave of m and charges the schedule with it.
func (w *waves) place(m *move) int {
	if m.attach != nil {
		w.top++
		w.floor = w.top
		return int(w.top)
	}
	at := max(w.floor+1, w.earliest(m))
	for {
		next := w.within(m, at)
		if next == at {
			break
		}
		at = next
	}
	w.charge(m, at)
	w.top = max(w.top, at)
	return int(at)
}

// earliest is the first wave from which on m does no harm, the limits left aside.
func (w *waves) earliest(m *move) int32 {
	v := &w.s.vms[m.vm]
	at := w.last[m.vm] + 1
	if m.from != m.to {
		to := &w.hosts[m.to]
		if v.snap.CPU > 0 {
			at = max(at, to.cpu.earliest(int64(v.snap.CPU)))
		}
		if v.snap.Memory > 0 {
			at = max(at, to.memory.earliest(int64(v.snap.Memory)))
		}
		at = max(at, w.parts.earliest(m))
	}
	for _, p := range m.is {
		need, io, comes := fleet.Bytes(0), ioUse{}, false
		for k, q := range m.is {
			if q == p && q != m.was[k] {
				need, io, comes = need+v.snap.Disks[k].Used, io.plus(v.io(k)), true
			}
		}
		if comes {
			at = max(at, w.pools[p].earliest(need, io))
		}
	}
	for j, p := range m.was {
		for _, p := range [2]poolIx{p, m.is[j]} {
			if m.was[j] != m.is[j] && w.pools[p].strict {
				at = max(at, w.pools[p].last+1)
			}
		}
	}
	switch {
	case m.from == m.to || !v.reserves():
	case w.hosts[m.to].wired:
		at = max(at, w.top+1) // its NICs are not the same in every wave
	default:
		at = w.queued(m, at)
	}
	return at
}

// earliest is the first wave from which on the pool can take disks of that sum.
func (p *poolLine) earliest(used fleet.Bytes, io ioUse) int32 {
	at := p.space.earliest(int64(used))
	if io.iops > 0 {
		at = max(at, p.iops.earliest(int64(io.iops)))
	}
	if io.rate > 0 {
		at = max(at, p.rate.earliest(int64(io.rate)))
	}
	return at
}

// queued is the first wave from at on in which, and after which, the queues of m's VM can be reserved on its target with
// all that others have there.
func (w *waves) queued(m *move, at int32) int32 {
	line, host := &w.hosts[m.to], &w.s.hosts[m.to]
	ends := []int32{at}
	for _, e := range line.queues {
		if e.wave > at {
			ends = append(ends, e.wave)
		}
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	for k := len(ends) - 1; k >= 0; k-- {
		if w.s.packsThese(host, append(line.at(ends[k]), m.vm)) {
			continue
		}
		if k+1 < len(ends) {
			return ends[k+1]
		}
		return ends[k] + 1 // as legal there as in the log
	}
	return at
}

// at lists the VMs with queues on a host in one wave: those that come count already, those that leave count still.
func (l *hostLine) at(wave int32) []vmIx {
	set := slices.Clone(l.base)
	for _, e := range l.queues {
		switch i := slices.Index(set, e.vm); {
		case e.wave > wave:
		case e.comes && i < 0:
			set = append(set, e.vm)
		case !e.comes && i >= 0:
			set = slices.Delete(set, i, i+1)
		}
	}
	return set
}

// within is the first wave from at on that has room for m under the limits of each host, link and pool, as far as one look at
// each of them tells.
func (w *waves) within(m *move, at int32) int32 {
	at = w.all.from(at)
	for _, sl := range w.slots(m) {
		limit := w.limit.PerHost
		if sl.b != none {
			limit = w.limit.PerLink
		}
		for sl.wave = at; limit > 0 && w.on[sl] >= limit; sl.wave++ {
		}
		at = sl.wave
	}
	for _, p := range touched(m) {
		at = w.pools[p].moves.from(at)
	}
	return at
}

// slots are the hosts and the link that m uses, in no wave yet.
func (w *waves) slots(m *move) []slot {
	if m.from == m.to {
		return []slot{{a: m.from, b: none}}
	}
	return []slot{{a: m.from, b: none}, {a: m.to, b: none}, {a: m.from, b: m.to}}
}

// touched are the pools that m reads or writes, each once.
func touched(m *move) []poolIx {
	var out []poolIx
	for j, p := range m.was {
		for _, q := range [2]poolIx{p, m.is[j]} {
			if p != m.is[j] && !slices.Contains(out, q) {
				out = append(out, q)
			}
		}
	}
	return out
}

// charge enters m into the wave at.
func (w *waves) charge(m *move, at int32) {
	v := &w.s.vms[m.vm]
	w.last[m.vm] = at
	w.all.take(at, w.limit.PerWave)
	for _, sl := range w.slots(m) {
		sl.wave = at
		w.on[sl]++
	}
	for _, p := range touched(m) {
		w.pools[p].moves.take(at, w.limit.PerPool)
		w.pools[p].last = max(w.pools[p].last, at)
	}
	for j, p := range m.was {
		if q := m.is[j]; p != q {
			w.pools[q].space.add(at, -int64(v.snap.Disks[j].Used))
			w.pools[p].space.add(at+1, int64(m.gained[j]))
			w.promise(q, at, v.io(j), -1)
			w.promise(p, at+1, v.io(j), 1)
		}
	}
	if m.from == m.to {
		return
	}
	from, to := &w.hosts[m.from], &w.hosts[m.to]
	to.cpu.add(at, -int64(v.snap.CPU))
	to.memory.add(at, -int64(v.snap.Memory))
	from.cpu.add(at+1, int64(v.snap.CPU))
	from.memory.add(at+1, int64(v.snap.Memory))
	if v.reserves() {
		to.insert(queueEvent{at, m.vm, true})
		from.insert(queueEvent{at + 1, m.vm, false})
	}
	w.parts.charge(m, at)
}

// insert keeps the events by wave; of one VM they come in their order already.
func (l *hostLine) insert(e queueEvent) {
	i := len(l.queues)
	for i > 0 && l.queues[i-1].wave > e.wave {
		i--
	}
	l.queues = slices.Insert(l.queues, i, e)
}
