package solver

import (
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// lessAsked looks for the least that the VM's label would have to give up, one requirement at a time: of each the highest ask
// below the present one that has a place.
func (r *relaxer) lessAsked() {
	need := r.vms[r.vm].need
	for _, k := range []struct {
		key  string
		now  int
		name func(int) string
		set  func(*policy.Requirement, int)
	}{
		{"server.tier", int(need.Server), func(n int) string { return r.p.ServerTier(policy.Rank(n)) }, func(q *policy.Requirement, n int) { q.Server = policy.Rank(n) }},
		{"security.class", need.Security, r.p.SecurityClass, func(q *policy.Requirement, n int) { q.Security = n }},
		{"nic.class", int(need.NICClass), strconv.Itoa, func(q *policy.Requirement, n int) { q.NICClass = fleet.NICClass(n) }},
		{"nic.queues", int(need.Queues), strconv.Itoa, func(q *policy.Requirement, n int) { q.Queues = fleet.Queues(n) }},
		{"nic.rate", int(need.Rate), strconv.Itoa, func(q *policy.Requirement, n int) { q.Rate = fleet.Mbps(n) }},
		{"storage.tier", int(highest(need.Disks)), func(n int) string { return r.p.PoolTier(policy.Rank(n)) }, capDisks},
		{"storage.iops", int(mostIOPS(need.Disks)), strconv.Itoa, capIOPS},
	} {
		if k.now <= 0 || k.key == "nic.rate" && need.Rate > 1<<30 {
			continue
		}
		change := func(n int) func(*policy.Requirement) { return func(q *policy.Requirement) { k.set(q, n) } }
		// Asking for less never has fewer places, so that the least that is not refused can be halved towards.
		below := sort.Search(k.now, func(down int) bool { _, ok := r.asking(change(k.now - 1 - down)); return ok })
		if below == k.now || r.left <= 0 {
			continue
		}
		r.propose(k.key, k.name(k.now), k.name(k.now-1-below), below+1, change(k.now-1-below))
	}
	r.fewerGroups(&need)
}

// highest is the highest storage tier that a disk needs.
func highest(disks []policy.DiskRequirement) policy.Rank {
	var out policy.Rank
	for _, d := range disks {
		out = max(out, d.Tier)
	}
	return out
}

func mostIOPS(disks []policy.DiskRequirement) fleet.IOPS {
	var out fleet.IOPS
	for _, d := range disks {
		out = max(out, d.IOPS)
	}
	return out
}

func capDisks(q *policy.Requirement, n int) {
	q.Disks = slices.Clone(q.Disks)
	for i := range q.Disks {
		q.Disks[i].Tier = min(q.Disks[i].Tier, policy.Rank(n))
	}
}

func capIOPS(q *policy.Requirement, n int) {
	q.Disks = slices.Clone(q.Disks)
	for i := range q.Disks {
		q.Disks[i].IOPS = min(q.Disks[i].IOPS, fleet.IOPS(n))
	}
}

// fewerGroups tries finer failure domains, no spread, no affinity, any hypervisor.
func (r *relaxer) fewerGroups(need *policy.Requirement) {
	if g := need.SpreadGroup; g != "" {
		steps := 0
		for _, k := range finerThan(need.SpreadDomain) {
			change := func(q *policy.Requirement) { q.SpreadDomain = k }
			if steps++; r.propose("spread.domain", string(need.SpreadDomain), string(k), steps, change) {
				break
			}
		}
		r.propose("spread.group", g, "", 5, func(q *policy.Requirement) { q.SpreadGroup = "" })
	}
	if g := need.AffinityGroup; g != "" {
		r.propose("affinity.group", g, "", 3, func(q *policy.Requirement) { q.AffinityGroup = "" })
	}
	if len(need.Hypervisors) > 0 {
		r.propose("hypervisor", fmt.Sprint(need.Hypervisors), "", 3, func(q *policy.Requirement) { q.Hypervisors = nil })
	}
}

// finerThan lists the kinds of failure domains below d, the next one first.
func finerThan(d policy.Domain) []policy.Domain {
	all := []policy.Domain{policy.DomainSite, policy.DomainRack, policy.DomainChassis, policy.DomainHost}
	if d == policy.DomainCluster {
		return all[3:]
	}
	if i := slices.Index(all, d); i >= 0 {
		return all[i+1:]
	}
	return nil
}

// propose notes that asking for less of key gives the VM a place, if it does.
func (r *relaxer) propose(key, from, to string, steps int, change func(*policy.Requirement)) bool {
	p, ok := r.asking(change)
	if !ok {
		return false
	}
	a := Adjustment{Kind: AdjustLabel, VM: r.vms[r.vm].snap.ID, Name: key, Value: to, cost: costOf(AdjustLabel, 100*int64(steps))}
	a.Text = fmt.Sprintf("lower %s of %s from %s to %s", key, a.VM, from, to)
	if to == "" {
		a.Text = fmt.Sprintf("drop %s=%s of %s", key, from, a.VM)
	}
	if key == "nic.queues" || key == "nic.rate" || key == "storage.iops" {
		a.cost = costOf(AdjustLabel, 99+int64(steps)) // steps of one, of which there are many
	}
	x := Relaxation{Text: a.Text, Cost: a.cost, Changes: []Adjustment{a}, Places: p}
	r.out = append(r.out, x)
	return true
}

// asking finds a place for the unit when the VM asks for something else, and leaves all as it was.
func (r *relaxer) asking(change func(*policy.Requirement)) ([]MovedVM, bool) {
	if r.left <= 0 {
		return nil, false
	}
	r.left--
	i := r.vm
	v := &r.vms[i]
	was, alone, unitWas := *v, r.alone[i], r.u
	put := func(to vmState) {
		r.leave(i, v.host)
		r.promiseOf(v, -1)
		*v = to
		r.promiseOf(v, 1)
		r.enter(i, v.host)
		r.index.update(r.state, v.host)
		r.alone[i] = nil
	}
	now := was
	change(&now.need)
	now.nics = plan.NICNeeds(now.snap, &now.need)
	if now.need.SpreadGroup == "" {
		now.spread = none
	} else {
		now.kind = max(slices.Index(kinds[:], now.need.SpreadDomain), 0)
	}
	put(now)
	defer func() {
		put(was)
		r.alone[i], r.u = alone, unitWas
	}()
	u := &unit{anchor: unitWas.anchor, torn: unitWas.torn}
	if now.need.AffinityGroup == "" {
		u.anchor, u.torn = none, false
		u.add(i, v)
	} else {
		for _, w := range unitWas.vms {
			u.add(w, &r.vms[w])
		}
	}
	r.u = u
	at := r.vms[u.vms[0]].host
	if p, refused := r.judge(at); refused == "" {
		return r.places(u, p), true
	}
	q := anywhere
	q.host = at
	p, ok := r.find(u, q, 0)
	if !ok || r.stillWrong(p) != "" {
		return nil, false
	}
	return r.places(u, p), true
}

// promiseOf adds what the disks of v reserve to their pools, or takes it off.
func (r *relaxer) promiseOf(v *vmState, sign int) {
	for n, p := range v.disks {
		if sign > 0 {
			r.pools[p].io = r.pools[p].io.plus(v.io(n))
		} else {
			r.pools[p].io = r.pools[p].io.minus(v.io(n))
		}
	}
}
