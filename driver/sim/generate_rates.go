package sim

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// What a card that can promise bandwidth promises, per cent of its speed, and how much of that right places use at most:
// room enough that needs and cards need no clever packing.
const (
	promised = 80
	fullRate = 60
)

// cardLoad is what VMs reserve of one NIC.
type cardLoad struct {
	queues fleet.Queues
	rate   fleet.Mbps
}

// guarantee decides on the bandwidth and the operations that w's label asks for. Only a label that no ceiling holds
// down can ask for them.
func (g *generator) guarantee(w *want) {
	if g.shape.Guarantee == 0 || w.server == bronze || w.trust != fleet.TrustSigned || w.ceiling != "" || !g.chance(g.shape.Guarantee) {
		return
	}
	if w.server == gold {
		w.rate, w.iops = pick[fleet.Mbps](g, 500, 1000, 2000, 4000), pick[fleet.IOPS](g, 1000, 3000, 8000)
		return
	}
	w.rate, w.iops = pick[fleet.Mbps](g, 100, 250, 500), pick[fleet.IOPS](g, 200, 500, 1000)
}

// guarantees gives the cards of h what they can promise: every second one of several gold cards has functions in
// hardware and can promise nothing.
func (g *generator) guarantees(t tier, nics []fleet.NIC) {
	if g.shape.Guarantee == 0 || t == bronze {
		return
	}
	for k := range nics[1:] {
		if t != gold || k%2 == 0 {
			nics[1+k].Guarantee = nics[1+k].Speed * promised / 100
		}
	}
}

// reserve takes what w needs of the NIC of host h that can give it and of which least is reserved. Where none can promise
// the bandwidth, w goes without it.
func (g *generator) reserve(h int, w *want) {
	best := g.card(h, w.rate)
	if best < 0 {
		w.rate = 0
		best = g.card(h, 0)
	}
	c := &g.cards[h][best]
	c.queues, c.rate = c.queues+w.queues, c.rate+w.rate
}

// card is the card of host h with the least reserved that can promise rate; -1 when there is none.
func (g *generator) card(h int, rate fleet.Mbps) int {
	best := -1
	for k, c := range g.cards[h] {
		room := g.snap.Hosts[h].NICs[1+k].Guarantee*fullRate/100 - c.rate
		if rate > 0 && rate > room || best >= 0 && c.queues >= g.cards[h][best].queues {
			continue
		}
		best = k
	}
	return best
}

// fullestCard is the most queues that any NIC of host h has to give.
func (g *generator) fullestCard(h int) fleet.Queues {
	var most fleet.Queues
	for _, c := range g.cards[h] {
		most = max(most, c.queues)
	}
	return most
}

// poolIOPS is what a pool can promise of operations: half as much again as its disks reserve in their right places.
func (g *generator) poolIOPS(i int) fleet.IOPS {
	if g.shape.Guarantee == 0 {
		return 0
	}
	least := [tiers]fleet.IOPS{5_000, 50_000, 500_000}[g.poolTier(i)]
	return max(g.poolRate[i]*3/2, least)
}

// makeModules makes the I/O modules of each cluster: cards with hardware functions, and every fourth one an HBA that alone
// reaches a pool. Two of three are attached.
func (g *generator) makeModules() {
	if g.shape.Modules == 0 {
		return
	}
	for i := range g.snap.Sources {
		g.snap.Sources[i].Capabilities.AttachModules = true
	}
	total := g.shape.Modules * len(g.clusters)
	for c := range g.clusters {
		for range g.shape.Modules {
			g.addModule(len(g.snap.Modules), total, &g.clusters[c])
		}
	}
}

func (g *generator) addModule(i, count int, c *cluster) {
	m := fleet.IOModule{ID: fleet.ModuleID("io-" + number(i, count, 3)), Source: c.source, Kind: fleet.ModuleNIC}
	m.Ref = string(m.ID)
	if i%4 == 3 {
		m.Kind = fleet.ModuleHBA
		p := g.addPool(fleet.Pool{
			ID: fleet.PoolID("vault-" + number(i, count, 3)), Source: c.source, Type: "VMFS", Shared: true, Tags: []string{"tier:" + poolTiers[gold]},
		})
		m.Pools = []fleet.PoolID{g.snap.Pools[p].ID}
		g.poolLoad, g.poolNow, g.poolRate = append(g.poolLoad, 0), append(g.poolNow, 0), append(g.poolRate, 0)
	} else {
		n := fleet.NIC{
			ID: fleet.NICID(fmt.Sprintf("%s-p0", m.ID)), Class: 3, Speed: 100_000, Queues: 64, Driver: "mlx5_core",
			Features: []string{"ntuple-filters", "rss", "sriov"},
		}
		if g.shape.Guarantee > 0 {
			n.Guarantee = n.Speed * promised / 100
		}
		m.NICs = []fleet.NIC{n}
	}
	for _, h := range c.hosts {
		m.AttachableTo = append(m.AttachableTo, g.snap.Hosts[h].ID)
	}
	if i%3 < 2 {
		h := &g.snap.Hosts[c.hosts[g.rng.IntN(len(c.hosts))]]
		m.Host = h.ID
		h.NICs, h.Pools = m.With(h)
		for k := range m.NICs {
			m.NICs[k].Module = m.ID
		}
	}
	g.snap.Modules = append(g.snap.Modules, m)
}
