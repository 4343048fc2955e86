package solver_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/policy"
)

var (
	serverTiers = []string{"bronze", "silver", "gold"}
	poolTiers   = []string{"hdd", "ssd", "nvme"}
)

func rank(t *testing.T, names []string, s string) policy.Rank {
	t.Helper()
	for i, n := range names {
		if n == s {
			return policy.Rank(i)
		}
	}
	if s != "unranked" {
		t.Fatalf("no tier %q in %v", s, names)
	}
	return policy.Unranked
}

// emptyProblem has one source, kvm, that can do everything.
func emptyProblem() *policy.Problem {
	return &policy.Problem{
		Snapshot: &fleet.Snapshot{
			Version: fleet.SnapshotVersion,
			Sources: []fleet.Source{{ID: "kvm", Kind: fleet.KVM, Reachable: true, Capabilities: fleet.Capabilities{
				LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true,
			}}},
		},
		PolicyID: "policy-1", ServerTiers: serverTiers, PoolTiers: poolTiers,
		Hosts: map[fleet.HostID]policy.HostFacts{}, Pools: map[fleet.PoolID]policy.PoolFacts{}, VMs: map[fleet.VMID]policy.Requirement{},
		Weights: policy.Weights{TierWaste: 10, PoolWaste: 1, MoveVM: 5, MoveGiB: 1, Downtime: 50},
	}
}

// parseFleet reads the small language of the testdata: one host, pool, vm or source a line, then key=value.
// Sizes are in GiB, CPU in threads.
func parseFleet(t *testing.T, text string) *policy.Problem {
	t.Helper()
	p := emptyProblem()
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 2 {
			t.Fatalf("line %d: %q", n+1, line)
		}
		l := &args{t: t, line: n + 1, kv: map[string]string{}}
		for _, a := range f[2:] {
			k, v, _ := strings.Cut(a, "=")
			l.kv[k] = v
		}
		switch f[0] {
		case "host":
			l.host(p, fleet.HostID(f[1]))
		case "pool":
			l.pool(p, fleet.PoolID(f[1]))
		case "vm":
			l.vm(p, fleet.VMID(f[1]))
		case "module":
			l.module(p, fleet.ModuleID(f[1]))
		case "source":
			l.source(p, fleet.SourceID(f[1]))
		case "moves": // moves limits host=2 link=1 pool=4 wave=64
			p.Moves = policy.MoveLimits{PerHost: l.num("host", 0), PerLink: l.num("link", 0), PerPool: l.num("pool", 0), PerWave: l.num("wave", 0)}
		case "reserve": // reserve limits over=host,chassis evict
			for _, o := range l.list("over") {
				p.Reserve.Over = append(p.Reserve.Over, policy.Loss(o))
			}
			p.Reserve.EvictUnprotected = l.has("evict")
		default:
			t.Fatalf("line %d: %q is no host, pool, vm or source", n+1, f[0])
		}
		for k := range l.kv {
			t.Fatalf("line %d: unknown key %q", n+1, k)
		}
	}
	p.Snapshot.Sort()
	if err := p.Snapshot.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

type args struct {
	t    *testing.T
	line int
	kv   map[string]string
}

func (a *args) str(k, def string) string {
	if v, ok := a.kv[k]; ok {
		delete(a.kv, k)
		return v
	}
	return def
}

func (a *args) has(k string) bool {
	_, ok := a.kv[k]
	delete(a.kv, k)
	return ok
}

func (a *args) num(k string, def int) int {
	a.t.Helper()
	n, err := strconv.Atoi(a.str(k, strconv.Itoa(def)))
	if err != nil {
		a.t.Fatalf("line %d: %s: %v", a.line, k, err)
	}
	return n
}

func (a *args) list(k string) []string {
	if s := a.str(k, ""); s != "" {
		return strings.Split(s, ",")
	}
	return nil
}

func (a *args) source(p *policy.Problem, id fleet.SourceID) {
	can := strings.Join(a.list("can"), " ")
	s := fleet.Source{ID: id, Kind: fleet.KVM, Reachable: !a.has("unreachable"), Capabilities: fleet.Capabilities{
		LiveMigration: strings.Contains(can, "migrate"), LiveStorage: strings.Contains(can, "storage"),
		LiveBoth: strings.Contains(can, "both"), Offline: strings.Contains(can, "offline"),
	}}
	for i := range p.Snapshot.Sources {
		if p.Snapshot.Sources[i].ID == id {
			p.Snapshot.Sources[i] = s
			return
		}
	}
	p.Snapshot.Sources = append(p.Snapshot.Sources, s)
}

// host gold-1 tier=gold cpu=32 mem=128 pools=a,b nics=class:queues,... chassis=c cluster=k networks=lan
func (a *args) host(p *policy.Problem, id fleet.HostID) {
	h := fleet.Host{
		ID: id, Source: fleet.SourceID(a.str("source", "kvm")), Ref: "qemu+tcp://" + string(id) + "/system", Hypervisor: fleet.KVM,
		CPU: fleet.CPUs(a.num("cpu", 16)), Memory: fleet.Bytes(a.num("mem", 64)) * fleet.GiB, Chassis: a.str("chassis", ""), Rack: a.str("rack", ""), Site: a.str("site", ""), CPUBaselines: a.list("baselines"),
		Cluster: a.str("cluster", ""), Networks: a.list("networks"), Maintenance: a.has("maintenance"), Unreachable: a.has("unreachable"),
	}
	for _, s := range a.list("pools") {
		h.Pools = append(h.Pools, fleet.PoolID(s))
	}
	facts := policy.HostFacts{
		Tier: rank(a.t, serverTiers, a.str("tier", "bronze")), Security: a.num("security", 0), CPU: h.CPU, Memory: h.Memory,
		NICClass: map[fleet.NICID]fleet.NICClass{},
	}
	h.NICs = a.nics("eth")
	for _, n := range h.NICs {
		facts.NICClass[n.ID] = n.Class
	}
	p.Snapshot.Hosts = append(p.Snapshot.Hosts, h)
	p.Hosts[id] = facts
}

// nics reads class:queues:guarantee of each NIC; the last two may be left out.
func (a *args) nics(prefix string) []fleet.NIC {
	var out []fleet.NIC
	for i, s := range a.list("nics") {
		var n [3]int
		for j, f := range strings.SplitN(s, ":", len(n)) {
			var err error
			if n[j], err = strconv.Atoi(f); err != nil {
				a.t.Fatalf("line %d: nics: %v", a.line, err)
			}
		}
		out = append(out, fleet.NIC{
			ID: fleet.NICID(fmt.Sprint(prefix, i)), Class: fleet.NICClass(n[0]), Queues: fleet.Queues(n[1]), Guarantee: fleet.Mbps(n[2]),
		})
	}
	return out
}

// module io-7 nics=class:queues:guarantee pools=a,b on=h1,h2 host=h1, after the hosts
func (a *args) module(p *policy.Problem, id fleet.ModuleID) {
	m := fleet.IOModule{ID: id, Source: "kvm", Ref: "slot-" + string(id), Kind: fleet.ModuleNIC, NICs: a.nics(string(id) + "/p")}
	for _, s := range a.list("pools") {
		m.Kind, m.Pools = fleet.ModuleHBA, append(m.Pools, fleet.PoolID(s))
	}
	for _, s := range a.list("on") {
		m.AttachableTo = append(m.AttachableTo, fleet.HostID(s))
	}
	p.Snapshot.Sources[0].Capabilities.AttachModules = true
	if host := a.str("host", ""); host != "" {
		bring(p.Snapshot, &m, fleet.HostID(host))
	}
	p.Snapshot.Modules = append(p.Snapshot.Modules, m)
}

// pool gold-1/nvme tier=nvme size=1000 free=500 reserve=50
func (a *args) pool(p *policy.Problem, id fleet.PoolID) {
	size := a.num("size", 1000)
	p.Snapshot.Pools = append(p.Snapshot.Pools, fleet.Pool{
		ID: id, Source: fleet.SourceID(a.str("source", "kvm")), Ref: "/pool/" + string(id), Type: "dir",
		Capacity: fleet.Bytes(size) * fleet.GiB, Free: fleet.Bytes(a.num("free", size)) * fleet.GiB,
		IOPS: fleet.IOPS(a.num("iops", 0)),
	})
	p.Pools[id] = policy.PoolFacts{
		Tier: rank(a.t, poolTiers, a.str("tier", "hdd")), Reserve: fleet.Bytes(a.num("reserve", 0)) * fleet.GiB,
	}
}

// vm vm-db host=h1 cpu=2 mem=4 level=gold needs=gold prio=900 disks=pool:GiB:tier,... and so on
func (a *args) vm(p *policy.Problem, id fleet.VMID) {
	v := fleet.VM{
		ID: id, Source: fleet.SourceID(a.str("source", "kvm")), Ref: "ref-" + string(id), UUID: "uuid-" + string(id),
		Host: fleet.HostID(a.str("host", "")), Power: fleet.PowerState(a.str("power", "running")), CPU: fleet.CPUs(a.num("cpu", 2)),
		Memory: fleet.Bytes(a.num("mem", 4)) * fleet.GiB, Pinned: a.str("pinned", ""), CPUBaseline: a.str("baseline", ""),
	}
	level := a.str("level", "bronze")
	need := policy.Requirement{
		Level: level, Priority: policy.Priority(a.num("prio", 100)), Server: rank(a.t, serverTiers, a.str("needs", "bronze")),
		NICClass: fleet.NICClass(a.num("nic", 0)), Queues: fleet.Queues(a.num("queues", 0)), Security: a.num("security", 0),
		SpreadGroup: a.str("spread", ""), SpreadDomain: policy.Domain(a.str("over", "")), AffinityGroup: a.str("affinity", ""),
		Hold: strings.ReplaceAll(a.str("hold", ""), "_", " "), Protect: a.has("protect"), GiveWay: a.has("gives"), Rate: fleet.Mbps(a.num("rate", 0)),
	}
	if need.SpreadGroup != "" && need.SpreadDomain == "" {
		need.SpreadDomain = policy.DomainHost
	}
	for _, n := range a.list("networks") {
		v.VNICs = append(v.VNICs, fleet.VNIC{ID: "net-" + n, Network: n, Queues: 1})
	}
	chain, iops := a.str("chain", ""), fleet.IOPS(a.num("iops", 0))
	for i, s := range a.list("disks") {
		f := strings.Split(s, ":")
		if len(f) != 3 {
			a.t.Fatalf("line %d: disk %q, expected pool:GiB:tier", a.line, s)
		}
		gib, err := strconv.Atoi(f[1])
		if err != nil {
			a.t.Fatal(err)
		}
		d := fleet.Disk{
			ID: fleet.DiskID(fmt.Sprintf("vd%c", 'a'+i)), Pool: fleet.PoolID(f[0]), Path: fmt.Sprintf("/%s/%s-%d.vmdk", f[0], id, i),
			Format: "vmdk", Size: fleet.Bytes(gib) * fleet.GiB, Used: fleet.Bytes(gib) * fleet.GiB, Label: fleet.Label{Trust: fleet.TrustNone},
		}
		if level != "bronze" {
			d.Label = fleet.Label{Trust: fleet.TrustSigned, Issuer: "ops", Document: &label.Document{
				Level: level, Serial: 1, Issued: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			}}
			d.Label.Document.Disk.Size = d.Size
		}
		if chain != "" {
			d.Chain = []fleet.ChainLink{{Pool: fleet.PoolID(chain), Path: "/base.vmdk", Format: "vmdk"}}
		}
		v.Disks = append(v.Disks, d)
		need.Disks = append(need.Disks, policy.DiskRequirement{Tier: rank(a.t, poolTiers, f[2]), Level: level, IOPS: iops})
	}
	for _, c := range a.list("blocked") {
		v.Blocked = append(v.Blocked, fleet.Blocker{Change: fleet.Change(c), Reason: "vda is a VMDK: QEMU refuses live migration"})
	}
	p.Snapshot.VMs = append(p.Snapshot.VMs, v)
	p.VMs[id] = need
}
