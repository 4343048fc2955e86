package search

import "math"

// One run is one cooling in three parts, given as shares of its progress:
//
//   - quench: a fast descent that keeps capacity, so that there is something to show early;
//   - relaxed: from hot to cold with capacity as a price, about that of the load that it guards. Where hosts are nearly
//     full, and what moves counts at both ends, almost no single move keeps capacity, and a search that insists on it is
//     shut in; what is overfull on the way is mended by the price as it cools, and by force at the end of the part;
//   - strict: a short cooling at the low end which keeps capacity, for the last per mille.
const (
	quenchEnd  = 0.05
	relaxedEnd = 0.9
)

// heats are the temperatures that the relaxed part of a cooling starts and ends at, by turns, as shares of what a random
// move changes the cost by. Small problems gain by cooling slowly where large VMs freeze, large ones by going on to where
// small ones do; and from a good answer a mild start finds what a hot one would lose.
var heats = []struct{ hot, cold float64 }{{0.4, cold}, {0.03, cold}, {2, 1e-3}, {0.1, 1e-4}}

// Other temperatures, in the same unit.
const (
	warm   = 2e-3 // strict part
	cold   = 4e-5
	quench = 1e-3
)

// enough is how many steps for each VM the first of several coolings is given at least, maxRounds how many there are at
// most.
const (
	enough    = 20_000
	maxRounds = 16
)

// pricing is how dear missing room is in the relaxed part, as shares of the price of load above Soft: at its start and at
// its end, and what it grows to from `squeeze` on while anything is overfull.
type pricing struct {
	hot, cold         float64
	squeeze, squeezed float64
}

// Where room is scarce the tighter price finds more, where it is not the looser one does, and there is no telling before;
// so even seeds search loosely, odd ones tightly, and who runs two takes one of each.
var pricings = [2]pricing{
	{hot: 1, cold: 2, squeeze: 0.5, squeezed: 200},
	{hot: 3, cold: 4, squeeze: 0.3, squeezed: 100},
}

// A look at the progress and the stop function comes every so many steps: block, or fewer where the budget is small.
const (
	block    = 4096
	minBlock = 64
	looks    = 64 // at least, in a small budget
)

// fullHeat is how many steps for each VM a cooling from `hot` needs to come to more than one from lower down.
const fullHeat = 3000

const logs = 1 << 12

// logTable is -ln(u) for u evenly over (0, 1): a move is taken when it costs no more than temperature * -ln(u).
var logTable = func() (t [logs]float64) {
	for i := range t {
		t[i] = -math.Log((float64(i) + 0.5) / logs)
	}
	return t
}()

// Run tries at most steps moves, in one cooling, and looks at stop now and then; nil: never.
func (x *Search) Run(steps int64, stop func() bool) {
	from := x.steps
	x.Anneal(steps, func() float64 {
		if stop != nil && stop() {
			return 1
		}
		return float64(x.steps-from+blockOf(steps)) / float64(max(steps, 1))
	})
}

// blockOf is how many steps of a budget pass between two looks.
func blockOf(about int64) int64 { return min(max(about/looks, minBlock), block) }

// Anneal is Run by another clock: progress goes from 0 to 1 and says how far the search is, about is how many steps that
// may come to. It is for callers with a deadline, and as repeatable as progress is. What is more than enough for one
// cooling is spent on several, each from the best so far, mild and hot by turns.
func (x *Search) Anneal(about int64, progress func() float64) {
	s := x.s
	if len(s.movable) == 0 && len(s.diskVMs) == 0 || progress() >= 1 {
		return
	}
	x.block = blockOf(about)
	unit := x.measure(min(samples, max(about/looks, minBlock)))
	top := min(1, float64(about)/float64(fullHeat*(len(s.movable)+1)))
	rounds := 1
	for rounds < maxRounds && about/int64(enough*(len(s.movable)+1)) >= 1<<(rounds+1)-1 {
		rounds++
	}
	whole := float64(int64(1)<<rounds - 1)
	for n := range rounds { // each twice as long as the one before
		from, length := float64(int64(1)<<n-1)/whole, float64(int64(1)<<n)/whole
		kind := rounds - 1 - n // so that the last and longest is of the first kind
		h := heats[kind%len(heats)]
		x.cooling(h.hot*top*unit, h.cold*unit, unit, kind/len(heats), func() float64 { return (progress() - from) / length })
	}
}

// cooling is one cooling in three parts; turn lets a later one price room in the other way.
func (x *Search) cooling(top, low, unit float64, turn int, progress func() float64) {
	if progress() >= 1 {
		return
	}
	x.cool(max(quench*unit, low), low, 0, quenchEnd, progress)
	if x.relaxable() {
		x.relax(top, low, unit, pricings[(x.seed+uint64(turn))%2], progress) //nolint:gosec // turn is small
	}
	x.cool(max(warm*unit, low), cold*unit, min(progress(), relaxedEnd), 1, progress)
	x.revert()
}

// relaxable says whether capacity may be priced: not where the start already breaks it, since then it could get worse.
func (x *Search) relaxable() bool {
	for _, free := range x.s.slack {
		if free < 0 {
			return false
		}
	}
	return true
}

// samples is how many random moves the unit of temperatures is measured by, at most.
const samples = 4000

// measure is by how much n random moves change the cost on average: the unit of temperatures.
func (x *Search) measure(n int64) float64 {
	s := x.s
	sum, seen := 0.0, 0
	for range n {
		if len(s.movable) == 0 {
			break
		}
		v, b := s.movable[x.rnd.below(len(s.movable))], int32(x.rnd.below(s.nh))
		if s.host[v] < 0 || s.host[v] == b || !s.mayPlace(v, b) || s.slow[v] && len(s.p.VMs[v].Disks) > 0 {
			continue
		}
		sum += math.Abs(float64(s.shiftDelta(v, b)))
		seen++
	}
	if seen == 0 || sum == 0 {
		return 1
	}
	return sum / float64(seen)
}

// relax is the relaxed part. It leaves the state with all capacities kept, back at the best if that is the only way.
func (x *Search) relax(top, low, unit float64, price pricing, progress func() float64) {
	s := x.s
	base := x.basePrices(unit)
	set := func(share float64) {
		prices := make([]int64, len(base))
		for r := range prices {
			prices[r] = max(1, int64(base[r]*share))
		}
		s.setPrice(prices)
	}
	from, share := progress(), 0.0
	for n := 0; ; n++ {
		at := (progress() - from) / (relaxedEnd - from)
		if at >= 1 {
			break
		}
		if n%16 == 0 {
			grown := 1.0
			if at > price.squeeze && s.shortTotal > 0 {
				grown = math.Pow(price.squeezed, (at-price.squeeze)/(1-price.squeeze))
			}
			share = max(share, price.hot+(price.cold-price.hot)*at, grown)
			set(share)
		}
		x.steady(top*math.Pow(low/top, at), x.block)
	}
	for ; s.shortTotal > 0 && share < 1e9 && progress() < 1; share *= 1.5 {
		set(share)
		x.steady(low, 16*x.block)
	}
	over := s.shortTotal > 0
	s.setPrice(nil)
	if over {
		x.revert()
		return
	}
	x.note()
}

// basePrices is the price of a unit of missing room by resource: that of load, or where load is free what makes missing
// the demand of an average VM as dear as an average move.
func (x *Search) basePrices(unit float64) []float64 {
	s := x.s
	base := make([]float64, s.nr)
	for r := range base {
		base[r] = float64(s.p.Resources[r].Load)
		sum := 0.0
		for _, v := range s.movable {
			sum += float64(s.dem[int(v)*s.nr+r])
		}
		if sum > 0 && base[r] == 0 {
			base[r] = unit * float64(len(s.movable)) / sum
		}
	}
	return base
}

// cool goes from temperature t0 to t1 while the progress goes from `from` to `to`.
func (x *Search) cool(t0, t1, from, to float64, progress func() float64) {
	for {
		at := (progress() - from) / (to - from)
		if at >= 1 {
			return
		}
		x.steady(t0*math.Pow(t1/t0, max(at, 0)), x.block)
	}
}

// steady tries n moves at one temperature.
func (x *Search) steady(temp float64, n int64) {
	x.steps += n
	if len(x.s.movable) == 0 {
		for range n {
			x.diskStep(temp)
		}
		return
	}
	disks := len(x.s.diskVMs) > 0
	for i := range n {
		if disks && i&7 == 0 {
			x.diskStep(temp)
		} else {
			x.step(temp)
		}
	}
}

// diskStep tries to move the disks of a random VM.
func (x *Search) diskStep(temp float64) {
	v := x.s.diskVMs[x.rnd.below(len(x.s.diskVMs))]
	x.tryDisks(v, int64(temp*logTable[x.rnd.next()&(logs-1)]))
}

// step tries one move: a VM home, to any host, or in exchange for another, which is often one of about its size.
func (x *Search) step(temp float64) {
	s := x.s
	rnd := x.rnd.next()
	rank := int((rnd >> 32) * uint64(len(s.movable)) >> 32)
	v := s.movable[rank]
	if s.host[v] < 0 {
		return
	}
	limit := int64(temp * logTable[rnd&(logs-1)])
	switch rnd >> 12 & 7 {
	case 0:
		if in := s.initial[v]; in >= 0 && in != s.host[v] {
			x.tryShift(v, in, limit)
		}
	case 1, 2:
		if b := int32(x.rnd.below(s.nh)); b != s.host[v] {
			x.tryShift(v, b, limit)
		}
	case 3, 4:
		w := s.movable[x.rnd.below(len(s.movable))]
		if s.host[w] >= 0 && s.host[v] != s.host[w] {
			x.trySwap(v, w, limit)
		}
	default:
		r := x.rnd.next()
		span := max(2, len(s.movable)>>(1+r&7))
		near := rank + int((r>>32)*uint64(span)>>32) - span/2
		if near < 0 || near >= len(s.movable) {
			return
		}
		if w := s.movable[near]; s.host[w] >= 0 && s.host[v] != s.host[w] {
			x.trySwap(v, w, limit)
		}
	}
}
