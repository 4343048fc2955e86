package solver_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// drawFit adds to a random fleet what most fleets have little of: racks and sites, bandwidth of NICs, operations of pools,
// kinds of hypervisors, guests and processors, I/O modules.
func drawFit(t *rapid.T, p *policy.Problem) {
	if rapid.Bool().Draw(t, "racks") {
		drawRacks(t, p)
	}
	if rapid.Bool().Draw(t, "rates") {
		drawRates(t, p)
	}
	if rapid.IntRange(0, 2).Draw(t, "kinds") == 0 {
		drawKinds(t, p)
	}
	if rapid.Bool().Draw(t, "modules") {
		drawModules(t, p)
	}
}

func drawRacks(t *rapid.T, p *policy.Problem) {
	rack := map[string]string{}
	for _, c := range []string{"c1", "c2"} {
		rack[c] = rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(t, "rack")
	}
	site := map[string]string{}
	for _, r := range []string{"r1", "r2"} {
		site[r] = rapid.SampledFrom([]string{"", "s1"}).Draw(t, "site")
	}
	for i := range p.Snapshot.Hosts {
		h := &p.Snapshot.Hosts[i]
		if h.Chassis == "" {
			h.Rack = rapid.SampledFrom([]string{"", "r1"}).Draw(t, "host's rack")
		} else {
			h.Rack = rack[h.Chassis]
		}
		h.Site = site[h.Rack]
	}
	for _, v := range p.Snapshot.VMs {
		if r := p.VMs[v.ID]; r.SpreadGroup != "" && rapid.Bool().Draw(t, "wider") {
			r.SpreadDomain = rapid.SampledFrom([]policy.Domain{policy.DomainRack, policy.DomainSite}).Draw(t, "wider over")
			p.VMs[v.ID] = r
		}
	}
}

func drawRates(t *rapid.T, p *policy.Problem) {
	for i := range p.Snapshot.Hosts {
		for j := range p.Snapshot.Hosts[i].NICs {
			p.Snapshot.Hosts[i].NICs[j].Guarantee = fleet.Mbps(rapid.IntRange(0, 4).Draw(t, "guarantee"))
		}
	}
	for i := range p.Snapshot.Pools {
		pool := &p.Snapshot.Pools[i]
		pool.IOPS = fleet.IOPS(rapid.IntRange(0, 12).Draw(t, "pool iops"))
		pool.Throughput = fleet.MBps(rapid.IntRange(0, 1).Draw(t, "has throughput") * rapid.IntRange(1, 9).Draw(t, "throughput"))
	}
	for i := range p.Snapshot.VMs {
		v := &p.Snapshot.VMs[i]
		r := p.VMs[v.ID]
		if rapid.IntRange(0, 3).Draw(t, "has rate") == 0 {
			r.Rate = fleet.Mbps(rapid.IntRange(1, 3).Draw(t, "rate"))
		}
		for range rapid.IntRange(0, 5).Draw(t, "more vnics") / 4 {
			v.VNICs = append(v.VNICs, fleet.VNIC{ID: fmt.Sprint("n", len(v.VNICs)), Guarantee: fleet.Mbps(rapid.IntRange(0, 2).Draw(t, "promised"))})
		}
		for j := range r.Disks {
			r.Disks[j].IOPS = fleet.IOPS(rapid.IntRange(0, 6).Draw(t, "iops"))
			r.Disks[j].Throughput = fleet.MBps(rapid.IntRange(0, 3).Draw(t, "disk throughput"))
		}
		p.VMs[v.ID] = r
	}
}

func drawKinds(t *rapid.T, p *policy.Problem) {
	lists := func(what string, names ...string) []string {
		if rapid.Bool().Draw(t, what+" any") {
			return nil
		}
		return names[:rapid.IntRange(1, len(names)).Draw(t, what)]
	}
	for i := range p.Snapshot.Hosts {
		h := &p.Snapshot.Hosts[i]
		h.Hypervisor = rapid.SampledFrom([]fleet.Hypervisor{fleet.KVM, fleet.KVM, fleet.Xen}).Draw(t, "hypervisor")
		h.Guests, h.CPUBaselines = lists("guests", "linux", "plan9"), lists("baselines", "haswell", "skylake")
	}
	for i := range p.Snapshot.VMs {
		v := &p.Snapshot.VMs[i]
		r := p.VMs[v.ID]
		v.Guest = rapid.SampledFrom([]string{"", "", "linux", "plan9"}).Draw(t, "guest")
		v.CPUBaseline = rapid.SampledFrom([]string{"", "", "haswell", "skylake"}).Draw(t, "baseline")
		if rapid.IntRange(0, 4).Draw(t, "choosy") == 0 {
			r.Hypervisors = []fleet.Hypervisor{fleet.KVM}
		}
		p.VMs[v.ID] = r
	}
}

// drawModules makes modules that are attached to a host or nowhere. What an attached one brings is the host's.
func drawModules(t *rapid.T, p *policy.Problem) {
	s := p.Snapshot
	for i := range s.Sources {
		s.Sources[i].Capabilities.AttachModules = rapid.IntRange(0, 4).Draw(t, "can attach") > 0
	}
	for n := range rapid.IntRange(1, 3).Draw(t, "number of modules") {
		source := rapid.SampledFrom(s.Sources).Draw(t, "module's source").ID
		m := fleet.IOModule{ID: fleet.ModuleID(fmt.Sprintf("io-%d", n)), Source: source, Kind: fleet.ModuleNIC, AttachableTo: []fleet.HostID{}}
		if rapid.Bool().Draw(t, "hba") {
			m.Kind = fleet.ModuleHBA
			for _, q := range s.Pools {
				if q.Source == source && rapid.IntRange(0, 2).Draw(t, "brings") == 0 {
					m.Pools = append(m.Pools, q.ID)
				}
			}
		} else {
			m.NICs = []fleet.NIC{{
				ID: fleet.NICID(m.ID + "/p0"), Class: fleet.NICClass(rapid.IntRange(0, 3).Draw(t, "module class")),
				Queues: fleet.Queues(rapid.IntRange(0, 8).Draw(t, "module queues")), Guarantee: fleet.Mbps(rapid.IntRange(0, 4).Draw(t, "module rate")),
			}}
		}
		for i := range s.Hosts {
			if h := &s.Hosts[i]; h.Source == source && rapid.IntRange(0, 3).Draw(t, "can be on") > 0 {
				m.AttachableTo = append(m.AttachableTo, h.ID)
			}
		}
		if len(m.AttachableTo) > 0 && rapid.Bool().Draw(t, "attached") {
			m.Host = rapid.SampledFrom(m.AttachableTo).Draw(t, "attached to")
			bring(s, &m, m.Host)
		}
		s.Modules = append(s.Modules, m)
	}
}

// bring gives a host what a module has, take takes it away again, without the code of fleet.
func bring(s *fleet.Snapshot, m *fleet.IOModule, to fleet.HostID) {
	at := slices.IndexFunc(s.Hosts, func(h fleet.Host) bool { return h.ID == to })
	h := &s.Hosts[at]
	h.NICs = slices.Clone(h.NICs)
	for _, n := range m.NICs {
		n.Module = m.ID
		h.NICs = append(h.NICs, n)
	}
	h.Pools = slices.Clone(h.Pools)
	for _, q := range m.Pools {
		if !slices.Contains(h.Pools, q) {
			h.Pools = append(h.Pools, q)
		}
	}
	m.Host = to
}

func take(s *fleet.Snapshot, m *fleet.IOModule) {
	at := slices.IndexFunc(s.Hosts, func(h fleet.Host) bool { return h.ID == m.Host })
	if at < 0 {
		return
	}
	h := &s.Hosts[at]
	var nics []fleet.NIC
	for _, n := range h.NICs {
		if n.Module != m.ID {
			nics = append(nics, n)
		}
	}
	pools := []fleet.PoolID{}
	for _, q := range h.Pools {
		mine, others := slices.Contains(m.Pools, q), false
		for _, o := range s.Modules {
			others = others || o.ID != m.ID && o.Host == m.Host && slices.Contains(o.Pools, q)
		}
		if !mine || others {
			pools = append(pools, q)
		}
	}
	h.NICs, h.Pools, m.Host = nics, pools, ""
}

// afterModule makes a step that moves a module.
func afterModule(s *fleet.Snapshot, a *fleet.Attachment) {
	m := s.Module(a.Module.ID)
	take(s, m)
	bring(s, m, a.To)
	s.Sort()
}

// brokenFit says whether a VM's host or pools are unfit for it by what drawFit adds.
func brokenFit(p *policy.Problem, v *fleet.VM, h *fleet.Host) bool {
	need := p.VMs[v.ID]
	if len(need.Hypervisors) > 0 && !slices.Contains(need.Hypervisors, h.Hypervisor) ||
		v.Guest != "" && len(h.Guests) > 0 && !slices.Contains(h.Guests, v.Guest) ||
		v.CPUBaseline != "" && len(h.CPUBaselines) > 0 && !slices.Contains(h.CPUBaselines, v.CPUBaseline) {
		return true
	}
	for i, d := range v.Disks {
		pool := p.Snapshot.Pool(d.Pool)
		var iops fleet.IOPS
		var rate fleet.MBps
		for _, o := range p.Snapshot.VMs {
			for j, e := range o.Disks {
				if e.Pool == d.Pool {
					iops, rate = iops+p.VMs[o.ID].Disks[j].IOPS, rate+p.VMs[o.ID].Disks[j].Throughput
				}
			}
		}
		if need.Disks[i].IOPS > 0 && pool.IOPS > 0 && iops > pool.IOPS || need.Disks[i].Throughput > 0 && pool.Throughput > 0 && rate > pool.Throughput {
			return true
		}
	}
	return false
}

// moduleStep is the step that attaches a module to a host.
func moduleStep(p *policy.Problem, m *fleet.IOModule, to fleet.HostID) plan.Step {
	return plan.Step{N: 1, Reason: "test", Attach: &fleet.Attachment{Module: *m, From: m.Host, To: to, FromHost: p.Snapshot.Host(m.Host), ToHost: p.Snapshot.Host(to)}}
}
