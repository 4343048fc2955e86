package sim

import "github.com/berth-project/berth/fleet"

// misplace moves VMs from their right places to where a fleet without Berth has them.
func (g *generator) misplace() {
	const usual = 15 // of 100, what the other shares here go with
	share := g.shape.Misplaced
	if share == 0 {
		return
	}
	for i := range g.plans {
		p := &g.plans[i]
		if g.settled(p) {
			continue
		}
		switch r := g.rng.IntN(100); {
		case r < share*12/usual:
			g.wrongHost(p)
		case r < share:
			g.wrongCluster(p)
		case p.need.spread && p.group != i && r < share*40/usual:
			g.beside(p, g.plans[p.group].found)
		}
		if g.chance(share * 10 / usual) {
			g.wrongPool(p)
		}
	}
	g.fillMaintenance()
	g.heat()
	for i := range g.plans {
		g.countPools(&g.plans[i])
	}
}

// settled says whether p has to stay in its right place: it may not be moved, so that nothing could mend it.
func (g *generator) settled(p *vmPlan) bool {
	return p.held || g.snap.Hosts[p.right].Unreachable
}

// beside takes p to host, if that has room left there now and can be told from where it is.
func (g *generator) beside(p *vmPlan, host int) bool {
	return g.shift(p, host, 95)
}

// shift takes p to a host of the same source as its right one, if the host is then not more than full per cent full.
// Disks that the host does not reach go to the shared pool of the same tier there.
func (g *generator) shift(p *vmPlan, host, full int) bool {
	h := &g.snap.Hosts[host]
	after := g.now[host]
	after.add(p.load)
	if host == p.found || h.Unreachable || h.Source != g.snap.Hosts[p.right].Source ||
		after.memory > h.Memory/100*fleet.Bytes(full) || after.cpu > h.CPU*overcommit/100*fleet.MilliCPU(full) {
		return false
	}
	if p.need.dmz && len(h.Networks) < 3 {
		return false
	}
	g.now[p.found].sub(p.load)
	g.now[host] = after
	p.found = host
	c := &g.clusters[host/clusterSize]
	for j, pool := range p.foundPool {
		p.foundPool[j] = c.pools[g.poolTier(pool)][0]
	}
	return true
}

// poolTier is the tier of a pool, by its tag.
func (g *generator) poolTier(pool int) tier {
	for t := range tiers {
		if g.snap.Pools[pool].Tags[0] == "tier:"+poolTiers[t] {
			return t
		}
	}
	return bronze
}

// wrongHost takes p to another host of its cluster: of any tier, so that some are below its need, some above.
func (g *generator) wrongHost(p *vmPlan) {
	c := &g.clusters[p.right/clusterSize]
	for range 3 {
		h := pick(g, c.hosts...)
		if g.hostTier[h] != g.hostTier[p.right] && !g.snap.Hosts[h].Maintenance && g.shift(p, h, 95) {
			return
		}
	}
}

// wrongCluster takes p to a host of another cluster of its source.
func (g *generator) wrongCluster(p *vmPlan) {
	first := p.right / sourceSize * sourceSize
	h := first + g.rng.IntN(min(sourceSize, len(g.snap.Hosts)-first))
	if !g.snap.Hosts[h].Maintenance {
		g.shift(p, h, 95)
	}
}

// wrongPool takes one disk to the cluster's shared pool of another tier.
func (g *generator) wrongPool(p *vmPlan) {
	if len(p.foundPool) == 0 {
		return
	}
	j := g.rng.IntN(len(p.foundPool))
	p.foundPool[j] = g.clusters[p.found/clusterSize].pools[g.rng.IntN(int(tiers))][0]
}

// fillMaintenance puts VMs of their cluster on the hosts in maintenance, until a third of the memory is used: they
// are to be emptied.
func (g *generator) fillMaintenance() {
	for i := range g.plans {
		p := &g.plans[i]
		c := &g.clusters[p.right/clusterSize]
		h := c.hosts[min(3, len(c.hosts)-1)]
		if g.snap.Hosts[h].Maintenance && !g.settled(p) && g.chance(20) {
			g.shift(p, h, 33)
		}
	}
}

// heat overloads the hot hosts (Skew) by VMs of their cluster, to 110 % of their memory: the first of a cluster takes
// half of the VMs that move at all, the second half of the rest, and so on.
func (g *generator) heat() {
	for i := range g.plans {
		p := &g.plans[i]
		hots := g.clusters[p.right/clusterSize].hot
		if len(hots) == 0 {
			continue
		}
		k := 0
		for k < len(hots)-1 && g.chance(50) {
			k++
		}
		hot := hots[k]
		if g.snap.Hosts[hot].Maintenance || g.settled(p) {
			continue
		}
		if g.hostTier[hot] >= g.hostTier[p.right] && g.chance(50) {
			g.shift(p, hot, 110)
		}
	}
}

// countPools moves the bytes of p's disks from their right pools to where they are found.
func (g *generator) countPools(p *vmPlan) {
	for j := range p.pools {
		if p.pools[j] != p.foundPool[j] {
			used := p.used[j]
			g.poolNow[p.pools[j]] -= used
			g.poolNow[p.foundPool[j]] += used
		}
	}
}
