package plan

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Limits bounds how many steps of a wave run at once.
type Limits = policy.MoveLimits

// Waves cuts steps, which are sorted by their wave, into the waves.
func Waves(steps []Step) [][]Step {
	var out [][]Step
	for i := 0; i < len(steps); {
		n := i + 1
		for n < len(steps) && steps[n].Wave == steps[i].Wave {
			n++
		}
		out = append(out, steps[i:n])
		i = n
	}
	return out
}

// numbers checks the numbers of the waves: they never decrease, and those of a whole plan follow one another from 1.
func (c *checker) numbers(steps []Step) {
	last := 0
	for i := range steps {
		st := &steps[i]
		c.at, c.vm = st.N, st.Move.VM.ID
		switch n := st.Wave; {
		case c.own && n < 1 || n < last:
			c.say(ConstraintWave, "is in wave %d, after one of wave %d", n, last)
		case c.own && n > last+1:
			c.say(ConstraintWave, "is in wave %d, and there is no wave %d", n, last+1)
		default:
			last = n
		}
	}
	c.at, c.vm = 0, ""
}

// wave checks that the steps of one wave may run in any order and at once, from the state before all of them. Each alone
// is checked by step. Here all are under way at once, which is the worst that can be: every VM counts at both of
// its ends. A state in which fewer are under way, or some are done, has no more on any host and in any pool, and
// VMs of a spread group in no other places.
func (c *checker) wave(steps []Step) {
	if len(steps) < 2 {
		return
	}
	seen := map[fleet.VMID]bool{}
	var moves []under
	for i := range steps {
		st := &steps[i]
		c.at, c.vm = st.N, st.Move.VM.ID
		if st.Attach != nil {
			c.say(ConstraintWave, "moves an I/O module: it may share wave %d with no other step", st.Wave)
			continue
		}
		if seen[c.vm] {
			c.say(ConstraintWave, "is the second step of its VM in wave %d", st.Wave)
			continue
		}
		seen[c.vm] = true
		if v := c.w.vms[c.vm]; v != nil && c.w.unknown(v, st.Move.To) == "" {
			moves = append(moves, under{st, v})
		}
	}
	c.crowded(moves)
	c.meet(moves)
	c.limits(moves)
	c.at, c.vm = 0, ""
}

// under is a step under way and its VM, which is still at the step's start.
type under struct {
	st *Step
	v  *vmAt
}

// crowded checks hosts and pools with every step of the wave under way.
func (c *checker) crowded(moves []under) {
	type arrival struct {
		cpu    fleet.MilliCPU
		memory fleet.Bytes
		queues []QueueNeed
	}
	hosts := map[fleet.HostID]*arrival{}
	pools, rates := map[fleet.PoolID]fleet.Bytes{}, map[fleet.PoolID]ioUse{}
	for _, m := range moves {
		to := m.st.Move.To
		for i, d := range to.Disks {
			if d.Pool != m.v.at.Disks[i].Pool {
				pools[d.Pool] += m.v.vm.Disks[i].Used
				u := rates[d.Pool]
				rates[d.Pool] = ioUse{u.iops + m.v.need.Disks[i].IOPS, u.rate + m.v.need.Disks[i].Throughput}
			}
		}
		if to.Host == m.v.at.Host {
			continue
		}
		a := hosts[to.Host]
		if a == nil {
			a = &arrival{}
			hosts[to.Host] = a
		}
		a.cpu += m.v.vm.CPU
		a.memory += m.v.vm.Memory
		a.queues = append(a.queues, m.v.nics...)
	}
	for _, m := range moves {
		c.at, c.vm = m.st.N, m.v.vm.ID
		to := m.st.Move.To
		if a := hosts[to.Host]; to.Host != m.v.at.Host {
			h := c.w.hosts[to.Host]
			switch {
			case m.v.vm.CPU > 0 && h.cpu+a.cpu > h.facts.CPU:
				c.say(ConstraintWave, "%s: with all of wave %d under way host %s would have promised %s of %s threads", ConstraintCPU,
					m.st.Wave, to.Host, h.cpu+a.cpu, h.facts.CPU)
			case m.v.vm.Memory > 0 && h.memory+a.memory > h.facts.Memory:
				c.say(ConstraintWave, "%s: with all of wave %d under way host %s would have promised %s of %s", ConstraintMemory, m.st.Wave,
					to.Host, fleet.FormatBytes(h.memory+a.memory), fleet.FormatBytes(h.facts.Memory))
			case len(m.v.nics) > 0 && !h.packs(a.queues...):
				c.say(ConstraintWave, "%s: with all of wave %d under way host %s has too little left", h.nicRefusal(a.queues...), m.st.Wave, to.Host)
			}
		}
		for i, d := range to.Disks {
			if n := m.v.need.Disks[i]; d.Pool != m.v.at.Disks[i].Pool && (n.IOPS > 0 || n.Throughput > 0) {
				if r := c.w.ioRefusal(d.Pool, rates[d.Pool]); r != "" {
					c.say(ConstraintWave, "%s: with all of wave %d under way pool %s cannot promise as much", r, m.st.Wave, d.Pool)
				}
			}
			if room := c.w.free[d.Pool] - c.w.p.Pools[d.Pool].Reserve; d.Pool != m.v.at.Disks[i].Pool && pools[d.Pool] > room {
				c.say(ConstraintWave, "%s: with all of wave %d under way pool %s has %s above its reserve, needs %s", ConstraintPoolSpace,
					m.st.Wave, d.Pool, fleet.FormatBytes(max(room, 0)), fleet.FormatBytes(pools[d.Pool]))
				break
			}
		}
	}
}

// meet checks that no two steps of the wave can bring VMs of one spread group into a failure domain that they do not share
// already: for each, the other may be at its start or at its end.
func (c *checker) meet(moves []under) {
	groups := map[string][]under{}
	for _, m := range moves {
		g := m.v.need.SpreadGroup
		if g == "" || m.st.Move.To.Host == m.v.at.Host {
			continue
		}
		for _, other := range groups[g] {
			c.at, c.vm = m.st.N, m.v.vm.ID
			if host := c.w.meets(other, m); host != "" {
				c.say(ConstraintWave, "%s: while %s moves in wave %d too, both can be in one failure domain of host %s", ConstraintSpread,
					other.v.vm.ID, m.st.Wave, host)
			}
		}
		groups[g] = append(groups[g], m)
	}
}

// meets gives the host to which one of a and b, of one spread group, can come while the other is, at an end of its
// own step, in the same failure domain, and was not before; "" when there is none.
func (w *world) meets(a, b under) fleet.HostID {
	for _, pair := range [2][2]under{{a, b}, {b, a}} {
		comes, other := pair[0], pair[1]
		to := comes.st.Move.To.Host
		for _, at := range [2]fleet.HostID{other.v.at.Host, other.st.Move.To.Host} {
			ghost := *other.v
			ghost.at = fleet.Placement{Host: at}
			if w.conflict(&ghost, comes.v, to) && !w.conflict(&ghost, comes.v, comes.v.at.Host) {
				return to
			}
		}
	}
	return ""
}

// limits checks how many steps of one wave use a host, a link and a pool.
func (c *checker) limits(moves []under) {
	l := c.w.p.Moves
	used := map[string]int{}
	take := func(limit int, what string) {
		if used[what]++; limit > 0 && used[what] > limit {
			c.say(ConstraintWave, "is number %d of its wave %s, the limit is %d", used[what], what, limit)
		}
	}
	for _, m := range moves {
		c.at, c.vm = m.st.N, m.v.vm.ID
		from, to := m.v.at, m.st.Move.To
		take(l.PerWave, "in all")
		take(l.PerHost, fmt.Sprintf("on host %s", from.Host))
		if from.Host != to.Host {
			take(l.PerHost, fmt.Sprintf("on host %s", to.Host))
			take(l.PerLink, fmt.Sprintf("from host %s to host %s", from.Host, to.Host))
		}
		var pools []fleet.PoolID
		for i, d := range to.Disks {
			if p := from.Disks[i].Pool; p != d.Pool {
				pools = append(pools, p, d.Pool)
			}
		}
		slices.Sort(pools)
		for _, p := range slices.Compact(pools) {
			take(l.PerPool, fmt.Sprintf("on pool %s", p))
		}
	}
}
