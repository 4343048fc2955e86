package solver

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan/model"
)

func (c *compiler) addHosts() {
	odd := c.oddMemory()
	c.p.Hosts = make([]model.Host, len(c.s.hosts))
	for i := range c.s.hosts {
		h := &c.s.hosts[i]
		offer := c.prices.Offer(h.facts)
		m := &c.p.Hosts[i]
		m.Capacity = make([]int64, len(c.p.Resources))
		m.Capacity[cpuResource], m.Capacity[memoryResource] = max(int64(offer.CPU), 0), max(offer.MiB, 0)
		m.Soft = append([]int64(nil), m.Capacity...)
		if c.loose {
			m.Capacity[memoryResource] += odd // each VM's memory is rounded up: in bytes more may fit
		}
		if len(c.p.Resources) > shareResource {
			m.Capacity[shareResource] = max(offer.Shares, 0)
		}
		if c.p.Resources[cpuResource].Load > 0 {
			cpu, mib := c.prices.Mark(h.facts)
			m.Soft[cpuResource], m.Soft[memoryResource] = max(int64(cpu), 0), max(mib, 0)
		}
		m.Soft = append(m.Soft[:memoryResource+1:memoryResource+1], m.Capacity[memoryResource+1:]...)
		m.Domain = append([]int32(nil), h.domains[:]...)
		m.Class = c.hostClass(hostIx(i)) // fewer hosts than 2^31
		_, _, on := c.prices.HostParts(h.facts, loadOfOne)
		m.On = on
		m.Open = h.open && (c.loose || h.freeCPU() >= 0 && h.freeMemory() >= 0) // what is relieved later may take others
		for j := range h.snap.NICs {
			n := &h.snap.NICs[j]
			if j == model.MaxNICs {
				break
			}
			m.NICs = append(m.NICs, model.NIC{Class: int8(h.class(n)), Queues: clamp32(int64(n.Queues)), Rate: int64(n.Guarantee)})
		}
		for _, p := range h.pools {
			m.Pools = append(m.Pools, model.PoolIx(p))
		}
	}
}

// oddMemory counts the VMs whose memory is no whole number of MiB, and one for the host itself.
func (c *compiler) oddMemory() int64 {
	n := int64(1)
	for i := range c.s.vms {
		if c.s.vms[i].snap.Memory%fleet.MiB != 0 {
			n++
		}
	}
	return n
}

// hostClass numbers the kinds of hosts: all that decides whether a VM may be on a host whatever else is there, and
// what a place costs. It names what fixedRefusal looks at.
func (c *compiler) hostClass(i hostIx) int32 {
	h := &c.s.hosts[i]
	best := fleet.NICClass(0)
	for j := range h.snap.NICs {
		best = max(best, h.class(&h.snap.NICs[j]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%q %d %d %t %d %q %q %q %q", h.snap.Source, h.facts.Tier, h.facts.Security, h.open, best, h.snap.Hypervisor, h.snap.Guests,
		h.snap.CPUBaselines, h.snap.Networks)
	key := "host " + b.String()
	n, ok := c.classes[key]
	if !ok {
		n = int32(len(c.reps)) // fewer than hosts
		c.classes[key] = n
		c.reps = append(c.reps, i)
	}
	return n
}

// settleHosts raises the capacity of hosts to what is used there, and leaves out NICs that are reserved beyond what they
// have: what is broken stays possible, and no more comes.
func (c *compiler) settleHosts() {
	use := make([]int64, len(c.p.Hosts)*len(c.p.Resources))
	needs := make([][]model.NICNeed, len(c.p.Hosts))
	r := len(c.p.Resources)
	for i := range c.p.VMs {
		v := &c.p.VMs[i]
		if v.Initial == model.None {
			continue
		}
		h := int(v.Initial)
		for k, d := range v.Demand {
			use[h*r+k] += d
		}
		needs[h] = append(needs[h], v.NICs...)
	}
	var k model.Packer
	broken := make([]bool, len(c.p.Hosts))
	for h := range c.p.Hosts {
		m := &c.p.Hosts[h]
		for j := range m.Capacity {
			m.Capacity[j] = max(m.Capacity[j], use[h*r+j])
		}
		if len(needs[h]) > 0 && !k.Pack(m.NICs, needs[h]) {
			broken[h] = true
			m.NICs = nil
		}
	}
	for i := range c.p.VMs {
		if v := &c.p.VMs[i]; v.Initial != model.None && broken[v.Initial] && len(v.NICs) > 0 {
			v.NICs = nil
			c.fix(i)
		}
	}
}

func clamp32(n int64) int32 { return int32(min(max(n, 0), 1<<31-1)) }
