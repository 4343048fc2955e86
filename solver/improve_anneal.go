package solver

import (
	"github.com/berth-project/berth/plan/model"
	local "github.com/berth-project/berth/solver/search"
)

// The budget of one run of the local search: so many steps for each VM of the model, within these limits. It depends on
// the fleet alone, so that a fleet that is solved again gets the same run.
const (
	annealPerVM = 1_000
	annealLeast = 2_000
	annealMost  = 20_000_000
)

// annealSteps is the budget of one run.
func annealSteps(p *model.Problem, effort int) int64 {
	return min(max(int64(len(p.VMs))*annealPerVM, annealLeast), annealMost) * int64(max(effort, 1))
}

// anneal is the answer of the local search, the one that the benchmarks run: where the referee finds it legal and
// cheaper than the start; else the start itself.
func (x *search) anneal(p *model.Problem, start *model.Assignment) *model.Assignment {
	a, err := local.Improve(p, start, local.Options{Seed: x.opts.Seed, Steps: annealSteps(p, x.opts.Effort), Stop: x.opts.Stop})
	if err != nil || len(model.Verify(p, a)) > 0 {
		return start
	}
	before, err := model.Evaluate(p, start)
	if err != nil {
		return start
	}
	if after, err := model.Evaluate(p, a); err != nil || after.Total() >= before.Total() {
		return start
	}
	return a
}
