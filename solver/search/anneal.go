package search

import "math"

// A cooling has three parts, given as shares of its progress:
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

// Other temperatures, in the same unit.
const (
	warm   = 2e-3 // strict part
	cold   = 4e-5
	quench = 1e-3
)

// pricing is how dear missing room is in the relaxed part, as shares of the price of load above Soft: at its start and at
// its end, and what it grows to from `squeeze` on while anything is overfull.
type pricing struct {
	hot, cold         float64
	squeeze, squeezed float64
}

// Where room is scarce the tighter price finds more, where it is not the looser one does, and there is no telling before;
// so even seeds search loosely, odd ones tightly, and who runs two takes one of each; long runs try all three first.
var pricings = [...]pricing{
	{hot: 1, cold: 2, squeeze: 0.5, squeezed: 200},
	{hot: 3, cold: 4, squeeze: 0.3, squeezed: 100},
	{hot: 30, cold: 30, squeeze: 0.2, squeezed: 1e4},
}

// Indices of pricings. Stiff is for long coolings of problems so full that any looser price leaves hosts overfull when all
// else is frozen: what then makes room spoils what was found. It takes ejections to move at all.
const (
	loose = iota
	tight
	stiff
)

// A look at the progress and the stop function comes every so many steps: block, or fewer where the budget is small.
const (
	block    = 4096
	minBlock = 64
	looks    = 64 // at least, in a small budget
)

const logs = 1 << 12

// logTable is -ln(u) for u evenly over (0, 1): a move is taken when it costs no more than temperature * -ln(u).
var logTable = func() (t [logs]float64) {
	for i := range t {
		t[i] = -math.Log((float64(i) + 0.5) / logs)
	}
	return t
}()

// Run tries at most steps moves and looks at stop now and then; nil: never.
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
// may come to. It is for callers with a deadline, and as repeatable as progress is. One cooling from hot comes first; what
// is left goes to rounds, each from the best so far, by the arm that has paid.
func (x *Search) Anneal(about int64, progress func() float64) {
	s := x.s
	if len(s.movable) == 0 && len(s.diskVMs) == 0 || progress() >= 1 {
		return
	}
	x.block = blockOf(about)
	unit := x.measure(min(samples, max(about/looks, minBlock)))
	perVM := float64(about) / float64(len(s.movable)+1)
	x.reliefPrice = x.reliefPrice[:0]
	for _, price := range x.basePrices(unit) {
		x.reliefPrice = append(x.reliefPrice, max(1, int64(price)))
	}
	if from := x.open(unit, perVM, progress); from < 1 {
		x.rounds(unit, perVM*(1-from), stretch(progress, from, 1-from))
	}
}

// stretch is the progress of a part from `from` of length `length`.
func stretch(progress func() float64, from, length float64) func() float64 {
	return func() float64 { return (progress() - from) / length }
}

// cooling is one cooling in three parts, the quench only if asked for.
func (x *Search) cooling(h heat, unit float64, quenched bool, progress func() float64) {
	if progress() >= 1 {
		return
	}
	if quenched {
		x.cool(quench*unit, cold*unit, 0, quenchEnd, progress)
	}
	if h.relaxed && x.relaxable() {
		x.relax(h.hot*unit, h.cold*unit, unit, x.how, progress)
		x.cool(max(warm, h.cold)*unit, cold*unit, min(progress(), relaxedEnd), 1, progress)
	} else {
		x.cool(h.hot*unit, h.cold*unit, progress(), 1, progress)
	}
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

// measure is by how much n random moves change the cost on average: the unit of temperatures. Moves that could never be legal
// count, but where they are most of all: those of giants are what there is to melt.
func (x *Search) measure(n int64) float64 {
	s := x.s
	sum, seen := 0.0, 0
	for range n {
		if len(s.movable) == 0 {
			break
		}
		v, b := s.movable[x.rnd.below(len(s.movable))], int32(x.rnd.below(s.nh))
		if s.host[v] < 0 || s.host[v] == b || !s.admits(int(v), int(b)) || s.canAt != nil && !s.mayPlace(v, b) || s.slow[v] && len(s.p.VMs[v].Disks) > 0 {
			continue
		}
		sum += math.Abs(float64(s.shiftDelta(v, b, math.MaxInt64)))
		seen++
	}
	if seen == 0 || sum == 0 {
		return 1
	}
	return sum / float64(seen)
}

// relax is the relaxed part. It leaves the state with all capacities kept, back at the best if that is the only way.
func (x *Search) relax(top, low, unit float64, how pricing, progress func() float64) {
	s := x.s
	price := newPrices(x.basePrices(unit))
	rules := rulePrice{grown: 1}
	if x.lax && s.laxable() {
		rules.base = ruleShare * unit
	}
	from, was := progress(), 0.0
	for n := 0; ; n++ {
		p := progress()
		if p >= relaxedEnd {
			break
		}
		at := (p - from) / (relaxedEnd - from)
		if n%priceEvery == 0 {
			if at > how.squeeze {
				price.follow(s, (at-was)/(1-how.squeeze), math.Log(how.squeezed))
			}
			price.set(s, how.hot+(how.cold-how.hot)*at)
			rules.follow(s, at, at-was)
			was = at
		}
		x.steady(top*math.Pow(low/top, at), x.block)
	}
	for n := 0; s.penalty() > 0 && n < mends && progress() < 1; n++ {
		price.follow(s, 1, math.Log(1.5))
		price.set(s, how.cold)
		rules.follow(s, 1, math.Log(1.5)/math.Log(ruleSqueezed)*(1-ruleSqueeze))
		x.steady(low, 16*x.block)
	}
	over := s.penalty() > 0
	s.setPrice(nil)
	s.setRule(0)
	if over {
		x.revert()
		return
	}
	x.note()
}

// How many blocks a price of room lasts, and how often at most it is raised at the end to mend what is still overfull.
const (
	priceEvery = 4
	mends      = 48
)

// prices is the price of missing room: by resource, since what is scarce differs.
type prices struct {
	base, grown []float64
	now         []int64
}

func newPrices(base []float64) *prices {
	p := &prices{base: base, grown: make([]float64, len(base)), now: make([]int64, len(base))}
	for r := range p.grown {
		p.grown[r] = 1
	}
	return p
}

// follow raises the price of each resource that a host is short of by e^(d*rate*rise), and lets the others fall, so that
// the search crosses the border of what has room all the time; d is how much of the time has passed.
func (p *prices) follow(s *state, d, rate float64) {
	for r := range p.grown {
		over := false
		for i := r; i < len(s.slack) && !over; i += s.nr {
			over = s.slack[i] < 0
		}
		if over {
			p.grown[r] = min(p.grown[r]*math.Exp(d*rate*rise), maxGrown)
		} else {
			p.grown[r] = max(p.grown[r]*math.Exp(-d*rate*fall), 1)
		}
	}
}

// How fast prices rise and fall, of the rate.
const (
	rise     = 2
	fall     = 1
	maxGrown = 1e8 // with the stiff price as dear as a price may get before sums overflow
)

// set makes the prices those of the search, at the share of their base or what they have grown to.
func (p *prices) set(s *state, share float64) {
	for r := range p.now {
		p.now[r] = max(1, int64(p.base[r]*share*p.grown[r]))
	}
	s.setPrice(p.now)
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
		p := progress()
		if p >= to {
			return
		}
		at := (p - from) / (to - from)
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
	if x.twin != nil && rnd>>16&15 < pairSteps {
		x.pairStep(temp)
		return
	}
	rank := int((rnd >> 32) * uint64(len(s.movable)) >> 32)
	v := s.movable[rank]
	if s.host[v] < 0 {
		return
	}
	limit := int64(temp * logTable[rnd&(logs-1)])
	switch rnd >> 12 & 7 {
	case 0:
		if x.eject && (s.canAt != nil || rnd>>15&1 == 0) { // where hosts are scarce, VMs go home by being ejected
			if b := x.anyHost(v); b != s.host[v] {
				x.tryEject(v, b, limit)
			}
			return
		}
		if in := s.initial[v]; in >= 0 && in != s.host[v] {
			x.tryShift(v, in, limit)
		}
	case 1, 2:
		if b := x.anyHost(v); b != s.host[v] {
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
