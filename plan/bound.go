package plan

import "math"

// GapPercent is how far cost is above bound, in per cent of cost with two decimals, rounded up: how much a better plan
// could save at most. 0 where there is nothing to save.
func GapPercent(cost, bound int64) float64 {
	if cost <= 0 || bound >= cost {
		return 0
	}
	return math.Ceil(float64(cost-bound)/float64(cost)*1e4) / 100
}

// Cost is the sum that Bound is a lower bound of: what the fleet costs after the plan, and the moves.
func (s Summary) Cost() int64 { return s.CostAfter + s.CostOfMoves }

// bounded says what is wrong with the bound of s; "" when it can be one. Whether it is the best that is known the
// check cannot tell, but a bound above a cost that was reached is none.
func (s Summary) bounded() string {
	switch {
	case s.Bound < 0:
		return "the bound is negative"
	case s.Bound > s.Cost():
		return "the bound is above the cost that the plan reaches"
	}
	return ""
}
