package replay

import (
	"cmp"
	"math"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// usage is what VMs take of the hosts, now and over time. Sums are float64, since a fleet from a file may have amounts of
// any size; products are converted before they are added, so that no machine fuses the two and rounds otherwise.
type usage struct {
	hosts       map[fleet.HostID]*hostUse
	cpu, memory float64 // promised
	cpuAll      float64 // that can be promised
	memoryAll   float64
	inUse       int
	sources     []*sourceUse
	// over time, times seconds
	cpuPart, memoryPart, hostSeconds float64
	hostsMost                        int
}

// sourceUse is what VMs take of the memory of the hosts of one source.
type sourceUse struct {
	id          fleet.SourceID
	memory, all float64
}

type hostUse struct {
	source *sourceUse
	facts  policy.HostFacts
	cpu    float64
	mem    float64
	vms    int
	lost   bool
}

func newUsage(p *policy.Problem) usage {
	u := usage{hosts: map[fleet.HostID]*hostUse{}}
	sources := map[fleet.SourceID]*sourceUse{}
	for i := range p.Snapshot.Sources {
		s := &sourceUse{id: p.Snapshot.Sources[i].ID}
		sources[s.id] = s
		u.sources = append(u.sources, s)
	}
	for i := range p.Snapshot.Hosts {
		h := &p.Snapshot.Hosts[i]
		f := p.Hosts[h.ID]
		u.hosts[h.ID] = &hostUse{source: sources[h.Source], facts: f}
		sources[h.Source].all += float64(f.Memory)
		u.cpuAll += float64(f.CPU)
		u.memoryAll += float64(f.Memory)
	}
	for i := range p.Snapshot.VMs {
		u.enter(&p.Snapshot.VMs[i])
	}
	return u
}

func (u *usage) enter(v *fleet.VM) {
	h := u.hosts[v.Host]
	u.cpu, u.memory = u.cpu+float64(v.CPU), u.memory+float64(v.Memory)
	h.cpu, h.mem = h.cpu+float64(v.CPU), h.mem+float64(v.Memory)
	h.source.memory += float64(v.Memory)
	if h.vms++; h.vms == 1 {
		u.inUse++
		u.hostsMost = max(u.hostsMost, u.inUse)
	}
}

func (u *usage) leave(v *fleet.VM) {
	h := u.hosts[v.Host]
	u.cpu, u.memory = u.cpu-float64(v.CPU), u.memory-float64(v.Memory)
	h.cpu, h.mem = h.cpu-float64(v.CPU), h.mem-float64(v.Memory)
	h.source.memory -= float64(v.Memory)
	if h.vms--; h.vms == 0 {
		u.inUse--
	}
}

// lose takes a host's capacity out of what can be promised.
func (u *usage) lose(id fleet.HostID) {
	h := u.hosts[id]
	h.lost = true
	h.source.all -= float64(h.facts.Memory)
	u.cpuAll -= float64(h.facts.CPU)
	u.memoryAll -= float64(h.facts.Memory)
}

// bySource are the sources, that with the most free memory for its size first.
func (u *usage) bySource() []fleet.SourceID {
	slices.SortStableFunc(u.sources, func(a, b *sourceUse) int {
		return cmp.Or(cmp.Compare(part(a.memory, a.all), part(b.memory, b.all)), cmp.Compare(b.all, a.all), cmp.Compare(a.id, b.id))
	})
	ids := make([]fleet.SourceID, len(u.sources))
	for i, s := range u.sources {
		ids[i] = s.id
	}
	return ids
}

// over says whether a host has promised more than it may, or takes a VM although it is lost.
func (u *usage) over(id fleet.HostID) bool {
	h := u.hosts[id]
	return h.lost || h.cpu > float64(h.facts.CPU) || h.mem > float64(h.facts.Memory)
}

func (u *usage) pass(d Second) {
	t := float64(d)
	u.cpuPart += float64(part(u.cpu, u.cpuAll) * t)
	u.memoryPart += float64(part(u.memory, u.memoryAll) * t)
	u.hostSeconds += float64(float64(u.inUse) * t)
}

// part is a of all in per cent.
func part(a, all float64) float64 {
	if all <= 0 {
		return 0
	}
	return a / all * 100
}

// cents rounds to two decimals.
func cents(v float64) float64 { return math.Round(v*100) / 100 }
