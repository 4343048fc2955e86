package solver_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// adjusted makes the changes that are no steps on a copy of p, without the code of the solver, and gives those that are.
func adjusted(t interface{ Fatalf(string, ...any) }, p *policy.Problem, list []solver.Adjustment) (*policy.Problem, []plan.Step) {
	q := after(p, nil)
	q.Hosts, q.Pools, q.VMs = maps.Clone(q.Hosts), maps.Clone(q.Pools), maps.Clone(q.VMs)
	q.Snapshot.Sources = slices.Clone(q.Snapshot.Sources)
	for i := range q.Snapshot.Sources {
		q.Snapshot.Sources[i].Capabilities.AttachModules = true // a person may do what the source cannot
	}
	var steps []plan.Step
	for _, a := range list {
		h := q.Snapshot.Host(a.Host)
		switch a.Kind {
		case solver.AdjustModule:
			now := after(q, steps)
			steps = append(steps, moduleStep(now, now.Snapshot.Module(a.Module), a.Host))
		case solver.AdjustMove:
			for _, m := range a.To {
				steps = append(steps, stepTo(t, after(q, steps), m))
			}
		case solver.AdjustMaintenance:
			h.Maintenance = false
		case solver.AdjustNetwork:
			h.Networks = append(slices.Clone(h.Networks), a.Name)
		case solver.AdjustReach:
			h.Pools = append(slices.Clone(h.Pools), a.Pool)
			slices.Sort(h.Pools)
		case solver.AdjustSpace, solver.AdjustIOPS, solver.AdjustThroughput:
			adjustPool(q.Snapshot.Pool(a.Pool), a)
		case solver.AdjustCPU, solver.AdjustMemory, solver.AdjustQueues, solver.AdjustRate, solver.AdjustNIC:
			adjustHost(q, h, a)
		case solver.AdjustLabel:
			adjustLabel(q, a)
		default:
			t.Fatalf("a test cannot do %q", a.Text)
		}
	}
	return q, steps
}

func adjustPool(p *fleet.Pool, a solver.Adjustment) {
	switch a.Kind {
	case solver.AdjustSpace:
		p.Free += fleet.Bytes(a.Amount)
		p.Capacity += fleet.Bytes(a.Amount)
	case solver.AdjustIOPS:
		p.IOPS += fleet.IOPS(a.Amount)
	default:
		p.Throughput += fleet.MBps(a.Amount)
	}
}

func adjustHost(q *policy.Problem, h *fleet.Host, a solver.Adjustment) {
	f := q.Hosts[a.Host]
	h.NICs = slices.Clone(h.NICs)
	n := slices.IndexFunc(h.NICs, func(n fleet.NIC) bool { return n.ID == a.NIC })
	switch a.Kind {
	case solver.AdjustCPU:
		f.CPU += fleet.MilliCPU(a.Amount)
	case solver.AdjustMemory:
		f.Memory += fleet.Bytes(a.Amount)
	case solver.AdjustQueues:
		h.NICs[n].Queues += fleet.Queues(a.Amount)
	case solver.AdjustRate:
		h.NICs[n].Guarantee += fleet.Mbps(a.Amount)
		h.NICs[n].Speed = 0
	default:
		h.NICs = append(h.NICs, fleet.NIC{ID: a.NIC, Class: a.Class, Queues: fleet.Queues(a.Amount), Guarantee: a.Rate})
		f.NICClass = maps.Clone(f.NICClass)
		if f.NICClass == nil {
			f.NICClass = map[fleet.NICID]fleet.NICClass{}
		}
		f.NICClass[a.NIC] = a.Class
	}
	q.Hosts[a.Host] = f
}

func adjustLabel(q *policy.Problem, a solver.Adjustment) {
	r := q.VMs[a.VM]
	r.Disks = slices.Clone(r.Disks)
	n, _ := strconv.Atoi(a.Value)
	switch a.Name {
	case "server.tier":
		r.Server = policy.Rank(slices.Index(q.ServerTiers, a.Value))
	case "security.class":
		r.Security = n
	case "nic.class":
		r.NICClass = fleet.NICClass(n)
	case "nic.queues":
		r.Queues = fleet.Queues(n)
	case "nic.rate":
		r.Rate = fleet.Mbps(n)
	case "spread.domain":
		r.SpreadDomain = policy.Domain(a.Value)
	case "spread.group":
		r.SpreadGroup = ""
	case "affinity.group":
		r.AffinityGroup = ""
	case "hypervisor":
		r.Hypervisors = nil
	}
	for i := range r.Disks {
		if a.Name == "storage.tier" {
			r.Disks[i].Tier = min(r.Disks[i].Tier, policy.Rank(slices.Index(q.PoolTiers, a.Value)))
		}
		if a.Name == "storage.iops" {
			r.Disks[i].IOPS = min(r.Disks[i].IOPS, fleet.IOPS(n))
		}
	}
	q.VMs[a.VM] = r
}

// stepTo is the step that takes a VM of p to its new place.
func stepTo(t interface{ Fatalf(string, ...any) }, p *policy.Problem, m solver.MovedVM) plan.Step {
	v := p.Snapshot.VM(m.VM)
	st := plan.Step{N: 1, Wave: 1, Level: p.VMs[m.VM].Level, Reason: "test"}
	st.Move = fleet.Relocation{VM: *v, From: v.Place(), To: m.To, FromHost: *p.Snapshot.Host(v.Host), ToHost: *p.Snapshot.Host(m.To.Host)}
	pools := map[fleet.PoolID]bool{}
	storage := false
	for i, d := range m.To.Disks {
		pools[d.Pool], pools[v.Disks[i].Pool] = true, true
		if d.Pool != v.Disks[i].Pool {
			storage = true
			st.Bytes += v.Disks[i].Used
		}
	}
	for _, id := range slices.Sorted(maps.Keys(pools)) {
		st.Move.Pools = append(st.Move.Pools, *p.Snapshot.Pool(id))
	}
	for _, mode := range []fleet.Mode{fleet.Live, fleet.Offline} {
		if plan.ModeRefusal(p.Snapshot.Source(v.Source).Capabilities, v, mode, v.Host != m.To.Host, storage) == "" {
			if st.Move.Mode = mode; mode == fleet.Offline && v.Power == fleet.Running {
				st.Risks = []plan.Risk{plan.RiskDowntime}
			}
			return st
		}
	}
	t.Fatalf("%s cannot move to %v", m.VM, m.To)
	return st
}

// prove makes a relaxation and says what is wrong with the place that the VM then gets, without a line of the solver.
func prove(t *rapid.T, end *policy.Problem, x *solver.Relaxation) {
	q, steps := adjusted(t, end, x.Changes)
	for _, m := range x.Places {
		now := after(q, steps)
		if !now.Snapshot.VM(m.VM).Place().Equal(m.To) {
			steps = append(steps, stepTo(t, now, m))
		}
	}
	for i := range steps {
		steps[i].N, steps[i].Wave = i+1, i+1
	}
	for _, v := range plan.CheckSteps(q, steps) {
		t.Errorf("%s: %s", x.Text, v)
	}
	was, err := plan.Summarize(end, &plan.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	is, err := plan.Summarize(after(q, steps), &plan.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	if is.BrokenBefore >= was.BrokenBefore {
		t.Errorf("%s: %d VMs are broken with it, %d without: %v", x.Text, is.BrokenBefore, was.BrokenBefore, x.Places)
	}
}

// TestRelaxationsAreProven makes every relaxation of random fleets and has it judged by the checker of plans.
func TestRelaxationsAreProven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		end := after(p, pl.Steps)
		before := p.Snapshot.Digest()
		for _, u := range pl.Unplaced {
			list, err := solver.Relax(p, pl, u.VM, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > 5 || !slices.IsSortedFunc(list, func(a, b solver.Relaxation) int { return a.Cost - b.Cost }) {
				t.Errorf("%s: not at most five by cost: %v", u.VM, list)
			}
			for i := range list {
				prove(t, end, &list[i])
			}
		}
		if p.Snapshot.Digest() != before {
			t.Error("the problem was changed")
		}
	})
}

// TestRelaxNamesTheSmallestChange is a table of fleets in which one VM, vm-db, has no place, and what would help first.
func TestRelaxNamesTheSmallestChange(t *testing.T) {
	t.Parallel()
	const rest = "pool nas tier=nvme size=1000 free=500\nhost host-a tier=bronze pools=nas\n"
	const db = "vm vm-db host=host-a level=gold needs=gold prio=900 disks=nas:5:nvme "
	for name, c := range map[string]struct{ fleet, first, any string }{
		"maintenance": {"host host-f tier=gold pools=nas maintenance\n" + db, "take host-f out of maintenance", ""},
		"memory":      {"host host-g tier=gold mem=8 pools=nas\n" + db + "mem=20", "12 GiB more memory on host-g", ""},
		"threads and memory": {
			"host host-g tier=gold cpu=4 mem=8 pools=nas\n" + db + "mem=20 cpu=6", "2 more threads on host-g, and 12 GiB more memory on host-g", "",
		},
		"class":   {"host host-e tier=gold nics=2:8 pools=nas\n" + db + "nic=3", "a NIC of class 3 in host-e", "lower nic.class of vm-db from 3 to 2"},
		"queues":  {"host host-d tier=gold nics=3:4 pools=nas\n" + db + "nic=3 queues=6", "6 more queues on eth0 of host-d", "lower nic.queues of vm-db from 6 to 4"},
		"network": {"host host-d tier=gold networks=lan pools=nas\n" + db + "networks=dmz", "give host-d the network dmz", ""},
		"pool":    {"host host-d tier=gold\n" + db, "connect host-d to nas", ""},
		"tier":    {"host host-d tier=silver pools=nas\n" + db, "lower server.tier of vm-db from gold to silver", ""},
		"spread": {
			"host host-d tier=gold chassis=c-1 pools=nas\nhost host-e tier=gold chassis=c-1 pools=nas\n" +
				"vm vm-twin host=host-d level=gold needs=gold prio=900 spread=db over=host disks=nas:5:nvme pinned=usb\n" + db + "spread=db over=chassis",
			"lower spread.domain of vm-db from chassis to host", "drop spread.group=db of vm-db",
		},
		"another VM": {
			"host host-d tier=gold mem=16 pools=nas\nhost host-e tier=gold mem=8 pools=nas\n" +
				"vm vm-x host=host-d level=gold needs=gold prio=950 mem=8 disks=nas:5:nvme\n" + db + "mem=16",
			"move vm-x from host-d to host-e", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := parseFleet(t, rest+c.fleet+"\n")
			pl := mustSolve(t, p)
			list, err := solver.Relax(p, pl, "vm-db", nil)
			if err != nil {
				t.Fatal(err)
			}
			texts := make([]string, len(list))
			for i := range list {
				texts[i] = list[i].Text
			}
			if len(texts) == 0 || texts[0] != c.first {
				t.Fatalf("got %q, expected %q first", texts, c.first)
			}
			if c.any != "" && !slices.Contains(texts, c.any) {
				t.Errorf("got %q, expected %q among them", texts, c.any)
			}
			if n := pl.Unplaced[0].Nearest; n != c.first {
				t.Errorf("the plan names %q as nearest, expected %q", n, c.first)
			}
		})
	}
}

func TestRelaxOfWhatHasAPlace(t *testing.T) {
	t.Parallel()
	p := parseFleet(t, "pool nas tier=nvme\nhost host-a tier=gold pools=nas\nvm vm-db host=host-a disks=nas:5:nvme\n")
	pl := mustSolve(t, p)
	if list, err := solver.Relax(p, pl, "vm-db", nil); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v, expected nothing", list, err)
	}
	if _, err := solver.Relax(p, pl, "vm-nobody", nil); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("got %v, expected that there is no such VM", err)
	}
}
