package search

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// tables is the problem in flat arrays: what a step of the search reads lies close together.
//
// The cost of a host is written as one sum over dims: weight * max(0, x). There is one dim for each priced resource (x is
// use above Soft) and one for each balance (x is Target*A(a) - A(b)); a VM adds a constant vector to x in both cases.
type tables struct {
	p                   *model.Problem
	nv, nh, ng          int
	nr, nk              int // resources, dims
	dem                 []int64
	demBack             []int64 // demand of a VM at its initial host: without what is counted there anyway
	dimDem              []int64
	weight              []int64 // of dims
	initial             []int32
	group               []int32
	moveCost            []int64 // model.VM.Move[HostChange]; Forbidden is made `pinned`
	class               []int32
	pinned              []bool // VM keeps its host
	slow                []bool // VM has disks or NICs
	groupMove           int64  // model.Problem.GroupMove
	hostClass, place    []int32
	fit                 []int64 // [class*classes+hostClass]
	classes             int
	hop                 []int64 // HopWeight already in it; nil: nothing
	places              int
	open                []bool
	zone                []int32
	zones               int
	domain              [][]int32 // by level, dense numbers
	dom                 []int32   // the same, level after level
	domains             []int     // by level
	members             []int32   // VMs by group, at memberAt[g]..memberAt[g+1]
	memberAt            []int32
	apart, spread, near []counter // by group
	ruled               []bool    // by group: any rule about its VMs
	rulings             []ruling  // by group, and one without rules
	none, runs          int32     // what all counters come to, without and with a run that counts nothing
	mostRule            int64     // what a broken rule may cost before the cost of all could overflow
	depends             []bool    // by group: needs or is needed
	neededBy            [][]int32
	movers              []mover
	movable             []int32   // VMs that may change host
	diskVMs             []int32   // VMs whose disks may move
	size                []float64 // of VMs: the sum of their shares of the fleet's capacity
	fitAny              bool      // Fit has prices or Forbidden
	hostVM              []int64   // On by host
	onAny               bool
	// Hosts that could ever take a VM, its initial one apart, are can[canAt[v]:canAt[v+1]]; never says of a pair, by bit
	// [vm*nh+host], that no search may make it. Nil: not worth keeping.
	canAt, can []int32
	never      []uint64
}

// counter is where VMs of a group are counted by domain: a run of the state's counts, or off < 0: by looking at each member.
type counter struct {
	on    bool
	mixed bool // apart: members differ in level, so that each is looked at
	level int8 // spread, apart
	min   int32
	off   int32
}

// Counting by table costs a word for each domain; by looking at members a read for each. Tables are used while all of them
// stay under denseAll words, and beyond that where a group has enough members to earn one.
const (
	denseAll = 1 << 22
	denseFor = 64
)

func newTables(p *model.Problem) *tables {
	t := &tables{p: p, nv: len(p.VMs), nh: len(p.Hosts), ng: len(p.Groups), nr: len(p.Resources), groupMove: p.GroupMove}
	t.addVMs()
	t.addHosts()
	t.addGroups()
	t.sortMovable()
	t.addReach()
	t.addMovers()
	return t
}

func (t *tables) addVMs() {
	p := t.p
	t.dem = make([]int64, t.nv*t.nr)
	t.demBack = make([]int64, t.nv*t.nr)
	t.initial = make([]int32, t.nv)
	t.group = make([]int32, t.nv)
	t.moveCost = make([]int64, t.nv)
	t.class = make([]int32, t.nv)
	t.pinned = make([]bool, t.nv)
	t.slow = make([]bool, t.nv)
	var loads []int
	for r := range p.Resources {
		if p.Resources[r].Load != 0 {
			loads = append(loads, r)
			t.weight = append(t.weight, p.Resources[r].Load)
		}
	}
	for b := range p.Balances {
		t.weight = append(t.weight, p.Balances[b].Weight)
	}
	t.nk = len(t.weight)
	t.dimDem = make([]int64, t.nv*t.nk)
	for i := range p.VMs {
		v := &p.VMs[i]
		copy(t.dem[i*t.nr:], v.Demand)
		for r := range p.Resources {
			if !p.Resources[r].Transient {
				t.demBack[i*t.nr+r] = v.Demand[r]
			}
		}
		d := t.dimDem[i*t.nk : (i+1)*t.nk]
		for k, r := range loads {
			d[k] = v.Demand[r]
		}
		for b := range p.Balances {
			q := &p.Balances[b]
			d[len(loads)+b] = v.Demand[q.B] - q.Target*v.Demand[q.A]
		}
		t.addVM(i, v)
	}
	// Where vectors are the same, one copy of them is read, and is in the cache.
	if slices.Equal(t.dimDem, t.dem) {
		t.dimDem = t.dem
	}
	if slices.Equal(t.demBack, t.dem) {
		t.demBack = t.dem
	}
}

func (t *tables) addVM(i int, v *model.VM) {
	t.initial[i] = int32(v.Initial)
	t.group[i] = int32(v.Group)
	t.class[i] = v.Class
	t.slow[i] = len(v.Disks) > 0 || len(v.NICs) > 0
	if v.Initial != model.None {
		t.moveCost[i] = v.Move[model.HostChange]
		t.pinned[i] = v.Fixed || t.moveCost[i] < 0 && (len(v.Disks) == 0 || v.Move[model.HostChange|model.DiskChange] < 0)
	}
	if len(v.Disks) > 0 && !v.Fixed {
		t.diskVMs = append(t.diskVMs, int32(i))
	}
	if !t.pinned[i] {
		t.movable = append(t.movable, int32(i))
	}
}

func (t *tables) addHosts() {
	p := t.p
	t.hostClass = make([]int32, t.nh)
	t.place = make([]int32, t.nh)
	t.open = make([]bool, t.nh)
	t.hostVM = make([]int64, t.nh)
	t.zone = make([]int32, t.nh)
	zones := map[int32]int32{}
	levels := 0
	for i := range p.Hosts {
		h := &p.Hosts[i]
		t.hostClass[i], t.place[i], t.open[i], t.hostVM[i] = h.Class, h.Place, h.Open, h.On
		t.onAny = t.onAny || h.On != 0
		t.zone[i] = dense(zones, h.Zone)
		levels = max(levels, len(h.Domain))
	}
	t.zones = len(zones)
	t.domain = make([][]int32, levels)
	t.domains = make([]int, levels)
	for l := range levels {
		seen := map[int32]int32{}
		t.domain[l] = make([]int32, t.nh)
		for i := range p.Hosts {
			t.domain[l][i] = dense(seen, p.Hosts[i].Domain[l])
		}
		t.domains[l] = len(seen)
		t.dom = append(t.dom, t.domain[l]...)
	}
	for _, row := range p.Fit {
		t.classes = len(row)
		t.fit = append(t.fit, row...)
		for _, c := range row {
			t.fitAny = t.fitAny || c != 0
		}
	}
	if p.HopWeight != 0 {
		for _, row := range p.Hop {
			t.places = len(row)
			for _, c := range row {
				t.hop = append(t.hop, int64(c)*p.HopWeight)
			}
		}
	}
}

// dense numbers keys in the order in which they are met.
func dense(seen map[int32]int32, key int32) int32 {
	n, ok := seen[key]
	if !ok {
		n = int32(len(seen))
		seen[key] = n
	}
	return n
}

// addGroups lays the counters of the groups out.
func (t *tables) addGroups() {
	p := t.p
	t.memberAt = make([]int32, t.ng+1)
	for _, g := range t.group {
		if g >= 0 {
			t.memberAt[g+1]++
		}
	}
	for g := range t.ng {
		t.memberAt[g+1] += t.memberAt[g]
	}
	t.members = make([]int32, t.memberAt[t.ng])
	next := append([]int32(nil), t.memberAt...)
	for i, g := range t.group {
		if g >= 0 {
			t.members[next[g]] = int32(i)
			next[g]++
		}
	}
	t.neededBy = make([][]int32, t.ng)
	t.depends = make([]bool, t.ng)
	for g := range p.Groups {
		for _, n := range p.Groups[g].Needs {
			if int(n) != g {
				t.neededBy[n] = append(t.neededBy[n], int32(g))
				t.depends[n], t.depends[g] = true, true
			}
		}
	}
	t.apart, t.spread, t.near = make([]counter, t.ng), make([]counter, t.ng), make([]counter, t.ng)
	t.ruled = make([]bool, t.ng)
	words, rules := int32(0), int64(t.nv)
	for g := range t.ng {
		t.addCounters(g, &words)
		rules += int64(max(0, t.spread[g].min)) + int64(len(p.Groups[g].Needs))*int64(t.zones)
	}
	t.mostRule = mostPenalty / (1 + rules)
	t.addRulings(words)
}

// mostPenalty is what all broken rules together cost at most.
const mostPenalty = 1 << 60

func (t *tables) of(g int) []int32 { return t.members[t.memberAt[g]:t.memberAt[g+1]] }

func (t *tables) addCounters(g int, words *int32) {
	m := t.of(g)
	place := func(c *counter, domains int) {
		c.on, c.off = true, -1
		if int(*words)+domains <= denseAll || domains <= denseFor*len(m) {
			c.off = *words
			*words += int32(domains)
		}
	}
	if len(m) > 1 {
		level, asked, mixed := t.p.VMs[m[0]].Apart, false, false
		for _, i := range m {
			a := t.p.VMs[i].Apart
			asked = asked || a >= 0
			mixed = mixed || a != level
		}
		switch {
		case asked && mixed:
			t.apart[g] = counter{on: true, mixed: true, off: -1}
		case asked:
			t.apart[g].level = level
			place(&t.apart[g], t.domains[level])
		}
	}
	if gr := &t.p.Groups[g]; gr.Min > 1 {
		t.spread[g].level, t.spread[g].min = gr.Level, gr.Min
		place(&t.spread[g], t.domains[gr.Level])
	}
	if t.depends[g] {
		place(&t.near[g], zoneRuns*t.zones)
	}
	t.ruled[g] = t.apart[g].on || t.spread[g].on || t.near[g].on
}

// sortMovable orders the movable VMs by size: the sum of their shares of the fleet's capacity.
func (t *tables) sortMovable() {
	all := make([]float64, t.nr)
	for i := range t.p.Hosts {
		for r, c := range t.p.Hosts[i].Capacity {
			all[r] += float64(c)
		}
	}
	size := make([]float64, t.nv)
	t.size = size
	for i := range size {
		for r, d := range t.p.VMs[i].Demand {
			if d > 0 {
				size[i] += float64(d) / (all[r] + 1)
			}
		}
	}
	slices.SortFunc(t.movable, func(a, b int32) int {
		return cmp.Or(cmp.Compare(size[a], size[b]), cmp.Compare(a, b))
	})
}
