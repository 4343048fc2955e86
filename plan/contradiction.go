package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// maxContradictions bounds what Contradictions lists.
const maxContradictions = 100

// Contradictions says what of p no plan could ever satisfy, whatever is moved: needs that exclude each other, and needs that no host or
// pool of the fleet can meet. Each is one line that names both sides; at most 100. A VM has one affinity group and one spread group, so that
// affinity is never a circle of its own: what is contradictory is an affinity group with two VMs of one spread group.
func Contradictions(p *policy.Problem) []string {
	w, err := newWorld(p)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	say := func(format string, args ...any) {
		if len(out) < maxContradictions {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	w.impossibleGroups(say)
	w.impossibleSpreads(say)
	w.impossibleNeeds(say)
	w.nothingToPromise(say)
	return out
}

type sayer func(format string, args ...any)

func groupNames(groups map[string][]fleet.VMID) []string {
	out := make([]string, 0, len(groups))
	for g := range groups {
		out = append(out, g)
	}
	slices.Sort(out)
	return out
}

// firstFew joins names, at most five.
func firstFew(ids []fleet.VMID) string {
	names := make([]string, 0, 5)
	for _, id := range ids[:min(len(ids), 5)] {
		names = append(names, string(id))
	}
	if more := len(ids) - len(names); more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	return strings.Join(names, ", ")
}

// impossibleGroups finds affinity groups that no host could hold.
func (w *world) impossibleGroups(say sayer) {
	for _, g := range groupNames(w.affine) {
		members := w.affine[g]
		if len(members) < 2 {
			continue
		}
		first := w.vms[members[0]]
		spread := map[string]fleet.VMID{}
		var cpu fleet.MilliCPU
		var memory fleet.Bytes
		for _, id := range members {
			v := w.vms[id]
			cpu += v.vm.CPU
			memory += v.vm.Memory
			if s := v.need.SpreadGroup; s != "" {
				if other, ok := spread[s]; ok {
					say("%s and %s have to be on one host (affinity group %s) and apart (spread group %s)", other, id, g, s)
				}
				spread[s] = id
			}
			if v.vm.Source != first.vm.Source {
				say("%s and %s have to be on one host (affinity group %s), but are of the sources %s and %s, between which nothing moves",
					members[0], id, g, first.vm.Source, v.vm.Source)
			}
		}
		if h := w.largest(first.vm.Source); cpu > h.CPU || memory > h.Memory {
			say("affinity group %s (%s) needs %s threads and %s on one host; the most that a host of source %s promises is %s threads, and %s",
				g, firstFew(members), cpu, fleet.FormatBytes(memory), first.vm.Source, h.CPU, fleet.FormatBytes(h.Memory))
		}
	}
}

// largest is the most CPU, and the most memory, that a host of a source can promise.
func (w *world) largest(source fleet.SourceID) policy.HostFacts {
	var most policy.HostFacts
	for _, h := range w.hosts {
		if h.host.Source == source {
			most.CPU, most.Memory = max(most.CPU, h.facts.CPU), max(most.Memory, h.facts.Memory)
		}
	}
	return most
}

// impossibleSpreads finds spread groups with more VMs than there are failure domains, and held VMs in one.
func (w *world) impossibleSpreads(say sayer) {
	for _, g := range groupNames(w.spread) {
		members := w.spread[g]
		for _, k := range policy.Domains() {
			asking, domains := 0, map[string]bool{}
			sources := map[fleet.SourceID]bool{}
			for _, id := range members {
				v := w.vms[id]
				sources[v.vm.Source] = true
				if v.need.SpreadDomain == k {
					asking++
				}
			}
			for _, h := range w.hosts {
				if sources[h.host.Source] && !h.host.Maintenance && !h.host.Unreachable {
					domains[DomainOf(k, h.host)] = true
				}
			}
			if asking > len(domains) {
				say("%d VMs of spread group %s (%s) need a %s each, and there are %d", asking, g, firstFew(members), k, len(domains))
			}
		}
		w.heldTogether(g, members, say)
	}
}

func (w *world) heldTogether(g string, members []fleet.VMID, say sayer) {
	type place struct {
		kind   policy.Domain
		domain string
	}
	at := map[place]fleet.VMID{}
	for _, id := range members {
		v := w.vms[id]
		if HoldReason(w.p, v.vm) == "" {
			continue
		}
		key := place{v.need.SpreadDomain, DomainOf(v.need.SpreadDomain, w.hosts[v.at.Host].host)}
		if other, ok := at[key]; ok {
			say("%s and %s have to be apart (spread group %s), and both are held in one %s: %s", other, id, g, key.kind, HoldReason(w.p, v.vm))
		}
		at[key] = id
	}
}

// kind is what all VMs have in common that the same hosts can take when they are empty.
type kind struct {
	source                 fleet.SourceID
	level, hypervisors     string
	server                 policy.Rank
	security               int
	class                  fleet.NICClass
	guest, baseline, disks string
}

// impossibleNeeds finds kinds of VMs that no host of their source could run were it empty, and those larger than any host.
func (w *world) impossibleNeeds(say sayer) {
	by, largest := map[kind][]fleet.VMID{}, map[fleet.SourceID]policy.HostFacts{}
	var kinds []kind
	for i := range w.p.Snapshot.VMs {
		v := w.vms[w.p.Snapshot.VMs[i].ID]
		k := kind{
			source: v.vm.Source, level: v.need.Level, hypervisors: fmt.Sprint(v.need.Hypervisors), server: v.need.Server, security: v.need.Security,
			class: v.need.NICClass, guest: v.vm.Guest, baseline: v.vm.CPUBaseline,
		}
		for _, d := range v.need.Disks {
			k.disks += fmt.Sprint(d.Tier, " ")
		}
		if by[k] == nil {
			kinds = append(kinds, k)
		}
		by[k] = append(by[k], v.vm.ID)
		most, ok := largest[v.vm.Source]
		if !ok {
			most = w.largest(v.vm.Source)
			largest[v.vm.Source] = most
		}
		if most.CPU > 0 && most.Memory > 0 && (v.vm.CPU > most.CPU || v.vm.Memory > most.Memory) {
			say("%s needs %s threads and %s; the most that a host of source %s promises is %s threads, and %s", v.vm.ID, v.vm.CPU,
				fleet.FormatBytes(v.vm.Memory), v.vm.Source, most.CPU, fleet.FormatBytes(most.Memory))
		}
	}
	for _, k := range kinds {
		w.impossibleKind(k, by[k], say)
	}
}

// impossibleKind says by what all hosts of their source refuse VMs of one kind.
func (w *world) impossibleKind(k kind, members []fleet.VMID, say sayer) {
	v := w.vms[members[0]]
	count := map[string]int{}
	hosts := 0
	for i := range w.p.Snapshot.Hosts {
		h := w.hosts[w.p.Snapshot.Hosts[i].ID]
		if h.host.Source != k.source || h.host.Unreachable {
			continue
		}
		hosts++
		r := w.hostRefusal(v, h.host.ID).constraint
		if r == ConstraintMaintenance {
			continue // it may come back
		}
		if r == "" && !w.storesKind(v, h) {
			r = ConstraintPoolTier
		}
		if r == "" {
			return
		}
		count[r]++
	}
	var parts []string
	refused := 0
	for _, c := range judged {
		if n := count[c]; n > 0 {
			refused += n
			parts = append(parts, fmt.Sprintf("%d by %s", n, c))
		}
	}
	if refused < hosts || hosts == 0 {
		return
	}
	say("level %s asks for what none of the %d hosts of source %s has, even empty: %s; asked for by %s", k.level, hosts, k.source,
		strings.Join(parts, ", "), firstFew(members))
}

// judged are the constraints of a host and its pools that nothing on it changes, in their order.
var judged = []string{
	ConstraintHypervisor, ConstraintGuest, ConstraintCPUModel, ConstraintServerTier, ConstraintSecurity, ConstraintNetwork, ConstraintNICClass,
	ConstraintPoolTier,
}

// storesKind says whether h reaches a pool of the tier of each disk of v.
func (w *world) storesKind(v *vmAt, h *hostAt) bool {
	for _, d := range v.need.Disks {
		if !slices.ContainsFunc(h.host.Pools, func(p fleet.PoolID) bool { return w.p.Pools[p].Tier >= max(d.Tier, 0) }) {
			return false
		}
	}
	return true
}

// nothingToPromise finds hosts and pools that have nothing and are used all the same.
func (w *world) nothingToPromise(say sayer) {
	for i := range w.p.Snapshot.Hosts {
		h := w.hosts[w.p.Snapshot.Hosts[i].ID]
		if len(h.vms) > 0 && !h.host.Unreachable && (h.facts.CPU == 0 && h.cpu > 0 || h.facts.Memory == 0 && h.memory > 0) {
			say("host %s has %s threads and %s to promise, and runs %d VMs", h.host.ID, h.facts.CPU, fleet.FormatBytes(h.facts.Memory), len(h.vms))
		}
	}
	used := map[fleet.PoolID]int{}
	for i := range w.p.Snapshot.VMs {
		for _, d := range w.p.Snapshot.VMs[i].Disks {
			if d.Used > 0 {
				used[d.Pool]++
			}
		}
	}
	for i := range w.p.Snapshot.Pools {
		if p := &w.p.Snapshot.Pools[i]; p.Capacity == 0 && used[p.ID] > 0 {
			say("pool %s has a capacity of 0, and holds %d disks", p.ID, used[p.ID])
		}
	}
}
