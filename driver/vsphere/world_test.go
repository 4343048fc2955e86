package vsphere_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	gib  = 1 << 30
	user = "operator@vsphere.local"
	pass = "correct horse"
)

// smallWorld is a vCenter with two clusters, one host alone, and three VMs.
func smallWorld(dir string) vcsim.Spec {
	all := []string{"nvme-1", "ssd-1", "hdd-1"}
	nic := func(functions int) []vcsim.NIC {
		return []vcsim.NIC{
			{Device: "vmnic0", Driver: "ixgben", Mbps: 1000},
			{Device: "vmnic1", Driver: "i40en", Mbps: 25000, Functions: functions},
		}
	}
	return vcsim.Spec{
		Dir: dir, User: user, Password: pass, Tagging: true,
		Clusters: []vcsim.Cluster{{Name: "gold"}, {Name: "bronze"}},
		Hosts: []vcsim.Host{
			{Name: "host-a", Cluster: "gold", Threads: 32, Memory: 128 * gib, NICs: nic(8), Datastores: all, Tags: map[string]string{"tier": "gold"}},
			{Name: "host-b", Cluster: "gold", Threads: 32, Memory: 128 * gib, NICs: nic(0), Datastores: all},
			{Name: "host-c", Cluster: "bronze", Threads: 8, Memory: 32 * gib, NICs: nic(0)[:1], Datastores: all[1:], Attributes: map[string]string{"chassis": "rack-7"}},
			{Name: "host-d", Threads: 8, Memory: 32 * gib, Datastores: all[2:]},
		},
		Datastores: []vcsim.Datastore{
			{Name: "nvme-1", Type: "VMFS", Capacity: 200 * gib, Tags: map[string]string{"tier": "nvme"}},
			{Name: "ssd-1", Type: "VMFS", Capacity: 400 * gib},
			{Name: "hdd-1", Type: "NFS", Capacity: 800 * gib},
		},
		VMs: []vcsim.VM{
			{Name: "vm-db", Host: "host-a", CPUs: 4, Memory: 16 * gib, Running: true, Disks: []vcsim.Disk{{Datastore: "ssd-1", Size: 40 * gib}, {Datastore: "ssd-1", Size: 10 * gib}}},
			{Name: "vm-web", Host: "host-b", CPUs: 2, Memory: 4 * gib, Disks: []vcsim.Disk{{Datastore: "hdd-1", Size: 20 * gib}}},
			{Name: "vm-log", Host: "host-c", CPUs: 1, Memory: 2 * gib, Running: true, Disks: []vcsim.Disk{{Datastore: "hdd-1", Size: 5 * gib}}},
		},
	}
}

// startWorld serves spec and tears it down with the test.
func startWorld(t *testing.T, spec vcsim.Spec) *vcsim.Server {
	t.Helper()
	s, err := vcsim.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func config(s *vcsim.Server) vsphere.Config {
	return vsphere.Config{
		ID: "vc-1", URL: s.URL(), Credentials: vsphere.Credentials{User: user, Password: pass},
		CallTimeout: 20 * time.Second, ShutdownTimeout: 5 * time.Second,
	}
}

func openDriver(t *testing.T, cfg vsphere.Config) *vsphere.Driver {
	t.Helper()
	d, err := vsphere.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Logf("close: %v", err) // the server may be gone already, by intent
		}
	})
	return d
}

// world is smallWorld with an open driver.
func world(t *testing.T) (*vcsim.Server, *vsphere.Driver) {
	t.Helper()
	s := startWorld(t, smallWorld(t.TempDir()))
	return s, openDriver(t, config(s))
}

func readFile(t *testing.T, s *vcsim.Server, datastore, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Folder(datastore), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func observe(t *testing.T, d *vsphere.Driver) *fleet.Snapshot {
	t.Helper()
	s, err := d.Observe(t.Context())
	must(t, err)
	return s
}

// relocation of a VM to a host and one pool for all of its disks, as a plan would hold it.
func relocation(t *testing.T, s *fleet.Snapshot, vm fleet.VMID, host fleet.HostID, pool fleet.PoolID, mode fleet.Mode) fleet.Relocation {
	t.Helper()
	v := s.VM(vm)
	if v == nil || s.Host(host) == nil || s.Pool(pool) == nil {
		t.Fatalf("no vm %s, host %s or pool %s", vm, host, pool)
	}
	r := fleet.Relocation{VM: *v, From: v.Place(), To: v.Place(), Mode: mode, FromHost: *s.Host(v.Host), ToHost: *s.Host(host), Pools: s.Pools}
	r.To.Host = host
	for i := range r.To.Disks {
		r.To.Disks[i].Pool = pool
	}
	return r
}
