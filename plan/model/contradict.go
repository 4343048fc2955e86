package model

import (
	"fmt"
	"slices"
)

// maxContradictions bounds what Contradictions reports.
const maxContradictions = 100

// Contradictions says, in words, what of a valid problem cannot be had whatever the search does, naming both sides: a
// VM that no host can take, a group that asks for more domains than there are, demand above capacity. What it finds
// about VMs that may be dropped means that they will be. It finds what is plain, not every problem without a solution.
// At most a hundred lines.
func (p *Problem) Contradictions() []string {
	c := &contradictions{p: p}
	c.off, c.list = p.members()
	c.totals()
	c.fixed()
	for i := range p.VMs {
		if len(c.out) >= maxContradictions {
			break
		}
		c.vm(i)
	}
	for g := range p.Groups {
		if len(c.out) >= maxContradictions {
			break
		}
		c.group(g)
	}
	return c.out[:min(len(c.out), maxContradictions)]
}

type contradictions struct {
	p         *Problem
	off, list []int32
	out       []string
	pack      Packer
	zones     map[int32]map[int32]bool // by VM class
	level     map[int]int              // domains by level
	usable    []bool
}

func (c *contradictions) say(format string, args ...any) {
	c.out = append(c.out, fmt.Sprintf(format, args...))
}

// totals compares what those ask for that must be somewhere with what all hosts and pools have.
func (c *contradictions) totals() {
	p := c.p
	need := make([]int64, len(p.Resources))
	disks := make([]int64, len(p.PoolResources))
	for i := range p.VMs {
		v := &p.VMs[i]
		if !v.mayDrop() {
			add(need, v.Demand)
		}
		for j := range v.Disks {
			if !v.mayDrop() || v.Disks[j].Initial != None {
				add(disks, v.Disks[j].Demand)
			}
		}
	}
	for r := range p.Resources {
		room := int64(0)
		for h := range p.Hosts {
			room += p.Hosts[h].Capacity[r]
		}
		if need[r] > room {
			c.say("%s: VMs that must have a host ask for %d, all hosts have %d", p.Resources[r].Name, need[r], room)
		}
	}
	for r := range p.PoolResources {
		room := int64(0)
		for s := range p.Pools {
			room += max(0, p.Pools[s].Capacity[r]-p.Pools[s].Base[r])
		}
		if disks[r] > room {
			c.say("%s: disks ask for %d, all pools have %d free of others", p.PoolResources[r].Name, disks[r], room)
		}
	}
}

// fixed compares what must stay with its own host.
func (c *contradictions) fixed() {
	p, n := c.p, len(c.p.Resources)
	use := make([]int64, len(p.Hosts)*n)
	for i := range p.VMs {
		if v := &p.VMs[i]; v.Fixed {
			add(use[int(v.Initial)*n:], v.Demand)
		}
	}
	for h := range p.Hosts {
		for r := range n {
			if use[h*n+r] > p.Hosts[h].Capacity[r] {
				c.say("hosts[%d]: fixed VMs ask for %d %s, the host has %d", h, use[h*n+r], p.Resources[r].Name, p.Hosts[h].Capacity[r])
			}
		}
	}
}

// The reasons why a host does not take a VM, from the first that is checked to the last. The last one that some host
// came to is what the report names: it is the least that would have to change.
var refusals = [...]string{
	"none takes it (closed, or not where it is fixed)", "none that takes it fits its class",
	"none that fits its class has room for its demand even when empty", "none with the room has the NICs it reserves",
	"none with the room reaches pools that take its disks",
}

func (c *contradictions) vm(i int) {
	v := &c.p.VMs[i]
	last := 0
	for h := range c.p.Hosts {
		r := c.refusal(v, h)
		if r == len(refusals) {
			return
		}
		last = max(last, r)
	}
	c.say("vms[%d]: no host of %d can have it: %s", i, len(c.p.Hosts), refusals[last])
}

// refusal is the first reason, an index of refusals; their number where there is none.
func (c *contradictions) refusal(v *VM, h int) int {
	host := &c.p.Hosts[h]
	home := int(v.Initial) == h
	switch {
	case !home && (v.Fixed || !host.Open):
		return 0
	case c.p.Fit[v.Class][host.Class] == Forbidden:
		return 1
	case !fits(v.Demand, host.Capacity):
		return 2
	case len(v.NICs) > 0 && !c.pack.Pack(host.NICs, v.NICs):
		return 3
	}
	for j := range v.Disks {
		if !slices.ContainsFunc(host.Pools, func(s PoolIx) bool { return c.takes(&v.Disks[j], s) }) {
			return 4
		}
	}
	return len(refusals)
}

// takes says whether a pool could have a disk if it had no other.
func (c *contradictions) takes(d *Disk, s PoolIx) bool {
	pool := &c.p.Pools[s]
	if d.Initial == s {
		return c.p.PoolFit[d.Class][pool.Class] != Forbidden
	}
	if d.Fixed || !pool.Open || c.p.PoolFit[d.Class][pool.Class] == Forbidden {
		return false
	}
	for r, n := range d.Demand {
		if n > 0 && n > pool.Capacity[r]-pool.Base[r] {
			return false
		}
	}
	return true
}

func (c *contradictions) group(g int) {
	p, group := c.p, &c.p.Groups[g]
	vms := c.list[c.off[g]:c.off[g+1]]
	if group.Min > 1 {
		if n := len(vms); int(group.Min) > n {
			c.say("groups[%d]: to sit in %d domains of level %d, but it has %d VMs", g, group.Min, group.Level, n)
		} else if n := c.domains(int(group.Level)); int(group.Min) > n {
			c.say("groups[%d]: to sit in %d domains of level %d, but hosts in use or open are in %d", g, group.Min, group.Level, n)
		}
	}
	var strict [MaxLevels]int
	pinned := map[[2]int32]int32{}
	for _, i := range vms {
		v := &p.VMs[i]
		if v.Apart < 0 {
			continue
		}
		strict[v.Apart]++
		if v.Fixed {
			at := [2]int32{int32(v.Apart), p.Hosts[v.Initial].Domain[v.Apart]}
			if other, ok := pinned[at]; ok {
				c.say("vms[%d] and vms[%d]: of group %d, to be apart on level %d, both fixed in domain %d", other, i, g, at[0], at[1])
			}
			pinned[at] = i
		}
	}
	for l, k := range strict {
		if k < 2 {
			continue
		}
		if n := c.domains(l); k > n {
			c.say("groups[%d]: %d VMs are to be apart on level %d, which has %d domains", g, k, l, n)
		}
	}
	for _, n := range group.Needs {
		c.needs(g, int(n), vms)
	}
}

// domains counts those of a level with a host that is open or has VMs; once for all groups.
func (c *contradictions) domains(level int) int {
	if c.level == nil {
		c.level = map[int]int{}
		c.usable = (&bounder{p: c.p}).usable()
	}
	n, ok := c.level[level]
	if !ok {
		seen := map[int32]bool{}
		for h := range c.p.Hosts {
			if c.usable[h] {
				seen[c.p.Hosts[h].Domain[level]] = true
			}
		}
		n = len(seen)
		c.level[level] = n
	}
	return n
}

// needs looks for a zone in which each VM of g, and some VM of the group that it needs, may be by class.
func (c *contradictions) needs(g, n int, vms []int32) {
	if g == n || len(vms) == 0 {
		return
	}
	others := c.list[c.off[n]:c.off[n+1]]
	if len(others) == 0 {
		c.say("groups[%d]: needs group %d in its zone, which has no VM", g, n)
		return
	}
	served := map[int32]bool{}
	for _, k := range others {
		for z := range c.reach(k) {
			served[z] = true
		}
	}
	for _, i := range vms {
		ok := false
		for z := range c.reach(i) {
			ok = ok || served[z]
		}
		if !ok {
			c.say("vms[%d]: of group %d, needs group %d in its zone, but no zone can have both", i, g, n)
			return
		}
	}
}

// reach is the zones in which VM i may be by its class, open hosts, and where it is.
func (c *contradictions) reach(i int32) map[int32]bool {
	p, v := c.p, &c.p.VMs[i]
	if v.Fixed {
		return map[int32]bool{p.Hosts[v.Initial].Zone: true}
	}
	if c.zones == nil {
		c.zones = map[int32]map[int32]bool{}
	}
	byClass, ok := c.zones[v.Class]
	if !ok {
		byClass = map[int32]bool{}
		for h := range p.Hosts {
			if p.Hosts[h].Open && p.Fit[v.Class][p.Hosts[h].Class] != Forbidden {
				byClass[p.Hosts[h].Zone] = true
			}
		}
		c.zones[v.Class] = byClass
	}
	if v.Initial == None || byClass[p.Hosts[v.Initial].Zone] {
		return byClass
	}
	own := map[int32]bool{p.Hosts[v.Initial].Zone: true}
	for z := range byClass {
		own[z] = true
	}
	return own
}
