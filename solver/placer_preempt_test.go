package solver_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestPreemptionIsForTheHigher places VMs of rising and falling priority into random fleets and follows the answers in
// the fleet's own types: nobody gives way to an equal or a lower one, and wherever VMs were brought they may be.
func TestPreemptionIsForTheHigher(t *testing.T) {
	t.Parallel()
	gaveWay := 0
	rapid.Check(t, func(t *rapid.T) {
		p := sound(drawProblem(t))
		p.VMs = cloneNeeds(p.VMs)
		for i := range p.Snapshot.VMs {
			if len(p.Snapshot.VMs[i].Disks) > 0 && slices.ContainsFunc(p.Snapshot.VMs[i].Disks, func(d fleet.Disk) bool { return len(d.Chain) > 0 }) {
				return
			}
		}
		x, err := solver.NewPlacer(p, solver.PlacerOptions{Preempt: true})
		if err != nil {
			t.Fatal(err)
		}
		for n := range rapid.IntRange(1, 6).Draw(t, "arrivals") {
			v := fleet.VM{ID: fleet.VMID([]string{"vm-u", "vm-v", "vm-w", "vm-x", "vm-y", "vm-z"}[n]), Source: "kvm", Power: fleet.Running,
				CPU: fleet.CPUs(rapid.IntRange(1, 4).Draw(t, "cpu")), Memory: fleet.Bytes(rapid.IntRange(1, 12).Draw(t, "memory")) * fleet.GiB}
			need := policy.Requirement{Level: "l", Priority: policy.Priority(rapid.SampledFrom([]int{50, 100, 500, 900, 950}).Draw(t, "prio"))}
			p.VMs[v.ID] = need
			got, err := x.Place(v, need)
			if err != nil {
				t.Fatal(err)
			}
			var out []fleet.VM
			for _, id := range got.Evicted {
				out = append(out, *p.Snapshot.VM(id))
				p = with(p, out[len(out)-1], nil)
			}
			for _, m := range got.Moved {
				out = append(out, *p.Snapshot.VM(m.VM))
				p = with(p, out[len(out)-1], nil)
			}
			for _, o := range out {
				gaveWay++
				if p.VMs[o.ID].Priority >= need.Priority {
					t.Errorf("%s of priority %d gave way to one of %d", o.ID, p.VMs[o.ID].Priority, need.Priority)
				}
			}
			if !got.OK {
				if len(out) > 0 {
					t.Errorf("%v gave way to a VM that got no place", out)
				}
				continue
			}
			if !holds(p, v, got.To) {
				t.Errorf("%s may not be at %v", v.ID, got.To)
			}
			p = with(p, v, &got.To)
			for _, m := range got.Moved {
				o := out[slices.IndexFunc(out, func(o fleet.VM) bool { return o.ID == m.VM })]
				if !holds(p, o, m.To) {
					t.Errorf("%s, which gave way, may not be at %v", o.ID, m.To)
				}
				p = with(p, o, &m.To)
			}
		}
	})
	if gaveWay == 0 {
		t.Error("nobody ever gave way: the test tests nothing")
	}
}

func cloneNeeds(m map[fleet.VMID]policy.Requirement) map[fleet.VMID]policy.Requirement {
	out := make(map[fleet.VMID]policy.Requirement, len(m))
	for id, n := range m {
		out[id] = n
	}
	return out
}
