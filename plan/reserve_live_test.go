package plan_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestReserveOfComers has VMs come and quit at random and counts everything anew after each. One that is refused changes nothing, one that is
// admitted leaves every failure survived that was.
func TestReserveOfComers(t *testing.T) {
	t.Parallel()
	admitted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawGuarded(t)
		r, err := plan.NewLiveReserve(p)
		if err != nil {
			t.Fatal(err)
		}
		var in []int
		for n := range rapid.IntRange(1, 20).Draw(t, "comers") {
			lives := r.Lives()
			if len(in) > 0 && rapid.IntRange(0, 3).Draw(t, "quits") == 0 {
				at := rapid.IntRange(0, len(in)-1).Draw(t, "which")
				r.Quit(in[at])
				in = slices.Delete(in, at, at+1)
			} else {
				vm := fleet.VM{
					ID: fleet.VMID(fmt.Sprintf("vm-new-%d", n)), Source: "kvm", Power: fleet.Running, CPU: fleet.CPUs(rapid.IntRange(0, 3).Draw(t, "cpu")),
					Memory: fleet.GiB, Disks: []fleet.Disk{{ID: "vda", Pool: "nas", Path: "x", Size: fleet.GiB}},
				}
				need := policy.Requirement{
					Level: "l", Protect: rapid.Bool().Draw(t, "protect"), NICClass: 1, Queues: fleet.Queues(rapid.IntRange(0, 3).Draw(t, "queues")),
					Disks: []policy.DiskRequirement{{}},
				}
				h := rapid.IntRange(0, len(p.Snapshot.Hosts)-1).Draw(t, "host")
				v := r.Join(&vm, need)
				if at := (fleet.Placement{Host: p.Snapshot.Hosts[h].ID, Disks: []fleet.DiskPlace{{Disk: "vda", Pool: "nas"}}}); r.Admit(v, h, at) {
					in = append(in, v)
					admitted++
				} else {
					refused++
					if !slices.Equal(lives, r.Lives()) {
						t.Fatalf("%s refused: survived %v, before %v", vm.ID, r.Lives(), lives)
					}
					r.Quit(v)
				}
			}
			if err := r.Audit(); err != nil {
				t.Fatal(err)
			}
			for k, live := range r.Lives() {
				if lives[k] && !live {
					t.Fatalf("failure %d is not survived any more", k)
				}
			}
		}
	})
	if admitted == 0 || refused == 0 {
		t.Errorf("%d admitted, %d refused: no test", admitted, refused)
	}
}
