package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestCheckReserveOfLocalDisks has steps bring vm-web, which nas alone keeps movable, to a pool that one host reaches. The failures that
// are survived stay as many, as a VM that nothing can help counts in none.
func TestCheckReserveOfLocalDisks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(p *policy.Problem)
		host  fleet.HostID
		pool  fleet.PoolID
		want  string
	}{
		{"on its host", nil, "gold-1", "gold-1/nvme", plan.ConstraintReserve},
		{"with its host", nil, "gold-2", "gold-2/nvme", plan.ConstraintReserve},
		{"the disk stays shared", nil, "gold-2", "nas", ""},
		{"not protected", func(p *policy.Problem) {
			need(p, "vm-web", func(r *policy.Requirement) { r.Protect = false })
		}, "gold-1", "gold-1/nvme", ""},
		{"local before", func(p *policy.Problem) { p.Snapshot.VM("vm-web").Disks[0].Pool = "gold-1/nvme" }, "gold-2", "gold-2/nvme", ""},
		{"local before, shared after", func(p *policy.Problem) { p.Snapshot.VM("vm-web").Disks[0].Pool = "gold-1/nvme" }, "gold-1", "nas", ""},
		{"it mends the VM", func(p *policy.Problem) {
			facts(p, "gold-1", func(f *policy.HostFacts) { f.Tier = bronze })
		}, "gold-2", "gold-2/nvme", ""},
		{"the failure was not survived before", func(p *policy.Problem) {
			facts(p, "gold-2", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) })
		}, "gold-1", "gold-1/nvme", plan.ConstraintReserve},
		{"lost by chassis too", func(p *policy.Problem) {
			p.Reserve.Over = []policy.Loss{policy.LossChassis}
		}, "gold-1", "gold-1/nvme", plan.ConstraintReserve},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := guarded()
			if c.spoil != nil {
				c.spoil(p)
			}
			pl := seal(t, p, move(p, "vm-web", c.host, c.pool))
			out := plan.Check(p, pl)
			expect(t, c.want, out)
			faults := plan.ReserveFaults(p, pl.Steps)
			if c.want == "" {
				if len(faults) > 0 {
					t.Errorf("got faults %v", faults)
				}
				return
			}
			list, err := plan.StrandedAfter(p, pl)
			if err != nil || !slices.Equal(list, []plan.Stranded{{VM: "vm-web", Local: true}}) {
				t.Errorf("got %v, %v", list, err)
			}
			if s := pl.Summary.Reserve; s.SurvivedAfter < s.SurvivedBefore || s.Unprotected != 1 {
				t.Errorf("the summary alone would tell: %+v", s)
			}
			if !slices.Equal(faults, []int{0}) {
				t.Errorf("got faults %v", faults)
			}
			if len(out) > 0 && (out[0].Step != 1 || out[0].VM != "vm-web" || !strings.Contains(out[0].Detail, "which no other host reaches")) {
				t.Errorf("got %v", out)
			}
		})
	}
}

// TestCheckReserveOfDisksUnderWay copies a disk between two shared pools that no other host reaches both of: nothing can help vm-web
// meanwhile, which is no fault, but where the new pool's other host has no room it is.
func TestCheckReserveOfDisksUnderWay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cpu  int
		want string
	}{{4, ""}, {3, plan.ConstraintReserve}} {
		p := guarded()
		p.Snapshot.Pools = append(p.Snapshot.Pools, fleet.Pool{
			ID: "san", Source: "kvm", Ref: "/san", Type: "dir", Capacity: 100 * fleet.GiB, Free: 50 * fleet.GiB,
		})
		p.Pools["san"] = p.Pools["nas"]
		p.Snapshot.Host("gold-1").Pools = []fleet.PoolID{"gold-1/nvme", "nas", "san"}
		p.Snapshot.Host("gold-2").Pools = []fleet.PoolID{"gold-2/nvme", "san"}
		facts(p, "host-a", func(f *policy.HostFacts) { f.Tier = gold })
		facts(p, "gold-2", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(c.cpu) })
		p.Snapshot.Sort()
		out := plan.Check(p, seal(t, p, move(p, "vm-web", "gold-1", "san")))
		expect(t, c.want, out)
		if c.want != "" && len(out) > 0 && !strings.Contains(out[0].Detail, "the loss of host gold-1 would leave vm-web without a place") {
			t.Errorf("got %v", out)
		}
	}
}
