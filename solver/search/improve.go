package search

import "github.com/berth-project/berth/plan/model"

// Options are those of Improve.
type Options struct {
	Seed uint64
	// Steps is how many moves may be tried; 0: a number that suits the size of the problem.
	Steps int64
	// Stop ends the search early when it says true; nil: never. It is asked every few thousand steps.
	Stop func() bool
}

// stepsPerVM is what Improve spends on each VM unless it is told.
const stepsPerVM = 2000

// Improve is one search over p from `from` (nil: the initial places), and its best assignment.
func Improve(p *model.Problem, from *model.Assignment, o Options) (*model.Assignment, error) {
	x, err := New(p, from, o.Seed)
	if err != nil {
		return nil, err
	}
	if o.Steps == 0 {
		o.Steps = stepsPerVM * int64(len(p.VMs)+len(p.Hosts))
	}
	x.Run(o.Steps, o.Stop)
	return x.Best(), nil
}
