package inventory

import (
	"strings"
	"testing"

	"github.com/berth-project/berth/fleet"
)

// rackFleet is a source with one host, two NICs of which one is on a module, and a pool.
func rackFleet(id fleet.SourceID) *fleet.Snapshot {
	m := fleet.IOModule{ID: "io-1", Source: id, Ref: "slot-1", Kind: fleet.ModuleHBA, NICs: []fleet.NIC{{ID: "io-1/p0", Class: 1}},
		Pools: []fleet.PoolID{"san"}, AttachableTo: []fleet.HostID{"host-a"}, Host: "host-a"}
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Sources: []fleet.Source{{ID: id, Kind: fleet.KVM, Reachable: true}}, Modules: []fleet.IOModule{m},
		Hosts: []fleet.Host{{ID: "host-a", Source: id, NICs: []fleet.NIC{{ID: "eth0"}}, Pools: []fleet.PoolID{}}},
		Pools: []fleet.Pool{{ID: "san", Source: id}},
	}
	s.Hosts[0].NICs, s.Hosts[0].Pools = m.With(&s.Hosts[0])
	return s
}

// TestJoinModules: modules of two sources with equal names stay apart, and all that names them goes along.
func TestJoinModules(t *testing.T) {
	t.Parallel()
	out := join([]*fleet.Snapshot{rackFleet("kvm-a"), rackFleet("kvm-b")})
	out.Version = fleet.SnapshotVersion
	out.Sort()
	if err := out.Validate(); err != nil {
		t.Fatal(err)
	}
	m := out.Module("kvm-b/io-1")
	if m == nil || m.Host != "kvm-b/host-a" || m.Pools[0] != "kvm-b/san" || m.AttachableTo[0] != "kvm-b/host-a" {
		t.Errorf("%+v", m)
	}
}

// TestComplete: a host is in the rack and at the site that others of its chassis and rack say; who contradicts is named.
func TestComplete(t *testing.T) {
	t.Parallel()
	s := &fleet.Snapshot{Version: fleet.SnapshotVersion, Sources: []fleet.Source{{ID: "kvm"}}, Hosts: []fleet.Host{
		{ID: "host-a", Source: "kvm", Chassis: "c1", Rack: "r1"}, {ID: "host-b", Source: "kvm", Chassis: "c1"},
		{ID: "host-c", Source: "kvm", Rack: "r1", Site: "south"}, {ID: "host-d", Source: "kvm", Chassis: "c2"},
		{ID: "host-e", Source: "kvm", Chassis: "c3", Site: "north"}, {ID: "host-f", Source: "kvm", Chassis: "c3"},
	}}
	if err := s.Validate(); err == nil {
		t.Error("host-b in the chassis of host-a, without a rack, is no fault")
	}
	complete(s)
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	for id, want := range map[fleet.HostID]string{"host-a": "r1 south", "host-b": "r1 south", "host-c": "r1 south", "host-d": " ", "host-f": " north"} {
		if h := s.Host(id); h.Rack+" "+h.Site != want {
			t.Errorf("%s: %q at %q, expected %q", id, h.Rack, h.Site, want)
		}
	}
	s.Hosts[1].Rack = "r2"
	complete(s)
	err := s.Validate()
	if err == nil || !strings.Contains(err.Error(), "host-b") || !strings.Contains(err.Error(), "host-a") {
		t.Errorf("one chassis in two racks: %v", err)
	}
}
