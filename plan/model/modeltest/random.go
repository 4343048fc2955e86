// Package modeltest makes random problems for the tests of everything that reads plan/model: small enough to enumerate
// or to give to an exact solver, and with every kind of rule and cost.
//
// A problem is built round a planted assignment that breaks no rule: demands and places are drawn first, and then
// capacities, forbidden combinations and rules such that the planted places keep them. So a solution always exists.
package modeltest

import (
	"math/rand/v2"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// Shape says how large a problem is, and what it has.
type Shape struct {
	Hosts, VMs, Pools int
	// Slack is by how many percent capacity exceeds the planted use on average.
	Slack int
	// New is how many VMs in a hundred have no place yet; Stray how many start elsewhere than planted, so that the
	// initial places may break rules.
	New, Stray int
	// What the problem has.
	Load, Balance, On, Moves, Groups, Fit, Disks, NICs, Transient bool
}

// Any draws a shape of at most so many hosts and VMs.
func Any(r *rand.Rand, hosts, vms int) Shape {
	some := func() bool { return r.IntN(2) == 0 }
	s := Shape{
		Hosts: 1 + r.IntN(hosts), VMs: r.IntN(vms + 1), Slack: r.IntN(100), New: r.IntN(40), Stray: r.IntN(40),
		Load: some(), Balance: some(), On: some(), Moves: some(), Groups: some(), Fit: some(), Disks: some(), NICs: some(),
		Transient: some(),
	}
	s.Pools = 1 + r.IntN(max(1, hosts/2))
	return s
}

// maker is a problem in the making.
type maker struct {
	r       *rand.Rand
	s       Shape
	p       *model.Problem
	planted *model.Assignment
}

// Random makes the problem of a shape, and its planted assignment, which breaks no rule as long as what moves to it
// from the initial places is not judged (transient use; with Stray above 0).
func Random(r *rand.Rand, s Shape) (*model.Problem, *model.Assignment) {
	m := &maker{r: r, s: s, p: &model.Problem{}}
	m.resources()
	m.hosts()
	m.vms()
	m.groups()
	m.capacities()
	m.fit()
	m.initial()
	return m.p, m.planted
}

// draw is true so many times in a hundred.
func (m *maker) draw(percent int) bool { return m.r.IntN(100) < percent }

// priceIf is a random price, 0 where the shape has none of the kind.
func (m *maker) priceIf(has bool, most int64) int64 {
	if !has {
		return 0
	}
	return m.r.Int64N(most + 1)
}

func (m *maker) resources() {
	names := []string{"cpu", "memory", "disk"}[:1+m.r.IntN(3)]
	for i, n := range names {
		m.p.Resources = append(m.p.Resources, model.Resource{
			Name: n, Load: m.priceIf(m.s.Load, 5), Transient: m.s.Transient && i == len(names)-1,
		})
	}
	if m.s.Balance && len(names) > 1 {
		m.p.Balances = append(m.p.Balances, model.Balance{A: 0, B: 1, Target: m.r.Int64N(4), Weight: m.r.Int64N(5)})
	}
	if m.s.Disks {
		m.p.PoolResources = []model.Resource{{Name: "space", Transient: m.s.Transient}, {Name: "iops"}}[:1+m.r.IntN(2)]
	}
	m.p.HopWeight, m.p.GroupMove = m.priceIf(m.s.Moves, 3), m.priceIf(m.s.Moves, 10)
}

func (m *maker) hosts() {
	zones, racks, classes := 1+m.r.IntN(3), 1+m.r.IntN(1+m.s.Hosts/2), 1+m.r.IntN(3)
	same, price := m.draw(50), m.priceIf(m.s.On, 100)
	for h := range m.s.Hosts {
		x := model.Host{
			Domain: []int32{int32(h), int32(h % racks)}, Zone: int32(m.r.IntN(zones)), Class: int32(m.r.IntN(classes)),
			Place: int32(h % 2), On: price, Open: !m.draw(10),
		}
		if !same {
			x.On = m.priceIf(m.s.On, 100)
		}
		m.p.Hosts = append(m.p.Hosts, x)
	}
	if m.draw(70) {
		m.p.Hop = [][]int32{{m.r.Int32N(3), m.r.Int32N(9)}, {m.r.Int32N(9), m.r.Int32N(3)}}
	}
	if !m.s.Disks {
		return
	}
	for range m.s.Pools {
		m.p.Pools = append(m.p.Pools, model.Pool{Class: int32(m.r.IntN(2)), Open: !m.draw(10)})
	}
	for h := range m.p.Hosts {
		for s := range m.s.Pools {
			if s == h%m.s.Pools || m.draw(60) {
				m.p.Hosts[h].Pools = append(m.p.Hosts[h].Pools, model.PoolIx(s))
			}
		}
	}
}

func (m *maker) amounts(n int, most int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = m.r.Int64N(most + 1)
	}
	return out
}

func (m *maker) vms() {
	m.planted = &model.Assignment{}
	for range m.s.VMs {
		h := m.r.IntN(m.s.Hosts)
		v := model.VM{
			Demand: m.amounts(len(m.p.Resources), 10), Group: model.None, Apart: model.None, Class: int32(m.r.IntN(3)),
			Drop: m.r.Int64N(200), Priority: m.r.Int32N(3),
			Move: [4]int64{0, m.priceIf(m.s.Moves, 20), m.priceIf(m.s.Moves, 20), m.priceIf(m.s.Moves, 30)},
		}
		if m.draw(5) {
			v.Move[1+m.r.IntN(3)] = model.Forbidden
		}
		var pools []model.PoolIx
		if reach := m.p.Hosts[h].Pools; m.s.Disks {
			for range m.r.IntN(3) {
				v.Disks = append(v.Disks, model.Disk{
					Demand: m.amounts(len(m.p.PoolResources), 9), Class: int32(m.r.IntN(2)), Weight: m.r.Int64N(5),
					Copy: m.priceIf(m.s.Moves, 10), Sticky: m.draw(10),
				})
				pools = append(pools, reach[m.r.IntN(len(reach))])
			}
		}
		if m.s.NICs && m.draw(50) {
			v.NICs = append(v.NICs, model.NICNeed{Class: int8(m.r.IntN(2)), Queues: m.r.Int32N(4), Rate: m.r.Int64N(5)})
		}
		m.p.VMs = append(m.p.VMs, v)
		m.planted.Host = append(m.planted.Host, model.HostIx(h))
		m.planted.Pool = append(m.planted.Pool, pools)
	}
}

// capacities gives hosts and pools room for what is planted on them, and their NICs for each need.
func (m *maker) capacities() {
	p := m.p
	room := func(use int64) int64 { return use + m.r.Int64N(2+use*int64(m.s.Slack)/50) }
	for h := range p.Hosts {
		use := make([]int64, len(p.Resources))
		for i := range p.VMs {
			if m.planted.Host[i] != model.HostIx(h) {
				continue
			}
			for r, d := range p.VMs[i].Demand {
				use[r] += d
			}
			for _, n := range p.VMs[i].NICs {
				p.Hosts[h].NICs = m.nic(p.Hosts[h].NICs, n)
			}
		}
		for _, u := range use {
			c := room(u)
			p.Hosts[h].Capacity = append(p.Hosts[h].Capacity, c)
			p.Hosts[h].Soft = append(p.Hosts[h].Soft, m.r.Int64N(c+2))
		}
	}
	for s := range p.Pools {
		use := make([]int64, len(p.PoolResources))
		for i := range p.VMs {
			for j, at := range m.planted.Pool[i] {
				for r, d := range p.VMs[i].Disks[j].Demand {
					if at == model.PoolIx(s) {
						use[r] += d
					}
				}
			}
		}
		for _, u := range use {
			base := m.r.Int64N(5)
			p.Pools[s].Base = append(p.Pools[s].Base, base)
			p.Pools[s].Capacity = append(p.Pools[s].Capacity, base+room(u))
		}
	}
}

// nic gives a need room on one NIC of two at most.
func (m *maker) nic(have []model.NIC, n model.NICNeed) []model.NIC {
	if len(have) < 2 {
		return append(have, model.NIC{Class: n.Class, Queues: n.Queues + m.r.Int32N(3), Rate: n.Rate + m.r.Int64N(3)})
	}
	x := &have[m.r.IntN(2)]
	x.Class = max(x.Class, n.Class)
	x.Queues += n.Queues
	x.Rate += n.Rate
	return have
}

// fit draws prices, and forbids what the planted places do not need.
func (m *maker) fit() {
	p := m.p
	used, poolUsed := map[[2]int32]bool{}, map[[2]int32]bool{}
	for i := range p.VMs {
		used[[2]int32{p.VMs[i].Class, p.Hosts[m.planted.Host[i]].Class}] = true
		for j, at := range m.planted.Pool[i] {
			poolUsed[[2]int32{p.VMs[i].Disks[j].Class, p.Pools[at].Class}] = true
		}
	}
	p.Fit = m.table(3, 3, used)
	if m.s.Disks {
		p.PoolFit = m.table(2, 2, poolUsed)
	}
}

func (m *maker) table(rows, columns int, used map[[2]int32]bool) [][]int64 {
	t := make([][]int64, rows)
	for i := range t {
		for j := range columns {
			x := m.priceIf(m.s.Fit, 20)
			if m.s.Fit && m.draw(40) && !used[[2]int32{int32(i), int32(j)}] {
				x = model.Forbidden
			}
			t[i] = append(t[i], x)
		}
	}
	return t
}

// initial starts most VMs where they are planted. What is closed may keep what starts there; a VM that is planted on a
// closed host starts there.
func (m *maker) initial() {
	p := m.p
	for i := range p.VMs {
		v, h := &p.VMs[i], m.planted.Host[i]
		v.Initial = h
		stray := m.draw(m.s.Stray)
		switch {
		case p.Hosts[h].Open && m.draw(m.s.New):
			v.Initial = model.None
		case p.Hosts[h].Open && stray:
			v.Initial = model.HostIx(m.r.IntN(m.s.Hosts))
			v.Move = [4]int64{0, max(0, v.Move[1]), max(0, v.Move[2]), max(0, v.Move[3])}
		default:
			v.Fixed = m.draw(5)
		}
		if v.Initial != model.None && m.draw(60) {
			v.Drop = 0
		}
		for j := range v.Disks {
			d, at := &v.Disks[j], m.planted.Pool[i][j]
			d.Initial = at
			if p.Pools[at].Open && v.Initial == model.None && m.draw(70) {
				d.Initial = model.None
			} else {
				d.Fixed = m.draw(5)
			}
		}
	}
}

// groups draws rules that the planted places keep.
func (m *maker) groups() {
	if !m.s.Groups || m.s.VMs == 0 {
		return
	}
	p := m.p
	n := 1 + m.r.IntN(1+m.s.VMs/3)
	for range n {
		p.Groups = append(p.Groups, model.Group{Level: int8(m.r.IntN(2))})
	}
	members := make([][]int, n)
	for i := range p.VMs {
		if m.draw(80) {
			g := m.r.IntN(n)
			p.VMs[i].Group = model.GroupIx(g)
			members[g] = append(members[g], i)
		}
	}
	for g, vms := range members {
		domains, zones := map[int32]bool{}, map[int32]bool{}
		for _, i := range vms {
			h := &p.Hosts[m.planted.Host[i]]
			domains[h.Domain[p.Groups[g].Level]] = true
			zones[h.Zone] = true
			if l := m.r.IntN(3) - 1; l >= 0 && m.alone(i, vms, l) {
				p.VMs[i].Apart = int8(l)
			}
		}
		p.Groups[g].Min = m.r.Int32N(int32(len(domains)) + 1)
		for other := range n {
			if m.draw(20) && m.covers(members[other], zones) {
				p.Groups[g].Needs = append(p.Groups[g].Needs, model.GroupIx(other))
			}
		}
	}
}

// alone says whether VM i shares no domain of a level with others of its group.
func (m *maker) alone(i int, vms []int, level int) bool {
	at := func(k int) int32 { return m.p.Hosts[m.planted.Host[k]].Domain[level] }
	return !slices.ContainsFunc(vms, func(k int) bool { return k != i && at(k) == at(i) })
}

// covers says whether VMs are in all of the zones.
func (m *maker) covers(vms []int, zones map[int32]bool) bool {
	have := map[int32]bool{}
	for _, i := range vms {
		have[m.p.Hosts[m.planted.Host[i]].Zone] = true
	}
	for z := range zones {
		if !have[z] {
			return false
		}
	}
	return true
}
