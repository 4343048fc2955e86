package search

import (
	"math"

	"github.com/berth-project/berth/plan/model"
)

// Dear moves. Where a move costs far less than the load that it mends, a search is either so hot that it moves VMs for nothing or
// so cold that load is frozen, and nothing finds how few moves would do. So some rounds make moves dearer, by a factor that falls
// to one while the temperature is the same share of what a move costs all the time: first VMs go home but where that costs more
// load than many moves are worth, then the next dearest load is mended with as few moves as it takes, and so on down.

// A dear round starts at a factor of dearMost times what makes a move as dear as what a random one changes the cost by, or at a
// power of that, dearOpening at least where it comes before the rounds. From dearEnd on moves have their own price.
const (
	dearMost    = 10
	dearLeast   = 10 // a lower factor at most: moves are dear enough as they are
	dearOpening = 0.8
	dearEnd     = 0.9
	dearStep    = 1.03 // by what the factor changes at a time
	dearCold    = 0.1  // of the temperature is left at the end
)

// setDear makes moves cost f times their price, f >= 1. While f is not 1 no state is noted as the best.
func (s *state) setDear(f int64) {
	if f == s.dear {
		return
	}
	s.total += (f - s.dear) * int64(s.mostMove) * s.p.GroupMove
	s.dear = f
	for v := range int32(s.nv) {
		h := s.host[v]
		if h < 0 {
			continue
		}
		c := s.hostPrice(v, h)
		s.total += c - s.vmCost[v]
		s.vmCost[v] = c
	}
}

// movePrices is what a move to any host costs on average, and what all moves cost at most.
func (s *state) movePrices() (mean float64, most float64) {
	hop, far := 0.0, 0.0
	for _, c := range s.hop {
		hop += float64(c)
		far = max(far, float64(c))
	}
	hop /= float64(max(1, len(s.hop)))
	most = float64(s.p.GroupMove) * float64(s.nv)
	n := 0
	for i := range s.p.VMs {
		v := &s.p.VMs[i]
		if v.Initial == model.None {
			continue
		}
		most += far + float64(max(0, v.Move[model.HostChange], v.Move[model.DiskChange], v.Move[model.HostChange|model.DiskChange]))
		for j := range v.Disks {
			most += float64(v.Disks[j].Copy)
		}
		if !s.pinned[i] {
			mean += float64(max(0, v.Move[model.HostChange])) + hop
			n++
		}
	}
	return mean / float64(max(1, n)), most
}

// dearest is the highest factor that a dear round starts at, and what a move costs; 0: there are no such rounds.
func (x *Search) dearest(unit float64) (factor, move float64) {
	mean, most := x.s.movePrices()
	if mean <= 0 {
		return 0, 0
	}
	factor = min(dearMost*unit/mean, mostPenalty/most)
	if factor < dearLeast {
		return 0, 0
	}
	return factor, mean
}

// drawDear is what a round starts at, its logarithm drawn evenly between a share of that of the highest and all.
func (x *Search) drawDear(highest, least float64) float64 {
	return math.Pow(highest, least+(1-least)*x.rnd.share())
}

// dearly is a round with dear moves, which cost `most` times their price at first. The temperature is share of that. It leaves
// the state at the best.
func (x *Search) dearly(most, share, move float64, progress func() float64) {
	from := progress()
	for p := from; p < dearEnd; p = progress() {
		factor := math.Pow(most, 1-(p-from)/(dearEnd-from))
		if now := float64(x.s.dear); factor*dearStep < now || factor > now {
			x.s.setDear(max(1, int64(factor)))
		}
		x.steady(share*factor*move, x.block)
	}
	x.s.setDear(1)
	x.note()
	x.cool(share*move, dearCold*share*move, dearEnd, 1, progress)
	x.revert()
}
