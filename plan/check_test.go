package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

const (
	gold   = policy.Rank(2)
	bronze = policy.Rank(0)
)

// site is a small fleet in which vm-db, which needs gold, runs on the bronze host-a. gold-1 and gold-2 are
// right for it in all respects, so that each test spoils one thing.
func site() *policy.Problem {
	host := func(id fleet.HostID) fleet.Host {
		return fleet.Host{
			ID: id, Source: "kvm", Ref: "qemu+tcp://" + string(id), Hypervisor: fleet.KVM, CPU: fleet.CPUs(8), Memory: 32 * fleet.GiB,
			NICs:     []fleet.NIC{{ID: "eth0", Class: 2, Queues: 4}, {ID: "eth1", Class: 2, Queues: 3}},
			Pools:    []fleet.PoolID{fleet.PoolID(id) + "/nvme", "nas"},
			Networks: []string{"lan"}, Chassis: "chassis-" + string(id),
		}
	}
	pool := func(id fleet.PoolID) fleet.Pool {
		return fleet.Pool{ID: id, Source: "kvm", Ref: "/" + string(id), Type: "dir", Capacity: 100 * fleet.GiB, Free: 50 * fleet.GiB}
	}
	vm := func(id fleet.VMID, at fleet.HostID, p fleet.PoolID) fleet.VM {
		return fleet.VM{
			ID: id, Source: "kvm", Ref: "dom-" + string(id), UUID: "uuid-" + string(id), Host: at, Power: fleet.Running, CPU: fleet.CPUs(2),
			Memory: 8 * fleet.GiB, VNICs: []fleet.VNIC{{ID: "n0", Network: "lan"}},
			Disks: []fleet.Disk{{ID: "vda", Pool: p, Path: "/" + string(id) + ".vmdk", Format: "vmdk", Size: 20 * fleet.GiB, Used: 10 * fleet.GiB}},
		}
	}
	p := &policy.Problem{
		Snapshot: &fleet.Snapshot{
			Version: fleet.SnapshotVersion,
			Sources: []fleet.Source{
				{ID: "kvm", Kind: fleet.KVM, Reachable: true, Capabilities: fleet.Capabilities{LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true}},
				{ID: "lab", Kind: fleet.KVM, Reachable: true},
			},
			Hosts: []fleet.Host{host("gold-1"), host("gold-2"), host("host-a")},
			Pools: []fleet.Pool{pool("gold-1/nvme"), pool("gold-2/nvme"), pool("host-a/nvme"), pool("nas")},
			VMs:   []fleet.VM{vm("vm-db", "host-a", "nas"), vm("vm-log", "gold-2", "gold-2/nvme"), vm("vm-web", "gold-1", "gold-1/nvme")},
		},
		PolicyID: "policy-1", ServerTiers: []string{"bronze", "silver", "gold"}, PoolTiers: []string{"hdd", "ssd", "nvme"},
		Hosts: map[fleet.HostID]policy.HostFacts{}, Pools: map[fleet.PoolID]policy.PoolFacts{}, VMs: map[fleet.VMID]policy.Requirement{},
		Weights: policy.Weights{TierWaste: 10, PoolWaste: 1, MoveVM: 5, MoveGiB: 1, Downtime: 50},
	}
	for _, h := range p.Snapshot.Hosts {
		f := policy.HostFacts{Tier: gold, Security: 1, CPU: h.CPU, Memory: h.Memory, NICClass: map[fleet.NICID]fleet.NICClass{"eth0": 2, "eth1": 2}}
		if h.ID == "host-a" {
			f.Tier = bronze
		}
		p.Hosts[h.ID] = f
	}
	for _, s := range p.Snapshot.Pools {
		p.Pools[s.ID] = policy.PoolFacts{Tier: gold, Reserve: 5 * fleet.GiB}
	}
	for _, v := range p.Snapshot.VMs {
		p.VMs[v.ID] = policy.Requirement{Level: "bronze", Priority: 100, Disks: []policy.DiskRequirement{{Level: "bronze"}}}
	}
	p.VMs["vm-db"] = policy.Requirement{
		Level: "gold", Priority: 900, Server: gold, Security: 1, NICClass: 2, Queues: 2, Disks: []policy.DiskRequirement{{Tier: gold, Level: "gold"}},
	}
	return p
}

// move is a true step of the VM as p has it.
func move(p *policy.Problem, id fleet.VMID, host fleet.HostID, pool fleet.PoolID) plan.Step {
	v := p.Snapshot.VM(id)
	r := fleet.Relocation{VM: *v, From: v.Place(), To: v.Place().Clone(), Mode: fleet.Live}
	r.To.Host, r.To.Disks[0].Pool = host, pool
	if h := p.Snapshot.Host(host); h != nil {
		r.ToHost = *h
	}
	r.FromHost = *p.Snapshot.Host(v.Host)
	for _, id := range []fleet.PoolID{v.Disks[0].Pool, pool} {
		if s := p.Snapshot.Pool(id); s != nil {
			r.Pools = append(r.Pools, *s)
		}
	}
	st := plan.Step{N: 1, Move: r, Level: p.VMs[id].Level, Reason: "a test"}
	if pool != v.Disks[0].Pool {
		st.Bytes = v.Disks[0].Used
	}
	return st
}

func seal(t *testing.T, p *policy.Problem, steps ...plan.Step) *plan.Plan {
	t.Helper()
	pl := &plan.Plan{Version: plan.Version, SnapshotID: p.Snapshot.Digest(), PolicyID: p.PolicyID, Steps: steps, Unplaced: []plan.Unplaced{}, Held: []plan.Held{}}
	for i := range pl.Steps {
		pl.Steps[i].N, pl.Steps[i].Wave = i+1, i+1
	}
	for i := range p.Snapshot.VMs {
		if r := plan.HoldReason(p, &p.Snapshot.VMs[i]); r != "" {
			pl.Held = append(pl.Held, plan.Held{VM: p.Snapshot.VMs[i].ID, Reason: r})
		}
	}
	// A plan that names what there is not has no summary, and Check says so besides.
	pl.Summary, _ = plan.Summarize(p, pl)
	if err := pl.Seal(); err != nil {
		t.Fatal(err)
	}
	return pl
}

// stepCase spoils the problem or the step; Check must find exactly the constraint want.
type stepCase struct {
	own   bool // want is found against the plan's own snapshot alone
	name  string
	spoil func(p *policy.Problem)
	step  func(st *plan.Step)
	// vm, host and pool are vm-db, gold-1 and its pool unless set.
	vm   fleet.VMID
	host fleet.HostID
	pool fleet.PoolID
	want string // empty: the plan is legal
}

func need(p *policy.Problem, id fleet.VMID, change func(r *policy.Requirement)) {
	r := p.VMs[id]
	change(&r)
	p.VMs[id] = r
}

func facts(p *policy.Problem, id fleet.HostID, change func(f *policy.HostFacts)) {
	f := p.Hosts[id]
	change(&f)
	p.Hosts[id] = f
}

func spread(a, b fleet.VMID, over policy.Domain) func(p *policy.Problem) {
	return func(p *policy.Problem) {
		for _, id := range []fleet.VMID{a, b} {
			need(p, id, func(r *policy.Requirement) { r.SpreadGroup, r.SpreadDomain = "web", over })
		}
	}
}

func runStepCases(t *testing.T, cases []stepCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := site()
			if c.spoil != nil {
				c.spoil(p)
			}
			if c.vm == "" {
				c.vm = "vm-db"
			}
			if c.host == "" {
				c.host = "gold-1"
			}
			if c.pool == "" {
				c.pool = fleet.PoolID(c.host) + "/nvme"
			}
			st := move(p, c.vm, c.host, c.pool)
			if c.step != nil {
				c.step(&st)
			}
			pl := seal(t, p, st)
			expect(t, c.want, plan.Check(p, pl))
			if c.own {
				c.want = ""
			}
			expect(t, c.want, plan.CheckSteps(p, pl.Steps))
		})
	}
}

func expect(t *testing.T, want string, got []plan.Violation) {
	t.Helper()
	found := want == ""
	for _, v := range got {
		found = found || v.Constraint == want
		// A plan that names what there is not cannot be counted either.
		if v.Constraint != want && (v.Constraint != plan.ConstraintSummary || want != plan.ConstraintPlace) {
			t.Errorf("unexpected: %v", v)
		}
		if strings.Contains(v.Detail, "%!") || v.Detail == "" {
			t.Errorf("badly said: %v", v)
		}
	}
	if !found {
		t.Errorf("not found: %s", want)
	}
}

func TestCheckHost(t *testing.T) {
	t.Parallel()
	runStepCases(t, []stepCase{
		{name: "all is well"},
		{name: "storage stays", pool: "nas"},
		{name: "host of another source", want: plan.ConstraintSource, spoil: func(p *policy.Problem) { p.Snapshot.Hosts[0].Source = "lab" }},
		{name: "unreachable", want: plan.ConstraintUnreachable, spoil: func(p *policy.Problem) {
			p.Snapshot.Hosts[0].Unreachable = true
			p.Snapshot.VMs = p.Snapshot.VMs[:2]
		}},
		{name: "maintenance", want: plan.ConstraintMaintenance, spoil: func(p *policy.Problem) { p.Snapshot.Hosts[0].Maintenance = true }},
		{name: "tier below", want: plan.ConstraintServerTier, spoil: func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.Tier = 1 }) }},
		{name: "unranked host", vm: "vm-web", host: "gold-2", want: plan.ConstraintServerTier, spoil: func(p *policy.Problem) {
			facts(p, "gold-2", func(f *policy.HostFacts) { f.Tier = policy.Unranked })
		}},
		{name: "security below", want: plan.ConstraintSecurity, spoil: func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.Security = 0 }) }},
		{name: "network missing", want: plan.ConstraintNetwork, spoil: func(p *policy.Problem) { p.Snapshot.Hosts[0].Networks = []string{"dmz"} }},
		{name: "networks unknown", spoil: func(p *policy.Problem) { p.Snapshot.Hosts[0].Networks = nil }},
		{name: "NIC class overruled by the policy", want: plan.ConstraintNICClass, spoil: func(p *policy.Problem) {
			facts(p, "gold-1", func(f *policy.HostFacts) { f.NICClass = map[fleet.NICID]fleet.NICClass{"eth0": 1, "eth1": 1} })
			need(p, "vm-db", func(r *policy.Requirement) { r.Queues = 0 })
		}},
		{name: "CPU just fits", spoil: func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(4) }) }},
		{name: "CPU", want: plan.ConstraintCPU, spoil: func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(4) - 1 }) }},
		{name: "memory just fits", spoil: func(p *policy.Problem) { facts(p, "gold-1", func(f *policy.HostFacts) { f.Memory = 16 * fleet.GiB }) }},
		{name: "memory", want: plan.ConstraintMemory, spoil: func(p *policy.Problem) {
			facts(p, "gold-1", func(f *policy.HostFacts) { f.Memory = 16*fleet.GiB - 1 })
		}},
		{name: "queues of one NIC", want: plan.ConstraintNICQueues, spoil: func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Queues = 5 }) // 7 in all, 4 on the larger
		}},
		{name: "queues shared out", spoil: func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Queues = 4 })
			need(p, "vm-web", func(r *policy.Requirement) { r.Queues = 3 })
		}},
		{name: "queues taken", want: plan.ConstraintNICQueues, spoil: func(p *policy.Problem) {
			need(p, "vm-db", func(r *policy.Requirement) { r.Queues = 4 })
			need(p, "vm-web", func(r *policy.Requirement) { r.Queues = 4 })
		}},
		{name: "stopped VMs count", want: plan.ConstraintCPU, spoil: func(p *policy.Problem) {
			p.Snapshot.VMs[2].Power = fleet.Stopped
			facts(p, "gold-1", func(f *policy.HostFacts) { f.CPU = fleet.CPUs(3) })
		}},
		{name: "spread over hosts", want: plan.ConstraintSpread, spoil: spread("vm-db", "vm-web", policy.DomainHost)},
		{name: "spread over chassis", host: "gold-2", want: plan.ConstraintSpread, spoil: func(p *policy.Problem) {
			spread("vm-db", "vm-web", policy.DomainChassis)(p)
			p.Snapshot.Hosts[1].Chassis = p.Snapshot.Hosts[0].Chassis
		}},
		{name: "the other asks for the chassis", host: "gold-2", want: plan.ConstraintSpread, spoil: func(p *policy.Problem) {
			spread("vm-db", "vm-web", policy.DomainHost)(p)
			need(p, "vm-web", func(r *policy.Requirement) { r.SpreadDomain = policy.DomainChassis })
			p.Snapshot.Hosts[1].Chassis = p.Snapshot.Hosts[0].Chassis
		}},
		{name: "no chassis is a chassis of its own", host: "gold-2", spoil: func(p *policy.Problem) {
			spread("vm-db", "vm-web", policy.DomainChassis)(p)
			p.Snapshot.Hosts[0].Chassis, p.Snapshot.Hosts[1].Chassis = "", ""
		}},
		{name: "in one chassis before and after", host: "gold-2", spoil: func(p *policy.Problem) {
			spread("vm-db", "vm-web", policy.DomainChassis)(p)
			for i := range p.Snapshot.Hosts {
				p.Snapshot.Hosts[i].Chassis = "chassis-1"
			}
		}},
		{name: "spread met", host: "gold-2", spoil: spread("vm-db", "vm-web", policy.DomainHost)},
		{name: "affinity torn", vm: "vm-web", host: "gold-2", want: plan.ConstraintAffinity, spoil: func(p *policy.Problem) {
			for _, id := range []fleet.VMID{"vm-web", "vm-two"} {
				need(p, id, func(r *policy.Requirement) { r.AffinityGroup = "app" })
			}
			two := p.Snapshot.VMs[2]
			two.ID, two.Disks = "vm-two", nil
			p.Snapshot.VMs = slices.Insert(p.Snapshot.VMs, 2, two)
		}},
	})
}

func TestCheckStorageAndMode(t *testing.T) {
	t.Parallel()
	caps := func(c fleet.Capabilities) func(p *policy.Problem) {
		return func(p *policy.Problem) { p.Snapshot.Sources[0].Capabilities = c }
	}
	offline := func(st *plan.Step) { st.Move.Mode, st.Risks = fleet.Offline, []plan.Risk{plan.RiskDowntime} }
	blocked := func(c fleet.Change) func(p *policy.Problem) {
		return func(p *policy.Problem) {
			p.Snapshot.VMs[0].Blocked = []fleet.Blocker{{Change: c, Reason: "vda is a VMDK: QEMU refuses live migration"}}
		}
	}
	runStepCases(t, []stepCase{
		{name: "pool out of reach", pool: "gold-2/nvme", want: plan.ConstraintPoolReach},
		{name: "chain out of reach", pool: "nas", want: plan.ConstraintPoolReach, spoil: func(p *policy.Problem) {
			p.Snapshot.VMs[0].Disks[0].Chain = []fleet.ChainLink{{Pool: "host-a/nvme", Path: "/base"}}
		}},
		{name: "chain comes along", spoil: func(p *policy.Problem) {
			p.Snapshot.VMs[0].Disks[0].Chain = []fleet.ChainLink{{Pool: "host-a/nvme", Path: "/base"}}
		}},
		{name: "pool tier", want: plan.ConstraintPoolTier, spoil: func(p *policy.Problem) { p.Pools["gold-1/nvme"] = policy.PoolFacts{Tier: 1} }},
		{name: "unranked pool", vm: "vm-web", host: "gold-2", want: plan.ConstraintPoolTier, spoil: func(p *policy.Problem) {
			p.Pools["gold-2/nvme"] = policy.PoolFacts{Tier: policy.Unranked}
		}},
		{name: "pool just fits", spoil: func(p *policy.Problem) { p.Snapshot.Pools[0].Free = 15 * fleet.GiB }},
		{name: "reserve", want: plan.ConstraintPoolSpace, spoil: func(p *policy.Problem) { p.Snapshot.Pools[0].Free = 15*fleet.GiB - 1 }},
		{name: "pool of another source", want: plan.ConstraintSource, spoil: func(p *policy.Problem) { p.Snapshot.Pools[0].Source = "lab" }},
		{name: "live host move, both not possible", want: plan.ConstraintMode, spoil: caps(fleet.Capabilities{LiveMigration: true, LiveStorage: true})},
		{name: "live migration not possible", pool: "nas", want: plan.ConstraintMode, spoil: caps(fleet.Capabilities{LiveBoth: true, LiveStorage: true})},
		{name: "live storage not possible", host: "host-a", want: plan.ConstraintMode, spoil: caps(fleet.Capabilities{LiveBoth: true, LiveMigration: true})},
		{name: "host blocked", want: plan.ConstraintMode, spoil: blocked(fleet.ChangeHost)},
		{name: "storage blocked", want: plan.ConstraintMode, spoil: blocked(fleet.ChangeStorage)},
		{name: "host blocked, storage moves", host: "host-a", spoil: blocked(fleet.ChangeHost)},
		{name: "offline", spoil: blocked(fleet.ChangeHost), step: offline},
		{name: "offline not possible", want: plan.ConstraintMode, spoil: caps(fleet.Capabilities{LiveBoth: true}), step: offline},
		{name: "stopped and live", want: plan.ConstraintMode, spoil: func(p *policy.Problem) { p.Snapshot.VMs[0].Power = fleet.Stopped }},
		{name: "stopped and offline", spoil: func(p *policy.Problem) { p.Snapshot.VMs[0].Power = fleet.Stopped }, step: func(st *plan.Step) {
			st.Move.Mode = fleet.Offline
		}},
		{name: "no such mode", want: plan.ConstraintMode, step: func(st *plan.Step) {
			st.Move.Mode, st.Risks = "teleport", []plan.Risk{plan.RiskDowntime}
		}},
		{name: "risk not declared", want: plan.ConstraintRisk, step: func(st *plan.Step) { st.Move.Mode = fleet.Offline }},
		{name: "risk that is none", want: plan.ConstraintRisk, step: func(st *plan.Step) { st.Risks = []plan.Risk{plan.RiskDowntime} }},
	})
}
