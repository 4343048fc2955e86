package search_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/plan/model/modeltest"
	"github.com/berth-project/berth/solver/search"
)

// TestMovesKeepSums holds everything that a move brings up to date against the same made anew, after each move.
func TestMovesKeepSums(t *testing.T) {
	t.Parallel()
	moves := 0
	for seed := range uint64(120) {
		r := rand.New(rand.NewPCG(seed, 7))
		p, from := modeltest.Random(r, modeltest.Shape{
			Hosts: 3 + r.IntN(10), VMs: 6 + r.IntN(40), Slack: 60 + r.IntN(40), Groups: true,
			Load: seed%3 > 0, Balance: seed%4 == 1, On: seed%5 == 1, Moves: seed%3 == 1, Fit: seed%7 == 1, Transient: seed%4 > 1,
		})
		n, wrong, err := search.SumsAfter(p, from, seed, 200)
		if err != nil {
			t.Fatal(err)
		}
		if len(wrong) > 0 {
			t.Errorf("seed %d: wrong after move %d: %v", seed, n, wrong)
		}
		moves += n
	}
	t.Logf("%d moves", moves)
	if moves < 2000 {
		t.Errorf("%d moves, expected 2,000 at least", moves)
	}
}
