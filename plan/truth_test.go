package plan_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

func TestCheckDetails(t *testing.T) {
	t.Parallel()
	runStepCases(t, []stepCase{
		{name: "no such VM", want: plan.ConstraintPlace, step: func(st *plan.Step) { st.Move.VM.ID = "vm-x" }},
		{name: "no such host", want: plan.ConstraintPlace, step: func(st *plan.Step) { st.Move.To.Host = "host-x" }},
		{name: "no such pool", want: plan.ConstraintPlace, step: func(st *plan.Step) { st.Move.To.Disks[0].Pool = "pool-x" }},
		{name: "no such disk", want: plan.ConstraintPlace, step: func(st *plan.Step) { st.Move.To.Disks[0].Disk = "vdz" }},
		{name: "a disk left out", want: plan.ConstraintPlace, step: func(st *plan.Step) { st.Move.To.Disks = nil }},
		{name: "goes nowhere", host: "host-a", pool: "nas", want: plan.ConstraintPlace},
		{name: "starts elsewhere", want: plan.ConstraintPlace, step: func(st *plan.Step) { st.Move.From.Host = "gold-2"; st.Move.FromHost = site().Snapshot.Hosts[1] }},
		{name: "level", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Level = "bronze" }},
		{name: "no reason", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Reason = "" }},
		{name: "bytes", own: true, want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Bytes-- }},
		{name: "handle of the VM", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.VM.Ref = "dom-other" }},
		{name: "UUID of the VM", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.VM.UUID = "other" }},
		{name: "place of the VM", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.VM.Host = "gold-2" }},
		{name: "path of a disk", want: plan.ConstraintDetails, step: func(st *plan.Step) {
			st.Move.VM.Disks = []fleet.Disk{st.Move.VM.Disks[0]}
			st.Move.VM.Disks[0].Path = "/etc/passwd"
		}},
		{name: "handle of the host", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.ToHost.Ref = "qemu+tcp://evil" }},
		{name: "handle of the pool", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.Pools[1].Ref = "/etc" }},
		{name: "pool not described", want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.Pools = st.Move.Pools[:1] }},
		{name: "network of the VM", own: true, want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.VM.VNICs = nil }},
		{name: "chain of a disk", want: plan.ConstraintDetails, step: func(st *plan.Step) {
			st.Move.VM.Disks = slices.Clone(st.Move.VM.Disks)
			st.Move.VM.Disks[0].Chain = []fleet.ChainLink{{Pool: "nas", Path: "/etc/passwd"}}
		}},
		{name: "pools of the host", own: true, want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.ToHost.Pools = nil }},
		{name: "type of the pool", own: true, want: plan.ConstraintDetails, step: func(st *plan.Step) { st.Move.Pools[1].Type = "NFS" }},
		{name: "held by the policy", want: plan.ConstraintHeld, spoil: func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Hold = "its label could not be read" })
		}},
		{name: "pinned", want: plan.ConstraintHeld, spoil: func(p *policy.Problem) { p.Snapshot.VMs[0].Pinned = "by hand" }},
		{name: "host unreachable", want: plan.ConstraintHeld, spoil: func(p *policy.Problem) { p.Snapshot.Hosts[2].Unreachable = true }},
	})
	t.Run("suspended", func(t *testing.T) {
		t.Parallel()
		p := site()
		p.Snapshot.VMs[0].Power = fleet.Suspended
		st := move(p, "vm-db", "gold-1", "gold-1/nvme")
		st.Move.Mode = fleet.Offline
		expect(t, plan.ConstraintHeld, plan.Check(p, seal(t, p, st)))
	})
	t.Run("source unreachable", func(t *testing.T) {
		t.Parallel()
		p := site()
		p.Snapshot.Sources[0].Reachable = false
		got := plan.Check(p, seal(t, p, move(p, "vm-db", "gold-1", "gold-1/nvme")))
		want := map[string]bool{}
		for _, v := range got {
			want[v.Constraint] = true
		}
		if len(want) != 2 || !want[plan.ConstraintHeld] || !want[plan.ConstraintUnreachable] {
			t.Errorf("got %v", got)
		}
	})
}

// TestCheckIntermediateStates holds several steps against the states between them.
func TestCheckIntermediateStates(t *testing.T) {
	t.Parallel()
	at := func(st plan.Step, host fleet.HostID, pool fleet.PoolID) plan.Step {
		p := site()
		st.Move.From.Host, st.Move.From.Disks[0].Pool = host, pool
		st.Move.FromHost = *p.Snapshot.Host(host)
		st.Move.Pools = append(st.Move.Pools, *p.Snapshot.Pool(pool))
		st.Move.VM.Host = host
		st.Move.VM.Disks = []fleet.Disk{st.Move.VM.Disks[0]}
		st.Move.VM.Disks[0].Pool = pool
		return st
	}
	t.Run("room that a former step makes", func(t *testing.T) {
		t.Parallel()
		p := site()
		facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) })
		p.Snapshot.Pools[0].Free = 6 * fleet.GiB
		db, web := move(p, "vm-db", "gold-1", "gold-1/nvme"), move(p, "vm-web", "gold-2", "gold-2/nvme")
		expect(t, "", plan.Check(p, seal(t, p, web, db)))
		got := map[string]bool{}
		for _, v := range plan.Check(p, seal(t, p, db, web)) {
			got[v.Constraint] = v.Step == 1
		}
		if len(got) != 2 || !got[plan.ConstraintCPU] || !got[plan.ConstraintPoolSpace] {
			t.Errorf("the wrong order gives %v", got)
		}
	})
	t.Run("room that is taken twice", func(t *testing.T) {
		t.Parallel()
		p := site()
		facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(5) })
		expect(t, plan.ConstraintCPU, plan.Check(p, seal(t, p, move(p, "vm-db", "gold-1", "gold-1/nvme"), move(p, "vm-log", "gold-1", "gold-1/nvme"))))
	})
	t.Run("a chain frees nothing", func(t *testing.T) {
		t.Parallel()
		p := site()
		p.Snapshot.Pools[0].Free = 6 * fleet.GiB
		p.Snapshot.VMs[2].Disks[0].Chain = []fleet.ChainLink{{Pool: "gold-1/nvme", Path: "/base"}}
		expect(t, plan.ConstraintPoolSpace, plan.Check(p, seal(t, p, move(p, "vm-web", "gold-2", "gold-2/nvme"), move(p, "vm-db", "gold-1", "gold-1/nvme"))))
	})
	t.Run("a VM moves twice", func(t *testing.T) {
		t.Parallel()
		p := site()
		first, second := move(p, "vm-db", "gold-1", "gold-1/nvme"), move(p, "vm-db", "gold-2", "gold-2/nvme")
		expect(t, plan.ConstraintPlace, dropDetails(plan.Check(p, seal(t, p, first, second))))
		second = at(second, "gold-1", "gold-1/nvme")
		second.Move.VM.Disks[0].Path = "" // only the hypervisor knows it by then
		expect(t, "", plan.Check(p, seal(t, p, first, second)))
		// The second step is still good when the first is done: its path is known by then, and the disk has grown.
		v := &p.Snapshot.VMs[0]
		v.Host, v.Disks[0].Pool, v.Disks[0].Path = "gold-1", "gold-1/nvme", "/gold-1/nvme/vm-db.vmdk"
		v.Disks[0].Used += fleet.GiB
		second.N, second.Wave = 2, 2
		expect(t, "", plan.CheckSteps(p, []plan.Step{second}))
	})
	t.Run("a group moves together", func(t *testing.T) {
		t.Parallel()
		p := site()
		for _, id := range []fleet.VMID{"vm-db", "vm-two"} {
			need(p, id, func(r *policy.Requirement) { r.AffinityGroup, r.Level = "app", "gold" })
		}
		two := p.Snapshot.VMs[0]
		two.ID, two.Disks = "vm-two", slices.Clone(two.Disks)
		p.Snapshot.VMs = []fleet.VM{p.Snapshot.VMs[0], p.Snapshot.VMs[1], two, p.Snapshot.VMs[2]}
		r := p.VMs["vm-two"]
		r.Disks = []policy.DiskRequirement{{}}
		p.VMs["vm-two"] = r
		db, other := move(p, "vm-db", "gold-1", "gold-1/nvme"), move(p, "vm-two", "gold-1", "gold-1/nvme")
		expect(t, "", plan.Check(p, seal(t, p, db, other)))
		expect(t, plan.ConstraintAffinity, plan.Check(p, seal(t, p, db)))
		// What remains after the first step is legal in the world as it is then.
		p.Snapshot.VMs[0].Host, p.Snapshot.VMs[0].Disks[0].Pool = "gold-1", "gold-1/nvme"
		other.N, other.Wave = 2, 2
		expect(t, "", plan.CheckSteps(p, []plan.Step{other}))
	})
	t.Run("only worse is a fault", func(t *testing.T) {
		t.Parallel()
		p := site()
		facts(p, "host-a", func(f *policy.HostFacts) { f.CPU = 1 })
		facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = 1 })
		expect(t, "", plan.Check(p, seal(t, p, move(p, "vm-db", "host-a", "host-a/nvme"))))
	})
}

func dropDetails(list []plan.Violation) []plan.Violation {
	var out []plan.Violation
	for _, v := range list {
		if v.Constraint != plan.ConstraintDetails {
			out = append(out, v)
		}
	}
	return out
}

func TestCheckPlanIsTrue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		want string
		lie  func(pl *plan.Plan)
	}{
		{"true", "", func(*plan.Plan) {}},
		{"version", plan.ConstraintVersion, func(pl *plan.Plan) { pl.Version = 1 }},
		{"snapshot", plan.ConstraintVersion, func(pl *plan.Plan) { pl.SnapshotID = "s-0" }},
		{"policy", plan.ConstraintVersion, func(pl *plan.Plan) { pl.PolicyID = "policy-2" }},
		{"numbers", plan.ConstraintNumber, func(pl *plan.Plan) { pl.Steps[0].N = 7 }},
		{"moves", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Summary.Moves = 0 }},
		{"broken", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Summary.BrokenBefore = 0 }},
		{"cost", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Summary.CostAfter-- }},
		{"held that may move", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Held = append(pl.Held, plan.Held{VM: "vm-web"}) }},
		{"held twice", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Held = append(pl.Held, pl.Held[0]) }},
		{"unplaced and held", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Unplaced = append(pl.Unplaced, plan.Unplaced{VM: "vm-log"}) }},
		{"why held", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Held[0].Reason = "no reason" }},
		{"level of unplaced", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Unplaced = append(pl.Unplaced, plan.Unplaced{VM: "vm-web", Level: "gold"}) }},
		{"held not listed", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Held = nil }},
		{"unplaced that is not", plan.ConstraintSummary, func(pl *plan.Plan) { pl.Unplaced = append(pl.Unplaced, plan.Unplaced{VM: "vm-x"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := site()
			p.Snapshot.VMs[1].Pinned = "by hand"
			pl := seal(t, p, move(p, "vm-db", "gold-1", "gold-1/nvme"))
			if s := pl.Summary; s.BrokenBefore != 1 || s.BrokenAfter != 0 || s.Right != 1 || s.Held != 1 || s.Moves != 1 || s.Bytes != 10*fleet.GiB ||
				s.CostOfMoves != 5+10 || s.CostBefore != 2*(2*2*10+10*2) || s.CostAfter != s.CostBefore {
				t.Fatalf("summary %+v", s)
			}
			counted := pl.Summary
			c.lie(pl)
			if pl.Summary == counted { // a lie of the lists, so that the counts are made to agree with them
				var err error
				if pl.Summary, err = plan.Summarize(p, pl); err != nil {
					t.Fatal(err)
				}
			}
			if err := pl.Seal(); err != nil {
				t.Fatal(err)
			}
			expect(t, c.want, plan.Check(p, pl))
		})
	}
	p := site()
	pl := seal(t, p)
	pl.ID = "p-0123456789abcdef"
	expect(t, plan.ConstraintSeal, plan.Check(p, pl))

	st := move(p, "vm-db", "gold-1", "gold-1/nvme")
	st.Move.VM.ID = "vm-x"
	uncounted := slices.ContainsFunc(plan.Check(p, seal(t, p, st)), func(v plan.Violation) bool {
		return v.Step == 0 && v.Constraint == plan.ConstraintSummary && strings.Contains(v.Detail, "step 1 names what there is not")
	})
	if !uncounted {
		t.Error("a plan that cannot be counted is not said to be so")
	}
}

func TestCheckRefusesUnfitProblems(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(p *policy.Problem){
		"invalid snapshot": func(p *policy.Problem) { p.Snapshot.Hosts[0].CPU = -1 },
		"no host facts":    func(p *policy.Problem) { delete(p.Hosts, "gold-1") },
		"no pool facts":    func(p *policy.Problem) { delete(p.Pools, "nas") },
		"no requirement":   func(p *policy.Problem) { delete(p.VMs, "vm-db") },
		"disk not covered": func(p *policy.Problem) { p.VMs["vm-db"] = policy.Requirement{} },
		"sum overflows": func(p *policy.Problem) {
			p.Snapshot.VMs[0].Memory, p.Snapshot.VMs[1].Memory = math.MaxInt64/5, math.MaxInt64/5
		},
		"disks overflow": func(p *policy.Problem) { p.Snapshot.VMs[0].Disks[0].Used = math.MaxInt64 },
		"no snapshot":    func(p *policy.Problem) { p.Snapshot = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := site()
			spoil(p)
			expect(t, plan.ConstraintProblem, plan.Check(p, &plan.Plan{}))
		})
	}
}

// TestPoolsOfEveryBound: a pool that claims to have all that can be counted has not less for what leaves it.
func TestPoolsOfEveryBound(t *testing.T) {
	t.Parallel()
	p := site()
	nas := p.Snapshot.Pool("nas")
	nas.Capacity, nas.Free = math.MaxInt64, math.MaxInt64
	away, back := move(p, "vm-db", "gold-1", "gold-1/nvme"), move(p, "vm-log", "gold-2", "nas")
	expect(t, "", plan.Check(p, seal(t, p, away, back)))
}
