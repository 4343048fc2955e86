package solver

import (
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/policy"
)

// diskKey is what decides where a disk may lie, and what a GiB of it costs there.
type diskKey struct {
	source fleet.SourceID
	tier   policy.Rank
	own    int32 // class of pools where it may stay though its need is broken, or none
	kept   bool  // it stays where a reserve can help its VM
}

// poolKey is the same of pools.
type poolKey struct {
	source fleet.SourceID
	tier   policy.Rank
	local  bool // no reserve can help a VM with a disk there
}

// Pool resources by their place in Problem.PoolResources.
const (
	spaceResource      = 0
	iopsResource       = 1
	throughputResource = 2
)

// diskClass numbers the kinds of disks.
func (c *compiler) diskClass(key diskKey) int32 {
	n, ok := c.disks[key]
	if !ok {
		n = int32(len(c.disks)) //nolint:gosec // at most as many as disks
		c.disks[key] = n
	}
	return n
}

// disk compiles one disk; own says that its pool is one that only a loose problem lets it have.
func (c *compiler) disk(v *vmState, j int) (disk model.Disk, own bool) {
	d, need := &v.snap.Disks[j], &v.need.Disks[j]
	at := v.disks[j]
	key := diskKey{v.snap.Source, max(need.Tier, 0), none, c.kept(v)}
	if pool := &c.s.pools[at]; c.loose && (pool.facts.Tier < key.tier || pool.snap.Source != key.source) {
		key.own = int32(at)
	}
	n := c.diskClass(key)
	c.demand[at] += d.Used
	copying := c.scaled(plan.MoveCost(c.s.p.Weights, d.Used, false) - plan.MoveCost(c.s.p.Weights, 0, false))
	if c.copied(v, j) {
		copying = 0
	}
	return model.Disk{
		Demand: []int64{int64(d.Used), int64(need.IOPS), int64(need.Throughput)}, Class: n, Initial: model.PoolIx(at),
		Weight: int64(d.Used / fleet.GiB), Sticky: len(d.Chain) > 0 && !v.flat[j],
		Copy: copying,
	}, key.own != none
}

// kept says whether v may not go where no reserve can help it: it is protected, and one can now. A bound is of plans that may.
func (c *compiler) kept(v *vmState) bool {
	if c.s.reserve == nil || c.loose || c.live || !v.need.Protect {
		return false
	}
	local := func(p poolIx) bool { return c.s.reserve.Local(c.s.pools[p].snap.ID) }
	return !slices.ContainsFunc(v.disks, local) && !c.s.reserve.Helpless(c.s.reserve.VM(v.snap.ID))
}

// addPools gives each pool as much room for the model's disks as the state has, whatever its files come to in sum: thin
// disks and shared chains take less than their VMs say.
func (c *compiler) addPools() {
	classes := map[poolKey]int32{}
	var keys []poolKey
	c.p.Pools = make([]model.Pool, len(c.s.pools))
	for i := range c.s.pools {
		pool := &c.s.pools[i]
		key := poolKey{pool.snap.Source, pool.facts.Tier, c.s.reserve != nil && c.s.reserve.Local(pool.snap.ID)}
		n, ok := classes[key]
		if !ok {
			n = int32(len(keys)) // at most as many as pools
			classes[key] = n
			keys = append(keys, key)
		}
		room := pool.free - pool.facts.Reserve
		base := max(pool.snap.Capacity-pool.free-c.demand[i], 0)
		c.p.Pools[i] = model.Pool{
			Class: n, Open: room >= 0 || c.live || c.loose, Base: []int64{int64(base), 0, 0},
			Capacity: []int64{int64(base + c.demand[i] + c.spareRoom(room)), int64(pool.snap.IOPS), int64(pool.snap.Throughput)},
		}
	}
	c.poolKeys = keys
	c.poolRates()
	c.priceDisks()
}

// priceDisks makes the table of what disks cost in pools.
func (c *compiler) priceDisks() {
	keys := c.poolKeys
	c.p.PoolFit = make([][]model.Points, len(c.disks))
	for key, n := range c.disks { // each sets its own row: the order does not matter
		row := make([]model.Points, len(keys))
		for k, pool := range keys {
			row[k] = model.Forbidden
			own := key.own != none && c.p.Pools[key.own].Class == int32(k) //nolint:gosec // fewer than pools
			if pool.source == key.source && pool.tier >= key.tier && (!key.kept || !pool.local) || own {
				row[k] = c.scaled(plan.PoolCost(c.s.p.Weights, pool.tier, key.tier, fleet.GiB))
			}
		}
		c.p.PoolFit[n] = row
	}
}

// unlimitedRate is what a pool of which nothing is known promises to VMs that are still to come.
const unlimitedRate = 1 << 50

// spareRoom is what a pool has above its use: a pool below its reserve has none, and in a live problem less than none.
func (c *compiler) spareRoom(room fleet.Bytes) fleet.Bytes {
	if c.live {
		return room
	}
	return max(room, 0)
}

// poolRates counts the IOPS and the throughput that are reserved. A pool of which nothing is known promises what all
// disks ask for together; one that has promised too much keeps what is there.
func (c *compiler) poolRates() {
	var all [2]int64
	use := make([][2]int64, len(c.s.pools))
	for n := range c.items {
		it := &c.items[n]
		for _, i := range it.vms {
			v := &c.s.vms[i]
			for j, p := range v.disks {
				rates := [2]int64{int64(v.need.Disks[j].IOPS), int64(v.need.Disks[j].Throughput)}
				for k, r := range rates {
					all[k] += r
					use[p][k] += r
					if it.fixed {
						c.p.Pools[p].Base[iopsResource+k] += r
					}
				}
			}
		}
	}
	for i := range c.p.Pools {
		for k := range all {
			capacity := &c.p.Pools[i].Capacity[iopsResource+k]
			if *capacity <= 0 {
				if *capacity = all[k]; c.live {
					*capacity = unlimitedRate
				}
			}
			if !c.live {
				*capacity = max(*capacity, use[i][k])
			}
		}
	}
}
