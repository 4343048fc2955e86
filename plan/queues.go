package plan

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// QueueRoom is what one NIC has to give.
type QueueRoom struct {
	Class fleet.NICClass
	Free  fleet.Queues
}

// QueueNeed is what one VM needs of one NIC of at least Class.
type QueueNeed struct {
	Class  fleet.NICClass
	Queues fleet.Queues
}

// maxPackNodes bounds the search of PackQueues. Hosts have a handful of NICs and equal needs are common, so
// that real hosts take tens of nodes.
const maxPackNodes = 20_000

// PackQueues says whether every need gets its queues on one NIC of its class at least, no NIC giving more
// than it has. The search is exact up to maxPackNodes; beyond, the needs count as too many, so that a yes is
// always true. The snapshot does not say on which NIC a VM's queues are, so that a host's set of needs alone
// decides. Both slices are sorted in place.
func PackQueues(rooms []QueueRoom, needs []QueueNeed) bool {
	// Least class and then least room first keeps the better NICs for those who need them; the greatest
	// need first makes the first dive of the search best fit decreasing.
	slices.SortFunc(rooms, func(a, b QueueRoom) int { return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Free, b.Free)) })
	slices.SortFunc(needs, func(a, b QueueNeed) int {
		return cmp.Or(cmp.Compare(b.Class, a.Class), cmp.Compare(b.Queues, a.Queues))
	})
	for c := range fleet.MaxNICClass + 1 {
		var room, need fleet.Queues
		for _, r := range rooms {
			if r.Class >= c {
				room += r.Free
			}
		}
		for _, n := range needs {
			if n.Class >= c {
				need += n.Queues
			}
		}
		if need > room {
			return false
		}
	}
	nodes := maxPackNodes
	return pack(rooms, needs, &nodes)
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
		if r.Class < n.Class || r.Free < n.Queues || tried(rooms[:i], *r, n) {
			continue
		}
		r.Free -= n.Queues
		ok := pack(rooms, needs[1:], nodes)
		r.Free += n.Queues
		if ok {
			return true
		}
	}
	return false
}

// tried says whether a NIC like r was tried already for n. Of equal free queues the classes that suffice
// are not alike for the needs that follow, so that both count.
func tried(before []QueueRoom, r QueueRoom, n QueueNeed) bool {
	for _, b := range before {
		if b == r && b.Class >= n.Class {
			return true
		}
	}
	return false
}
