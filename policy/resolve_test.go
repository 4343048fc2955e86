package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// site is a catalogue with all that the built-in one leaves at its default.
const site = `
version: 1
tiers: {server: [bronze, silver, gold], storage: [hdd, ssd, nvme]}
security: [open, standard, strict]
match:
  servers:
    - {tier: gold, when: 'host.memory_gib >= 512 && host.cpus >= 64'}
    - {tier: silver, when: "'tier:silver' in host.tags"}
    - {tier: bronze, when: 'host.attributes["rack"] == "r1"'}
  security:
    - {class: strict, when: 'host.nics.exists(n, n.driver == "mlx5_core")'}
  pools:
    - {tier: nvme, when: 'pool.type == "VMFS" && pool.capacity_gib > 10'}
    - {tier: hdd, when: 'pool.shared'}
  nics:
    - {class: 1, when: 'nic.driver == "i40e" && host.cluster == "old"'}
levels:
  - {name: bronze, server: bronze, storage: hdd, priority: 100}
  - {name: silver, server: silver, storage: ssd, nic_class: 1, nic_queues: 1, security: standard, priority: 500, spread: chassis}
  - {name: gold, server: gold, storage: nvme, nic_class: 2, nic_queues: 4, security: standard, priority: 900}
defaults:
  unlabelled: bronze
  unsigned_ceiling: silver
  overcommit: {cpu: 4, memory: 1.25, by_tier: {gold: {cpu: 1.5}}}
  pool_reserve_percent: 10
weights: {tier_waste: 1, pool_waste: 2, move_vm: 3, move_gib: 4, downtime: 5}
`

func parsed(t *testing.T, text string) *Catalogue {
	t.Helper()
	c, err := Parse("levels.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fleetOf is a snapshot with one source, one host, one pool and the VMs given.
func fleetOf(vms ...fleet.VM) *fleet.Snapshot {
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion,
		Sources: []fleet.Source{{ID: "kvm", Kind: fleet.KVM, Reachable: true}},
		Hosts: []fleet.Host{{
			ID: "host-a", Source: "kvm", Hypervisor: fleet.KVM, CPU: fleet.CPUs(64), Memory: 512 * fleet.GiB,
			Pools: []fleet.PoolID{"host-a/data"},
		}},
		Pools: []fleet.Pool{{ID: "host-a/data", Source: "kvm", Type: "VMFS", Capacity: 1000 * fleet.GiB}},
		VMs:   vms,
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		v.Source, v.Host = "kvm", "host-a"
		if v.Power == "" {
			v.Power = fleet.Running
		}
		for j := range v.Disks {
			v.Disks[j].Pool = "host-a/data"
		}
	}
	return s
}

// disk has a label with overrides given as key, value, key, value.
func disk(id fleet.DiskID, trust fleet.Trust, level string, overrides ...string) fleet.Disk {
	d := fleet.Disk{ID: id, Label: fleet.Label{Trust: trust}}
	if level != "" {
		doc := &label.Document{Level: level, Serial: 1, Issued: time.Unix(0, 0).UTC(), Overrides: map[string]string{}}
		for i := 0; i < len(overrides); i += 2 {
			doc.Overrides[overrides[i]] = overrides[i+1]
		}
		d.Label.Document = doc
	}
	return d
}

func byKey(d fleet.Disk, ceiling string) fleet.Disk {
	d.Label.KeyID, d.Label.Ceiling = "0011223344556677", ceiling
	return d
}

func because(d fleet.Disk, reason string) fleet.Disk {
	d.Label.Reason = reason
	return d
}

// The requirements of plain levels of site for a VM with one disk.
func plain(level string) Requirement {
	r := map[string]Requirement{
		"bronze": {Level: "bronze", Priority: 100},
		"silver": {Level: "silver", Priority: 500, Server: 1, NICClass: 1, Queues: 1, Security: 1},
		"gold":   {Level: "gold", Priority: 900, Server: 2, NICClass: 2, Queues: 4, Security: 1},
	}[level]
	r.Disks = []DiskRequirement{{Tier: r.Server, Level: level}} // tiers of both kinds go together in site
	return r
}

func changed(r Requirement, change func(*Requirement)) Requirement {
	change(&r)
	return r
}

func TestRequirement(t *testing.T) {
	t.Parallel()
	const none, unread, unsigned, invalid, signed = fleet.TrustNone, fleet.TrustUnknown, fleet.TrustUnsigned, fleet.TrustInvalid, fleet.TrustSigned
	for name, tc := range map[string]struct {
		vm   fleet.VM
		want Requirement
	}{
		"no label":        {fleet.VM{Disks: []fleet.Disk{disk("vda", none, "")}}, plain("bronze")},
		"no disk":         {fleet.VM{}, changed(plain("bronze"), func(r *Requirement) { r.Disks = []DiskRequirement{} })},
		"signed gold":     {fleet.VM{Disks: []fleet.Disk{disk("vda", signed, "gold")}}, plain("gold")},
		"unsigned silver": {fleet.VM{Disks: []fleet.Disk{disk("vda", unsigned, "silver")}}, plain("silver")},
		"unsigned gold is clamped": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", unsigned, "gold")}},
			changed(plain("silver"), func(r *Requirement) {
				r.Asked, r.Notes = "gold", []string{"label asks for gold, unsigned ceiling is silver"}
			}),
		},
		"a key's ceiling": {
			fleet.VM{Disks: []fleet.Disk{byKey(disk("vda", signed, "gold", "priority", "700"), "bronze")}},
			changed(plain("bronze"), func(r *Requirement) {
				r.Asked, r.Notes = "gold", []string{
					"label asks for gold, ceiling of key 0011223344556677 is bronze",
					"override priority=700 is above the ceiling of key 0011223344556677 bronze: counts as 100",
				}
			}),
		},
		"a key's ceiling that the catalogue lacks": {
			fleet.VM{Disks: []fleet.Disk{byKey(disk("vda", signed, "gold"), "diamond")}},
			changed(plain("silver"), func(r *Requirement) {
				r.Asked, r.Notes = "gold", []string{
					`ceiling of key 0011223344556677 is level "diamond", which the catalogue does not have: counts as unsigned`,
					"label asks for gold, unsigned ceiling is silver",
				}
			}),
		},
		"invalid is not obeyed": {
			fleet.VM{Disks: []fleet.Disk{because(disk("vda", invalid, "gold", "priority", "1000"), "signature does not match")}},
			changed(plain("bronze"), func(r *Requirement) {
				r.Asked, r.Notes = "gold", []string{"label is not obeyed: signature does not match"}
			}),
		},
		"unknown level": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", signed, "diamond", "priority", "1000")}},
			changed(plain("bronze"), func(r *Requirement) {
				r.Asked, r.Notes = "diamond", []string{`label asks for level "diamond", which the catalogue does not have: counts as unlabelled`}
			}),
		},
		"overrides, signed": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", signed, "bronze", "priority", "1000", "server.tier", "gold", "storage.tier", "ssd", "nic.class", "3",
				"nic.queues", "64", "security.class", "strict", "spread.group", "web", "affinity.group", "db")}},
			Requirement{
				Level: "bronze", Priority: 1000, Server: 2, NICClass: 3, Queues: 64, Security: 2, SpreadGroup: "web", SpreadDomain: DomainHost,
				AffinityGroup: "db", Disks: []DiskRequirement{{Tier: 1, Level: "bronze"}},
			},
		},
		"overrides, unsigned, each clamped": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", unsigned, "bronze", "priority", "1000", "server.tier", "gold", "storage.tier", "nvme", "nic.class", "3",
				"nic.queues", "2", "security.class", "strict")}},
			changed(plain("silver"), func(r *Requirement) {
				r.Level, r.Disks = "bronze", []DiskRequirement{{Tier: 1, Level: "bronze"}}
				r.Notes = []string{
					"override priority=1000 is above the unsigned ceiling silver: counts as 500",
					"override server.tier=gold is above the unsigned ceiling silver: counts as silver",
					"override storage.tier=nvme is above the unsigned ceiling silver: counts as ssd",
					"override nic.class=3 is above the unsigned ceiling silver: counts as 1",
					"override nic.queues=2 is above the unsigned ceiling silver: counts as 1",
					"override security.class=strict is above the unsigned ceiling silver: counts as standard",
				}
			}),
		},
		"overrides that lower": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", unsigned, "silver", "priority", "0", "server.tier", "bronze", "nic.queues", "0", "security.class", "open")}},
			changed(plain("silver"), func(r *Requirement) { r.Priority, r.Server, r.Queues, r.Security = 0, 0, 0, 0 }),
		},
		"overrides without meaning": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", signed, "silver", "priority", "1001", "server.tier", "diamond", "nic.class", "two", "nic.queues", "-1",
				"spread.domain", "galaxy")}},
			changed(plain("silver"), func(r *Requirement) {
				r.Notes = []string{
					"override priority=1001 is ignored: expected a whole number from 0 to 1000",
					"override server.tier=diamond is ignored: expected one of bronze, silver, gold",
					"override nic.class=two is ignored: expected a whole number from 0 to 3",
					"override nic.queues=-1 is ignored: expected a whole number from 0 to 64",
					"override spread.domain=galaxy is ignored: expected one of host, chassis, rack, site, cluster",
					"override spread.domain=galaxy has no effect without spread.group",
				}
			}),
		},
		"groups of an unsigned label are their own": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", unsigned, "silver", "spread.group", "web")}},
			changed(plain("silver"), func(r *Requirement) {
				r.SpreadGroup, r.SpreadDomain = "unsigned:web", DomainChassis
				r.Notes = []string{"override spread.group=web: group unsigned:web, as the label's trust is limited"}
			}),
		},
		"the strictest of two disks": {
			fleet.VM{Disks: []fleet.Disk{
				disk("vda", signed, "bronze", "nic.class", "3", "affinity.group", "db"),
				disk("vdb", unsigned, "gold", "spread.group", "web"),
				disk("vdc", none, ""),
				disk("vdd", invalid, "gold"),
			}},
			changed(plain("silver"), func(r *Requirement) {
				r.Asked, r.NICClass, r.AffinityGroup, r.SpreadGroup, r.SpreadDomain = "gold", 3, "db", "unsigned:web", DomainChassis
				r.Disks = []DiskRequirement{{Tier: 0, Level: "bronze"}, {Tier: 1, Level: "silver"}, {Tier: 1, Level: "silver"}, {Tier: 1, Level: "silver"}}
				r.Notes = []string{
					"disk vdb: label asks for gold, unsigned ceiling is silver",
					"disk vdb: override spread.group=web: group unsigned:web, as the label's trust is limited",
					"disk vdd: label is not obeyed: invalid",
				}
			}),
		},
		"an unsigned disk does not displace the groups of a signed one": {
			fleet.VM{Disks: []fleet.Disk{
				disk("vda", unsigned, "bronze", "spread.group", "mine", "affinity.group", "mine"),
				byKey(disk("vdb", signed, "bronze", "spread.group", "theirs"), "silver"),
				disk("vdc", signed, "bronze", "spread.group", "web", "spread.domain", "cluster", "affinity.group", "db"),
				disk("vdd", signed, "bronze", "spread.group", "late", "affinity.group", "late"),
			}},
			changed(plain("bronze"), func(r *Requirement) {
				for range 3 {
					r.Disks = append(r.Disks, r.Disks[0])
				}
				r.SpreadGroup, r.SpreadDomain, r.AffinityGroup = "web", DomainCluster, "db"
				r.Notes = []string{
					"disk vda: override spread.group=mine: group unsigned:mine, as the label's trust is limited",
					"disk vda: override affinity.group=mine: group unsigned:mine, as the label's trust is limited",
					"disk vdb: override spread.group=theirs: group silver:theirs, as the label's trust is limited",
				}
			}),
		},
		"an unread label holds": {
			fleet.VM{Disks: []fleet.Disk{disk("vda", signed, "gold"), disk("vdb", unread, "")}},
			changed(plain("gold"), func(r *Requirement) {
				r.Disks = append(r.Disks, DiskRequirement{Tier: 2, Level: "gold"})
				r.Hold = "label of disk vdb could not be read"
			}),
		},
		"suspended and pinned": {
			fleet.VM{Power: fleet.Suspended, Pinned: "licence dongle", Disks: []fleet.Disk{disk("vda", none, "")}},
			changed(plain("bronze"), func(r *Requirement) {
				r.Hold = "suspended: its memory is on disk and would be lost; pinned: licence dongle"
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.vm.ID = "vm-db"
			p, err := Resolve(parsed(t, site), fleetOf(tc.vm))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, p.VMs["vm-db"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreachableHolds(t *testing.T) {
	t.Parallel()
	c := parsed(t, site)
	s := fleetOf(fleet.VM{ID: "vm-db", Disks: []fleet.Disk{disk("vda", fleet.TrustNone, "")}})
	hold := func() string {
		p, err := Resolve(c, s)
		if err != nil {
			t.Fatal(err)
		}
		return p.VMs["vm-db"].Hold
	}
	s.Hosts[0].Unreachable = true
	if got := hold(); got != `host "host-a" is unreachable` {
		t.Errorf("unreachable host: hold is %q", got)
	}
	s.Hosts[0].Unreachable, s.Sources[0].Reachable = false, false
	if got := hold(); got != `source "kvm" is unreachable` {
		t.Errorf("unreachable source: hold is %q", got)
	}
	s.Sources[0].Reachable = true
	s.Sources = append(s.Sources, fleet.Source{ID: "nas"})
	s.Pools[0].Source = "nas"
	if got := hold(); got != `source "nas" of pool "host-a/data" is unreachable` {
		t.Errorf("unreachable pool: hold is %q", got)
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	s := fleetOf()
	card := func(id fleet.NICID, driver string) fleet.NIC {
		return fleet.NIC{ID: id, Class: 2, Queues: 8, Driver: driver}
	}
	s.Hosts = []fleet.Host{
		{ID: "host-a", CPU: fleet.CPUs(64), Memory: 512 * fleet.GiB, NICs: []fleet.NIC{card("eno1", "mlx5_core"), card("eno2", "i40e")}},
		{ID: "host-b", CPU: fleet.CPUs(8), Memory: 64 * fleet.GiB, Tags: []string{"tier:silver"}, Cluster: "old", NICs: []fleet.NIC{card("eno1", "i40e")}},
		{ID: "host-c", CPU: fleet.CPUs(8), Memory: 64 * fleet.GiB, Attributes: map[string]string{"rack": "r2"}},
		{ID: "host-d", CPU: 1 << 62, Memory: 1 << 62, Attributes: map[string]string{"rack": "r1"}},
	}
	s.Hosts[3].Memory = 100 * fleet.GiB
	s.Pools = []fleet.Pool{
		{ID: "nfs", Type: "NFS", Shared: true, Capacity: 105}, {ID: "small", Type: "VMFS", Capacity: 10 * fleet.GiB}, {ID: "vmfs", Type: "VMFS", Capacity: fleet.TiB},
	}
	p, err := Resolve(parsed(t, site), s)
	if err != nil {
		t.Fatal(err)
	}
	const largest = 1<<63 - 1
	hosts := map[fleet.HostID]HostFacts{
		"host-a": {
			Tier: 2, Security: 2, CPU: fleet.CPUs(96), Memory: 640 * fleet.GiB, NICClass: map[fleet.NICID]fleet.NICClass{"eno1": 2, "eno2": 2},
			Rule: "line 7: host.memory_gib >= 512 && host.cpus >= 64",
		},
		"host-b": {
			Tier: 1, CPU: fleet.CPUs(32), Memory: 80 * fleet.GiB, NICClass: map[fleet.NICID]fleet.NICClass{"eno1": 1},
			Rule: "line 8: 'tier:silver' in host.tags",
		},
		"host-c": {Tier: Unranked, CPU: fleet.CPUs(32), Memory: 80 * fleet.GiB, NICClass: map[fleet.NICID]fleet.NICClass{}},
		"host-d": {
			Tier: 0, CPU: largest, Memory: 125 * fleet.GiB, NICClass: map[fleet.NICID]fleet.NICClass{},
			Rule: `line 9: host.attributes["rack"] == "r1"`,
		},
	}
	pools := map[fleet.PoolID]PoolFacts{
		"nfs":   {Tier: 0, Reserve: 10, Rule: "line 14: pool.shared"},
		"small": {Tier: Unranked, Reserve: fleet.GiB},
		"vmfs":  {Tier: 2, Reserve: fleet.TiB / 10, Rule: `line 13: pool.type == "VMFS" && pool.capacity_gib > 10`},
	}
	if diff := cmp.Diff(hosts, p.Hosts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(pools, p.Pools); diff != "" {
		t.Error(diff)
	}
	if want := (Weights{TierWaste: 1, PoolWaste: 2, MoveVM: 3, MoveGiB: 4, Downtime: 5, HeadroomPercent: 10, MoveModule: 20}); p.Weights != want {
		t.Errorf("weights %+v, expected %+v", p.Weights, want)
	}
	if p.PolicyID != parsed(t, site).ID() || p.Snapshot != s {
		t.Error("the problem does not name what it was made of")
	}
}

// TestRuleErrors: a rule that fails on one object stops Resolve and names both.
func TestRuleErrors(t *testing.T) {
	t.Parallel()
	s := fleetOf()
	s.Hosts[0].Memory = fleet.GiB
	s.Hosts[0].Tags = strings.Fields(strings.Repeat("a ", 100))
	s.Hosts[0].Attributes = map[string]string{"rack": "r1"}
	s.Hosts[0].NICs = []fleet.NIC{{ID: "eno1", Driver: "mlx5_core"}}
	for name, tc := range map[string]struct{ old, rule, want string }{
		"missing attribute": {
			`host.attributes["rack"] == "r1"`, `host.attributes["row"] == "r1"`,
			`evaluate rule levels.yaml:9:28 (host.attributes["row"] == "r1") on host "host-a": no such key: row`,
		},
		"cost": {
			`host.attributes["rack"] == "r1"`, `host.tags.all(a, host.tags.all(b, host.tags.all(c, a == b && b == c)))`,
			`evaluate rule levels.yaml:9:28 (host.tags.all(a, host.tags.all(b, host.tags.all(c, a == b &&...) on host "host-a": ` +
				`it costs more than 20000 units, expected a rule that looks at less`,
		},
		"pool": {
			`pool.shared'}`, `1 / (pool.capacity_gib - 1000) == 1'}`,
			`evaluate rule levels.yaml:13:25 (1 / (pool.capacity_gib - 1000) == 1) on pool "host-a/data": division by zero`,
		},
		"nic": {
			`nic.driver == "i40e" && host.cluster == "old"`, `nic.features[0] == "a"`,
			`evaluate rule levels.yaml:16:24 (nic.features[0] == "a") on NIC "eno1" of host "host-a": index out of bounds: 0`,
		},
	} {
		text := strings.Replace(site, tc.old, tc.rule, 1)
		if name == "pool" {
			text = strings.Replace(text, `    - {tier: nvme, when: 'pool.type == "VMFS" && pool.capacity_gib > 10'}`+"\n", "", 1)
		}
		if text == site {
			t.Fatalf("%s: nothing was replaced", name)
		}
		_, err := Resolve(parsed(t, text), s)
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: got  %v\nexpected %s", name, err, tc.want)
		}
	}
	if _, err := Resolve(nil, s); err == nil {
		t.Error("no catalogue: no error")
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	c := parsed(t, strings.NewReplacer("unlabelled: bronze", "unlabelled: gold", `{tier: silver, when: "'tier:silver' in host.tags"}`,
		`{tier: silver, when: true}`, "{name: gold, server: gold", "{name: gold, security: strict, nic_class: 3, server: gold",
		"nic_class: 2, nic_queues: 4, security: standard, priority: 900", "nic_queues: 4, priority: 900").Replace(site))
	s := fleetOf(fleet.VM{ID: "vm-db", Disks: []fleet.Disk{
		disk("vda", fleet.TrustSigned, "diamond"), disk("vdb", fleet.TrustUnsigned, "diamond"), disk("vdc", fleet.TrustSigned, "amber"),
	}})
	s.Hosts = append(s.Hosts, fleet.Host{ID: "host-b", Source: "kvm", Maintenance: true})
	s.Pools = append(s.Pools, fleet.Pool{ID: "scratch", Source: "kvm", Type: "dir"})
	got, err := c.Warnings(s)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"defaults.unlabelled is gold, above unsigned_ceiling silver: removing a label raises a VM",
		"match.servers: the rule on line 8 is always true, so those after it never decide",
		"level silver: none of 1 usable hosts satisfies it (server tier silver: 1, security class standard: 0, NIC class 1 with 1 queues: 0, a pool of tier ssd: 1)",
		"level gold: none of 1 usable hosts satisfies it (server tier gold: 1, security class strict: 0, NIC class 3 with 4 queues: 0, a pool of tier nvme: 1)",
		"1 of 2 pools match no rule of match.pools, so nothing is placed there: scratch",
		`labels of 1 disks ask for level "amber", which the catalogue does not have: they count as unlabelled`,
		`labels of 2 disks ask for level "diamond", which the catalogue does not have: they count as unlabelled`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestResolveIsDeterministic: two catalogues parsed from one text give one problem of a fleet with everything in it.
func TestResolveIsDeterministic(t *testing.T) {
	t.Parallel()
	s := sim.Generate(sim.Options{Hosts: 40, VMs: 800, Seed: 3})
	a, err := Resolve(Default(), s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Resolve(Default(), s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	if warnings, err := Default().Warnings(s); err != nil || len(warnings) > 0 {
		t.Errorf("%v, %v", warnings, err)
	}
}
