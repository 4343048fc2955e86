package plan

import (
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Audit counts everything that r keeps anew and says what is not so.
func (r *Reserve) Audit() error {
	for h := range r.hosts {
		host := &r.hosts[h]
		var cpu fleet.MilliCPU
		var memory fleet.Bytes
		for v := range r.vms {
			vm := &r.vms[v]
			if slices.Contains(vm.on, int32(h)) && !r.evicted(int32(v)) {
				cpu, memory = cpu+vm.at.vm.CPU, memory+vm.at.vm.Memory
			}
		}
		if cpu != host.cpu || memory != host.memory {
			return fmt.Errorf("host %s has %s and %d, expected %s and %d", host.at.host.ID, host.cpu, host.memory, cpu, memory)
		}
		want := 0
		for k := range r.cases {
			if slices.ContainsFunc(r.cases[k].plan, func(g refuge) bool { return g.host == int32(h) }) {
				want++
			}
		}
		if want != len(host.charges) {
			return fmt.Errorf("host %s has %d charges, expected %d", host.at.host.ID, len(host.charges), want)
		}
	}
	for k := range r.cases {
		if err := r.auditCase(int32(k)); err != nil {
			return fmt.Errorf("%s: %w", r.cases[k].text(), err)
		}
	}
	return nil
}

// auditCase holds the witness of one case against the hosts.
func (r *Reserve) auditCase(k int32) error {
	f := &r.cases[k]
	if !f.survived {
		return nil
	}
	load := map[int32]*reserveHost{}
	for _, g := range f.plan {
		vm := &r.vms[g.vm]
		if !r.takes(f, g.vm, g.host) {
			return fmt.Errorf("%s does not take %s", r.hosts[g.host].at.host.ID, vm.at.vm.ID)
		}
		l := load[g.host]
		if l == nil {
			l = &reserveHost{cpu: r.hosts[g.host].cpu, memory: r.hosts[g.host].memory, queued: slices.Clone(r.hosts[g.host].queued)}
			load[g.host] = l
		}
		if slices.Contains(vm.on, g.host) != g.free {
			return fmt.Errorf("%s on %s is free: %v", vm.at.vm.ID, r.hosts[g.host].at.host.ID, g.free)
		}
		if !g.free {
			l.cpu, l.memory = l.cpu+vm.at.vm.CPU, l.memory+vm.at.vm.Memory
			l.queued = append(l.queued, g.vm)
		}
		facts := &r.hosts[g.host].at.facts
		if vm.at.vm.CPU > 0 && l.cpu > facts.CPU || vm.at.vm.Memory > 0 && l.memory > facts.Memory {
			return fmt.Errorf("%s has no room for %s", r.hosts[g.host].at.host.ID, vm.at.vm.ID)
		}
	}
	for _, h := range f.hosts {
		for _, v := range r.hosts[h].guests {
			covered := slices.ContainsFunc(f.plan, func(g refuge) bool { return g.vm == v }) || slices.Contains(f.stuck, v)
			if r.hits(f, v) && !covered {
				return fmt.Errorf("%s has no refuge", r.vms[v].at.vm.ID)
			}
		}
	}
	return nil
}

// Lives says which failures are survived now.
func (r *Reserve) Lives() []bool {
	out := make([]bool, len(r.cases))
	for k := range r.cases {
		out[k] = r.cases[k].survived
	}
	return out
}

// On is where the module is attached.
func (r *Reserve) On(m fleet.ModuleID) fleet.HostID { return r.w.on[m] }
