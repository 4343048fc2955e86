package search

import (
	"cmp"
	"slices"

	"github.com/berth-project/berth/plan/model"
)

// fullHeat is how many steps for each VM a cooling from `hot` needs to come to more than one from lower down.
const fullHeat = 3000

// The first cooling: what it starts at, how many steps for each VM it is given, and what share of all at least.
const (
	hottest    = 0.4
	firstSteps = 20_000
	firstLeast = 0.4
	firstCold  = 4e-3 // all is frozen by then, but for what rounds do better
	crowded    = 250  // VMs for each host; where there are more, what the smallest do is still worth cooling further for
)

// A run of longRun steps for each VM tries each price of room, and rules as prices, in a cooling of its own, trialShare of the
// whole, and gives longShare to each of longRuns more in the way that came out best: what a cooling comes to differs much by
// chance where hosts are full. All start where the search did, since what a cooling has packed, another does not let go.
const (
	longRun      = 400_000
	trialShare   = 0.06
	longShare    = 0.14
	longRuns     = 4
	hottestStiff = 1
	hotScarce    = 3 // the same where few hosts could take a VM: ejections alone move the largest, and seldom
)

// opening is a cooling from hot that comes before the rounds: its heat, and how it goes.
type opening struct {
	heat
	how   pricing
	eject bool
	lax   bool
}

// open makes the coolings from hot, and says what share of the run they had.
func (x *Search) open(unit, perVM float64, progress func() float64) float64 {
	low := firstCold
	if len(x.s.movable) > crowded*x.s.nh {
		low = cold
	}
	if perVM >= longRun && x.relaxable() {
		return x.openLong(unit, low, progress)
	}
	first := min(1, max(firstLeast, firstSteps/perVM))
	top := hottest * min(1, perVM*first/fullHeat)
	x.how, x.eject, x.lax = pricings[x.seed%2], false, false
	if perVM*first < fullHeat { // a tight price freezes a short cooling
		x.how = pricings[loose]
	}
	x.cooling(heat{top, min(low, top/10), true}, unit, true, stretch(progress, 0, first))
	return x.thrifty(thrift[1:], unit, first, (1-first)/2, progress)
}

// openLong finds by trial how this problem wants room priced, and whether rules too, since nothing else tells, and cools slowly
// so, several times. Trials are short and vary by chance, so that where rules can be priced one of the long coolings has them the
// other way.
func (x *Search) openLong(unit, low float64, progress func() float64) float64 {
	stiffest := float64(hottestStiff)
	if x.s.canAt != nil {
		stiffest = hotScarce
	}
	trials := []*trial{
		{opening: opening{heat: heat{hottest, low, true}, how: pricings[loose]}},
		{opening: opening{heat: heat{hottest, low, true}, how: pricings[tight]}},
		{opening: opening{heat: heat{stiffest, low, true}, how: pricings[stiff], eject: true}},
	}
	laxable := x.s.laxable()
	if laxable {
		trials = append(trials,
			&trial{opening: opening{heat: heat{hottest, low, true}, how: pricings[loose], lax: true}},
			&trial{opening: opening{heat: heat{stiffest, low, true}, how: pricings[stiff], eject: true, lax: true}})
	}
	from := 0.0
	for _, t := range trials {
		t.cost, t.lost = x.afresh(t.opening, unit, stretch(progress, from, trialShare))
		from += trialShare
	}
	slices.SortStableFunc(trials, func(a, b *trial) int { return cmp.Or(cmp.Compare(a.lost, b.lost), cmp.Compare(a.cost, b.cost)) })
	first := trials[0].opening
	if to := x.thrifty(thriftLong, unit, from, longRuns*longShare, progress); to > from {
		return to
	}
	for n := range longRuns {
		o := first
		if laxable && n == 1 {
			o = trials[slices.IndexFunc(trials, func(t *trial) bool { return t.lax != first.lax })].opening
		}
		x.afresh(o, unit, stretch(progress, from, longShare))
		from += longShare
	}
	return from
}

// thrifty spends the share `length` of the run on dear rounds, by their shares, where the best answer costs less than one random move does, so that
// next to nothing but moves is left to save. It says what share of the run is over.
func (x *Search) thrifty(shares []float64, unit, from, length float64, progress func() float64) float64 {
	factor, move := x.dearest(unit)
	if factor == 0 || float64(x.bestCost) >= unit {
		return from
	}
	x.eject = true
	length /= float64(len(shares))
	for i, share := range shares {
		x.dearly(x.drawDear(factor, dearOpening*float64(1-i&1)), share, move, stretch(progress, from, length))
		from += length
	}
	return from
}

// trial is an opening tried shortly, and what it came to, in points and VMs without a host.
type trial struct {
	opening
	cost model.Points
	lost int
}

// afresh makes a cooling from where the search started, and says what it came to by itself, in points and VMs without a
// host. The best of all is kept.
func (x *Search) afresh(o opening, unit float64, progress func() float64) (model.Points, int) {
	kept, cost, lost := x.best, x.bestCost, x.bestLost
	x.best, x.bestLost = x.from.Clone(), len(x.s.p.VMs)+1
	x.again(x.from)
	x.how, x.eject, x.lax = o.how, o.eject, o.lax
	x.cooling(o.heat, unit, false, progress)
	own, without := x.bestCost, x.bestLost
	if lost < without || lost == without && cost <= own {
		x.best, x.bestCost, x.bestLost = kept, cost, lost
		x.again(kept)
	}
	return own, without
}

// again makes a the present state, and the best if it is better.
func (x *Search) again(a *model.Assignment) {
	x.s.load(a)
	for i := range x.isDirty {
		x.touch(int32(i))
	}
	x.s.setPrice(nil)
	x.place()
	x.note()
}
