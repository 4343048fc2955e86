package vsphere_test

import (
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/driver/drivertest"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

// TestConformance runs the suite that every driver passes.
func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		New: newWorld,
		Moves: []drivertest.Move{
			{Name: "live host and storage to another cluster", VM: "vm-db", Host: "host-c", Pool: "hdd-1", Mode: fleet.Live},
			{Name: "live host", VM: "vm-db", Host: "host-b", Mode: fleet.Live},
			{Name: "live storage", VM: "vm-db", Pool: "nvme-1", Mode: fleet.Live},
			{Name: "stopped host and storage", VM: "vm-web", Host: "host-a", Pool: "nvme-1", Mode: fleet.Offline},
			{Name: "stopped to a host alone", VM: "vm-web", Host: "host-d", Mode: fleet.Offline},
			{Name: "running but offline", VM: "vm-log", Host: "host-a", Pool: "ssd-1", Mode: fleet.Offline},
		},
		Together: []drivertest.Move{
			{VM: "vm-db", Host: "host-b", Pool: "nvme-1", Mode: fleet.Live}, {VM: "vm-web", Host: "host-a", Pool: "ssd-1", Mode: fleet.Offline},
			{VM: "vm-log", Host: "host-b", Pool: "ssd-1", Mode: fleet.Offline},
		},
	})
}

func newWorld(t *testing.T) *drivertest.World {
	t.Helper()
	s, d := world(t)
	return &drivertest.World{
		Source: d, Mover: d,
		Image: drivertest.Image{Pool: "ssd-1", Path: "[ssd-1] vm-db/vm-db.vmdk", Content: readFile(t, s, "ssd-1", "vm-db/vm-db.vmdk")},
		Fill: func(t *testing.T, pool fleet.PoolID) {
			t.Helper()
			if err := s.Fill(string(pool), 1<<20); err != nil {
				t.Fatal(err)
			}
		},
		Fail: func(_ *testing.T, kind fleet.ErrorKind) bool {
			s.FailRelocate(map[fleet.ErrorKind]types.BaseMethodFault{
				fleet.Permanent: &types.NoDiskSpace{Datastore: "hdd-1"},
				fleet.Retry:     &types.ResourceInUse{Type: "VirtualMachine", Name: "vm-db"},
				fleet.Unknown:   &types.HostNotReachable{},
			}[kind], 40)
			return true
		},
		Gone: func(t *testing.T, vm fleet.VMID) {
			t.Helper()
			unregister(t, s, string(vm))
		},
	}
}

// unregister takes a VM out of the inventory as an administrator would; its files stay.
func unregister(t *testing.T, s *vcsim.Server, vm string) {
	t.Helper()
	ref, err := object.NewSearchIndex(s.Client).FindByInventoryPath(t.Context(), "/dc-1/vm/"+vm)
	if err != nil || ref == nil {
		t.Fatalf("find %s: %v", vm, err)
	}
	v := object.NewVirtualMachine(s.Client, ref.Reference())
	if task, err := v.PowerOff(t.Context()); err == nil {
		_ = task.Wait(t.Context()) // it may be off
	}
	if err := v.Unregister(t.Context()); err != nil {
		t.Fatal(err)
	}
}
