package vmlabel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
	"github.com/berth-project/berth/internal/vmlabel"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

const gib = 1 << 30

// world is a vCenter (the simulator, with real files behind its datastores) with one running VM.
func world(t *testing.T) (*vcsim.Server, *vsphere.Driver) {
	t.Helper()
	s, err := vcsim.Start(t.Context(), vcsim.Spec{
		Dir: t.TempDir(), User: "operator", Password: "word",
		Hosts:      []vcsim.Host{{Name: "host-a", Threads: 8, Memory: 32 * gib, Datastores: []string{"ssd-1"}}},
		Datastores: []vcsim.Datastore{{Name: "ssd-1", Type: "VMFS", Capacity: 100 * gib}},
		VMs:        []vcsim.VM{{Name: "vm-db", Host: "host-a", CPUs: 1, Memory: gib, Running: true, Disks: []vcsim.Disk{{Datastore: "ssd-1", Size: 4 * gib}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	d, err := vsphere.Open(context.Background(), vsphere.Config{
		ID: "vc-1", URL: s.URL(), Credentials: vsphere.Credentials{User: "operator", Password: "word"}, CallTimeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return s, d
}

// disk observes the one disk as it is now.
func disk(t *testing.T, d *vsphere.Driver) *vmlabel.Disk {
	t.Helper()
	seen, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	vm := seen.VM("vm-db")
	return &vmlabel.Disk{Source: d, VM: *vm, Pool: *seen.Pool(vm.Disks[0].Pool), Disk: vm.Disks[0]}
}

func power(t *testing.T, s *vcsim.Server, state types.VirtualMachinePowerState) {
	t.Helper()
	if err := s.Edit("vm-db", func(v *simulator.VirtualMachine) { v.Runtime.PowerState = state }); err != nil {
		t.Fatal(err)
	}
}

func set(t *testing.T, d *vmlabel.Disk, level string, place fleet.LabelPlace, serial uint32) {
	t.Helper()
	at, frame, err := d.Set(t.Context(), func(s *vmlabel.State, serial uint32) (label.Frame, error) {
		return label.Seal(label.Document{Level: level, Disk: s.Info.Binding(), Serial: serial, Issued: time.Unix(1_800_000_000, 0).UTC()}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if at != place || frame.Serial != serial {
		t.Fatalf("label %d in the %s, expected %d in the %s", frame.Serial, at, serial, place)
	}
}

// expect checks both labels' serials and which one counts.
func expect(t *testing.T, d *vmlabel.Disk, image, metadata uint32, place fleet.LabelPlace) {
	t.Helper()
	s, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got [2]uint32
	for i, f := range []*label.Frame{s.Image, s.Metadata} {
		if f != nil {
			got[i] = f.Serial
		}
	}
	if got != [2]uint32{image, metadata} || s.Place() != place {
		t.Fatalf("labels %v, the %q counts; expected %v and %q", got, s.Place(), [2]uint32{image, metadata}, place)
	}
}

// TestLifeOfALabel: set while the VM runs, changed, settled when it is off, changed there, changed again while it runs,
// overtaken in the image, removed.
func TestLifeOfALabel(t *testing.T) {
	s, d := world(t)
	expect(t, disk(t, d), 0, 0, "")
	set(t, disk(t, d), "gold", fleet.LabelInMetadata, 1)
	set(t, disk(t, d), "silver", fleet.LabelInMetadata, 2)
	expect(t, disk(t, d), 0, 2, fleet.LabelInMetadata)
	if _, f, err := disk(t, d).Settle(t.Context()); f != nil || err != nil {
		t.Fatalf("settled %v (%v) under a running VM", f, err)
	}
	power(t, s, types.VirtualMachinePowerStatePoweredOff)
	place, f, err := disk(t, d).Settle(t.Context())
	if err != nil || f == nil || f.Serial != 2 || place != fleet.LabelInImage {
		t.Fatalf("settled %v in the %q, %v", f, place, err)
	}
	expect(t, disk(t, d), 2, 0, fleet.LabelInImage)
	if _, f, err := disk(t, d).Settle(t.Context()); f != nil || err != nil {
		t.Fatalf("settled %v (%v) twice", f, err)
	}
	set(t, disk(t, d), "bronze", fleet.LabelInImage, 3)
	power(t, s, types.VirtualMachinePowerStatePoweredOn)
	set(t, disk(t, d), "gold", fleet.LabelInMetadata, 4)
	expect(t, disk(t, d), 3, 4, fleet.LabelInMetadata)
	if err := disk(t, d).Remove(t.Context(), false); !errors.Is(err, vmlabel.ErrRunning) {
		t.Fatalf("remove under a running VM: %v", err)
	}
	expect(t, disk(t, d), 3, 4, fleet.LabelInMetadata)
	power(t, s, types.VirtualMachinePowerStatePoweredOff)
	set(t, disk(t, d), "silver", fleet.LabelInImage, 5) // over both: the metadata's goes
	expect(t, disk(t, d), 5, 0, fleet.LabelInImage)
	if err := disk(t, d).Remove(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	expect(t, disk(t, d), 0, 0, "")
	if err := disk(t, d).Remove(t.Context(), false); !errors.Is(err, diskimage.ErrNoLabel) {
		t.Fatalf("remove twice: %v", err)
	}
}

// TestOlderMetadata: what the image overtook is taken out of the metadata, not written.
func TestOlderMetadata(t *testing.T) {
	s, d := world(t)
	set(t, disk(t, d), "gold", fleet.LabelInMetadata, 1)
	stale := *disk(t, d)
	power(t, s, types.VirtualMachinePowerStatePoweredOff)
	set(t, disk(t, d), "silver", fleet.LabelInImage, 2)
	// Somebody puts the old one back.
	if err := d.SetLabelMetadata(t.Context(), disk(t, d).VM, stale.Disk.ID, []byte(stale.Disk.Metadata)); err != nil {
		t.Fatal(err)
	}
	expect(t, disk(t, d), 2, 1, fleet.LabelInImage)
	if place, f, err := disk(t, d).Settle(t.Context()); err != nil || f == nil || f.Serial != 2 || place != fleet.LabelInImage {
		t.Fatalf("settled %v in the %q, %v; expected to be told of the one that counts", f, place, err)
	}
	expect(t, disk(t, d), 2, 0, fleet.LabelInImage)
}

// TestTwoAtOnce: who has not seen the label that is there does not replace it.
func TestTwoAtOnce(t *testing.T) {
	_, d := world(t)
	one, other := disk(t, d), disk(t, d)
	set(t, one, "gold", fleet.LabelInMetadata, 1)
	set(t, disk(t, d), "gold", fleet.LabelInMetadata, 2)
	_, _, err := other.Set(t.Context(), func(s *vmlabel.State, serial uint32) (label.Frame, error) {
		return label.Seal(label.Document{Level: "silver", Disk: s.Info.Binding(), Serial: serial, Issued: time.Unix(1_800_000_000, 0).UTC()}, nil)
	})
	if fleet.KindOf(err) != fleet.Retry {
		t.Errorf("set over an unseen label: %v", err)
	}
	expect(t, disk(t, d), 0, 2, fleet.LabelInMetadata)
}

// TestBadMetadata: what is no label is not taken for none, and stands in nobody's way.
func TestBadMetadata(t *testing.T) {
	_, d := world(t)
	now := disk(t, d)
	if err := d.SetLabelMetadata(t.Context(), now.VM, now.Disk.ID, []byte("gold")); err != nil {
		t.Fatal(err)
	}
	if _, err := disk(t, d).Read(t.Context()); err == nil {
		t.Error("read it")
	}
	set(t, disk(t, d), "gold", fleet.LabelInMetadata, 1) // a new label takes its place
	expect(t, disk(t, d), 0, 1, fleet.LabelInMetadata)
	if err := d.SetLabelMetadata(t.Context(), disk(t, d).VM, now.Disk.ID, []byte("gold")); err != nil {
		t.Fatal(err)
	}
	if err := disk(t, d).Remove(t.Context(), false); err == nil {
		t.Error("rm took it for a label")
	}
	if err := disk(t, d).Remove(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	expect(t, disk(t, d), 0, 0, "")
}
