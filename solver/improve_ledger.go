package solver

import (
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// ledger accounts for the moves between a problem's start and an answer of the search, host by host, so that what a part
// of them saves can be told, and parts that do not pay are taken back.
type ledger struct {
	p     *model.Problem
	host  []model.HostIx   // by VM, in the answer
	pools [][]model.PoolIx // by VM and disk, in the answer
	use   []int64          // by host and resource, in the answer
	count []int32          // VMs by host, in the answer
	was   []int64          // use at the start
	held  []int32          // VMs by host at the start
	room  []int64          // by pool and pool resource, what the answer leaves free
}

func newLedger(p *model.Problem) *ledger {
	l := &ledger{p: p, was: make([]int64, len(p.Hosts)*len(p.Resources)), held: make([]int32, len(p.Hosts))}
	for i := range p.VMs {
		v := &p.VMs[i]
		l.held[v.Initial]++
		l.charge(l.was, v.Initial, v.Demand, 1)
	}
	return l
}

func (l *ledger) charge(use []int64, h model.HostIx, demand []int64, sign int64) {
	at := int(h) * len(l.p.Resources)
	for k, d := range demand {
		use[at+k] += sign * d
	}
}

// load takes over an answer.
func (l *ledger) load(a *model.Assignment) {
	l.host, l.pools = a.Host, a.Pool
	l.use, l.count = make([]int64, len(l.was)), make([]int32, len(l.held))
	q := len(l.p.PoolResources)
	l.room = make([]int64, len(l.p.Pools)*q)
	for i := range l.p.Pools {
		for k := range q {
			l.room[i*q+k] = l.p.Pools[i].Capacity[k] - l.p.Pools[i].Base[k]
		}
	}
	for i := range l.p.VMs {
		v := &l.p.VMs[i]
		l.count[l.host[i]]++
		l.charge(l.use, l.host[i], v.Demand, 1)
		for j := range v.Disks {
			d := &v.Disks[j]
			l.take(l.pools[i][j], d.Demand, -1)
			if d.Sticky && d.Initial != l.pools[i][j] {
				l.take(d.Initial, d.Demand, -1)
			}
		}
	}
}

func (l *ledger) take(p model.PoolIx, demand []int64, sign int64) {
	q := len(l.p.PoolResources)
	for k, d := range demand {
		l.room[int(p)*q+k] += sign * d
	}
}

// moved says whether the answer has VM i elsewhere.
func (l *ledger) moved(i int) bool {
	v := &l.p.VMs[i]
	if l.host[i] != v.Initial {
		return true
	}
	for j := range v.Disks {
		if l.pools[i][j] != v.Disks[j].Initial {
			return true
		}
	}
	return false
}

// own is what the VM i costs by itself with its moves: where it is in the answer, or at the start.
func (l *ledger) own(i int, start bool) int64 {
	v := &l.p.VMs[i]
	h, change := l.host[i], 0
	if start {
		h = v.Initial
	}
	var c int64
	for j := range v.Disks {
		d := &v.Disks[j]
		at := d.Initial
		if !start {
			at = l.pools[i][j]
		}
		c += l.p.PoolFit[d.Class][l.p.Pools[at].Class] * d.Weight
		if at != d.Initial {
			c += d.Copy
			change |= model.DiskChange
		}
	}
	if h != v.Initial {
		change |= model.HostChange
	}
	return c + l.p.Fit[v.Class][l.p.Hosts[h].Class] + v.Move[change]
}

// hostCost is what a host costs by what is used of it.
func (l *ledger) hostCost(h model.HostIx, use []int64, count int32) int64 {
	host := &l.p.Hosts[h]
	n := len(l.p.Resources)
	mine := use[int(h)*n : (int(h)+1)*n]
	var c int64
	for k, u := range mine {
		if over := u - host.Soft[k]; over > 0 {
			c += over * l.p.Resources[k].Load
		}
	}
	for i := range l.p.Balances {
		b := &l.p.Balances[i]
		if short := b.Target*(host.Capacity[b.A]-mine[b.A]) - (host.Capacity[b.B] - mine[b.B]); short > 0 {
			c += short * b.Weight
		}
	}
	if count > 0 {
		c += host.On
	}
	return c
}

// startCost is what the start costs in all.
func (l *ledger) startCost() int64 {
	var c int64
	for h := range l.p.Hosts {
		c += l.hostCost(model.HostIx(h), l.was, l.held[h]) // fewer hosts than 2^31
	}
	for i := range l.p.VMs {
		c += l.own(i, true)
	}
	return c
}

// promising says whether any answer could save anything: a VM that saves more by another place, taken for itself, than
// its move costs, or a price of hosts that has to be paid now.
func (l *ledger) promising() bool {
	for h := range l.p.Hosts {
		if l.hostCost(model.HostIx(h), l.was, l.held[h]) > 0 { // fewer hosts than 2^31
			return true
		}
	}
	fit, pool := least(l.p.Fit), least(l.p.PoolFit)
	for i := range l.p.VMs {
		v := &l.p.VMs[i]
		if v.Fixed {
			continue
		}
		if l.potential(v, fit, pool) > 0 {
			return true
		}
	}
	return false
}

// potential is what v could save by another place at most, its move paid, by the lowest prices of each row of the tables.
func (l *ledger) potential(v *model.VM, fit, pool []model.Points) int64 {
	host := l.p.Fit[v.Class][l.p.Hosts[v.Initial].Class] - fit[v.Class]
	var disks, most int64
	for j := range v.Disks {
		d := &v.Disks[j]
		disks += max((l.p.PoolFit[d.Class][l.p.Pools[d.Initial].Class]-pool[d.Class])*d.Weight-d.Copy, 0)
	}
	for change, gain := range [4]int64{0, host, disks, host + disks} {
		if v.Move[change] != model.Forbidden {
			most = max(most, gain-v.Move[change])
		}
	}
	return most
}

// least is the lowest price of each row of a table.
func least(table [][]model.Points) []model.Points {
	out := make([]model.Points, len(table))
	for i, row := range table {
		low := int64(-1)
		for _, x := range row {
			if x != model.Forbidden && (low < 0 || x < low) {
				low = x
			}
		}
		out[i] = max(low, 0)
	}
	return out
}

// polish sends VMs back that the answer moves for nothing, where their old place has room still.
func (l *ledger) polish() {
	for range maxPolishing {
		changed := false
		for i := range l.p.VMs {
			if l.moved(i) && l.returns(i) {
				changed = true
			}
		}
		if !changed {
			return
		}
	}
}

// returns sends VM i back if that costs no more and breaks nothing that the ledger knows of.
func (l *ledger) returns(i int) bool {
	v := &l.p.VMs[i]
	from, to := l.host[i], v.Initial
	if from != to && (len(v.NICs) > 0 || v.Group != model.None) || !l.hasRoom(i) {
		return false
	}
	before := l.own(i, false)
	after := l.own(i, true)
	if from != to {
		before += l.hostCost(from, l.use, l.count[from]) + l.hostCost(to, l.use, l.count[to])
		l.rehost(i, to)
		after += l.hostCost(from, l.use, l.count[from]) + l.hostCost(to, l.use, l.count[to])
	}
	if after > before {
		if from != to {
			l.rehost(i, from)
		}
		return false
	}
	for j := range v.Disks {
		d := &v.Disks[j]
		if at := l.pools[i][j]; at != d.Initial {
			l.take(at, d.Demand, 1)
			if !d.Sticky {
				l.take(d.Initial, d.Demand, -1)
			}
			l.pools[i][j] = d.Initial
		}
	}
	return true
}

func (l *ledger) rehost(i int, to model.HostIx) {
	v := &l.p.VMs[i]
	l.charge(l.use, l.host[i], v.Demand, -1)
	l.count[l.host[i]]--
	l.host[i] = to
	l.charge(l.use, to, v.Demand, 1)
	l.count[to]++
}

// hasRoom says whether the old place of VM i has room for it.
func (l *ledger) hasRoom(i int) bool {
	v := &l.p.VMs[i]
	if h := v.Initial; h != l.host[i] {
		n := len(l.p.Resources)
		for k, d := range v.Demand {
			if d > 0 && l.use[int(h)*n+k]+d > l.p.Hosts[h].Capacity[k] {
				return false
			}
		}
	}
	q := len(l.p.PoolResources)
	added := map[model.PoolIx][]int64{}
	for j := range v.Disks {
		d := &v.Disks[j]
		if l.pools[i][j] == d.Initial || d.Sticky {
			continue
		}
		sum := added[d.Initial]
		if sum == nil {
			sum = make([]int64, q)
			added[d.Initial] = sum
		}
		for k, x := range d.Demand {
			if sum[k] += x; x > 0 && sum[k] > l.room[int(d.Initial)*q+k] {
				return false
			}
		}
	}
	return true
}

// sets parts the moves of the answer into those that depend on each other, and says what each saves.
func (l *ledger) sets() []moveSet {
	hosts, pools := len(l.p.Hosts), len(l.p.Pools)
	j := joiner{up: make([]int32, hosts+pools+len(l.p.Groups))}
	for i := range j.up {
		j.up[i] = int32(i) //nolint:gosec // at most hosts, pools and groups
	}
	var moved []int
	for i := range l.p.VMs {
		if !l.moved(i) {
			continue
		}
		moved = append(moved, i)
		v := &l.p.VMs[i]
		first := int(v.Initial)
		j.join(first, int(l.host[i]))
		if v.Group != model.None {
			j.join(first, hosts+pools+int(v.Group))
		}
		for k := range v.Disks {
			if from, to := v.Disks[k].Initial, l.pools[i][k]; from != to {
				j.join(first, hosts+int(from))
				j.join(first, hosts+int(to))
			}
		}
	}
	bySet := map[int32]int{}
	var out []moveSet
	for _, i := range moved {
		root := j.find(int32(l.p.VMs[i].Initial))
		n, ok := bySet[root]
		if !ok {
			n = len(out)
			bySet[root] = n
			out = append(out, moveSet{})
		}
		out[n].vms = append(out[n].vms, i)
		out[n].gain += l.own(i, true) - l.own(i, false)
	}
	for h := range l.p.Hosts {
		if n, ok := bySet[j.find(int32(h))]; ok { //nolint:gosec // fewer hosts than 2^31
			out[n].gain += l.hostCost(model.HostIx(h), l.was, l.held[h]) - l.hostCost(model.HostIx(h), l.use, l.count[h])
		}
	}
	slices.SortFunc(out, func(a, b moveSet) int { return a.vms[0] - b.vms[0] })
	return out
}

// gainOf sums what the sets save that pay.
func gainOf(sets []moveSet) int64 {
	var c int64
	for i := range sets {
		c += max(sets[i].gain, 0)
	}
	return c
}

// joiner is a union-find over hosts, pools and groups.
type joiner struct{ up []int32 }

func (j *joiner) find(i int32) int32 {
	for j.up[i] != i {
		j.up[i] = j.up[j.up[i]]
		i = j.up[i]
	}
	return i
}

func (j *joiner) join(a, b int) {
	x, y := j.find(int32(a)), j.find(int32(b)) //nolint:gosec // indices of up
	if x != y {
		j.up[max(x, y)] = min(x, y)
	}
}
