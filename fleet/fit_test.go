package fleet_test

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// wired is a valid snapshot with racks, rates, fit and modules.
func wired() *fleet.Snapshot {
	return &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Sources: []fleet.Source{{ID: "kvm", Kind: fleet.KVM, Reachable: true}, {ID: "lab", Kind: fleet.KVM, Reachable: true}},
		Hosts: []fleet.Host{
			{ID: "host-a", Source: "kvm", Chassis: "c1", Rack: "r1", Site: "s1", CPUBaselines: []string{"haswell"}, Guests: []string{"linux"},
				Patch: map[string]fleet.PatchState{"XSA-450": fleet.PatchFixed}, Pools: []fleet.PoolID{"san"},
				NICs: []fleet.NIC{{ID: "eth0", Speed: 25_000, Guarantee: 25_000}, {ID: "io-1/p0", Class: 3, Queues: 8, Module: "io-1"}}},
			{ID: "host-b", Source: "kvm", Chassis: "c1", Rack: "r1", Site: "s1"},
			{ID: "host-c", Source: "lab", Rack: "r1", Site: "s1"},
		},
		Pools: []fleet.Pool{{ID: "san", Source: "kvm", IOPS: 100, Throughput: 10}},
		VMs:   []fleet.VM{{ID: "vm-db", Source: "kvm", Host: "host-a", Power: fleet.Running, VNICs: []fleet.VNIC{{ID: "n0", Guarantee: 10}}}},
		Modules: []fleet.IOModule{
			{ID: "io-1", Source: "kvm", Kind: fleet.ModuleNIC, NICs: []fleet.NIC{{ID: "io-1/p0", Class: 3, Queues: 8}}, Pools: []fleet.PoolID{"san"},
				AttachableTo: []fleet.HostID{"host-a", "host-b"}, Host: "host-a"},
			{ID: "io-2", Source: "kvm", Kind: fleet.ModuleHBA, AttachableTo: []fleet.HostID{"host-b"}},
		},
	}
}

// TestValidateFit: each fault of the fields of racks, rates, fit and modules is told with its field.
func TestValidateFit(t *testing.T) {
	t.Parallel()
	if err := wired().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(s *fleet.Snapshot){
		`hosts[1] (host-b): chassis c1 is in rack "r2" of site "s1", by host host-a in rack "r1" of site "s1"`: func(s *fleet.Snapshot) { s.Hosts[1].Rack = "r2" },
		`hosts[1] (host-b): chassis c1 is in rack "" of`:                                                       func(s *fleet.Snapshot) { s.Hosts[1].Rack = "" },
		`hosts[2] (host-c): rack r1 is in site "s2", by host host-a in site "s1"`:                              func(s *fleet.Snapshot) { s.Hosts[2].Site = "s2" },
		"hosts[0].nics[0].guarantee: 25001 of a speed of 25000":                                                func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Guarantee = 25_001 },
		"hosts[0].nics[0].queues: 1073741825, expected 0 to 1073741824":                                        func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Queues = 1<<30 + 1 },
		"hosts[0].nics[0].guarantee: -1":                                                                       func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Guarantee = -1 },
		"hosts[0].nics[1].guarantee: 9223372036854775807":                                                      func(s *fleet.Snapshot) { s.Hosts[0].NICs[1].Guarantee = 1<<63 - 1 },
		`hosts[0].nics[0].module: module "io-9" does not bring NIC "eth0" to host-a`:                           func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Module = "io-9" },
		`hosts[0].nics[0].module: module "io-2" does not`:                                                      func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Module = "io-2" },
		"hosts[0].cpuBaselines[0]: 0 bytes":                                                                    func(s *fleet.Snapshot) { s.Hosts[0].CPUBaselines[0] = "" },
		"hosts[0].guests[0]: control character":                                                                func(s *fleet.Snapshot) { s.Hosts[0].Guests[0] = "\x01" },
		`hosts[0].patch["XSA-450"]: is "maybe", expected fixed, affected or unknown`:                           func(s *fleet.Snapshot) { s.Hosts[0].Patch["XSA-450"] = "maybe" },
		"hosts[0].patch: a name: 0 bytes":                                                                      func(s *fleet.Snapshot) { s.Hosts[0].Patch[""] = fleet.PatchFixed },
		"pools[0] (san): iops -1":                                                                              func(s *fleet.Snapshot) { s.Pools[0].IOPS = -1 },
		"pools[0] (san): iops 100, throughput 9223372036854775807":                                             func(s *fleet.Snapshot) { s.Pools[0].Throughput = 1<<63 - 1 },
		"vms[0].vnics[0].guarantee: -5":                                                                        func(s *fleet.Snapshot) { s.VMs[0].VNICs[0].Guarantee = -5 },
		"vms[0].vnics[0].queues: -1, expected 0 to 1073741824":                                                 func(s *fleet.Snapshot) { s.VMs[0].VNICs[0].Queues = -1 },
		"vms[0].vnics[0].queues: 4294967296, expected":                                                         func(s *fleet.Snapshot) { s.VMs[0].VNICs[0].Queues = 1 << 32 },
		"hosts[0].nics[0].speed: 9223372036854775807, expected":                                                func(s *fleet.Snapshot) { s.Hosts[0].NICs[0].Speed = 1<<63 - 1 },
		`vms[0].power: is "", expected running, stopped or suspended`:                                          func(s *fleet.Snapshot) { s.VMs[0].Power = "" },
		`vms[0].power: is "off", expected`:                                                                     func(s *fleet.Snapshot) { s.VMs[0].Power = "off" },
		`modules[1].id: "io-1" comes after "io-1"`:                                                             func(s *fleet.Snapshot) { s.Modules[1].ID = "io-1" },
		`modules[0] (io-1).source: no source "x"`:                                                              func(s *fleet.Snapshot) { s.Modules[0].Source = "x" },
		`modules[1] (io-2).kind: is "gpu", expected nic or hba`:                                                func(s *fleet.Snapshot) { s.Modules[1].Kind = "gpu" },
		"modules[0] (io-1).nics[0]: class 4":                                                                   func(s *fleet.Snapshot) { s.Modules[0].NICs[0].Class = 4 },
		`modules[1] (io-2).pools[0]: no pool "nowhere"`:                                                        func(s *fleet.Snapshot) { s.Modules[1].Pools = []fleet.PoolID{"nowhere"} },
		`modules[1] (io-2).attachableTo[0]: no host "host-c" of source kvm`:                                    func(s *fleet.Snapshot) { s.Modules[1].AttachableTo[0] = "host-c" },
		`modules[0] (io-1).attachableTo[1]: "host-a" comes after "host-a"`:                                     func(s *fleet.Snapshot) { s.Modules[0].AttachableTo[1] = "host-a" },
		`modules[1] (io-2).host: "host-a", expected one that it is attachable to`:                              func(s *fleet.Snapshot) { s.Modules[1].Host = "host-a" },
		`modules[0] (io-1).nics[0]: host host-a does not have NIC "io-1/p0" of the`:                            func(s *fleet.Snapshot) { s.Modules[0].NICs[0].Queues = 9 },
		`modules[0] (io-1).pools[0]: host host-a does not reach pool "san"`:                                    func(s *fleet.Snapshot) { s.Hosts[0].Pools = nil },
		`modules[1] (io-2).nics[0].id: host host-b can have another NIC "io-1/p0"`:                             func(s *fleet.Snapshot) { s.Modules[1].NICs = []fleet.NIC{{ID: "io-1/p0"}} },
	} {
		s := wired()
		spoil(s)
		if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, expected %s", err, want)
		}
	}
}

// TestModuleWithAndWithout: what a module brings comes and goes with it, but for a pool that another brings too.
func TestModuleWithAndWithout(t *testing.T) {
	t.Parallel()
	s := wired()
	a, b, m := s.Host("host-a"), s.Host("host-b"), s.Module("io-1")
	nics, pools := m.Without(a, nil)
	if len(nics) != 1 || len(pools) != 0 || len(a.NICs) != 2 {
		t.Errorf("%v, %v", nics, pools)
	}
	other := fleet.IOModule{ID: "io-3", Pools: []fleet.PoolID{"san"}}
	if _, pools := m.Without(a, []*fleet.IOModule{&other}); len(pools) != 1 {
		t.Errorf("%v", pools)
	}
	nics, pools = m.With(b)
	if len(nics) != 1 || nics[0].Module != "io-1" || len(pools) != 1 || m.NICs[0].Module != "" {
		t.Errorf("%v, %v", nics, pools)
	}
}
