package vsphere_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

// stock serves govmomi's simulator as it is, without any addition of ours.
func stock(t *testing.T, m *simulator.Model) *vsphere.Driver {
	t.Helper()
	must(t, m.Create())
	s := m.Service.NewServer()
	t.Cleanup(m.Remove)
	t.Cleanup(s.Close)
	u := *s.URL
	u.User = nil
	return openDriver(t, vsphere.Config{
		ID: "stock", URL: u.String(), Credentials: vsphere.Credentials{User: "user", Password: "pass"}, CallTimeout: 20 * time.Second,
	})
}

func TestStockVCenter(t *testing.T) {
	m := simulator.VPX()
	m.Folder, m.App = 1, 0
	s := observe(t, stock(t, m))
	if len(s.Hosts) != 4 || len(s.VMs) != 4 || len(s.Pools) != 1 {
		t.Fatalf("%d hosts, %d VMs, %d pools", len(s.Hosts), len(s.VMs), len(s.Pools))
	}
	for _, v := range s.VMs {
		if len(v.VNICs) != 1 || v.VNICs[0].Network != "DC0_DVPG0" || len(v.Disks) != 1 {
			t.Errorf("%s: %+v", v.ID, v)
		}
	}
	for _, h := range s.Hosts {
		if !strings.Contains(strings.Join(h.Networks, " "), "DC0_DVPG0") {
			t.Errorf("%s: networks %v: the distributed port group is missing", h.ID, h.Networks)
		}
	}
}

// TestStockHost: one ESXi host by itself has no tags, no custom attributes, and moves nothing.
func TestStockHost(t *testing.T) {
	d := stock(t, simulator.ESX())
	s := observe(t, d)
	if len(s.Hosts) != 1 || len(s.VMs) != 2 || s.Sources[0].Capabilities != (fleet.Capabilities{}) {
		t.Fatalf("%d hosts, %d VMs, %+v", len(s.Hosts), len(s.VMs), s.Sources[0])
	}
	disk := s.VMs[0].Disks[0]
	f, err := d.OpenImage(t.Context(), *s.Pool(disk.Pool), disk.Path)
	must(t, err)
	if f.Size() == 0 {
		t.Error("an empty descriptor")
	}
	must(t, f.Close())
}

// BenchmarkObserve reads a fleet of 200 VMs, the most that the simulator bears.
func BenchmarkObserve(b *testing.B) {
	spec := smallWorld(b.TempDir())
	for i := range 197 {
		spec.VMs = append(spec.VMs, vcsim.VM{
			Name: fmt.Sprintf("vm-%d", i), Host: "host-b", CPUs: 1, Memory: gib, Disks: []vcsim.Disk{{Datastore: "hdd-1", Size: gib}},
		})
	}
	s, err := vcsim.Start(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	d, err := vsphere.Open(b.Context(), config(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	for b.Loop() {
		if _, err := d.Observe(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
