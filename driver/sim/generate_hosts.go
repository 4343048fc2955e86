package sim

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// makeHosts makes n hosts with their sources, clusters and pools. Their sizes come later (sizeHosts).
func (g *generator) makeHosts(n int) {
	g.snap.Hosts = make([]fleet.Host, n)
	g.hostTier = make([]tier, n)
	g.localPool = make([]int, n)
	g.load, g.now, g.cards = make([]load, n), make([]load, n), make([][]cardLoad, n)
	for i := range n {
		if i%sourceSize == 0 {
			g.addSource(i/sourceSize, (n+sourceSize-1)/sourceSize)
		}
		if i%clusterSize == 0 {
			g.addCluster(i/clusterSize, (n+clusterSize-1)/clusterSize)
		}
		g.addHost(i, n)
	}
	for i := range g.snap.Hosts {
		if h := &g.snap.Hosts[i]; !h.Maintenance {
			g.byTier[g.hostTier[i]] = append(g.byTier[g.hostTier[i]], i)
			for t := range g.hostTier[i] + 1 {
				g.cabled[t] += len(h.Networks) / 3
			}
		}
	}
	g.poolLoad = make([]fleet.Bytes, len(g.snap.Pools))
	g.poolNow = make([]fleet.Bytes, len(g.snap.Pools))
	g.poolRate = make([]fleet.IOPS, len(g.snap.Pools))
}

// addSource adds one hypervisor connection: every second one is a vCenter, the others are libvirt.
func (g *generator) addSource(i, count int) {
	s := fleet.Source{Kind: fleet.KVM, Reachable: true, Capabilities: fleet.Capabilities{
		LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true,
	}}
	if i%2 == 1 {
		s.Kind = fleet.VSphere
	}
	s.ID = fleet.SourceID(fmt.Sprintf("%s-%s", s.Kind, number(i, count, 1)))
	g.snap.Sources = append(g.snap.Sources, s)
}

// addCluster adds a cluster with shared pools of each tier; hosts join it as they are made.
func (g *generator) addCluster(i, count int) {
	src := g.snap.Sources[len(g.snap.Sources)-1]
	c := cluster{source: src.ID}
	for n := range g.shape.PoolsPerCluster {
		t := tier(n) % tiers
		p := fleet.Pool{
			ID:     fleet.PoolID(fmt.Sprintf("cluster-%s-%s", number(i, count, 3), poolTiers[t])),
			Source: src.ID, Type: "NFS", Shared: true, Tags: []string{"tier:" + poolTiers[t]},
		}
		if n >= int(tiers) {
			p.ID += fleet.PoolID(fmt.Sprintf("-%d", n/int(tiers)+1))
		}
		if src.Kind == fleet.VSphere && t != bronze {
			p.Type = "VMFS"
		}
		c.pools[t] = append(c.pools[t], g.addPool(p))
	}
	g.clusters = append(g.clusters, c)
}

func (g *generator) addPool(p fleet.Pool) int {
	p.Ref = string(p.ID)
	g.snap.Pools = append(g.snap.Pools, p)
	return len(g.snap.Pools) - 1
}

// addHost adds host i of n, with a local pool of its own tier, to the last cluster.
func (g *generator) addHost(i, n int) {
	c := &g.clusters[len(g.clusters)-1]
	src := g.snap.Sources[len(g.snap.Sources)-1]
	t := g.tierOf(i)
	g.hostCount[t]++
	h := fleet.Host{
		ID: fleet.HostID("host-" + number(i, n, 4)), Source: c.source, Hypervisor: src.Kind, Version: "10.0.2",
		Cluster:     "cluster-" + number(i/clusterSize, (n+clusterSize-1)/clusterSize, 3),
		Chassis:     "chassis-" + number(i/chassisSize, (n+chassisSize-1)/chassisSize, 3),
		Tags:        []string{"tier:" + serverTiers[t], "security:" + [tiers]string{"open", "standard", "strict"}[t]},
		Networks:    []string{"dev", "prod"},
		Attributes:  map[string]string{"rack": g.rackOf(i, n), "vendor": pick(g, "acme", "umbra", "zenith")},
		Rack:        g.namedRack(i, n),
		Maintenance: i%200 == 3,
		Unreachable: n >= 50 && i%500 == 21,
	}
	if src.Kind == fleet.VSphere {
		h.Version = "8.0.3"
	}
	if i%clusterSize < chassisSize { // one chassis of each cluster is cabled to the DMZ
		h.Networks = append(h.Networks, "dmz")
	}
	h.Ref = string(h.ID)
	h.NICs = nics(t, g.shape.NICs)
	g.guarantees(t, h.NICs)
	g.cards[i] = make([]cardLoad, g.shape.NICs-1)
	g.localPool[i] = g.addPool(fleet.Pool{
		ID: fleet.PoolID(fmt.Sprintf("%s/%s", h.ID, poolTiers[t])), Source: c.source,
		Type: map[fleet.Hypervisor]string{fleet.KVM: "dir", fleet.VSphere: "VMFS"}[src.Kind], Tags: []string{"tier:" + poolTiers[t]},
	})
	h.Pools = []fleet.PoolID{g.snap.Pools[g.localPool[i]].ID}
	for _, pools := range c.pools {
		for _, p := range pools {
			h.Pools = append(h.Pools, g.snap.Pools[p].ID)
		}
	}
	if g.isHot(i) {
		c.hot = append(c.hot, i)
	}
	g.hostTier[i] = t
	g.snap.Hosts[i] = h
	c.hosts = append(c.hosts, i)
}

// nics are the n cards of a host of tier t: one on the board, and others that fit the tier. The queues of the latter
// come with the host's size.
func nics(t tier, n int) []fleet.NIC {
	board := fleet.NIC{ID: "eno1", Speed: 1000, Driver: "igb"}
	card := fleet.NIC{ID: "ens1f0", Class: 1, Speed: 10_000, Driver: "ixgbe", Features: []string{"rss"}, NUMANode: 1}
	if t == silver {
		card.Class, card.Speed, card.Driver, card.Features = 2, 25_000, "bnxt_en", []string{"ntuple-filters", "rss"}
	}
	if t == gold {
		card.Class, card.Speed, card.Driver, card.Features = 3, 100_000, "mlx5_core", []string{"ntuple-filters", "rss", "sriov"}
	}
	out := append(make([]fleet.NIC, 0, n), board)
	for i := range n - 1 {
		card.ID, card.NUMANode = fleet.NICID(fmt.Sprintf("ens%df0", i+1)), 1-i%2
		out = append(out, card)
	}
	return out
}

// overcommit of processors that the sizes of hosts count on; it is that of the built-in catalogue.
const overcommit = 4

// sizeHosts gives all hosts of a tier one size, from what their VMs take: Fill of the fullest resource on average
// and at most 92 % on any host, or 3 above Fill.
func (g *generator) sizeHosts() {
	for t := range tiers {
		var sum, most load
		for _, h := range g.byTier[t] {
			l := g.load[h]
			sum.add(l)
			most = load{max(most.cpu, l.cpu), max(most.memory, l.memory), max(most.queues, g.fullestCard(h))}
		}
		n, fill := max(len(g.byTier[t]), 1), fleet.Bytes(g.shape.Fill)
		full := max(fill+3, 92)
		memory := max(sum.memory/fleet.Bytes(n)*100/fill, most.memory*100/full)
		threads := max(sum.cpu/fleet.MilliCPU(n)*100/fleet.MilliCPU(fill), most.cpu*100/fleet.MilliCPU(full)) / overcommit / 1000
		queues := (max(most.queues*100/80, 32) + 15) / 16 * 16
		for i := range g.snap.Hosts {
			if g.hostTier[i] != t {
				continue
			}
			h := &g.snap.Hosts[i]
			h.Memory = max(roundUp(memory, 8*fleet.GiB), 16*fleet.GiB)
			h.CPU = fleet.CPUs(max(int(threads)/4*4+4, 8))
			if s := g.shape.Host; s.CPU > 0 {
				h.CPU = s.CPU
			}
			if s := g.shape.Host; s.Memory > 0 {
				h.Memory = s.Memory
			}
			for k := range h.NICs[1:] {
				if t != bronze {
					h.NICs[1+k].Queues = queues
				}
			}
		}
	}
}
