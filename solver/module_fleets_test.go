package solver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/berth-project/berth/plan"
)

// moduleFleet is a small fleet in which NICs of class 3 and the pool san are scarce, and mostly come by modules.
func moduleFleet(seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // a fixed fleet
	hosts := 3 + r.IntN(4)
	names := make([]string, 0, hosts)
	var b strings.Builder
	b.WriteString("pool nas tier=nvme\npool san tier=nvme\n")
	for i := range hosts {
		names = append(names, fmt.Sprintf("host-%d", i))
		tier, own := []string{"gold", "bronze"}[r.IntN(2)], ""
		if r.IntN(2) == 0 {
			own = ",2:4"
		}
		if r.IntN(4) == 0 {
			own += ",3:2"
		}
		fmt.Fprintf(&b, "host host-%d tier=%s cpu=16 pools=nas nics=1:0%s\n", i, tier, own)
	}
	for i := range 1 + r.IntN(3) {
		brings := []string{"nics=3:4", "nics=3:8", "pools=san"}[r.IntN(3)]
		fmt.Fprintf(&b, "module io-%d %s on=%s host=%s\n", i, brings, strings.Join(names, ","), names[r.IntN(hosts)])
	}
	for i := range 2*hosts + r.IntN(6) {
		needs := ""
		if r.IntN(3) == 0 {
			needs = " needs=gold"
		}
		if r.IntN(2) == 0 {
			needs += fmt.Sprintf(" nic=%d queues=%d", 1+r.IntN(3), 1+r.IntN(3))
		}
		fmt.Fprintf(&b, "vm vm-%02d host=%s cpu=%d%s prio=%d disks=nas:1:nvme\n", i, names[r.IntN(hosts)], 1+r.IntN(5), needs, 100*(1+r.IntN(4)))
	}
	return b.String()
}

// TestModulesAreFreedOnRandomFleets: plans that free modules are legal, and solving their result again moves nothing.
func TestModulesAreFreedOnRandomFleets(t *testing.T) {
	t.Parallel()
	const fleets = 2000
	freed, unplaced, modules, moves, repeated := 0, 0, 0, 0, 0
	for seed := range uint64(fleets) {
		p := parseFleet(t, moduleFleet(seed))
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("fleet %d: %s", seed, v)
		}
		for _, st := range pl.Steps {
			if st.Attach == nil && strings.HasPrefix(st.Reason, "frees module") {
				freed++
			}
		}
		unplaced += len(pl.Unplaced)
		modules += pl.Summary.Modules
		moves += pl.Summary.Moves
		if again := mustSolve(t, after(p, pl.Steps)); len(again.Steps) > 0 {
			repeated++
			t.Errorf("fleet %d, solved again: %s", seed, planText(again))
		}
	}
	t.Logf("%d fleets: %d unplaced, %d modules and %d VMs move, %d of these VMs to free a module, %d fleets not settled", fleets, unplaced, modules, moves, freed, repeated)
	if freed == 0 {
		t.Error("no module was freed: nothing is tested")
	}
}
