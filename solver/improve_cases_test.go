package solver_test

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestImproveCases holds what the local search is for: each case is worth it only by moves that pay together, or by what
// hosts cost. Weights are those of emptyProblem: a tier of a thread 10, a move 5, a GiB copied 1.
func TestImproveCases(t *testing.T) {
	t.Parallel()
	pools := "pool nas tier=hdd size=1000\n"
	for _, c := range []struct {
		name, fleet string
		weights     func(*policy.Weights)
		moves       int
		cost        int64 // after, moves included
		says        string
	}{
		{
			// vm-big could leave gold-1 for no host: bronze-1 and bronze-2 have half the room each. One of the small
			// ones has to go first, for the sake of 2 tiers of 8 threads.
			name: "room for a large one", moves: 2, cost: 10, says: "one of 2 moves that save 150 points together",
			fleet: pools + `
host gold-1 tier=gold cpu=16 mem=64 pools=nas
host bronze-1 tier=bronze cpu=8 mem=64 pools=nas
host bronze-2 tier=bronze cpu=8 mem=64 pools=nas
vm vm-big host=gold-1 cpu=8 mem=8 disks=nas:1:hdd
vm vm-one host=bronze-1 cpu=4 mem=8 disks=nas:1:hdd
vm vm-two host=bronze-2 cpu=4 mem=8 disks=nas:1:hdd
`,
		},
		{
			name: "a host is emptied for its energy", moves: 2, cost: 100 + 10, says: "one of 2 moves that save 90 points together",
			weights: func(w *policy.Weights) { w.HostOn = 100 },
			fleet: pools + `
host bronze-1 tier=bronze cpu=8 mem=64 pools=nas
host bronze-2 tier=bronze cpu=8 mem=64 pools=nas
vm vm-one host=bronze-1 cpu=2 mem=8 disks=nas:1:hdd
vm vm-two host=bronze-2 cpu=2 mem=8 disks=nas:1:hdd
vm vm-three host=bronze-2 cpu=2 mem=8 disks=nas:1:hdd
vm vm-four host=bronze-1 cpu=2 mem=8 disks=nas:1:hdd
`,
		},
		{
			name: "a host is not emptied for less than the moves", moves: 0, cost: 18,
			weights: func(w *policy.Weights) { w.HostOn = 9 },
			fleet: pools + `
host bronze-1 tier=bronze cpu=8 mem=64 pools=nas
host bronze-2 tier=bronze cpu=8 mem=64 pools=nas
vm vm-one host=bronze-1 cpu=2 mem=8 disks=nas:1:hdd
vm vm-two host=bronze-2 cpu=2 mem=8 disks=nas:1:hdd
vm vm-three host=bronze-2 cpu=2 mem=8 disks=nas:1:hdd
vm vm-four host=bronze-1 cpu=2 mem=8 disks=nas:1:hdd
`,
		},
		{
			// The mark is at 4 threads: two are above it.
			name: "a host comes below its mark", moves: 1, cost: 5, says: "saves 15 points, the move included",
			weights: func(w *policy.Weights) { w.Overload, w.HeadroomPercent = 10, 50 },
			fleet: pools + `
host bronze-1 tier=bronze cpu=8 mem=64 pools=nas
host bronze-2 tier=bronze cpu=8 mem=64 pools=nas
vm vm-one host=bronze-1 cpu=2 mem=8 disks=nas:1:hdd
vm vm-two host=bronze-1 cpu=4 mem=8 disks=nas:1:hdd
`,
		},
		{
			// Most CPU of bronze-1 is promised and most of its memory is free; bronze-2 is the other way round. The fleet has
			// 4 GiB for each thread. On one host all four leave 4 GiB without a thread.
			name: "stranded memory and stranded threads meet", moves: 2, cost: 10 + 10, says: "one of 2 moves that save 70 points together",
			weights: func(w *policy.Weights) { w.Stranded = 10 },
			fleet: pools + `
host bronze-1 tier=bronze cpu=8 mem=32 pools=nas
host bronze-2 tier=bronze cpu=8 mem=32 pools=nas
vm vm-cpu-1 host=bronze-1 cpu=3 mem=2 disks=nas:1:hdd
vm vm-cpu-2 host=bronze-1 cpu=3 mem=2 disks=nas:1:hdd
vm vm-mem-1 host=bronze-2 cpu=1 mem=12 disks=nas:1:hdd
vm vm-mem-2 host=bronze-2 cpu=1 mem=12 disks=nas:1:hdd
`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := parseFleet(t, c.fleet)
			if c.weights != nil {
				c.weights(&p.Weights)
			}
			pl, err := solver.Solve(p, solver.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range plan.Check(p, pl) {
				t.Error(v)
			}
			if s := pl.Summary; s.Moves != c.moves || s.Cost() != c.cost || s.Bound > c.cost {
				t.Errorf("%d moves, cost %d, bound %d, expected %d moves, cost %d:\n%s", s.Moves, s.Cost(), s.Bound, c.moves, c.cost, planText(pl))
			}
			if !strings.Contains(planText(pl), c.says) {
				t.Errorf("the reasons do not say %q:\n%s", c.says, planText(pl))
			}
		})
	}
}
