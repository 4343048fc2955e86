package solver

import (
	"fmt"
	"math"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/policy"
)

// Index maps the numbers of a compiled problem back to names.
type Index struct {
	Hosts []fleet.HostID // by model.HostIx
	Pools []fleet.PoolID // by model.PoolIx
	// VMs are the VMs of each model.VM: one, or those of an affinity group. The model's disks are theirs one after
	// another, unless the model's VM is Fixed: those have no disks in the model.
	VMs [][]fleet.VMID
	// Scale is how many points of the model are one of the policy's.
	Scale model.Points
}

// Resources of a compiled problem, by their place in Problem.Resources.
const (
	cpuResource    = 0 // thousandths of a thread
	memoryResource = 1 // MiB, each VM's rounded up
	shareResource  = 2 // memory in shares of CPU; there where stranded capacity has a price
)

// Compile turns a problem into numbers. What the problem's soft costs are, Evaluate of the compiled problem's Start is,
// times Index.Scale. What is broken and has no place of its own in the model (a VM below its need, a host that has
// promised too much, a spread that is violated) is tolerated and stays: such VMs are Fixed, and count for what they take.
// The error says what is wrong with p, or what of it is too large for the model.
func Compile(p *policy.Problem) (*model.Problem, *Index, error) {
	s, err := newState(p)
	if err != nil {
		return nil, nil, err
	}
	c, err := compile(s)
	if err != nil {
		return nil, nil, err
	}
	return c.p, c.names(), nil
}

// item is what one VM of the model stands for: a unit, or a held VM.
type item struct {
	vms   []vmIx
	unit  unitIx // none: held
	fixed bool
	bare  bool // in a loose problem: compiled without its disks, which lie as the model has no word for
}

// compiler builds a model of the state that it is given. The model's hosts and pools have the state's indices.
type compiler struct {
	s      *state
	prices plan.Prices
	scale  int64
	p      *model.Problem
	items  []item
	// loose compiles for a lower bound: every VM for itself, what is broken may stay at the cost of its place, and
	// rules between VMs are left out. Whatever a plan can do, an assignment of the model can do for less.
	loose bool
	// live compiles for placing VMs one at a time: every VM for itself with its disks, where it is and never moved, and
	// hosts and pools with what they have.
	live bool
	// paid compiles for another end of the moves that the log has made: a VM that has moved goes elsewhere for what that
	// adds to the price of its move.
	paid     bool
	demand   []fleet.Bytes // by pool: of disks in the model
	classes  map[string]int32
	reps     []hostIx // by class of hosts, one of it
	disks    map[diskKey]int32
	poolKeys []poolKey
	err      error
	// tolerated is what a loose problem lets be that is broken.
	tolerated []tolerance
}

func compile(s *state) (*compiler, error) { return (&compiler{s: s}).build() }

func (c *compiler) build() (*compiler, error) {
	s := c.s
	if len(s.hosts) > model.MaxHosts || len(s.pools) > model.MaxPools || len(s.vms) > model.MaxVMs {
		return nil, fmt.Errorf("compile problem: %d hosts, %d pools, %d VMs, expected at most %d, %d, %d", len(s.hosts), len(s.pools),
			len(s.vms), model.MaxHosts, model.MaxPools, model.MaxVMs)
	}
	c.prices = plan.NewPrices(s.p)
	c.scale = c.prices.Scale()
	c.p = &model.Problem{}
	c.classes, c.disks = map[string]int32{}, map[diskKey]int32{}
	c.demand = make([]fleet.Bytes, len(s.pools))
	c.resources()
	c.addItems()
	c.addHosts()
	c.addVMs()
	c.addPools()
	if !c.live {
		c.settleHosts()
		c.settleGroups()
	}
	if c.err == nil && !c.live {
		c.err = c.p.Validate()
	}
	if c.err != nil {
		return nil, fmt.Errorf("compile problem: %w", c.err)
	}
	return c, nil
}

func (c *compiler) names() *Index {
	ix := &Index{Scale: c.scale, Hosts: make([]fleet.HostID, len(c.s.hosts)), Pools: make([]fleet.PoolID, len(c.s.pools))}
	for i := range c.s.hosts {
		ix.Hosts[i] = c.s.hosts[i].snap.ID
	}
	for i := range c.s.pools {
		ix.Pools[i] = c.s.pools[i].snap.ID
	}
	ix.VMs = make([][]fleet.VMID, len(c.items))
	for i, it := range c.items {
		ids := make([]fleet.VMID, len(it.vms))
		for j, v := range it.vms {
			ids[j] = c.s.vms[v].snap.ID
		}
		ix.VMs[i] = ids
	}
	return ix
}

// scaled is points of the policy in points of the model.
func (c *compiler) scaled(n int64) model.Points {
	if n > math.MaxInt64/2/c.scale {
		c.err = fmt.Errorf("a cost of %d points is too large to count in parts of 1/%d", n, c.scale)
		return 0
	}
	return n * c.scale
}

func (c *compiler) resources() {
	cpu, mib, stranded := c.prices.Rates()
	c.p.Resources = []model.Resource{{Name: "cpu", Load: cpu}, {Name: "memory", Load: mib}}
	if stranded > 0 {
		c.p.Resources = append(c.p.Resources, model.Resource{Name: "memory share"})
		if !c.loose || !c.overfull() { // a raised capacity would count as stranded
			c.p.Balances = []model.Balance{
				{A: cpuResource, B: shareResource, Target: 1, Weight: stranded}, {A: shareResource, B: cpuResource, Target: 1, Weight: stranded},
			}
		}
	}
	c.p.PoolResources = []model.Resource{{Name: "space"}, {Name: "IOPS"}, {Name: "throughput"}}
}

// overfull says whether any host has promised more than it has.
func (c *compiler) overfull() bool {
	for i := range c.s.hosts {
		if h := &c.s.hosts[i]; h.freeCPU() < 0 || h.freeMemory() < 0 {
			return true
		}
	}
	return false
}

func (c *compiler) addItems() {
	seen := make([]bool, len(c.s.units))
	for i := range c.s.vms {
		v := &c.s.vms[i]
		switch {
		case c.live:
			c.items = append(c.items, item{vms: c.s.single(vmIx(i)).vms, unit: v.unit})
		case v.hold != "":
			c.items = append(c.items, item{vms: []vmIx{vmIx(i)}, unit: none, fixed: true}) // fewer VMs than 2^31
		case c.loose:
			u := c.s.single(vmIx(i))
			c.items = append(c.items, item{vms: u.vms, unit: v.unit, bare: c.s.unreached(v) || len(v.disks) > model.MaxDisks})
		case !seen[v.unit]:
			seen[v.unit] = true
			u := &c.s.units[v.unit]
			if c.s.torn(u) { // on several hosts
				for n := range u.vms {
					c.items = append(c.items, item{vms: u.vms[n : n+1], unit: v.unit, fixed: true})
				}
				continue
			}
			c.items = append(c.items, item{vms: u.vms, unit: v.unit, fixed: c.s.wrong(u) != "" || c.bound(u) || c.paid && len(u.vms) > 1})
		}
	}
}

// bound says whether u keeps its place for a reason that the model has no word for.
func (c *compiler) bound(u *unit) bool {
	group, disks, nics := none, 0, 0
	for _, i := range u.vms {
		v := &c.s.vms[i]
		if v.spread != none && group != none {
			return true // of two groups, or two of one
		}
		group = max(group, v.spread)
		disks += len(v.disks)
		nics += len(v.nics)
		for j := range v.disks {
			if c.farChain(v, j) {
				return true
			}
		}
	}
	return disks > model.MaxDisks || nics > model.MaxNICs
}

// unreached says whether a disk of v lies where its host does not reach it.
func (s *state) unreached(v *vmState) bool {
	for _, p := range v.disks {
		if !s.reaches(v.host, p) {
			return true
		}
	}
	return false
}

// farChain says whether the backing chain of a disk lies where a host that reaches the disk may not reach.
func (c *compiler) farChain(v *vmState, j int) bool {
	if v.flat[j] {
		return false
	}
	for _, l := range v.snap.Disks[j].Chain {
		p := c.s.pool(l.Pool)
		if p == v.disks[j] {
			continue
		}
		if p == none {
			return true
		}
		for _, h := range c.s.pools[v.disks[j]].hosts {
			if !c.s.reaches(h, p) {
				return true
			}
		}
	}
	return false
}
