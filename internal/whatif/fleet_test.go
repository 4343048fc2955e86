package whatif_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// small is a fleet of three hosts in two chassis with one shared pool, and a local one of host-a. On host-a are vm-db, which
// cannot move live, and vm-local with its disk in the local pool; on host-b is vm-web, on host-c vm-pin, pinned there.
func small() *fleet.Snapshot {
	all := fleet.Capabilities{LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true}
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Taken: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Sources: []fleet.Source{{ID: "kvm", Kind: fleet.KVM, Reachable: true, Capabilities: all}},
		Pools: []fleet.Pool{
			{ID: "host-a/local", Source: "kvm", Ref: "l", Type: "dir", Capacity: 100 * fleet.GiB, Free: 50 * fleet.GiB},
			{ID: "nas", Source: "kvm", Ref: "n", Type: "nfs", Shared: true, Capacity: 100 * fleet.GiB, Free: 50 * fleet.GiB},
		},
		VMs: []fleet.VM{
			vm("vm-db", "host-a", "nas"), vm("vm-local", "host-a", "host-a/local"), vm("vm-pin", "host-c", "nas"), vm("vm-web", "host-b", "nas"),
		},
	}
	s.VMs[0].Blocked = []fleet.Blocker{{Change: fleet.ChangeHost, Reason: "a USB stick"}}
	s.VMs[2].Pinned = "a GPU"
	for i, chassis := range []string{"c-1", "c-1", "c-2"} {
		s.Hosts = append(s.Hosts, fleet.Host{
			ID: fleet.HostID(fmt.Sprintf("host-%c", 'a'+i)), Source: "kvm", Ref: "r", Hypervisor: fleet.KVM, Chassis: chassis, Rack: "r-1",
			CPU: fleet.CPUs(8), Memory: 8 * fleet.GiB, Pools: []fleet.PoolID{"nas"}, Patch: map[string]fleet.PatchState{"XSA-450": fleet.PatchAffected},
			NICs: []fleet.NIC{{ID: "eth0", Class: 1, Speed: 10_000, Guarantee: 5_000}},
		})
	}
	s.Hosts[0].Pools = []fleet.PoolID{"host-a/local", "nas"}
	return s
}

func vm(id fleet.VMID, host fleet.HostID, pool fleet.PoolID) fleet.VM {
	return fleet.VM{
		ID: id, Source: "kvm", Ref: "r", Host: host, Power: fleet.Running, CPU: fleet.CPUs(2), Memory: 2 * fleet.GiB,
		Disks: []fleet.Disk{{ID: "vda", Pool: pool, Path: "/x", Format: "qcow2", Size: 10 * fleet.GiB, Used: 5 * fleet.GiB, Label: fleet.Label{Trust: fleet.TrustNone}}},
	}
}

// flat is a policy in which everything is of one tier; patched hosts are strict.
const flat = `
version: 1
tiers:
  server: [plain]
  storage: [plain]
security: [standard, strict]
match:
  servers:
    - {tier: plain, when: "true"}
  pools:
    - {tier: plain, when: "true"}
  security:
    - class: strict
      when: 'host.patch["XSA-450"] == "fixed"'
levels:
  - {name: plain, server: plain, storage: plain, priority: 100, protect: true}
  - {name: safe, server: plain, storage: plain, security: strict, priority: 900, protect: true}
defaults: {unlabelled: plain, unsigned_ceiling: plain}
reserve:
  over: [host]
`

func catalogue(t interface{ Fatal(...any) }) *policy.Catalogue {
	c, err := policy.Parse("levels.yaml", []byte(flat))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestThePolicyOfTheTests(t *testing.T) {
	t.Parallel()
	if _, err := policy.Resolve(catalogue(t), small()); err != nil {
		t.Fatal(err)
	}
}
