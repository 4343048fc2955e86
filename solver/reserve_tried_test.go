package solver_test

import (
	"fmt"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// TestEveryFailureIsTried: on each of 200 hosts but the last one protected VM takes three quarters and one that is not an eighth, so that no
// loss of theirs is survived whoever leaves. Moves that mend that are looked for all the same, for each of them.
func TestEveryFailureIsTried(t *testing.T) {
	t.Parallel()
	const hosts = 200
	p := emptyProblem()
	p.Reserve.Over = []policy.Loss{policy.LossHost}
	for n := range hosts {
		id := fleet.HostID(fmt.Sprintf("host-%03d", n))
		p.Snapshot.Hosts = append(p.Snapshot.Hosts, fleet.Host{ID: id, Source: "kvm", Hypervisor: fleet.KVM})
		p.Hosts[id] = policy.HostFacts{CPU: fleet.CPUs(8), Memory: 64 * fleet.GiB}
		add := func(name string, cpus int, protect bool) {
			v := fleet.VM{ID: fleet.VMID(fmt.Sprintf("vm-%03d-%s", n, name)), Source: "kvm", Host: id, Ref: "r", CPU: fleet.CPUs(cpus), Memory: fleet.GiB, Power: fleet.Running}
			p.Snapshot.VMs = append(p.Snapshot.VMs, v)
			p.VMs[v.ID] = policy.Requirement{Level: "l", Priority: 500, Protect: protect}
		}
		if n == hosts-1 {
			add("log", 3, false)
			continue
		}
		add("db", 6, true)
		add("web", 1, false)
	}
	p.Snapshot.Sort()
	pl := mustSolve(t, p)
	for _, v := range plan.Check(p, pl) {
		t.Error(v)
	}
	r := pl.Summary.Reserve
	if r.Failures != hosts || r.SurvivedBefore != 1 || r.SurvivedAfter != 1 || r.Untried != 0 {
		t.Errorf("%+v with %d steps, expected that one failure is survived, and none not looked at", r, len(pl.Steps))
	}
}
