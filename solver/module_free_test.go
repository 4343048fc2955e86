package solver_test

import (
	"slices"
	"testing"

	"github.com/berth-project/berth/plan"
)

// TestModuleIsFreed: a module goes to vm-db once those who need it where it is have found another place, and only then.
func TestModuleIsFreed(t *testing.T) {
	t.Parallel()
	const hosts = `
		pool nas tier=nvme
		pool san tier=nvme
		host gold-1 tier=gold pools=nas nics=1:0
		host bronze-1 tier=bronze pools=nas nics=2:4
		host bronze-3 tier=bronze pools=nas nics=1:0
		`
	const db = `
		vm vm-db host=bronze-3 level=gold needs=gold nic=3 queues=4 prio=900 disks=nas:5:nvme
		`
	const io = `
		module io-8 nics=3:8 on=gold-1,bronze-1 host=bronze-1`
	for _, tc := range []struct {
		name, fleet string
		order       []string // who moves, in order
	}{
		{"its user has another place", hosts + "host bronze-2 tier=bronze pools=nas nics=3:2" + io + db + "vm vm-net host=bronze-1 nic=3 queues=2 prio=500 disks=nas:1:hdd", []string{"vm-net", "io-8", "vm-db"}},
		{"two users have", hosts + "host bronze-2 tier=bronze pools=nas nics=3:4" + io + db + `vm vm-a host=bronze-1 nic=3 queues=2 prio=500 disks=nas:1:hdd
		vm vm-b host=bronze-1 nic=3 queues=2 prio=500 disks=nas:1:hdd`, []string{"vm-a", "vm-b", "io-8", "vm-db"}},
		{"only queues are short", hosts + "host bronze-2 tier=bronze pools=nas nics=2:4" + io + db + `vm vm-a host=bronze-1 nic=2 queues=3 prio=500 disks=nas:1:hdd
		vm vm-b host=bronze-1 nic=2 queues=3 prio=500 disks=nas:1:hdd`, []string{"vm-a", "io-8", "vm-db"}},
		{"its user has none", hosts + "host bronze-2 tier=bronze pools=nas nics=2:8" + io + db + "vm vm-net host=bronze-1 nic=3 queues=2 prio=500 disks=nas:1:hdd", nil},
		{"one of two has none: all is taken back", hosts + "host bronze-2 tier=bronze pools=nas nics=3:2" + io + db + `vm vm-a host=bronze-1 nic=3 queues=2 prio=500 disks=nas:1:hdd
		vm vm-b host=bronze-1 nic=3 queues=2 prio=500 disks=nas:1:hdd`, nil},
		{"its user has a higher priority", hosts + "host bronze-2 tier=bronze pools=nas nics=3:2" + io + db + "vm vm-net host=bronze-1 nic=3 queues=2 prio=950 disks=nas:1:hdd", nil},
		{"its user is pinned", hosts + "host bronze-2 tier=bronze pools=nas nics=3:2" + io + db + "vm vm-net host=bronze-1 nic=3 queues=2 prio=500 pinned=yes disks=nas:1:hdd", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := parseFleet(t, tc.fleet)
			pl := mustSolve(t, p)
			for _, v := range plan.Check(p, pl) {
				t.Error(v)
			}
			var got []string
			for _, st := range pl.Steps {
				if st.Attach != nil {
					got = append(got, string(st.Attach.Module.ID))
				} else {
					got = append(got, string(st.Move.VM.ID))
				}
			}
			if !slices.Equal(got, tc.order) {
				t.Fatalf("%v, expected %v: %s", got, tc.order, planText(pl))
			}
			if len(got) == 0 {
				return
			}
			if again := mustSolve(t, after(p, pl.Steps)); len(again.Steps) > 0 {
				t.Errorf("solved again: %s", planText(again))
			}
			sabotaged := *pl
			sabotaged.Steps = slices.Clone(pl.Steps)
			at := len(got) - 2 // the module is taken away before the last of its users has left
			sabotaged.Steps[at-1], sabotaged.Steps[at] = sabotaged.Steps[at], sabotaged.Steps[at-1]
			found := plan.CheckSteps(p, sabotaged.Steps)
			if !slices.ContainsFunc(found, func(v plan.Violation) bool { return v.Constraint == plan.ConstraintModule }) {
				t.Errorf("taken away too early, found only %v", found)
			}
		})
	}
}
