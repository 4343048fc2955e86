package online

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// Consolidation says how far Consolidate may go.
type Consolidation struct {
	// Moves is how many VMs may move at most.
	Moves int
	// Price is what one move has to pay for, in points: a host is freed where its price of being in use exceeds that of
	// the moves.
	Price model.Points
	// Drain spends moves that free no host now on the host that is nearest to being free, so that the next run frees it.
	Drain bool
}

// Move is one VM that changed its host.
type Move struct {
	VM       int
	From, To model.HostIx
}

// Consolidate frees whole hosts, those with the fewest VMs first, by moving their VMs to other hosts in use, and returns
// the moves in an order in which each is possible after those before it. VMs with disks keep to hosts that reach
// their pools; VMs that are fixed, or whose going breaks another VM's needs, keep their host in use.
// O(hosts log hosts + moves tried times a placement).
func (x *Placer) Consolidate(c Consolidation) []Move {
	var moves []Move
	order := x.byCount()
	for _, h := range order {
		n := len(x.hosts[h].vms)
		if n == 0 || n > c.Moves-len(moves) || x.p.Hosts[h].On <= int64(n)*c.Price {
			continue
		}
		if m, ok := x.empty(h, n); ok {
			moves = append(moves, m...)
		}
	}
	if !c.Drain {
		return moves
	}
	for _, h := range x.byCount() {
		if left := c.Moves - len(moves); left > 0 && len(x.hosts[h].vms) > 0 {
			m, _ := x.empty(h, left)
			moves = append(moves, m...)
		}
	}
	return moves
}

// byCount lists the hosts in use, those with the fewest VMs first.
func (x *Placer) byCount() []model.HostIx {
	var order []model.HostIx
	for h := range x.hosts {
		if len(x.hosts[h].vms) > 0 {
			order = append(order, model.HostIx(h)) //nolint:gosec // MaxHosts
		}
	}
	slices.SortStableFunc(order, func(a, b model.HostIx) int {
		return cmp.Compare(len(x.hosts[a].vms), len(x.hosts[b].vms))
	})
	return order
}

// size is the share of the largest host that a VM takes of the resource it takes most of.
func (x *Placer) size(v *model.VM) int64 {
	most := int64(0)
	for r, unit := range x.tree.unit {
		if unit > 0 {
			most = max(most, shareOf(v.Demand[r], unit))
		}
	}
	return most
}

// empty moves the VMs of a host away, at most so many, the largest first. Where they are to be all, and one has no other
// place, all stay.
func (x *Placer) empty(h model.HostIx, most int) ([]Move, bool) {
	vms := slices.Clone(x.hosts[h].vms)
	slices.SortFunc(vms, func(a, b int32) int {
		return cmp.Or(cmp.Compare(x.size(&x.p.VMs[b]), x.size(&x.p.VMs[a])), cmp.Compare(a, b))
	})
	all := most >= len(vms)
	var moves []Move
	var back []Decision
	allow := func(g model.HostIx) bool { return g != h && len(x.hosts[g].vms) > 0 }
	for _, i := range vms {
		if len(moves) == most {
			break
		}
		was := x.decisionOf(int(i))
		d, ok := x.elsewhere(int(i), allow)
		if ok {
			moves, back = append(moves, Move{int(i), h, d.Host}), append(back, was)
			continue
		}
		if !all {
			continue
		}
		for k := len(moves) - 1; k >= 0; k-- {
			x.take(moves[k].VM)
			x.put(moves[k].VM, &back[k])
		}
		return nil, false
	}
	return moves, true
}

// elsewhere moves a VM to the best host that is allowed; false: it stays.
func (x *Placer) elsewhere(i int, allow func(model.HostIx) bool) (Decision, bool) {
	v := &x.p.VMs[i]
	if v.Fixed || x.isNeeded(i) {
		return Decision{}, false
	}
	was := x.decisionOf(i)
	x.take(i)
	x.q.parked = true
	d, ok := x.place(x.p.VMs[i:i+1], allow)
	x.q.parked = false
	if !ok || d.Repack { // VMs that run there would have to change their NIC
		x.put(i, &was)
		return d, false
	}
	x.put(i, &d)
	return d, true
}

// decisionOf is the place that a VM has.
func (x *Placer) decisionOf(i int) Decision {
	return Decision{Host: x.a.Host[i], Pools: slices.Clone(x.a.Pool[i]), NICs: slices.Clone(x.nics[i])}
}

// isNeeded says whether VMs of other groups need the VM where it is, or its group would have too few domains without it.
func (x *Placer) isNeeded(i int) bool {
	v := &x.p.VMs[i]
	if v.Group == model.None {
		return false
	}
	g, rules, host := &x.group[v.Group], &x.p.Groups[v.Group], &x.p.Hosts[x.a.Host[i]]
	if seats := g.seats[rules.Level]; rules.Min > 1 && len(seats) <= int(rules.Min) && seats[host.Domain[rules.Level]] == 1 {
		return true
	}
	if g.zones[host.Zone] > 1 {
		return false
	}
	return slices.ContainsFunc(g.neededBy, func(n model.GroupIx) bool {
		return n != v.Group && x.group[n].zones[host.Zone] > 0
	})
}
