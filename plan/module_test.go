package plan_test

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// wired is site with the NIC module io-1 on gold-2 and the HBA io-2, which brings the pool san, nowhere.
func wired() *policy.Problem {
	p := site()
	s := p.Snapshot
	s.Sources[0].Capabilities.AttachModules = true
	s.Pools = append(s.Pools, fleet.Pool{ID: "san", Source: "kvm", Ref: "/san", Type: "iscsi", Capacity: 100 * fleet.GiB, Free: 50 * fleet.GiB})
	p.Pools["san"] = policy.PoolFacts{Tier: gold}
	hosts := []fleet.HostID{"gold-1", "gold-2", "host-a"}
	s.Modules = []fleet.IOModule{
		{ID: "io-1", Source: "kvm", Ref: "slot-1", Kind: fleet.ModuleNIC, NICs: []fleet.NIC{{ID: "io-1/p0", Class: 3, Queues: 8, Guarantee: 100}},
			AttachableTo: hosts, Host: "gold-2"},
		{ID: "io-2", Source: "kvm", Ref: "slot-2", Kind: fleet.ModuleHBA, Pools: []fleet.PoolID{"san"}, AttachableTo: hosts},
	}
	h := s.Host("gold-2")
	h.NICs, h.Pools = s.Modules[0].With(h)
	return p
}

// attach is a true step of a module as p has it.
func attach(p *policy.Problem, id fleet.ModuleID, to fleet.HostID) plan.Step {
	m := p.Snapshot.Module(id)
	return plan.Step{Reason: "test", Attach: &fleet.Attachment{Module: *m, From: m.Host, To: to, FromHost: p.Snapshot.Host(m.Host), ToHost: p.Snapshot.Host(to)}}
}

func TestCheckModules(t *testing.T) {
	t.Parallel()
	uses := func(f func(r *policy.Requirement)) func(p *policy.Problem) {
		return func(p *policy.Problem) { need(p, "vm-log", f) } // on gold-2
	}
	for _, tc := range []struct {
		name  string
		spoil func(p *policy.Problem)
		step  func(p *policy.Problem, st *plan.Step)
		want  string
		own   bool // found against the plan's own snapshot alone
	}{
		{name: "legal"},
		{name: "from nowhere", step: func(p *policy.Problem, st *plan.Step) { *st = attach(p, "io-2", "gold-1") }},
		{name: "unknown module", step: func(_ *policy.Problem, st *plan.Step) { st.Attach.Module.ID = "io-9" }, want: plan.ConstraintModule},
		{name: "unknown host", step: func(_ *policy.Problem, st *plan.Step) { st.Attach.To = "host-z" }, want: plan.ConstraintModule},
		{name: "nowhere", step: func(_ *policy.Problem, st *plan.Step) { st.Attach.To = "" }, want: plan.ConstraintModule},
		{name: "where it is", step: func(p *policy.Problem, st *plan.Step) { *st = attach(p, "io-1", "gold-2") }, want: plan.ConstraintModule},
		{name: "not attachable", spoil: func(p *policy.Problem) { p.Snapshot.Modules[0].AttachableTo = []fleet.HostID{"gold-2"} }, want: plan.ConstraintModule},
		{name: "driver cannot", spoil: func(p *policy.Problem) { p.Snapshot.Sources[0].Capabilities.AttachModules = false }, want: plan.ConstraintModule},
		{name: "to a host in maintenance", spoil: on("gold-1", func(h *fleet.Host) { h.Maintenance = true }), want: plan.ConstraintModule},
		{name: "from a host that cannot be seen", spoil: on("gold-2", func(h *fleet.Host) { h.Unreachable = true }), want: plan.ConstraintModule},
		{name: "its class is needed", spoil: uses(func(r *policy.Requirement) { r.NICClass = 3 }), want: plan.ConstraintModule},
		{name: "its queues are needed", spoil: uses(func(r *policy.Requirement) { r.NICClass, r.Queues = 2, 5 }), want: plan.ConstraintModule},
		{name: "its bandwidth is needed", spoil: uses(func(r *policy.Requirement) { r.Rate = 100 }), want: plan.ConstraintModule},
		{name: "the last NIC", spoil: on("gold-2", func(h *fleet.Host) { h.NICs = h.NICs[2:] }), want: plan.ConstraintModule},
		{name: "the last NIC of an empty host", spoil: func(p *policy.Problem) {
			on("gold-2", func(h *fleet.Host) { h.NICs = h.NICs[2:] })(p)
			p.Snapshot.VM("vm-log").VNICs = nil
		}},
		{name: "another place", step: func(_ *policy.Problem, st *plan.Step) { st.Attach.From, st.Attach.FromHost = "", nil }, want: plan.ConstraintPlace},
		{name: "another handle", step: func(_ *policy.Problem, st *plan.Step) { st.Attach.Module.Ref = "slot-9" }, want: plan.ConstraintDetails},
		{name: "another NIC", step: func(_ *policy.Problem, st *plan.Step) { st.Attach.Module.NICs = nil }, want: plan.ConstraintDetails, own: true},
		{name: "a host misdescribed", step: func(_ *policy.Problem, st *plan.Step) { h := *st.Attach.ToHost; h.Ref = "x"; st.Attach.ToHost = &h }, want: plan.ConstraintDetails},
		{name: "a VM too", step: func(p *policy.Problem, st *plan.Step) { st.Move = move(p, "vm-db", "gold-1", "nas").Move }, want: plan.ConstraintDetails},
		{name: "no reason", step: func(_ *policy.Problem, st *plan.Step) { st.Reason = "" }, want: plan.ConstraintDetails},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := wired()
			if tc.spoil != nil {
				tc.spoil(p)
			}
			st := attach(p, "io-1", "gold-1")
			if tc.step != nil {
				tc.step(p, &st)
			}
			pl := seal(t, p, st)
			got := plan.Check(p, pl)
			if tc.want == plan.ConstraintModule { // what cannot be made cannot be counted
				got = without(got, plan.ConstraintSummary)
			}
			if tc.want == plan.ConstraintPlace {
				got = without(got, plan.ConstraintDetails)
			}
			expect(t, tc.want, got)
			if tc.own {
				tc.want = ""
			}
			got = plan.CheckSteps(p, pl.Steps)
			if tc.want == plan.ConstraintPlace {
				got = without(got, plan.ConstraintDetails)
			}
			expect(t, tc.want, got)
		})
	}
}

func without(list []plan.Violation, constraint string) []plan.Violation {
	var out []plan.Violation
	for _, v := range list {
		if v.Constraint != constraint {
			out = append(out, v)
		}
	}
	return out
}

// TestCheckAfterModules: what a module brings is there after its step, on its new host, and nowhere else.
func TestCheckAfterModules(t *testing.T) {
	t.Parallel()
	p := wired()
	need(p, "vm-db", func(r *policy.Requirement) { r.NICClass, r.Queues, r.Rate = 3, 6, 50 })
	first := attach(p, "io-1", "gold-1")
	expect(t, "", plan.Check(p, seal(t, p, first, move(p, "vm-db", "gold-1", "gold-1/nvme"))))
	expect(t, plan.ConstraintNICClass, without(plan.Check(p, seal(t, p, move(p, "vm-db", "gold-1", "gold-1/nvme"), first)), plan.ConstraintNICQueues))
	expect(t, plan.ConstraintNICClass, without(plan.Check(p, seal(t, p, first, move(p, "vm-db", "gold-2", "gold-2/nvme"))), plan.ConstraintNICQueues))

	p = wired()
	first = attach(p, "io-2", "gold-1")
	pl := seal(t, p, first, move(p, "vm-db", "gold-1", "san"))
	expect(t, "", plan.Check(p, pl))
	if pl.Summary.Moves != 1 || pl.Summary.Modules != 1 {
		t.Errorf("%+v", pl.Summary)
	}
	expect(t, plan.ConstraintPoolReach, plan.Check(p, seal(t, p, move(p, "vm-db", "gold-1", "san"))))
	away := attach(p, "io-2", "gold-2")
	away.Attach.From, away.Attach.FromHost, away.Attach.Module.Host = "gold-1", p.Snapshot.Host("gold-1"), "gold-1"
	pl = seal(t, p, first, move(p, "vm-db", "gold-1", "san"), away)
	expect(t, plan.ConstraintModule, plan.Check(p, pl))
	if got := plan.Check(p, pl)[0].Detail; !strings.Contains(got, "host gold-1 does not reach pool san of vm-db") {
		t.Errorf("said %q", got)
	}
}

// TestModuleIsAloneInItsWave: a step of a module shares its wave with no other.
func TestModuleIsAloneInItsWave(t *testing.T) {
	t.Parallel()
	p := wired()
	steps := []plan.Step{attach(p, "io-1", "gold-1"), move(p, "vm-db", "gold-1", "nas")}
	for i := range steps {
		steps[i].N, steps[i].Wave = i+1, 1
	}
	expect(t, plan.ConstraintWave, plan.CheckSteps(p, steps))
}

// TestModuleFileRoundTrip: a plan with a module, and the snapshot's modules, come back as they were.
func TestModuleFileRoundTrip(t *testing.T) {
	t.Parallel()
	p := wired()
	f := &plan.File{Plan: *seal(t, p, attach(p, "io-1", "gold-1")), Policy: "x", Snapshot: *p.Snapshot}
	b, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := plan.DecodeFile("plan.json", b)
	if err != nil {
		t.Fatal(err)
	}
	if a := back.Plan.Steps[0].Attach; a == nil || a.To != "gold-1" || len(back.Snapshot.Modules) != 2 {
		t.Errorf("%+v", back.Plan.Steps[0])
	}
	if strings.Contains(string(b), `"move":{`) {
		t.Error("a step of a module has a move in the file")
	}
}
