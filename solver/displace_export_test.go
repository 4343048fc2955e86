package solver

import "github.com/berth-project/berth/policy"

// Reconsidered is how often the search for a plan struck displacements that nobody justified in the end.
func Reconsidered(p *policy.Problem) (int, error) {
	s, err := newState(p)
	if err != nil {
		return 0, err
	}
	x := newSearch(s, Options{})
	x.run()
	return x.giving.unjust, nil
}
