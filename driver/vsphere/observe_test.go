package vsphere_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

func TestObserveTranslates(t *testing.T) {
	_, d := world(t)
	s := observe(t, d)
	a := s.Host("host-a")
	want := fleet.Host{
		ID: "host-a", Source: "vc-1", Ref: a.Ref, Hypervisor: fleet.VSphere, Version: a.Version, Cluster: "gold",
		Tags: []string{"tier:gold"}, CPU: fleet.CPUs(32), Memory: 128 * fleet.GiB,
		NICs: []fleet.NIC{
			{ID: "vmnic0", Class: 0, Speed: 1000, Driver: "ixgben", NUMANode: -1},
			{ID: "vmnic1", Class: 3, Speed: 25000, Queues: 8, Driver: "i40en", Features: []string{"sriov"}, NUMANode: -1},
		},
		Pools: []fleet.PoolID{"hdd-1", "nvme-1", "ssd-1"}, Networks: []string{"VM Network"},
	}
	if diff := cmp.Diff(want, *a); diff != "" {
		t.Errorf("host-a (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(a.Ref, "HostSystem:") || a.Version == "" {
		t.Errorf("ref %q, version %q", a.Ref, a.Version)
	}
	if n := s.Host("host-b").NICs[1]; n.Class != 2 || n.Queues != 0 {
		t.Errorf("a NetQueue driver without SR-IOV: %+v, expected class 2 without queues", n)
	}
	if h := s.Host("host-c"); h.Chassis != "rack-7" || h.Attributes["chassis"] != "rack-7" || len(h.Pools) != 2 {
		t.Errorf("host-c: %+v", h)
	}
	if h := s.Host("host-d"); h.Cluster != "" {
		t.Errorf("a host alone is in cluster %q", h.Cluster)
	}
	p := s.Pool("nvme-1")
	if diff := cmp.Diff(fleet.Pool{ID: "nvme-1", Source: "vc-1", Ref: p.Ref, Type: "VMFS", Tags: []string{"tier:nvme"},
		Capacity: 200 * fleet.GiB, Free: 200 * fleet.GiB, Shared: true}, *p); diff != "" {
		t.Errorf("nvme-1 (-want +got):\n%s", diff)
	}
	if p := s.Pool("ssd-1"); p.Free != 350*fleet.GiB {
		t.Errorf("ssd-1 has %s free, expected 350 GiB", fleet.FormatBytes(p.Free))
	}
	v := s.VM("vm-db")
	wantVM := fleet.VM{
		ID: "vm-db", Source: "vc-1", Ref: v.Ref, UUID: v.UUID, Host: "host-a", Power: fleet.Running, CPU: fleet.CPUs(4), Memory: 16 * fleet.GiB,
		Disks: []fleet.Disk{
			{ID: "2000", Pool: "ssd-1", Path: "[ssd-1] vm-db/vm-db.vmdk", Format: "vmdk", Size: 40 * fleet.GiB, Used: v.Disks[0].Used, Label: fleet.Label{Trust: fleet.TrustNone}},
			{ID: "2001", Pool: "ssd-1", Path: "[ssd-1] vm-db/vm-db_1.vmdk", Format: "vmdk", Size: 10 * fleet.GiB, Used: v.Disks[1].Used, Label: fleet.Label{Trust: fleet.TrustNone}},
		},
		VNICs: []fleet.VNIC{{ID: v.VNICs[0].ID, Network: "VM Network"}},
	}
	if diff := cmp.Diff(wantVM, *v); diff != "" {
		t.Errorf("vm-db (-want +got):\n%s", diff)
	}
	if u := v.Disks[0].Used; u < 40*fleet.GiB || u > 40*fleet.GiB+64*fleet.KiB || v.UUID == "" {
		t.Errorf("used %d, uuid %q", u, v.UUID)
	}
	src := s.Sources[0]
	if src.NativeBalancer != "" || src.Kind != fleet.VSphere || src.Capabilities != (fleet.Capabilities{LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true}) {
		t.Errorf("source: %+v", src)
	}
	if len(s.Gaps) != 0 {
		t.Errorf("gaps of a whole world: %+v", s.Gaps)
	}
}

func gapOf(s *fleet.Snapshot, object string) *fleet.Gap {
	for i := range s.Gaps {
		if s.Gaps[i].Object == object {
			return &s.Gaps[i]
		}
	}
	return nil
}

func TestObserveWithoutTagging(t *testing.T) {
	spec := smallWorld(t.TempDir())
	spec.Tagging = false
	d := openDriver(t, config(startWorld(t, spec)))
	s := observe(t, d)
	if g := gapOf(s, "vcenter"); g == nil || g.What != "tags" || g.Cause == "" {
		t.Errorf("gaps %+v: the missing tagging API is not among them", s.Gaps)
	}
	if h := s.Host("host-c"); len(h.Tags) != 1 || h.Tags[0] != "chassis:rack-7" {
		t.Errorf("tags %v, expected the custom attributes", h.Tags)
	}
}

func TestObserveLostHost(t *testing.T) {
	srv, d := world(t)
	must(t, srv.Connection("host-a", types.HostSystemConnectionStateNotResponding))
	must(t, srv.Maintenance("host-b", true))
	s := observe(t, d)
	if h := s.Host("host-a"); !h.Unreachable || gapOf(s, "host host-a") == nil {
		t.Errorf("host-a: %+v, gaps %+v", h, s.Gaps)
	}
	if h := s.Host("host-b"); !h.Maintenance || h.Unreachable {
		t.Errorf("host-b: %+v", h)
	}
}

func TestObserveBalancer(t *testing.T) {
	for behaviour, want := range map[types.DrsBehavior]string{
		types.DrsBehaviorFullyAutomated:     "DRS (fullyAutomated) on gold",
		types.DrsBehaviorPartiallyAutomated: "",
		types.DrsBehaviorManual:             "",
	} {
		t.Run(string(behaviour), func(t *testing.T) {
			spec := smallWorld(t.TempDir())
			spec.Clusters[0].Behaviour = behaviour
			d := openDriver(t, config(startWorld(t, spec)))
			if got := observe(t, d).Sources[0].NativeBalancer; got != want {
				t.Errorf("native balancer %q, expected %q", got, want)
			}
		})
	}
}

// TestObserveNameClash: VMs of one name get their inventory path, and the vCenter's key where that is the same too.
func TestObserveNameClash(t *testing.T) {
	srv, d := world(t)
	rename := func(vm *simulator.VirtualMachine) { vm.Name = "vm-db" }
	must(t, srv.Edit("vm-log", rename))
	if ids := vmIDs(observe(t, d)); len(ids) != 3 || !strings.HasPrefix(ids[0], "vm-db (/dc-1/vm/vm-db, vm-") ||
		!strings.HasPrefix(ids[1], "vm-db (/dc-1/vm/vm-db, vm-") || ids[2] != "vm-web" {
		t.Errorf("VMs of one folder: %q", ids)
	}
	ctx := t.Context()
	index := object.NewSearchIndex(srv.Client)
	folder, err := index.FindByInventoryPath(ctx, "/dc-1/vm")
	must(t, err)
	vm, err := index.FindByInventoryPath(ctx, "/dc-1/vm/vm-web")
	must(t, err)
	team, err := folder.(*object.Folder).CreateFolder(ctx, "team-a")
	must(t, err)
	task, err := team.MoveInto(ctx, []types.ManagedObjectReference{vm.Reference()})
	must(t, err)
	must(t, task.Wait(ctx))
	must(t, srv.Edit("vm-web", rename))
	if ids := vmIDs(observe(t, d)); len(ids) != 3 || ids[0] != "vm-db (/dc-1/vm/team-a/vm-db)" {
		t.Errorf("VMs of two folders: %q", ids)
	}
}

func vmIDs(s *fleet.Snapshot) []string {
	var ids []string
	for _, v := range s.VMs {
		ids = append(ids, string(v.ID))
	}
	return ids
}

func TestObserveVMs(t *testing.T) {
	add := func(dev types.BaseVirtualDevice) func(*simulator.VirtualMachine) {
		return func(vm *simulator.VirtualMachine) {
			vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, dev)
		}
	}
	device := func(key int32, b types.BaseVirtualDeviceBackingInfo) types.VirtualDevice {
		return types.VirtualDevice{Key: key, Backing: b, DeviceInfo: &types.Description{Label: "the device"},
			Connectable: &types.VirtualDeviceConnectInfo{Connected: true}}
	}
	for _, tc := range []struct {
		name          string
		edit          func(*simulator.VirtualMachine)
		host, storage string // substrings of the blockers; empty: none
		pinned        string
	}{
		{name: "nothing special", edit: func(*simulator.VirtualMachine) {}},
		{name: "passthrough", edit: add(&types.VirtualPCIPassthrough{VirtualDevice: device(13000, nil)}), host: "device of its host", storage: "device of its host"},
		{name: "sr-iov", edit: add(&types.VirtualSriovEthernetCard{VirtualEthernetCard: types.VirtualEthernetCard{VirtualDevice: device(4001, nil)}}),
			host: "SR-IOV", storage: "SR-IOV"},
		{name: "usb", edit: add(&types.VirtualUSB{VirtualDevice: device(9000, nil)}), host: "device of its host"},
		{name: "host's cd drive", edit: add(&types.VirtualCdrom{VirtualDevice: device(3000, &types.VirtualCdromAtapiBackingInfo{})}), host: "drive of its host"},
		{name: "iso on shared storage", edit: add(&types.VirtualCdrom{VirtualDevice: device(3000, &types.VirtualCdromRemoteAtapiBackingInfo{})})},
		{name: "iso on local storage", edit: add(&types.VirtualCdrom{VirtualDevice: device(3000, &types.VirtualCdromIsoBackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[local] x.iso", Datastore: &types.ManagedObjectReference{Type: "Datastore", Value: "datastore-9"}},
		})}), host: "only this host sees"},
		{name: "shared bus", edit: add(&types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{
			VirtualController: types.VirtualController{VirtualDevice: device(1009, nil)}, SharedBus: types.VirtualSCSISharingPhysicalSharing,
		}}), pinned: "SCSI bus"},
		{name: "fault tolerance", edit: func(vm *simulator.VirtualMachine) {
			vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateRunning
		}, pinned: "fault tolerance"},
		{name: "raw device mapping", edit: add(&types.VirtualDisk{VirtualDevice: device(2009, &types.VirtualDiskRawDiskMappingVer1BackingInfo{})}), pinned: "raw device mapping"},
		{name: "inaccessible", edit: func(vm *simulator.VirtualMachine) {
			vm.Runtime.ConnectionState = types.VirtualMachineConnectionStateInaccessible
		}, pinned: "inaccessible"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, d := world(t)
			must(t, srv.Edit("vm-db", tc.edit))
			v := observe(t, d).VM("vm-db")
			for change, want := range map[fleet.Change]string{fleet.ChangeHost: tc.host, fleet.ChangeStorage: tc.storage} {
				if got := v.BlockedBy(change); !strings.Contains(got, want) || (want == "") != (got == "") {
					t.Errorf("%s blocked by %q, expected %q", change, got, want)
				}
			}
			if !strings.Contains(v.Pinned, tc.pinned) || (tc.pinned == "") != (v.Pinned == "") {
				t.Errorf("pinned %q, expected %q", v.Pinned, tc.pinned)
			}
		})
	}
}

func TestObserveSkipsTemplatesAndReadsChains(t *testing.T) {
	srv, d := world(t)
	must(t, srv.Edit("vm-web", func(vm *simulator.VirtualMachine) { vm.Config.Template = true }))
	must(t, srv.Edit("vm-log", func(vm *simulator.VirtualMachine) {
		for _, dev := range vm.Config.Hardware.Device {
			if disk, ok := dev.(*types.VirtualDisk); ok {
				parent := *disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
				child := parent
				child.FileName, child.Parent = "[hdd-1] vm-log/vm-log-000001.vmdk", &parent
				disk.Backing = &child
			}
		}
	}))
	s := observe(t, d)
	if s.VM("vm-web") != nil {
		t.Error("a template is listed as a VM")
	}
	disk := s.VM("vm-log").Disks[0]
	want := []fleet.ChainLink{{Pool: "hdd-1", Path: "[hdd-1] vm-log/vm-log.vmdk", Format: "vmdk"}}
	if diff := cmp.Diff(want, disk.Chain); diff != "" || disk.Path != "[hdd-1] vm-log/vm-log-000001.vmdk" {
		t.Errorf("path %s, chain (-want +got):\n%s", disk.Path, diff)
	}
}

// TestObserveRoundTrips: the number of calls does not grow with the number of VMs.
func TestObserveRoundTrips(t *testing.T) {
	count := func(vms int) int {
		spec := smallWorld(t.TempDir())
		for len(spec.VMs) < vms {
			v := spec.VMs[1]
			v.Name += strings.Repeat("x", len(spec.VMs))
			v.Disks = []vcsim.Disk{{Datastore: "hdd-1", Size: 1 << 20}}
			spec.VMs = append(spec.VMs, v)
		}
		srv := startWorld(t, spec)
		d := openDriver(t, config(srv))
		before := srv.Requests()
		if got := len(observe(t, d).VMs); got != vms {
			t.Fatalf("%d VMs, expected %d", got, vms)
		}
		return srv.Requests() - before
	}
	if few, many := count(3), count(40); few != many || few == 0 {
		t.Errorf("%d requests for 3 VMs, %d for 40: expected the same", few, many)
	}
}
