package solver

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// maxAssignNodes bounds the search for pools of one unit on one host. Sizes in first fit order rarely need
// more than one node a disk.
const maxAssignNodes = 4096

// disk is one disk of a unit while pools are chosen.
type disk struct {
	at      int // in the result
	v       *vmState
	n       int
	used    fleet.Bytes
	io      ioUse
	options []option // cheapest first
}

type option struct {
	pool  poolIx
	stays bool
	cost  int64
	free  fleet.Bytes
}

// assign gives each disk of u a pool that h reaches, of its tier, with room above the reserve for all that
// comes to it at once; what the disks leave behind is not counted as free yet. It tries the cheapest first
// and goes back when the rest does not fit.
func (s *state) assign(u *unit, h hostIx, q *query, pref preference) ([]poolIx, string) {
	disks := s.disks[:0]
	s.options, s.stays = s.options[:0], false
	defer func() { s.disks = disks }()
	refused := ""
	for _, i := range u.vms {
		v := &s.vms[i]
		for j := range v.disks {
			d := disk{at: len(disks), v: v, n: j, used: v.snap.Disks[j].Used, io: v.io(j)}
			var r string
			if d.options, r = s.choices(v, j, h, q, pref); r != "" && (refused == "" || r == plan.ConstraintPoolTier) {
				refused = r
			}
			disks = append(disks, d)
		}
	}
	if refused != "" {
		return nil, refused
	}
	out := make([]poolIx, len(disks))
	slices.SortStableFunc(disks, func(a, b disk) int { return cmp.Compare(b.used, a.used) })
	nodes := maxAssignNodes
	if s.choose(disks, out, &nodes) {
		return out, ""
	}
	return nil, s.tightest(disks, out)
}

// tightest is the constraint for want of which pools for all of disks at once were not found.
func (s *state) tightest(disks []disk, out []poolIx) string {
	limited := slices.ContainsFunc(disks, func(d disk) bool { return d.io != ioUse{} })
	without := func(change func(*ioUse)) bool {
		list := slices.Clone(disks)
		for i := range list {
			change(&list[i].io)
		}
		nodes := maxAssignNodes
		return s.choose(list, out, &nodes)
	}
	switch {
	case !limited || !without(func(u *ioUse) { *u = ioUse{} }):
		return plan.ConstraintPoolSpace
	case without(func(u *ioUse) { u.rate = 0 }):
		return plan.ConstraintPoolThroughput
	default:
		return plan.ConstraintPoolIOPS
	}
}

func (s *state) choose(disks []disk, out []poolIx, nodes *int) bool {
	if len(disks) == 0 {
		return true
	}
	if *nodes--; *nodes < 0 {
		return false
	}
	d := &disks[0]
	for _, o := range d.options {
		used, io := d.used, d.io
		if o.stays {
			used, io = 0, ioUse{}
		} else if s.room(o.pool)-s.added[o.pool] < used || io != (ioUse{}) && s.ioRefusal(o.pool, s.addedIO[o.pool], io) != "" {
			continue
		}
		s.added[o.pool] += used
		s.addedIO[o.pool] = s.addedIO[o.pool].plus(io)
		out[d.at] = o.pool
		ok := s.choose(disks[1:], out, nodes)
		s.added[o.pool] -= used
		s.addedIO[o.pool] = s.addedIO[o.pool].minus(io)
		if ok {
			return true
		}
	}
	return false
}

// room is what a disk that comes to p may take.
func (s *state) room(p poolIx) fleet.Bytes { return s.pools[p].free - s.pools[p].facts.Reserve }

// choices lists the pools for the n-th disk of v on h, or says why there are none.
func (s *state) choices(v *vmState, n int, h hostIx, q *query, pref preference) ([]option, string) {
	host := &s.hosts[h]
	need := max(v.need.Disks[n].Tier, 0)
	d := &v.snap.Disks[n]
	refused := plan.ConstraintPoolReach
	if len(host.pools) > 0 {
		refused = plan.ConstraintPoolTier
	}
	first := len(s.options)
	for _, p := range host.pools {
		pool := &s.pools[p]
		if pool.facts.Tier < need || pool.source != v.source || q.avoids(v, n, p) {
			continue
		}
		if refused != plan.ConstraintPoolIOPS && refused != plan.ConstraintPoolThroughput && refused != plan.ConstraintReserve {
			refused = plan.ConstraintPoolSpace
		}
		o := option{pool: p, stays: p == v.disks[n], free: s.room(p)}
		if o.stays {
			if h != v.host && !s.chainReached(v, n, host) {
				continue
			}
		} else if o.free < d.Used {
			continue
		} else if r := s.ioRefusal(p, ioUse{}, v.io(n)); r != "" {
			if refused != plan.ConstraintPoolThroughput && refused != plan.ConstraintReserve { // a pool that lacks bandwidth alone comes nearest
				refused = r
			}
			continue
		} else if s.strands(v, h, p) {
			refused = plan.ConstraintReserve
			continue
		}
		o.cost = plan.PoolCost(s.p.Weights, pool.facts.Tier, need, d.Used)
		if !o.stays {
			o.cost += plan.MoveCost(s.p.Weights, d.Used, false) - plan.MoveCost(s.p.Weights, 0, false)
		}
		s.stays = s.stays || o.stays
		s.options = append(s.options, o)
	}
	out := s.options[first:]
	if len(out) == 0 {
		return nil, refused
	}
	if len(out) == 1 {
		return out, ""
	}
	slices.SortFunc(out, func(a, b option) int {
		if a.stays != b.stays && (pref != cheapest || a.cost == b.cost) {
			if a.stays != (pref == moving) {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(b.free, a.free), cmp.Compare(a.pool, b.pool))
	})
	return out, ""
}

// chainReached says whether host reaches the backing chain of a disk that stays where it is.
func (s *state) chainReached(v *vmState, n int, host *hostState) bool {
	if v.flat[n] {
		return true
	}
	for _, l := range v.snap.Disks[n].Chain {
		if p := s.pool(l.Pool); p == none || !slices.Contains(host.pools, p) {
			return false
		}
	}
	return true
}
