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
	g.load, g.now = make([]load, n), make([]load, n)
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
		}
	}
	g.poolLoad = make([]fleet.Bytes, len(g.snap.Pools))
	g.poolNow = make([]fleet.Bytes, len(g.snap.Pools))
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

// addCluster adds a cluster with a shared pool of each tier; hosts join it as they are made.
func (g *generator) addCluster(i, count int) {
	src := g.snap.Sources[len(g.snap.Sources)-1]
	c := cluster{source: src.ID}
	for t := range tiers {
		p := fleet.Pool{
			ID:     fleet.PoolID(fmt.Sprintf("cluster-%s-%s", number(i, count, 3), poolTiers[t])),
			Source: src.ID, Type: "NFS", Shared: true, Tags: []string{"tier:" + poolTiers[t]},
		}
		if src.Kind == fleet.VSphere && t != bronze {
			p.Type = "VMFS"
		}
		c.pools[t] = g.addPool(p)
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
	t := clusterPattern[i%clusterSize]
	h := fleet.Host{
		ID: fleet.HostID("host-" + number(i, n, 4)), Source: c.source, Hypervisor: src.Kind, Version: "10.0.2",
		Cluster:     "cluster-" + number(i/clusterSize, (n+clusterSize-1)/clusterSize, 3),
		Chassis:     "chassis-" + number(i/chassisSize, (n+chassisSize-1)/chassisSize, 3),
		Tags:        []string{"tier:" + serverTiers[t], "security:" + [tiers]string{"open", "standard", "strict"}[t]},
		Networks:    []string{"dev", "prod"},
		Attributes:  map[string]string{"rack": fmt.Sprintf("r%02d", i/(2*clusterSize)+1), "vendor": pick(g, "acme", "umbra", "zenith")},
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
	h.NICs = nics(t)
	g.localPool[i] = g.addPool(fleet.Pool{
		ID: fleet.PoolID(fmt.Sprintf("%s/%s", h.ID, poolTiers[t])), Source: c.source,
		Type: map[fleet.Hypervisor]string{fleet.KVM: "dir", fleet.VSphere: "VMFS"}[src.Kind], Tags: []string{"tier:" + poolTiers[t]},
	})
	h.Pools = []fleet.PoolID{g.snap.Pools[g.localPool[i]].ID}
	for _, p := range c.pools {
		h.Pools = append(h.Pools, g.snap.Pools[p].ID)
	}
	g.hostTier[i] = t
	g.snap.Hosts[i] = h
	c.hosts = append(c.hosts, i)
}

// nics are the cards of a host of tier t: one on the board, and one that fits the tier. The queues of the latter
// come with the host's size.
func nics(t tier) []fleet.NIC {
	board := fleet.NIC{ID: "eno1", Speed: 1000, Driver: "igb"}
	card := fleet.NIC{ID: "ens1f0", Class: 1, Speed: 10_000, Driver: "ixgbe", Features: []string{"rss"}, NUMANode: 1}
	if t == silver {
		card.Class, card.Speed, card.Driver, card.Features = 2, 25_000, "bnxt_en", []string{"ntuple-filters", "rss"}
	}
	if t == gold {
		card.Class, card.Speed, card.Driver, card.Features = 3, 100_000, "mlx5_core", []string{"ntuple-filters", "rss", "sriov"}
	}
	return []fleet.NIC{board, card}
}

// targetUse is how full the fullest resource of a tier's hosts is when each VM is in its right place, per cent.
const targetUse = 68

// overcommit of processors that the sizes of hosts count on; it is that of the built-in catalogue.
const overcommit = 4

// sizeHosts gives all hosts of a tier one size, from what their VMs take: targetUse of it on average and at most
// 92 % on any host.
func (g *generator) sizeHosts() {
	for t := range tiers {
		var sum, most load
		for _, h := range g.byTier[t] {
			l := g.load[h]
			sum.add(l)
			most = load{max(most.cpu, l.cpu), max(most.memory, l.memory), max(most.queues, l.queues)}
		}
		n := max(len(g.byTier[t]), 1)
		memory := max(sum.memory/fleet.Bytes(n)*100/targetUse, most.memory*100/92)
		threads := max(sum.cpu/fleet.MilliCPU(n)*100/targetUse, most.cpu*100/92) / overcommit / 1000
		queues := (max(most.queues*100/80, 32) + 15) / 16 * 16
		for i := range g.snap.Hosts {
			if g.hostTier[i] != t {
				continue
			}
			h := &g.snap.Hosts[i]
			h.Memory = max(roundUp(memory, 8*fleet.GiB), 16*fleet.GiB)
			h.CPU = fleet.CPUs(max(int(threads)/4*4+4, 8))
			if t != bronze {
				h.NICs[1].Queues = queues
			}
		}
	}
}
