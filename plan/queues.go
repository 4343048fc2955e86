package plan

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// QueueRoom is what one NIC has to give.
type QueueRoom struct {
	Class fleet.NICClass
	Free  fleet.Queues
	Rate  fleet.Mbps // bandwidth that it can promise
}

// QueueNeed is what one virtual NIC needs of one NIC of at least Class.
type QueueNeed struct {
	Class  fleet.NICClass
	Queues fleet.Queues
	Rate   fleet.Mbps
}

// NICNeeds is what v reserves on the NICs of its host. The level's queues and rate are the VM's as a whole, on one NIC: that
// of its first virtual NIC. Each further virtual NIC that the hypervisor promises a bandwidth needs that on a NIC of the same
// class, which may be another one.
func NICNeeds(v *fleet.VM, need *policy.Requirement) []QueueNeed {
	var out []QueueNeed
	first := QueueNeed{Class: need.NICClass, Queues: need.Queues, Rate: need.Rate}
	for i := range v.VNICs {
		g := v.VNICs[i].Guarantee
		switch {
		case i == 0:
			first.Rate = max(first.Rate, g)
		case g > 0:
			out = append(out, QueueNeed{Class: need.NICClass, Rate: g})
		}
	}
	if first.Queues > 0 || first.Rate > 0 {
		out = slices.Insert(out, 0, first)
	}
	return out
}

// NICRefusal is the constraint by which the needs cannot be met, "" when they can: ConstraintNICQueues when not even the
// queues can be given, bandwidth aside, else ConstraintNICRate. Both slices may be sorted in place.
func NICRefusal(rooms []QueueRoom, needs []QueueNeed) string {
	if PackQueues(rooms, needs) {
		return ""
	}
	plain := make([]QueueNeed, 0, len(needs))
	for _, n := range needs {
		if n.Queues > 0 {
			plain = append(plain, QueueNeed{Class: n.Class, Queues: n.Queues})
		}
	}
	if PackQueues(rooms, plain) {
		return ConstraintNICRate
	}
	return ConstraintNICQueues
}

// maxPackNodes bounds the search of PackQueues. Hosts have a handful of NICs and equal needs are common, so
// that real hosts take tens of nodes.
const maxPackNodes = 20_000

// PackQueues says whether every need gets its queues and its bandwidth on one NIC of its class at least, no NIC giving
// more than it has. The search is exact up to maxPackNodes; beyond, the needs count as too many, so that a yes is
// always true. The snapshot does not say on which NIC a VM's queues are, so that a host's set of needs alone
// decides. Both slices are sorted in place.
func PackQueues(rooms []QueueRoom, needs []QueueNeed) bool {
	slices.SortFunc(rooms, QueueRoom.Before)
	slices.SortFunc(needs, QueueNeed.Before)
	for c := range fleet.MaxNICClass + 1 {
		var room, need QueueNeed
		for _, r := range rooms {
			if r.Class >= c {
				room.Queues += r.Free
				room.Rate += r.Rate
			}
		}
		for _, n := range needs {
			if n.Class >= c {
				need.Queues += n.Queues
				need.Rate += n.Rate
			}
		}
		if need.Queues > room.Queues || need.Rate > room.Rate {
			return false
		}
	}
	nodes := maxPackNodes
	return pack(rooms, needs, &nodes)
}

// PackSorted is PackQueues for a caller that keeps both lists sorted by Before and has compared the sums of each class itself. Neither
// list is changed.
func PackSorted(rooms []QueueRoom, needs []QueueNeed) bool {
	nodes := maxPackNodes
	return pack(rooms, needs, &nodes)
}

// Before orders NICs for PackSorted: least class and then least room first keeps the better NICs for those who need them.
func (a QueueRoom) Before(b QueueRoom) int {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Free, b.Free), cmp.Compare(a.Rate, b.Rate))
}

// Before orders needs for PackSorted: the greatest first makes the first dive of the search best fit decreasing.
func (a QueueNeed) Before(b QueueNeed) int {
	if a.Class != b.Class {
		return cmp.Compare(b.Class, a.Class)
	}
	return cmp.Or(cmp.Compare(b.Queues, a.Queues), cmp.Compare(b.Rate, a.Rate))
}

func pack(rooms []QueueRoom, needs []QueueNeed, nodes *int) bool {
	if len(needs) == 0 {
		return true
	}
	if *nodes--; *nodes < 0 {
		return false
	}
	n := needs[0]
	for i := range rooms {
		r := &rooms[i]
		if r.Class < n.Class || r.Free < n.Queues || r.Rate < n.Rate || tried(rooms[:i], *r, n) {
			continue
		}
		r.Free -= n.Queues
		r.Rate -= n.Rate
		ok := pack(rooms, needs[1:], nodes)
		r.Free += n.Queues
		r.Rate += n.Rate
		if ok {
			return true
		}
	}
	return false
}

// tried says whether a NIC like r was tried already for n. Of equal rooms the classes that suffice
// are not alike for the needs that follow, so that both count.
func tried(before []QueueRoom, r QueueRoom, n QueueNeed) bool {
	for _, b := range before {
		if b == r && b.Class >= n.Class {
			return true
		}
	}
	return false
}
