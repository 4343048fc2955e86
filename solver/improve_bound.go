package solver

import (
	"github.com/berth-project/berth/plan/model"
)

// The effort that goes into the lower bound: rounds over each VM, host and resource, and steps in all.
const (
	boundRounds = 100
	boundWork   = 200_000_000
)

// floor is the lower bound of the cost of plans for one fleet. It is opened before the search moves anything, and asked
// when it is known what the plan mends: a plan that mends nothing costs nothing, so that only plans that mend as much can be
// compared.
type floor struct {
	c *compiler // loose; nil where the fleet is too large for the model
}

// tolerance is what a loose problem lets be that is broken: the host of a VM, or, from 0, one of its disks.
type tolerance struct {
	item, disk int // disk -1: the host
}

func (s *state) openFloor() floor {
	s, err := s.equipped()
	if err != nil {
		return floor{}
	}
	c, err := (&compiler{s: s, loose: true}).build()
	if err != nil {
		return floor{}
	}
	return floor{c}
}

// below is what every plan costs at least, moves included, that mends what is mended in end, in points.
func (f floor) below(end *state) int64 {
	c := f.c
	if c == nil {
		return 0
	}
	for _, t := range c.tolerated {
		it, v := &c.items[t.item], &c.p.VMs[t.item]
		i := it.vms[0]
		now := &end.vms[i]
		if t.disk < 0 {
			if end.fixedRefusal(end.single(i), now.host) == "" {
				v.Class = c.strictClass(c.s.single(i))
			}
			continue
		}
		pool := &end.pools[now.disks[t.disk]]
		if need := max(now.need.Disks[t.disk].Tier, 0); pool.facts.Tier >= need && pool.snap.Source == now.snap.Source {
			v.Disks[t.disk].Class = c.diskClass(diskKey{now.snap.Source, need, none, false})
		}
	}
	c.priceDisks()
	if c.err != nil {
		return 0
	}
	work := min(int64(len(c.items))*int64(len(c.p.Hosts))*boundRounds, boundWork)
	b, _ := model.BoundWithin(c.p, work)
	return max((b+c.scale-1)/c.scale, 0)
}
