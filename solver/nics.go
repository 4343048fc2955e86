package solver

import (
	"math"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// nicBook is what NICs of a host have to give and what its VMs reserve of them, kept sorted as plan.PackSorted wants it: packing is
// asked for at each look at a host.
type nicBook struct {
	of    *fleet.Host // whose NICs rooms are; another one: they have to be read anew
	rooms []plan.QueueRoom
	room  nicSums
	best  fleet.NICClass // the highest of rooms; -1 without any
	needs []plan.QueueNeed
	need  nicSums
}

// nicSums are queues and bandwidth of the NICs, or for the needs, of each class or above.
type nicSums [fleet.MaxNICClass + 1]struct {
	queues fleet.Queues
	rate   fleet.Mbps
}

func (n *nicSums) add(c fleet.NICClass, queues fleet.Queues, rate fleet.Mbps) {
	for k := range min(c, fleet.MaxNICClass) + 1 {
		n[k].queues += queues
		n[k].rate += rate
	}
}

// reserve enters needs of a VM, release takes them back.
func (b *nicBook) reserve(list []plan.QueueNeed) {
	for _, n := range list {
		at, _ := slices.BinarySearchFunc(b.needs, n, plan.QueueNeed.Before)
		b.needs = slices.Insert(b.needs, at, n)
		b.need.add(n.Class, n.Queues, n.Rate)
	}
}

func (b *nicBook) release(list []plan.QueueNeed) {
	for _, n := range list {
		if at, ok := slices.BinarySearchFunc(b.needs, n, plan.QueueNeed.Before); ok { // equal needs are alike
			b.needs = slices.Delete(b.needs, at, at+1)
			b.need.add(n.Class, -n.Queues, -n.Rate)
		}
	}
}

// read makes the rooms those of h's NICs. The list is a new one: a copy of h may have another.
func (h *hostState) read() {
	b := &h.nics
	if b.of == h.snap {
		return
	}
	b.of, b.rooms, b.room, b.best = h.snap, make([]plan.QueueRoom, 0, len(h.snap.NICs)), nicSums{}, -1
	for i := range h.snap.NICs {
		n := &h.snap.NICs[i]
		c := h.class(n)
		b.rooms = append(b.rooms, plan.QueueRoom{Class: c, Free: n.Queues, Rate: n.Guarantee})
		b.best = max(b.best, c)
		b.room.add(c, n.Queues, n.Guarantee)
	}
	slices.SortFunc(b.rooms, plan.QueueRoom.Before)
}

// queueSlack is what needs of each class may ask for more. It refuses what nicRefusal refuses, never more: a need counts in its own class and all
// below, and where any class has promised too much nothing is reserved at all.
func (h *hostState) queueSlack() queueSlack {
	h.read()
	var out queueSlack
	least := fleet.Queues(math.MaxInt32)
	for c := range out {
		least = min(least, h.nics.room[c].queues-h.nics.need[c].queues)
		out[c] = int32(max(least, -1)) // at most MaxInt32
	}
	if least < 0 {
		return noSlack
	}
	return out
}

// nicRefusal is the constraint by which what all on h and u reserve on NICs cannot be given; "" when it can. u may be nil.
func (s *state) nicRefusal(host *hostState, h hostIx, u *unit) string {
	host.read()
	b := &host.nics
	needs, sums := b.needs, b.need
	if u != nil && len(u.vms) == 1 {
		v := &s.vms[u.vms[0]]
		for _, n := range v.nics { // in vain for most hosts, so before the list is made
			if v.host != h && sums[0].queues+n.Queues > b.room[0].queues {
				return plan.ConstraintNICQueues
			}
		}
	}
	if u != nil {
		more := nicBook{needs: append(s.needs[:0], b.needs...), need: sums}
		for _, i := range u.vms {
			if v := &s.vms[i]; v.host != h {
				more.reserve(v.nics)
			}
		}
		s.needs = more.needs
		needs, sums = more.needs, more.need
	}
	enough := true
	for c := range sums {
		if sums[c].queues > b.room[c].queues {
			return plan.ConstraintNICQueues
		}
		enough = enough && sums[c].rate <= b.room[c].rate
	}
	if enough && plan.PackSorted(b.rooms, needs) {
		return ""
	}
	return plan.NICRefusal(slices.Clone(b.rooms), slices.Clone(needs))
}

// packs says whether what all on h and u reserve on NICs can be given.
func (s *state) packs(host *hostState, h hostIx, u *unit) bool { return s.nicRefusal(host, h, u) == "" }

// packsThese says whether what list reserves on NICs of host can be given, whoever is on it now.
func (s *state) packsThese(host *hostState, list []vmIx) bool {
	host.read()
	needs := s.needs[:0]
	for _, i := range list {
		needs = append(needs, s.vms[i].nics...)
	}
	s.needs = needs
	return plan.PackQueues(slices.Clone(host.nics.rooms), needs)
}
