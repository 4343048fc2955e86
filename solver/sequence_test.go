package solver_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/solver"
)

// ring is n full hosts with a VM each, and one more host with the CPU given.
func ring(t *testing.T, n, spare int) string {
	t.Helper()
	text := "pool nas tier=nvme\n"
	for i := range n {
		text += fmt.Sprintf("host host-%c cpu=4 pools=nas\nvm vm-%c host=host-%c cpu=4 disks=nas:10:nvme\n", 'a'+i, 'a'+i, 'a'+i)
	}
	return text + fmt.Sprintf("host spare cpu=%d pools=nas\n", spare)
}

// TestCircle sends each VM to the next of three full hosts.
func TestCircle(t *testing.T) {
	t.Parallel()
	to := map[fleet.VMID]fleet.HostID{"vm-a": "host-b", "vm-b": "host-c", "vm-c": "host-a"}
	t.Run("by way of a free host", func(t *testing.T) {
		t.Parallel()
		p := parseFleet(t, ring(t, 3, 4))
		steps, left, err := solver.Sequence(p, to)
		if err != nil || len(left) > 0 || len(steps) != 4 {
			t.Fatalf("%v, %v, %d steps, expected 4", err, left, len(steps))
		}
		if steps[0].Move.To.Host != "spare" || steps[3].Move.From.Host != "spare" {
			t.Errorf("the detour goes from %s to %s", steps[0].Move.To.Host, steps[3].Move.From.Host)
		}
		for _, v := range plan.CheckSteps(p, steps) {
			t.Error(v)
		}
		for _, v := range after(p, steps).Snapshot.VMs {
			if v.Host != to[v.ID] {
				t.Errorf("%s is on %s, expected %s", v.ID, v.Host, to[v.ID])
			}
		}
	})
	t.Run("without a free host", func(t *testing.T) {
		t.Parallel()
		steps, left, err := solver.Sequence(parseFleet(t, ring(t, 3, 3)), to)
		if err != nil || len(steps) > 0 || len(left) != 3 {
			t.Fatalf("%v, %d steps, %v", err, len(steps), left)
		}
		for _, u := range left {
			if u.To.Host != to[u.VM] || u.Reason == "" {
				t.Errorf("%s to %s: %q", u.VM, u.To.Host, u.Reason)
			}
		}
	})
	t.Run("a detour that leads nowhere is not made", func(t *testing.T) {
		t.Parallel()
		p := parseFleet(t, ring(t, 3, 4)+"host maintained cpu=4 pools=nas maintenance\n")
		steps, left, err := solver.Sequence(p, map[fleet.VMID]fleet.HostID{"vm-a": "maintained", "vm-b": "host-a"})
		if err != nil || len(left) == 0 {
			t.Fatalf("%v, %v", err, left)
		}
		for _, st := range steps {
			if st.Move.VM.ID == "vm-a" {
				t.Errorf("vm-a goes to %s", st.Move.To.Host)
			}
		}
	})
}

// TestSequenceReachesOrReports sends the VMs of random fleets to random hosts: each VM is at its target or reported, and all steps are legal.
func TestSequenceReachesOrReports(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawBusy(t)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		to := map[fleet.VMID]fleet.HostID{}
		for i := range p.Snapshot.VMs {
			to[p.Snapshot.VMs[i].ID] = p.Snapshot.Hosts[rnd.IntN(len(p.Snapshot.Hosts))].ID
		}
		steps, left, err := solver.Sequence(p, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range plan.CheckSteps(p, steps) {
			t.Error(v)
		}
		reported := map[fleet.VMID]bool{}
		for _, u := range left {
			reported[u.VM] = true
		}
		for _, v := range after(p, steps).Snapshot.VMs {
			at := v.Host == to[v.ID]
			if at == reported[v.ID] {
				t.Errorf("%s is on %s, its target is %s, reported: %v", v.ID, v.Host, to[v.ID], reported[v.ID])
			}
			if was := p.Snapshot.VM(v.ID).Host; !at && v.Host != was {
				t.Errorf("%s was left on %s on its way from %s to %s", v.ID, v.Host, was, to[v.ID])
			}
		}
	})
}

// BenchmarkOrder puts the moves of a third of the VMs to other hosts of their clusters into waves.
func BenchmarkOrder(b *testing.B) {
	p := largeFleet(10_000, 250_000, 1)
	p.Moves.PerHost, p.Moves.PerLink, p.Moves.PerPool, p.Moves.PerWave = 2, 1, 4, 64
	rnd := rand.New(rand.NewPCG(1, 2))
	o, err := solver.NewOrdering(p, func(vm int) int {
		host := vm % 10_000
		return min(host/32*32+rnd.IntN(32), 9_999)
	})
	if err != nil {
		b.Fatal(err)
	}
	moves, waves := 0, 0
	for b.Loop() {
		moves, waves = o.Run()
	}
	b.ReportMetric(float64(moves), "moves")
	b.ReportMetric(float64(waves), "waves")
}
