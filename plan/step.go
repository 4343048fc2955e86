package plan

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// change is what one step changes.
type change struct {
	host, storage bool
	copied        fleet.Bytes
}

func changeOf(v *vmAt, to fleet.Placement) change {
	c := change{host: v.at.Host != to.Host}
	for i, d := range to.Disks {
		if d.Pool != v.at.Disks[i].Pool {
			c.storage = true
			c.copied += v.vm.Disks[i].Used
		}
	}
	return c
}

// down says whether the change in the mode m stops a guest that runs.
func (c change) down(v *fleet.VM, m fleet.Mode) bool {
	return m != fleet.Live && v.Power == fleet.Running
}

// unknown says what to names that there is not; "" when all is known.
func (w *world) unknown(v *vmAt, to fleet.Placement) string {
	if w.hosts[to.Host] == nil {
		return fmt.Sprintf("there is no host %q", to.Host)
	}
	if len(to.Disks) != len(v.vm.Disks) {
		return fmt.Sprintf("places %d disks of %d", len(to.Disks), len(v.vm.Disks))
	}
	for i, d := range to.Disks {
		if d.Disk != v.vm.Disks[i].ID {
			return fmt.Sprintf("places disk %q, expected %q", d.Disk, v.vm.Disks[i].ID)
		}
		if _, ok := w.free[d.Pool]; !ok {
			return fmt.Sprintf("there is no pool %q", d.Pool)
		}
	}
	return ""
}

// refusal is one constraint and why it refuses; the zero value refuses nothing.
type refusal struct{ constraint, detail string }

// hostRefusal is the first constraint by which a host is no place for v whatever else is on it.
func (w *world) hostRefusal(v *vmAt, id fleet.HostID) refusal {
	h := w.hostOf(v, id)
	src := w.p.Snapshot.Source(h.host.Source)
	switch need := v.need; {
	case h.host.Source != v.vm.Source:
		return refusal{ConstraintSource, fmt.Sprintf("host %s is of source %s, the VM of %s", id, h.host.Source, v.vm.Source)}
	case h.host.Unreachable || !src.Reachable:
		return refusal{ConstraintUnreachable, fmt.Sprintf("host %s could not be seen", id)}
	case h.host.Maintenance:
		return refusal{ConstraintMaintenance, fmt.Sprintf("host %s is in maintenance", id)}
	case len(need.Hypervisors) > 0 && !slices.Contains(need.Hypervisors, h.host.Hypervisor):
		return refusal{ConstraintHypervisor, fmt.Sprintf("host %s is of %s, needs %v", id, h.host.Hypervisor, need.Hypervisors)}
	case v.vm.Guest != "" && len(h.host.Guests) > 0 && !slices.Contains(h.host.Guests, v.vm.Guest):
		return refusal{ConstraintGuest, fmt.Sprintf("host %s does not run guests of type %s", id, v.vm.Guest)}
	case v.vm.CPUBaseline != "" && len(h.host.CPUBaselines) > 0 && !slices.Contains(h.host.CPUBaselines, v.vm.CPUBaseline):
		return refusal{ConstraintCPUModel, fmt.Sprintf("host %s lacks the processor baseline %s", id, v.vm.CPUBaseline)}
	case h.facts.Tier < max(need.Server, 0):
		return refusal{ConstraintServerTier, fmt.Sprintf("host %s is of tier %s, needs %s", id, w.p.ServerTier(h.facts.Tier),
			w.p.ServerTier(need.Server))}
	case h.facts.Security < need.Security:
		return refusal{ConstraintSecurity, fmt.Sprintf("host %s is of class %s, needs %s", id, w.p.SecurityClass(h.facts.Security),
			w.p.SecurityClass(need.Security))}
	}
	if len(h.host.Networks) > 0 {
		for _, n := range v.vm.VNICs {
			if n.Network != "" && !slices.Contains(h.host.Networks, n.Network) {
				return refusal{ConstraintNetwork, fmt.Sprintf("host %s has no network %s", id, n.Network)}
			}
		}
	}
	if !h.hasClass(v.need.NICClass) {
		return refusal{ConstraintNICClass, fmt.Sprintf("host %s has no NIC of class %d", id, v.need.NICClass)}
	}
	return refusal{}
}

// host checks the arrival of v on a new host. While the step lasts v counts at both ends; the source gains
// nothing, so that only the target has to be looked at.
func (c *checker) host(v *vmAt, id fleet.HostID, displaced bool) {
	if r := c.w.arrivalRefusal(v, id, displaced); r.constraint != "" {
		c.say(r.constraint, "%s", r.detail)
	}
	h := c.w.hosts[id]
	if sum := h.cpu + v.vm.CPU; v.vm.CPU > 0 && sum > h.facts.CPU {
		c.say(ConstraintCPU, "host %s would have promised %s of %s threads", id, sum, h.facts.CPU)
	}
	if sum := h.memory + v.vm.Memory; v.vm.Memory > 0 && sum > h.facts.Memory {
		c.say(ConstraintMemory, "host %s would have promised %s of %s", id, fleet.FormatBytes(sum), fleet.FormatBytes(h.facts.Memory))
	}
	if len(v.nics) > 0 {
		switch h.nicRefusal(v.nics...) {
		case ConstraintNICQueues:
			c.say(ConstraintNICQueues, "host %s has no NIC of class %d with %d queues left", id, v.need.NICClass, v.need.Queues)
		case ConstraintNICRate:
			c.say(ConstraintNICRate, "host %s has no NICs of class %d that can promise %s beside what they have promised", id,
				v.need.NICClass, rateText(v.nics))
		}
	}
	if v.need.SpreadGroup == "" {
		return
	}
	for _, other := range c.w.spread[v.need.SpreadGroup] {
		if u := c.w.vms[other]; u != v && c.w.conflict(u, v, id) && !c.w.conflict(u, v, v.at.Host) {
			c.say(ConstraintSpread, "host %s is in one failure domain with %s of group %s", id, other, v.need.SpreadGroup)
			return
		}
	}
}

// reachRefusal says which disk would lie where to.Host cannot reach it, or not with its backing chain.
func (w *world) reachRefusal(v *vmAt, to fleet.Placement) string {
	pools := w.hostOf(v, to.Host).host.Pools
	for i, d := range to.Disks {
		if !slices.Contains(pools, d.Pool) {
			return fmt.Sprintf("host %s does not reach pool %s of disk %s", to.Host, d.Pool, d.Disk)
		}
		if to.Host == v.at.Host || d.Pool != v.at.Disks[i].Pool || v.flat[i] {
			continue // the chain goes along with a disk that moves
		}
		for _, l := range v.vm.Disks[i].Chain {
			if !slices.Contains(pools, l.Pool) {
				return fmt.Sprintf("host %s does not reach pool %s of the backing chain of disk %s", to.Host, l.Pool, d.Disk)
			}
		}
	}
	return ""
}

// storage checks the pools of a step. Both ends of a move take room while it lasts: the target's is gone
// before the source's is free.
func (c *checker) storage(v *vmAt, to fleet.Placement, displaced bool) {
	if r := c.w.reachRefusal(v, to); r != "" {
		c.say(ConstraintPoolReach, "%s", r)
	}
	added, io := map[fleet.PoolID]fleet.Bytes{}, map[fleet.PoolID]ioUse{}
	for i, d := range to.Disks {
		if d.Pool == v.at.Disks[i].Pool {
			continue
		}
		facts, need := c.w.p.Pools[d.Pool], v.need.Disks[i]
		if facts.Tier < max(need.Tier, 0) && (!displaced || facts.Tier < 0) {
			c.say(ConstraintPoolTier, "pool %s is of tier %s, disk %s needs %s", d.Pool, c.w.p.PoolTier(facts.Tier), d.Disk,
				c.w.p.PoolTier(need.Tier))
		}
		if s := c.w.p.Snapshot.Pool(d.Pool).Source; s != v.vm.Source {
			c.say(ConstraintSource, "pool %s is of source %s, the VM of %s", d.Pool, s, v.vm.Source)
		}
		added[d.Pool] += v.vm.Disks[i].Used
		if room := c.w.free[d.Pool] - facts.Reserve; added[d.Pool] > room {
			c.say(ConstraintPoolSpace, "pool %s has %s above its reserve, needs %s", d.Pool, fleet.FormatBytes(max(room, 0)),
				fleet.FormatBytes(added[d.Pool]))
		}
		u := io[d.Pool]
		io[d.Pool] = ioUse{u.iops + need.IOPS, u.rate + need.Throughput}
		if need.IOPS > 0 || need.Throughput > 0 {
			c.promise(d.Pool, io[d.Pool])
		}
	}
}

// promise checks what a pool would have promised with more.
func (c *checker) promise(p fleet.PoolID, more ioUse) {
	pool, u := c.w.p.Snapshot.Pool(p), c.w.used[p]
	switch c.w.ioRefusal(p, more) {
	case ConstraintPoolIOPS:
		c.say(ConstraintPoolIOPS, "pool %s would have promised %d of %d operations a second", p, u.iops+more.iops, pool.IOPS)
	case ConstraintPoolThroughput:
		c.say(ConstraintPoolThroughput, "pool %s would have promised %d of %d MB/s", p, u.rate+more.rate, pool.Throughput)
	}
}

// rateText adds up the bandwidths of needs.
func rateText(needs []QueueNeed) string {
	var sum fleet.Mbps
	for _, n := range needs {
		sum += n.Rate
	}
	return sum.String()
}

func (c *checker) mode(v *vmAt, st *Step, displaced bool) {
	ch := changeOf(v, st.Move.To)
	src := c.w.p.Snapshot.Source(v.vm.Source)
	if m := st.Move.Mode; m != fleet.Live && m != fleet.Offline {
		c.say(ConstraintMode, "%q is no mode", m)
	} else if r := ModeRefusal(src.Capabilities, v.vm, m, ch.host, ch.storage); r != "" {
		c.say(ConstraintMode, "%s: %s", m, r)
	}
	var want []Risk
	if ch.down(v.vm, st.Move.Mode) {
		want = []Risk{RiskDowntime}
	}
	if displaced && c.w.below(v, st.Move.To) {
		want = append(want, RiskDisplaced)
	}
	if !slices.Equal(st.Risks, want) {
		c.say(ConstraintRisk, "declares %v, expected %v", st.Risks, want)
	}
	if c.own && st.Bytes != ch.copied { // a disk may have grown since
		c.say(ConstraintDetails, "says that it copies %d bytes, it copies %d", st.Bytes, ch.copied)
	}
}
