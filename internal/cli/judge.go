package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// judge says of each VM of a problem what is wrong with its place. It counts as broken just what package
// plan does, and finds words for all of it, not for the first constraint alone.
type judge struct {
	p      *policy.Problem
	onHost map[fleet.HostID][]*fleet.VM
	full   map[fleet.HostID]string // why its VMs are too many; absent: they are not
	spread map[string][]*fleet.VM  // by group
	affine map[string][]*fleet.VM
}

func newJudge(p *policy.Problem) *judge {
	j := &judge{
		p: p, onHost: map[fleet.HostID][]*fleet.VM{}, full: map[fleet.HostID]string{},
		spread: map[string][]*fleet.VM{}, affine: map[string][]*fleet.VM{},
	}
	for i := range p.Snapshot.VMs {
		v := &p.Snapshot.VMs[i]
		j.onHost[v.Host] = append(j.onHost[v.Host], v)
		if g := p.VMs[v.ID].SpreadGroup; g != "" {
			j.spread[g] = append(j.spread[g], v)
		}
		if g := p.VMs[v.ID].AffinityGroup; g != "" {
			j.affine[g] = append(j.affine[g], v)
		}
	}
	for i := range p.Snapshot.Hosts {
		h := &p.Snapshot.Hosts[i]
		if why := j.tooMuch(h); why != "" {
			j.full[h.ID] = why
		}
	}
	return j
}

// tooMuch says which resource of h is promised more than there is of it; "" when none is.
func (j *judge) tooMuch(h *fleet.Host) string {
	var cpu fleet.MilliCPU
	var memory fleet.Bytes
	for _, v := range j.onHost[h.ID] {
		cpu += v.CPU
		memory += v.Memory
	}
	switch facts := j.p.Hosts[h.ID]; {
	case cpu > facts.CPU:
		return fmt.Sprintf("its host promises %s of %s CPU", cpu, facts.CPU)
	case memory > facts.Memory:
		return fmt.Sprintf("its host promises %s of %s memory", fleet.FormatBytes(memory), fleet.FormatBytes(facts.Memory))
	}
	return ""
}

// queuesShort says whether the NIC queues reserved on h are more than its NICs have.
func (j *judge) queuesShort(h *fleet.Host) bool {
	var needs []plan.QueueNeed
	for _, v := range j.onHost[h.ID] {
		if need := j.p.VMs[v.ID]; need.Queues > 0 {
			needs = append(needs, plan.QueueNeed{Class: need.NICClass, Queues: need.Queues})
		}
	}
	rooms := make([]plan.QueueRoom, 0, len(h.NICs))
	for i := range h.NICs {
		rooms = append(rooms, plan.QueueRoom{Class: nicClass(j.p, h, &h.NICs[i]), Free: h.NICs[i].Queues})
	}
	return len(needs) > 0 && !plan.PackQueues(rooms, needs)
}

// wrong says what is wrong with the place of v; nothing when it is right.
func (j *judge) wrong(v *fleet.VM) []string {
	h := j.p.Snapshot.Host(v.Host)
	need := j.p.VMs[v.ID]
	var why []string
	if src := j.p.Snapshot.Source(h.Source); !h.Unreachable {
		if !src.Reachable {
			why = append(why, "its source could not be seen")
		}
		why = append(why, j.wrongHost(v, h)...)
		why = append(why, j.wrongPools(v, h)...)
	}
	if full := j.full[h.ID]; full != "" {
		why = append(why, full)
	}
	if need.Queues > 0 && j.queuesShort(h) {
		why = append(why, "its host's NICs have fewer queues than are reserved")
	}
	for _, u := range j.affine[need.AffinityGroup] {
		if u.Host != v.Host {
			why = append(why, fmt.Sprintf("is not with %s of affinity group %s", u.ID, need.AffinityGroup))
			break
		}
	}
	for _, u := range j.spread[need.SpreadGroup] {
		if d := j.sharedDomain(u, v); u != v && d != "" {
			why = append(why, fmt.Sprintf("shares %s with %s of spread group %s", d, u.ID, need.SpreadGroup))
			break
		}
	}
	return why
}

func (j *judge) wrongHost(v *fleet.VM, h *fleet.Host) []string {
	facts, need := j.p.Hosts[h.ID], j.p.VMs[v.ID]
	var why []string
	if h.Maintenance {
		why = append(why, "host is in maintenance")
	}
	if facts.Tier < max(need.Server, 0) {
		why = append(why, fmt.Sprintf("host is %s, needs %s", tierName(j.p.ServerTiers, facts.Tier), tierName(j.p.ServerTiers, need.Server)))
	}
	if facts.Security < need.Security {
		classes := j.p.SecurityClasses
		why = append(why, fmt.Sprintf("host has security class %s, needs %s",
			tierName(classes, policy.Rank(facts.Security)), tierName(classes, policy.Rank(need.Security))))
	}
	for _, n := range v.VNICs {
		if len(h.Networks) > 0 && n.Network != "" && !slices.Contains(h.Networks, n.Network) {
			why = append(why, "host has no network "+n.Network)
		}
	}
	if best := bestNIC(j.p, h); best < need.NICClass {
		why = append(why, fmt.Sprintf("host's best NIC is class %d, needs %d", best, need.NICClass))
	}
	return why
}

func (j *judge) wrongPools(v *fleet.VM, h *fleet.Host) []string {
	need := j.p.VMs[v.ID]
	var why []string
	for i, d := range v.Disks {
		if have := j.p.Pools[d.Pool].Tier; have < max(need.Disks[i].Tier, 0) {
			why = append(why, fmt.Sprintf("disk %s is on %s, needs %s", d.ID, tierName(j.p.PoolTiers, have), tierName(j.p.PoolTiers, need.Disks[i].Tier)))
		}
		if !slices.Contains(h.Pools, d.Pool) {
			why = append(why, fmt.Sprintf("host does not reach pool %s of disk %s", d.Pool, d.ID))
		}
	}
	return why
}

// sharedDomain is the failure domain that u and v share although one of them is to be alone in it.
func (j *judge) sharedDomain(u, v *fleet.VM) string {
	a, b := j.p.Snapshot.Host(u.Host), j.p.Snapshot.Host(v.Host)
	for _, k := range []policy.Domain{j.p.VMs[u.ID].SpreadDomain, j.p.VMs[v.ID].SpreadDomain} {
		if d := plan.DomainOf(k, a); d == plan.DomainOf(k, b) {
			return d
		}
	}
	return ""
}

func nicClass(p *policy.Problem, h *fleet.Host, n *fleet.NIC) fleet.NICClass {
	if c, ok := p.Hosts[h.ID].NICClass[n.ID]; ok {
		return c
	}
	return n.Class
}

func bestNIC(p *policy.Problem, h *fleet.Host) fleet.NICClass {
	var best fleet.NICClass
	for i := range h.NICs {
		best = max(best, nicClass(p, h, &h.NICs[i]))
	}
	return best
}

func tierName(names []string, r policy.Rank) string {
	if r < 0 || int(r) >= len(names) {
		return "unranked"
	}
	return names[r]
}

// trustOf joins what the labels of the disks of v came to, each outcome once, in disk order.
func trustOf(v *fleet.VM) string {
	var out []string
	for _, d := range v.Disks {
		t := string(d.Label.Trust)
		if t != "" && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return string(fleet.TrustNone)
	}
	return strings.Join(out, ", ")
}

// poolsOf lists the pools of the disks of a placement, each once.
func poolsOf(disks []fleet.DiskPlace) string {
	var out []string
	for _, d := range disks {
		if !slices.Contains(out, string(d.Pool)) {
			out = append(out, string(d.Pool))
		}
	}
	return strings.Join(out, ", ")
}
