package vsphere

import (
	"testing"

	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

func TestUsable(t *testing.T) {
	host := types.ManagedObjectReference{Type: "HostSystem", Value: "host-1"}
	other := types.ManagedObjectReference{Type: "HostSystem", Value: "host-2"}
	no := types.NewBool(false)
	for _, tc := range []struct {
		name    string
		summary types.DatastoreSummary
		mount   types.HostMountInfo
		at      types.ManagedObjectReference
		want    bool
	}{
		{"mounted", types.DatastoreSummary{Accessible: true, MaintenanceMode: "normal"}, types.HostMountInfo{AccessMode: "readWrite"}, host, true},
		{"little said", types.DatastoreSummary{Accessible: true}, types.HostMountInfo{}, host, true},
		{"another host's", types.DatastoreSummary{Accessible: true}, types.HostMountInfo{}, other, false},
		{"not accessible", types.DatastoreSummary{}, types.HostMountInfo{}, host, false},
		{"in maintenance", types.DatastoreSummary{Accessible: true, MaintenanceMode: "inMaintenance"}, types.HostMountInfo{}, host, false},
		{"entering maintenance", types.DatastoreSummary{Accessible: true, MaintenanceMode: "enteringMaintenance"}, types.HostMountInfo{}, host, false},
		{"read only", types.DatastoreSummary{Accessible: true}, types.HostMountInfo{AccessMode: "readOnly"}, host, false},
		{"unmounted", types.DatastoreSummary{Accessible: true}, types.HostMountInfo{Mounted: no}, host, false},
		{"lost by this host", types.DatastoreSummary{Accessible: true}, types.HostMountInfo{Accessible: no}, host, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ds := &mo.Datastore{Summary: tc.summary, Host: []types.DatastoreHostMount{{Key: tc.at, MountInfo: tc.mount}}}
			if got := usable(ds, host); got != tc.want {
				t.Errorf("usable: %v, expected %v", got, tc.want)
			}
		})
	}
}

func TestNICClasses(t *testing.T) {
	sriov := func(enabled bool, functions int32) []types.BaseHostPciPassthruInfo {
		return []types.BaseHostPciPassthruInfo{&types.HostSriovInfo{
			HostPciPassthruInfo: types.HostPciPassthruInfo{Id: "0000:3b:00.0"}, SriovEnabled: enabled, SriovCapable: true, NumVirtualFunction: functions,
		}}
	}
	for _, tc := range []struct {
		name, driver string
		speed        int32
		pci          []types.BaseHostPciPassthruInfo
		class        fleet.NICClass
		queues       fleet.Queues
	}{
		{"slow", "igbn", 1000, nil, 0, 0},
		{"ten gigabit", "ixgben", 10000, nil, 1, 0},
		{"netqueue", "i40en", 10000, nil, 2, 0},
		{"functions", "i40en", 25000, sriov(true, 16), 3, 16},
		{"functions switched off", "i40en", 25000, sriov(false, 16), 2, 0},
		{"enabled without functions", "ixgben", 25000, sriov(true, 0), 1, 0},
		{"functions of a slow card", "igbn", 1000, sriov(true, 7), 3, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := &mo.HostSystem{
				Hardware: &types.HostHardwareInfo{NumaInfo: &types.HostNumaInfo{NumaNode: []types.HostNumaNode{{TypeId: 1, PciId: []string{"0000:3b:00.0"}}}}},
				Config: &types.HostConfigInfo{
					PciPassthruInfo: tc.pci,
					Network: &types.HostNetworkInfo{Pnic: []types.PhysicalNic{{
						Device: "vmnic4", Driver: tc.driver, Pci: "0000:3b:00.0", LinkSpeed: &types.PhysicalNicLinkInfo{SpeedMb: tc.speed},
					}}},
				},
			}
			got := nics(h)
			if len(got) != 1 || got[0].Class != tc.class || got[0].Queues != tc.queues || got[0].NUMANode != 1 || got[0].Speed != fleet.Mbps(tc.speed) {
				t.Errorf("%+v, expected class %d, %d queues, node 1", got, tc.class, tc.queues)
			}
		})
	}
	if got := nics(&mo.HostSystem{}); got != nil {
		t.Errorf("a host without configuration: %+v", got)
	}
}

// TestMissingProperties: what the user may not read is a gap, and the rest is read all the same.
func TestMissingProperties(t *testing.T) {
	d := &Driver{cfg: Config{ID: "vc-1"}}
	ref := types.ManagedObjectReference{Type: "HostSystem", Value: "host-1"}
	content := []types.ObjectContent{{
		Obj: ref, PropSet: []types.DynamicProperty{{Name: "name", Val: "host-a"}},
		MissingSet: []types.MissingProperty{{Path: "config.product", Fault: types.LocalizedMethodFault{Fault: &types.NoPermission{}}}},
	}}
	gaps := d.takeMissing(content)
	want := fleet.Gap{Source: "vc-1", Object: "HostSystem:host-1", What: "config.product", Cause: "NoPermission"}
	if len(gaps) != 1 || gaps[0] != want {
		t.Errorf("gaps %+v, expected %+v", gaps, want)
	}
	var hosts []mo.HostSystem
	if err := mo.LoadObjectContent(content, &hosts); err != nil || len(hosts) != 1 || hosts[0].Name != "host-a" {
		t.Errorf("%+v, %v", hosts, err)
	}
}
