package solver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// steps turns the log into the steps of a plan.
func (s *state) steps() []plan.Step {
	out := make([]plan.Step, 0, len(s.log))
	flat := map[vmIx][]bool{}
	for n := range s.log {
		m := &s.log[n]
		if m.attach != nil {
			out = append(out, s.moduleStep(n))
			continue
		}
		v := &s.vms[m.vm]
		was := vmState{source: v.source, snap: v.snap, host: m.from, disks: m.was}
		st := plan.Step{N: n + 1, Wave: cmp.Or(m.wave, n+1), Level: v.need.Level, Reason: reason(m), Bytes: was.copied(m.is)}
		st.Move = fleet.Relocation{
			VM: *v.snap, From: s.placement(v, m.from, m.was), To: s.placement(v, m.to, m.is), Mode: s.mode(&was, m.to, m.is),
			FromHost: s.p.Snapshot.Hosts[m.from], ToHost: s.p.Snapshot.Hosts[m.to], Pools: s.poolsOf(m),
		}
		if st.Move.Mode == fleet.Offline && v.snap.Power == fleet.Running {
			st.Risks = []plan.Risk{plan.RiskDowntime}
		}
		if m.below {
			st.Risks = append(st.Risks, plan.RiskDisplaced)
			if m.winner != none { // for the present nobody
				st.GivesWayTo = s.vms[m.winner].snap.ID
			}
		}
		if moved := flat[m.vm]; moved != nil {
			st.Move.VM = movedVM(&st.Move, moved)
		}
		flat[m.vm] = movedDisks(flat[m.vm], m)
		out = append(out, st)
	}
	return out
}

// moduleStep is the step of the n-th move of the log, that of a module.
func (s *state) moduleStep(n int) plan.Step {
	m := &s.log[n]
	a := &fleet.Attachment{Module: *s.mods[m.attach.module].snap, To: s.p.Snapshot.Hosts[m.to].ID, ToHost: &s.p.Snapshot.Hosts[m.to]}
	a.Module.Host = ""
	if m.from != none {
		a.FromHost = &s.p.Snapshot.Hosts[m.from]
		a.From, a.Module.Host = a.FromHost.ID, a.FromHost.ID
	}
	return plan.Step{N: n + 1, Wave: cmp.Or(m.wave, n+1), Attach: a, Reason: reason(m)}
}

func reason(m *move) string {
	if m.where == "" {
		return m.why
	}
	return m.why + "; " + m.where
}

// movedVM is the VM of r as an earlier step leaves it. Paths of disks that moved are empty: the hypervisor
// alone knows them.
func movedVM(r *fleet.Relocation, moved []bool) fleet.VM {
	vm := r.VM
	vm.Host = r.From.Host
	vm.Disks = slices.Clone(vm.Disks)
	for i := range vm.Disks {
		vm.Disks[i].Pool = r.From.Disks[i].Pool
		if moved[i] {
			vm.Disks[i].Path, vm.Disks[i].Chain = "", nil
		}
	}
	return vm
}

func movedDisks(before []bool, m *move) []bool {
	if before == nil {
		before = make([]bool, len(m.is))
	}
	for i := range m.is {
		before[i] = before[i] || m.is[i] != m.was[i]
	}
	return before
}

// poolsOf describes every pool of both ends, by name.
func (s *state) poolsOf(m *move) []fleet.Pool {
	list := slices.Concat(m.was, m.is)
	slices.Sort(list)
	list = slices.Compact(list)
	out := make([]fleet.Pool, len(list))
	for i, p := range list {
		out[i] = *s.pools[p].snap
	}
	return out
}

func (s *state) held() []plan.Held {
	out := []plan.Held{}
	for i := range s.vms {
		if v := &s.vms[i]; v.hold != "" {
			out = append(out, plan.Held{VM: v.snap.ID, Reason: v.hold})
		}
	}
	return out
}

// maxAsked bounds the hosts that are asked why they refuse a VM once Stop has spoken: all of them for each of the first
// VMs, none for the others.
const maxAsked = 10_000_000

// unplaced lists the VMs that are still wrong, by name.
func (x *search) unplaced() []plan.Unplaced {
	why := map[vmIx]string{}
	for i := range x.units {
		u := &x.units[i]
		if x.wrong(u) == "" {
			continue
		}
		for _, vm := range u.vms {
			if f := x.fault(vm); f != "" {
				why[vm] = f
			} else if x.torn(u) {
				why[vm] = fmt.Sprintf("affinity group %s is apart", x.vms[vm].need.AffinityGroup)
			}
		}
	}
	x.unrelieved(why)
	x.unpromised(why)
	x.unparted(why)
	vms := make([]vmIx, 0, len(why))
	for i := range why {
		vms = append(vms, i)
	}
	slices.Sort(vms)
	out := make([]plan.Unplaced, 0, len(vms))
	gave := x.gaveWay()
	for n, i := range vms {
		v := &x.vms[i]
		why[i] = gave[i] + why[i]
		if x.halted && n*len(x.hosts) > maxAsked {
			out = append(out, plan.Unplaced{
				VM: v.snap.ID, Level: v.need.Level, Reason: why[i] + "; the time was over before the hosts were asked", Refused: []plan.RefusedHost{},
			})
			continue
		}
		refused, lack := x.refusals(&x.units[v.unit], x.staying(i))
		out = append(out, plan.Unplaced{VM: v.snap.ID, Level: v.need.Level, Reason: why[i] + "; " + x.verdict(refused) + lack, Refused: refused})
	}
	return out
}

// torn says whether the VMs of u are on several hosts, the held ones of its group included.
func (s *state) torn(u *unit) bool {
	for _, i := range u.vms {
		if h := s.vms[i].host; u.torn || h != s.vms[u.vms[0]].host || u.anchor != none && h != u.anchor {
			return true
		}
	}
	return false
}

// staying is why i, where it is right by itself, may not stay where it is: the host is over-full, or shares
// its failure domain. "" when it is wrong by itself, which fit finds.
func (s *state) staying(i vmIx) string {
	v := &s.vms[i]
	if s.wrong(&s.units[v.unit]) != "" {
		return ""
	}
	if c := s.overfull(v.host); c != "" && v.uses(c) {
		return c
	}
	if c, _ := s.starved(v); c != "" {
		return c
	}
	return plan.ConstraintSpread
}

// unrelieved names the VMs that would have to leave over-full hosts, lowest priority first.
func (x *search) unrelieved(why map[vmIx]string) {
	for i := range x.hosts {
		h := hostIx(i) // fewer hosts than 2^31
		c := x.overfull(h)
		if c == "" {
			continue
		}
		text := x.overfullText(h, c)
		var out []vmIx
		for _, ui := range x.unitsOn(h, c) {
			for _, vm := range slices.Clone(x.units[ui].vms) {
				if x.vms[vm].host == h && x.overfull(h) != "" {
					x.leave(vm, h)
					out = append(out, vm)
				}
			}
		}
		for _, vm := range out {
			x.enter(vm, h)
			if _, ok := why[vm]; !ok {
				why[vm] = text
			}
		}
	}
}

// unparted names the VMs in conflict with a held one of their group, or one of higher priority.
func (x *search) unparted(why map[vmIx]string) {
	for g := range x.members {
		list := slices.DeleteFunc(slices.Clone(x.members[g]), func(i vmIx) bool { return !x.conflicted(i) })
		slices.SortStableFunc(list, func(a, b vmIx) int {
			v, w := &x.vms[a], &x.vms[b]
			if (v.unit == none) != (w.unit == none) {
				return cmp.Compare(v.unit, w.unit) // none is less than any
			}
			return cmp.Compare(w.need.Priority, v.need.Priority)
		})
		kept := map[domainKey]domainCount{}
		for _, i := range list {
			v := &x.vms[i]
			if v.unit != none && x.nearKept(kept, v) {
				if _, ok := why[i]; !ok {
					why[i] = x.whySpread(i, place{})
				}
				continue
			}
			for k := range kinds {
				key := domainKey{g, k, x.hosts[v.host].domains[k]}
				c := kept[key]
				c.all++
				if v.kind == k {
					c.asking++
				}
				kept[key] = c
			}
		}
	}
}

func (s *state) nearKept(kept map[domainKey]domainCount, v *vmState) bool {
	for k := range kinds {
		c := kept[domainKey{v.spread, k, s.hosts[v.host].domains[k]}]
		if c.all > 0 && v.kind == k || c.asking > 0 {
			return true
		}
	}
	return false
}

// maxNamed bounds the hosts that a refusal names.
const maxNamed = 8

// order is the order in which a host is judged.
var order = []string{
	plan.ConstraintSource, plan.ConstraintUnreachable, plan.ConstraintMaintenance, plan.ConstraintHypervisor, plan.ConstraintGuest,
	plan.ConstraintCPUModel, plan.ConstraintServerTier, plan.ConstraintSecurity,
	plan.ConstraintNetwork, plan.ConstraintNICClass, plan.ConstraintAffinity, plan.ConstraintSpread, plan.ConstraintCPU,
	plan.ConstraintMemory, plan.ConstraintNICQueues, plan.ConstraintNICRate, plan.ConstraintReserve, plan.ConstraintPoolReach, plan.ConstraintPoolTier,
	plan.ConstraintPoolSpace, plan.ConstraintPoolIOPS, plan.ConstraintPoolThroughput, plan.ConstraintMode,
}

// refusals counts the hosts by the first constraint that refuses u there, most frequent first, and names the
// host that lacks least of CPU and memory: what u waits for. own refuses the host where u is.
func (s *state) refusals(u *unit, own string) ([]plan.RefusedHost, string) {
	by := make([]plan.RefusedHost, len(order))
	nearest, least := hostIx(none), 0.0
	for i := range s.hosts {
		h := hostIx(i) // fewer hosts than 2^31
		r := own
		if own == "" || h != s.vms[u.vms[0]].host {
			r = s.refusedAt(u, h, own)
		}
		n := slices.Index(order, r)
		if n < 0 {
			continue // legal: the budget ended before it was used
		}
		if (r == plan.ConstraintCPU || r == plan.ConstraintMemory) && h != s.vms[u.vms[0]].host {
			if l := s.lack(u, h); nearest == none || l < least {
				nearest, least = h, l
			}
		}
		by[n].Constraint = r
		by[n].Count++
		if len(by[n].Hosts) < maxNamed {
			by[n].Hosts = append(by[n].Hosts, s.hosts[h].snap.ID)
		}
	}
	by = slices.DeleteFunc(by, func(r plan.RefusedHost) bool { return r.Count == 0 })
	slices.SortStableFunc(by, func(a, b plan.RefusedHost) int { return cmp.Compare(b.Count, a.Count) })
	if nearest == none {
		return by, ""
	}
	host := &s.hosts[nearest]
	return by, fmt.Sprintf("; nearest is %s with %s CPU and %s free, %s CPU and %s are needed", host.snap.ID,
		max(host.freeCPU(), 0), fleet.FormatBytes(max(host.freeMemory(), 0)), u.cpu, fleet.FormatBytes(u.memory))
}

// lack is the larger share of u's need of CPU or memory that h has not.
func (s *state) lack(u *unit, h hostIx) float64 {
	host := &s.hosts[h]
	cpu := float64(u.cpu-host.freeCPU()) / float64(max(u.cpu, 1))
	memory := float64(u.memory-host.freeMemory()) / float64(max(u.memory, 1))
	return max(cpu, memory)
}

// verdict joins refusals into a clause.
func (x *search) verdict(refused []plan.RefusedHost) string {
	n := 0
	parts := make([]string, len(refused))
	for i, r := range refused {
		n += r.Count
		parts[i] = fmt.Sprintf("%d by %s", r.Count, r.Constraint)
	}
	if n < len(x.hosts) {
		return "the budget ended before it was placed"
	}
	return fmt.Sprintf("no host takes it: %s", strings.Join(parts, ", "))
}
