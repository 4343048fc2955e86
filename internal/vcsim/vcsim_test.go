package vcsim

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const gib = 1 << 30

func testSpec(dir string) Spec {
	all := []string{"nvme-1", "ssd-1", "hdd-1"}
	return Spec{
		Dir: dir, User: "operator", Password: "secret",
		Clusters: []Cluster{{Name: "gold"}, {Name: "bronze", Behaviour: types.DrsBehaviorFullyAutomated}},
		Hosts: []Host{
			{Name: "host-a", Cluster: "gold", Threads: 16, Memory: 64 * gib, Datastores: all},
			{Name: "host-b", Cluster: "gold", Threads: 16, Memory: 64 * gib, Datastores: all},
			{Name: "host-c", Cluster: "bronze", Threads: 8, Memory: 32 * gib, Datastores: all[1:]},
		},
		Datastores: []Datastore{
			{Name: "nvme-1", Type: "VMFS", Capacity: 100 * gib}, {Name: "ssd-1", Type: "VMFS", Capacity: 200 * gib},
			{Name: "hdd-1", Type: "NFS", Capacity: 400 * gib},
		},
		VMs: []VM{{Name: "vm-db", Host: "host-a", CPUs: 2, Memory: 8 * gib, Running: true, Disks: []Disk{
			{Datastore: "ssd-1", Size: 40 * gib}, {Datastore: "ssd-1", Size: 10 * gib},
		}}},
	}
}

func start(t *testing.T, change func(*Spec)) *Server {
	t.Helper()
	spec := testSpec(t.TempDir())
	if change != nil {
		change(&spec)
	}
	s, err := Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// connect logs in over the network.
func connect(t *testing.T, s *Server, password string) (*govmomi.Client, error) {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("operator", password)
	c, err := govmomi.NewClient(t.Context(), u, true)
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = c.Logout(ctx) // the server may be gone
			c.CloseIdleConnections()
		})
	}
	return c, err
}

func client(t *testing.T, s *Server) *govmomi.Client {
	t.Helper()
	c, err := connect(t, s, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ref(t *testing.T, s *Server, kind, name string) *types.ManagedObjectReference {
	t.Helper()
	r, err := s.byName(kind, name)
	if err != nil {
		t.Fatal(err)
	}
	return &r
}

// root is the resource pool of a host's compute resource.
func root(t *testing.T, s *Server, host string) *types.ManagedObjectReference {
	t.Helper()
	p, err := object.NewHostSystem(s.Client, *ref(t, s, "HostSystem", host)).ResourcePool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := p.Reference()
	return &r
}

// relocate makes the call over the network and waits for its task.
func relocate(t *testing.T, s *Server, c *govmomi.Client, spec types.VirtualMachineRelocateSpec) error {
	t.Helper()
	vm := object.NewVirtualMachine(c.Client, *ref(t, s, "VirtualMachine", "vm-db"))
	task, err := vm.Relocate(t.Context(), spec, types.VirtualMachineMovePriorityDefaultPriority)
	if err != nil {
		return err
	}
	return wait(t, c, task.Reference())
}

// wait asks for the task until it is over. The simulator's own property filters, which task.Wait uses, read a
// task without its lock while it runs.
func wait(t *testing.T, c *govmomi.Client, task types.ManagedObjectReference) error {
	t.Helper()
	for {
		var m mo.Task
		if err := property.DefaultCollector(c.Client).RetrieveOne(t.Context(), task, []string{"info"}, &m); err != nil {
			t.Fatal(err)
		}
		switch m.Info.State {
		case types.TaskInfoStateSuccess:
			return nil
		case types.TaskInfoStateError:
			return object.NewTask(c.Client, task).Wait(t.Context()) // over: it gives the error
		case types.TaskInfoStateQueued, types.TaskInfoStateRunning:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func machineOf(t *testing.T, c *govmomi.Client, s *Server) mo.VirtualMachine {
	t.Helper()
	var vm mo.VirtualMachine
	err := property.DefaultCollector(c.Client).RetrieveOne(t.Context(), *ref(t, s, "VirtualMachine", "vm-db"),
		[]string{"runtime.host", "datastore", "config.files", "config.hardware.device", "layoutEx", "resourcePool"}, &vm)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func disks(vm mo.VirtualMachine) []string {
	var out []string
	for _, d := range object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualDisk)(nil)) {
		out = append(out, d.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName)
	}
	return out
}

func free(t *testing.T, s *Server, name string) (bytes int64) {
	t.Helper()
	s.change(*ref(t, s, "Datastore", name), func(obj mo.Reference) {
		bytes = obj.(*simulator.Datastore).Summary.FreeSpace
	})
	return bytes
}

func files(t *testing.T, s *Server, datastore string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.Folder(datastore), func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, rerr := filepath.Rel(s.Folder(datastore), p)
			names = append(names, rel)
			return rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestRelocateMovesEverything(t *testing.T) {
	s := start(t, nil)
	c := client(t, s)
	before, err := os.ReadFile(filepath.Join(s.Folder("ssd-1"), "vm-db/vm-db.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	err = relocate(t, s, c, types.VirtualMachineRelocateSpec{
		Host: ref(t, s, "HostSystem", "host-c"), Pool: root(t, s, "host-c"), Datastore: ref(t, s, "Datastore", "hdd-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	vm := machineOf(t, c, s)
	if *vm.Runtime.Host != *ref(t, s, "HostSystem", "host-c") || *vm.ResourcePool != *root(t, s, "host-c") {
		t.Errorf("host %v, pool %v", vm.Runtime.Host, vm.ResourcePool)
	}
	want := []string{"[hdd-1] vm-db/vm-db.vmdk", "[hdd-1] vm-db/vm-db_1.vmdk"}
	if got := disks(vm); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("disks %v, expected %v", got, want)
	}
	if vm.Config.Files.VmPathName != "[hdd-1] vm-db/vm-db.vmx" || len(vm.Datastore) != 1 {
		t.Errorf("home %s, datastores %v", vm.Config.Files.VmPathName, vm.Datastore)
	}
	if got := files(t, s, "ssd-1"); got != "" {
		t.Errorf("left on ssd-1: %s", got)
	}
	moved := "vm-db/vm-db-flat.vmdk vm-db/vm-db.nvram vm-db/vm-db.vmdk vm-db/vm-db.vmx vm-db/vm-db_1-flat.vmdk vm-db/vm-db_1.vmdk"
	if got := files(t, s, "hdd-1"); got != moved {
		t.Errorf("on hdd-1: %s, expected %s", got, moved)
	}
	after, err := os.ReadFile(filepath.Join(s.Folder("hdd-1"), "vm-db/vm-db.vmdk"))
	if err != nil || string(after) != string(before) {
		t.Errorf("descriptor changed: %v", err)
	}
	if a, b := free(t, s, "ssd-1"), free(t, s, "hdd-1"); a != 200*gib || b != 350*gib {
		t.Errorf("free: %d and %d GiB, expected 200 and 350", a/gib, b/gib)
	}
	for _, f := range vm.LayoutEx.File {
		if strings.Contains(f.Name, "ssd-1") {
			t.Errorf("layout still names %s", f.Name)
		}
	}
	for host, n := range map[string]int{"host-a": 0, "host-c": 1} {
		s.change(*ref(t, s, "HostSystem", host), func(obj mo.Reference) {
			if got := len(obj.(*simulator.HostSystem).Vm); got != n {
				t.Errorf("%s lists %d VMs, expected %d", host, got, n)
			}
		})
	}
}

func TestRelocateHonoursLocators(t *testing.T) {
	s := start(t, nil)
	c := client(t, s)
	nvme := *ref(t, s, "Datastore", "nvme-1")
	spec := types.VirtualMachineRelocateSpec{Disk: []types.VirtualMachineRelocateSpecDiskLocator{{DiskId: 2001, Datastore: nvme}}}
	if err := relocate(t, s, c, spec); err != nil {
		t.Fatal(err)
	}
	vm := machineOf(t, c, s)
	want := []string{"[ssd-1] vm-db/vm-db.vmdk", "[nvme-1] vm-db/vm-db_1.vmdk"}
	if got := disks(vm); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("disks %v, expected %v", got, want)
	}
	if vm.Config.Files.VmPathName != "[ssd-1] vm-db/vm-db.vmx" {
		t.Errorf("the home moved to %s", vm.Config.Files.VmPathName)
	}
	if a, b := free(t, s, "ssd-1"), free(t, s, "nvme-1"); a != 160*gib || b != 90*gib {
		t.Errorf("free: %d and %d GiB, expected 160 and 90", a/gib, b/gib)
	}
}

// TestRelocateKeepsStrangers: a file in the way is not overwritten; the VM gets another folder.
func TestRelocateKeepsStrangers(t *testing.T) {
	s := start(t, nil)
	stranger := filepath.Join(s.Folder("hdd-1"), "vm-db", "vm-db.vmdk")
	if err := os.MkdirAll(filepath.Dir(stranger), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stranger, []byte("another VM's"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := client(t, s)
	if err := relocate(t, s, c, types.VirtualMachineRelocateSpec{Datastore: ref(t, s, "Datastore", "hdd-1")}); err != nil {
		t.Fatal(err)
	}
	if got := disks(machineOf(t, c, s)); got[0] != "[hdd-1] vm-db_1/vm-db.vmdk" {
		t.Errorf("disks %v", got)
	}
	if b, err := os.ReadFile(stranger); err != nil || string(b) != "another VM's" {
		t.Errorf("the stranger's file: %q, %v", b, err)
	}
}

func TestRelocateRefuses(t *testing.T) {
	for _, tc := range []struct {
		name              string
		prep              func(*Server) error
		host, pool, store string // names; pool: the host whose root pool it is; empty: not given
		want              types.BaseMethodFault
	}{
		{name: "maintenance", prep: func(s *Server) error { return s.Maintenance("host-b", true) }, host: "host-b", want: &types.InvalidHostState{}},
		{name: "not connected", prep: func(s *Server) error {
			return s.Connection("host-b", types.HostSystemConnectionStateNotResponding)
		}, host: "host-b", want: &types.HostNotConnected{}},
		{name: "datastore out of reach", host: "host-c", pool: "host-c", store: "nvme-1", want: &types.DatastoreNotWritableOnHost{}},
		{name: "no room", prep: func(s *Server) error { return s.Fill("nvme-1", gib) }, store: "nvme-1", want: &types.NoDiskSpace{}},
		{name: "pool of another cluster", host: "host-c", want: &types.InvalidArgument{}},
		{name: "made to fail", prep: func(s *Server) error { s.FailRelocate(&types.MigrationFault{}, 50); return nil },
			host: "host-b", store: "nvme-1", want: &types.MigrationFault{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, nil)
			if tc.prep != nil {
				must(t, tc.prep(s))
			}
			var spec types.VirtualMachineRelocateSpec
			if tc.host != "" {
				spec.Host = ref(t, s, "HostSystem", tc.host)
			}
			if tc.pool != "" {
				spec.Pool = root(t, s, tc.pool)
			}
			if tc.store != "" {
				spec.Datastore = ref(t, s, "Datastore", tc.store)
			}
			before := files(t, s, "ssd-1")
			c := client(t, s)
			err := relocate(t, s, c, spec)
			if !fault.Is(err, tc.want) {
				t.Errorf("%v, expected %T", err, tc.want)
			}
			vm := machineOf(t, c, s)
			if *vm.Runtime.Host != *ref(t, s, "HostSystem", "host-a") || disks(vm)[0] != "[ssd-1] vm-db/vm-db.vmdk" || files(t, s, "ssd-1") != before {
				t.Errorf("the VM moved all the same: %v %v", vm.Runtime.Host, disks(vm))
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRelocateTask: properties can be read while the task runs, a second one is refused, and cancelling
// leaves the VM where it was.
func TestRelocateTask(t *testing.T) {
	s := start(t, func(spec *Spec) { spec.CopyTime = time.Minute })
	c := client(t, s)
	vm := object.NewVirtualMachine(c.Client, *ref(t, s, "VirtualMachine", "vm-db"))
	spec := types.VirtualMachineRelocateSpec{Datastore: ref(t, s, "Datastore", "hdd-1")}
	task, err := vm.Relocate(t.Context(), spec, "")
	must(t, err)
	if got := disks(machineOf(t, c, s)); got[0] != "[ssd-1] vm-db/vm-db.vmdk" {
		t.Errorf("moved before the copy was done: %v", got)
	}
	if err := relocate(t, s, c, spec); !fault.Is(err, &types.TaskInProgress{}) {
		t.Errorf("a second relocation: %v, expected TaskInProgress", err)
	}
	var m mo.VirtualMachine
	must(t, vm.Properties(t.Context(), vm.Reference(), []string{"recentTask"}, &m))
	if len(m.RecentTask) == 0 || m.RecentTask[len(m.RecentTask)-2] != task.Reference() {
		t.Errorf("recent tasks %v do not hold %v", m.RecentTask, task.Reference())
	}
	must(t, task.Cancel(t.Context()))
	if err := wait(t, c, task.Reference()); !fault.Is(err, &types.RequestCanceled{}) {
		t.Errorf("cancelled task: %v", err)
	}
}

func TestCredentialsAndFileAccess(t *testing.T) {
	s := start(t, nil)
	if _, err := connect(t, s, "wrong"); err == nil {
		t.Error("a wrong password was accepted")
	}
	u := strings.TrimSuffix(s.URL(), "/sdk") + "/folder/vm-db/vm-db.vmdk?dcPath=dc-1&dsName=ssd-1"
	res, err := http.Get(u)
	must(t, err)
	must(t, res.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("file access without a session: %s", res.Status)
	}
	if strings.Contains(s.URL(), "secret") {
		t.Errorf("URL holds the password: %s", s.URL())
	}
}

func TestWriteDisk(t *testing.T) {
	dir := t.TempDir()
	must(t, WriteDisk(dir, "vm-web.vmdk", 20*gib))
	text, err := os.ReadFile(filepath.Join(dir, "vm-web.vmdk"))
	must(t, err)
	for _, want := range []string{"# Disk DescriptorFile\n", "createType=\"vmfs\"\n", "RW 41943040 VMFS \"vm-web-flat.vmdk\"\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("descriptor lacks %q:\n%s", want, text)
		}
	}
	st, err := os.Stat(filepath.Join(dir, "vm-web-flat.vmdk"))
	if err != nil || st.Size() != 20*gib {
		t.Errorf("extent: %v, %v", st, err)
	}
}
