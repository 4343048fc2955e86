package solver

import (
	"github.com/berth-project/berth/plan/model"
)

// climb is a stand-in until solver/search lands.
func climb(p *model.Problem, seed uint64, steps int64, stop func() bool) (*model.Assignment, error) {
	return p.Start(), nil
}
