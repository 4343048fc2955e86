package solver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// contestFleet is a largeFleet in which gold and silver hosts are full of silver VMs, bronze hosts have a tenth of their CPU free, and one
// VM of twenty there is gold: each has a right place only where silver VMs leave one, and these have none but below their need. They give
// way where `gives` says so.
func contestFleet(hosts, vms int, seed uint64, gives bool) *policy.Problem {
	p := largeFleet(hosts, vms, seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	promised := map[fleet.HostID]fleet.MilliCPU{}
	for i := range p.Snapshot.VMs {
		v := &p.Snapshot.VMs[i]
		promised[v.Host] += v.CPU
		level := policy.Rank(0)
		switch {
		case p.Hosts[v.Host].Tier > 0:
			level = 1
		case rnd.IntN(20) == 0:
			level = 2
		}
		p.VMs[v.ID] = policy.Requirement{
			Level: serverTiers[level], Priority: policy.Priority(100 + 400*int(level)), Server: level, Disks: []policy.DiskRequirement{{}},
			GiveWay: gives && level < 2,
		}
	}
	for id, f := range p.Hosts {
		if f.CPU = promised[id]; f.Tier == 0 {
			f.CPU += f.CPU / 10
		}
		p.Hosts[id] = f
	}
	return p
}

func BenchmarkContest1000(b *testing.B)      { benchmark(b, contestFleet(1_000, 25_000, 1, true)) }
func BenchmarkContestFirm1000(b *testing.B)  { benchmark(b, contestFleet(1_000, 25_000, 1, false)) }
func BenchmarkContest10000(b *testing.B)     { benchmark(b, contestFleet(10_000, 250_000, 1, true)) }
func BenchmarkContestFirm10000(b *testing.B) { benchmark(b, contestFleet(10_000, 250_000, 1, false)) }

// TestFullHostsOfEqualsDoNotHideAGiver: the gold hosts that come first are full of VMs that never give way, or nearly so, and there are more of
// them than a search for room tries; on the last is one that does.
func TestFullHostsOfEqualsDoNotHideAGiver(t *testing.T) {
	t.Parallel()
	for name, full := range map[string]string{
		"full of equals": "vm vm-%02[1]d host=gold-%02[1]d cpu=4 needs=gold prio=900 disks=nas:1:nvme\n",
		"too little gives way": "vm vm-%02[1]d host=gold-%02[1]d cpu=3 needs=gold prio=900 disks=nas:1:nvme\n" +
			"vm vm-small-%02[1]d host=gold-%02[1]d cpu=1 needs=silver prio=500 gives disks=nas:1:nvme\n",
	} {
		var b strings.Builder
		b.WriteString("pool nas tier=nvme\n")
		for i := range 20 {
			fmt.Fprintf(&b, "host gold-%02d tier=gold pools=nas cpu=4\n", i)
			if i < 19 {
				fmt.Fprintf(&b, full, i)
			}
		}
		b.WriteString(`
			host bronze-1 pools=nas cpu=8
			host bronze-2 pools=nas cpu=4
			vm vm-gives host=gold-19 cpu=4 needs=silver prio=500 gives disks=nas:1:nvme
			vm vm-wants host=bronze-1 cpu=4 needs=gold prio=900 disks=nas:1:nvme`)
		p := parseFleet(t, b.String())
		pl := mustSolve(t, p)
		for _, v := range plan.Check(p, pl) {
			t.Errorf("%s: %s", name, v)
		}
		if got := displaced(pl); len(got) != 1 || got[0] != "vm-gives" {
			t.Errorf("%s: expected vm-gives to give way to vm-wants: %s", name, planText(pl))
		}
	}
}

// TestContestIsWon: each gold VM gets a place, as every host that it may go to has some who give way, and that costs no more than the
// plan in which nobody does.
func TestContestIsWon(t *testing.T) {
	t.Parallel()
	quick := func(p *policy.Problem) *plan.Plan {
		pl, err := solver.Solve(p, solver.Options{Effort: -1})
		if err != nil {
			t.Fatal(err)
		}
		return pl
	}
	p := contestFleet(64, 1_600, 1, true)
	firm, pl := quick(contestFleet(64, 1_600, 1, false)), quick(p)
	for _, v := range plan.Check(p, pl) {
		t.Error(v)
	}
	for _, u := range pl.Unplaced {
		if u.Level == "gold" {
			t.Errorf("%s: %s", u.VM, u.Reason)
		}
	}
	if pl.Summary.Displaced == 0 || len(firm.Unplaced) < pl.Summary.Displaced || pl.Summary.Cost() > firm.Summary.Cost() {
		t.Errorf("%d displaced at a cost of %d, without: %d unplaced, %d", pl.Summary.Displaced, pl.Summary.Cost(), len(firm.Unplaced), firm.Summary.Cost())
	}
}
