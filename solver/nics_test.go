package solver_test

import (
	"math/rand/v2"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/solver"
)

// TestQueueSlackRefusesWhatPackingDoes: hosts are passed over by what their queues have left, which must never hide a host that
// could take the VM, and has to hide most of those that could not. Some hosts have promised too much of some class already.
func TestQueueSlackRefusesWhatPackingDoes(t *testing.T) {
	t.Parallel()
	slack, packing := 0, 0
	for seed := range uint64(12) {
		p := largeFleet(32, 800, seed)
		rnd := rand.New(rand.NewPCG(seed, 9))
		for i := range p.Snapshot.VMs {
			id := p.Snapshot.VMs[i].ID
			need := p.VMs[id]
			need.NICClass, need.Queues = fleet.NICClass(rnd.IntN(4)), fleet.Queues(rnd.IntN(8))
			p.VMs[id] = need
		}
		a, b, wrong, err := solver.SlackAgainstPacking(p)
		if err != nil {
			t.Fatal(err)
		}
		if wrong != "" {
			t.Fatalf("seed %d: %s has room by packing, and is passed over", seed, wrong)
		}
		slack, packing = slack+a, packing+b
	}
	if slack == 0 || slack*10 < packing*9 {
		t.Errorf("the slack refuses %d of %d: it is to find nine of ten", slack, packing)
	}
	t.Logf("%d of %d refusals", slack, packing)
}

// TestIndexIsCurrentAfterRepair holds the index that moves have kept against one grown anew.
func TestIndexIsCurrentAfterRepair(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		if ok, err := solver.IndexIsCurrent(largeFleet(96, 2_400, seed)); err != nil || !ok {
			t.Errorf("seed %d: the index is not what the hosts have free (%v)", seed, err)
		}
	}
}
