package search

import (
	"github.com/berth-project/berth/plan/model"
)

// heat is the temperatures that a cooling starts and ends at, as shares of what a random move changes the cost by, and
// whether capacity is a price on the way.
type heat struct {
	hot, cold float64
	relaxed   bool
}

// arm is one kind of round, or one way of doing rounds, and what it has brought.
type arm struct {
	heat
	dear   float64 // not 0: moves are dear, the temperature is this share of what they cost, and heat says nothing
	length float64 // steps for each VM
	eject  bool
	lax    bool
	price  int     // of pricings
	rate   float64 // gain for each step, of late
	tried  int
}

// ladder is what rounds start at, from what melts all to what stirs only the smallest VMs and then, where load is all gone, the
// prices of moves alone, and how many steps for each VM the first round of each is given.
var ladder = []struct{ hot, cold, length float64 }{
	{3, 1e-2, 8000}, {1, 3e-3, 8000}, {0.3, 1e-3, 4000}, {0.1, 1e-4, 2000}, {0.025, cold, 1000}, {6e-3, cold / 10, 1000},
	{1e-3, cold / 10, 1000}, {2e-4, 1e-6, 2000}, {2e-5, 1e-7, 2000},
}

// thrift is the rounds with dear moves, by their share; the more time there is, the hotter they may be.
var (
	thrift     = []float64{0.25, 0.1, 0.04}
	thriftLong = []float64{0.1, 0.25, 0.1, 0.25, 0.25, 0.1, 0.25, 0.1}
)

// thriftLength is how many steps for each VM the first of each is given.
const thriftLength = 2000

// longer is what a round that brought nothing is lengthened by.
const longer = 1.6

// rounds spends what is left: each round starts at the best so far, and which temperatures, with or without capacity kept
// and with or without ejections, is chosen by what has paid in this very run. Nothing else tells: neither the number of
// VMs nor of resources does.
func (x *Search) rounds(unit, perVM float64, progress func() float64) {
	var arms []*arm
	for _, l := range ladder {
		for _, relaxed := range []bool{false, true} {
			arms = append(arms, &arm{heat: heat{l.hot, l.cold, relaxed && x.relaxable()}, length: l.length})
		}
	}
	factor, move := x.dearest(unit)
	if factor > 0 {
		for _, share := range thrift {
			arms = append(arms, &arm{dear: share, length: thriftLength})
		}
	}
	ways := []*arm{{eject: true}, {}}
	prices := []*arm{{price: loose}, {price: tight}, {price: stiff}}
	rules := []*arm{{}}
	if x.s.laxable() {
		rules = append(rules, &arm{lax: true})
	}
	for {
		from := progress()
		if from >= 1 {
			break
		}
		if x.meet != nil {
			if a := x.meet(x); a != nil && x.Restart(a) != nil {
				break
			}
		}
		left := (1 - from) * perVM
		a, way, price, rule := x.choose(arms, left), x.choose(ways, left), x.choose(prices, left), x.choose(rules, left)
		length := min(a.length/perVM, 1-from)
		if 1-from < 1.5*length {
			length = 1 - from
		}
		cost, lost, steps := x.bestCost, x.bestLost, x.steps
		x.eject, x.how, x.lax = way.eject, pricings[price.price], rule.lax
		if a.dear > 0 {
			x.dearly(x.drawDear(factor, 0), a.dear, move, stretch(progress, from, length))
		} else {
			x.cooling(a.heat, unit, false, stretch(progress, from, length))
		}
		gain := float64(cost - x.bestCost)
		if x.bestLost < lost {
			gain = unit
		}
		rate := gain / float64(max(1, x.steps-steps))
		a.paid(rate)
		way.paid(rate)
		if a.relaxed {
			price.paid(rate)
			rule.paid(rate)
		}
		if gain == 0 {
			a.length *= longer
		}
	}
}

// paid counts what a round has brought.
func (a *arm) paid(rate float64) {
	if a.tried == 0 {
		a.rate = rate
	}
	a.rate += (rate - a.rate) / 2
	a.tried++
}

// choose is the arm of the next round, of those that fit what is left, in steps for each VM: each is tried once, then most
// often the one with the best rate, and now and then any.
func (x *Search) choose(arms []*arm, left float64) *arm {
	var fit, untried []*arm
	best, shortest := 0, arms[0]
	for _, a := range arms {
		if a.length < shortest.length {
			shortest = a
		}
		if a.length > left {
			continue
		}
		fit = append(fit, a)
		if a.tried == 0 {
			untried = append(untried, a)
		}
		if a.rate > fit[best].rate {
			best = len(fit) - 1
		}
	}
	switch {
	case len(fit) == 0:
		return shortest
	case len(untried) > 0:
		return untried[x.rnd.below(len(untried))]
	case fit[best].rate == 0 || x.rnd.next()&3 == 0:
		return fit[x.rnd.below(len(fit))]
	}
	return fit[best]
}

// Meet has f asked before each round: what it gives, if not nil, is what the search goes on from. So searches side by side
// can share the best that they have; f may call BestCost and Best.
func (x *Search) Meet(f func(*Search) *model.Assignment) { x.meet = f }
