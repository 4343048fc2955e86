package vsphere_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
)

// TestFilesFollow looks at the datastores' folders themselves: what was in the descriptor is at the target,
// byte for byte, and nothing is left at the source.
func TestFilesFollow(t *testing.T) {
	srv, d := world(t)
	before := readFile(t, srv, "ssd-1", "vm-db/vm-db.vmdk")
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
	must(t, d.Relocate(t.Context(), r, true, nil))
	if got := readFile(t, srv, "nvme-1", "vm-db/vm-db.vmdk"); !bytes.Equal(got, before) {
		t.Errorf("the descriptor changed on its way:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(srv.Folder("ssd-1"), "vm-db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left at the source: %v", err)
	}
}

// TestLabelIsKept: a vCenter that writes the descriptor anew at the target loses the label's lines; they are put back.
func TestLabelIsKept(t *testing.T) {
	for _, prefix := range []string{"", "ddb.berth.", "ddb.berth.a.01"} {
		t.Run("loses "+prefix, func(t *testing.T) {
			srv, d := world(t)
			label := "ddb.berth.a.00 = \"abc\"\nddb.berth.a.01 = \"def\"\n"
			name := filepath.Join(srv.Folder("ssd-1"), "vm-db/vm-db.vmdk")
			before := append(readFile(t, srv, "ssd-1", "vm-db/vm-db.vmdk"), label...)
			must(t, os.WriteFile(name, before, 0o644))
			srv.LoseLines(prefix)
			r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
			must(t, d.Relocate(t.Context(), r, true, nil))
			if got := readFile(t, srv, "nvme-1", "vm-db/vm-db.vmdk"); !bytes.Equal(got, before) {
				t.Errorf("after the move:\n%s", got)
			}
		})
	}
}

// TestDisksOnTwoPools: each disk goes where the relocation says, not all with the first.
func TestDisksOnTwoPools(t *testing.T) {
	srv, d := world(t)
	r := relocation(t, observe(t, d), "vm-db", "host-a", "nvme-1", fleet.Live)
	r.To.Disks[1].Pool = "hdd-1"
	must(t, d.Precheck(t.Context(), r))
	must(t, d.Relocate(t.Context(), r, true, nil))
	readFile(t, srv, "nvme-1", "vm-db/vm-db.vmdk")
	readFile(t, srv, "hdd-1", "vm-db/vm-db_1.vmdk")
	o, err := d.Locate(t.Context(), r)
	if err != nil || !o.Placement.Equal(r.To) {
		t.Errorf("%+v, %v; expected %+v", o, err, r.To)
	}
}

func TestPrecheckReasons(t *testing.T) {
	for _, tc := range []struct {
		name string
		prep func(*vcsim.Server) error
		edit func(*fleet.Relocation)
		want string
		kind fleet.ErrorKind
	}{
		{name: "fine"},
		{name: "maintenance", prep: func(s *vcsim.Server) error { return s.Maintenance("host-b", true) }, want: "maintenance"},
		{name: "lost host", prep: func(s *vcsim.Server) error {
			return s.Connection("host-b", types.HostSystemConnectionStateDisconnected)
		}, want: "disconnected"},
		{name: "full pool", prep: func(s *vcsim.Server) error { return s.Fill("nvme-1", 49<<30) }, want: "49 GiB are free, 50 GiB needed"},
		{name: "suspended", prep: func(s *vcsim.Server) error {
			return s.Edit("vm-db", func(vm *simulator.VirtualMachine) {
				vm.Runtime.PowerState = types.VirtualMachinePowerStateSuspended
			})
		}, want: "suspended"},
		{name: "network", edit: func(r *fleet.Relocation) { r.VM.VNICs[0].Network = "backup-lan" }, want: "backup-lan"},
		{name: "out of reach", edit: func(r *fleet.Relocation) { r.ToHost.Ref = "" }, want: "no host"},
		{name: "snapshots", prep: func(s *vcsim.Server) error {
			return s.Edit("vm-db", func(vm *simulator.VirtualMachine) { vm.Snapshot = &types.VirtualMachineSnapshotInfo{} })
		}, edit: func(r *fleet.Relocation) { r.To.Disks[1].Pool = "hdd-1" }, want: "snapshots"},
		{name: "details missing", edit: func(r *fleet.Relocation) { r.Pools = nil }, want: "no details of pool"},
		{name: "other host's details", edit: func(r *fleet.Relocation) { r.ToHost.ID = "host-c" }, want: "details"},
		{name: "disks missing", edit: func(r *fleet.Relocation) { r.To.Disks = r.To.Disks[:1] }, want: "1 disks"},
		{name: "disk gone", edit: func(r *fleet.Relocation) { r.VM.Disks[1].ID, r.To.Disks[1].Disk = "2044", "2044" }, want: "2044"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, d := world(t)
			r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
			if tc.prep != nil {
				must(t, tc.prep(srv))
			}
			if tc.edit != nil {
				tc.edit(&r)
			}
			err := d.Precheck(t.Context(), r)
			if tc.want == "" {
				must(t, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || fleet.KindOf(err) != fleet.Permanent {
				t.Errorf("%v, kind %s; expected %q, permanent", err, fleet.KindOf(err), tc.want)
			}
		})
	}
}

// TestPrecheckReach: host-c does not see nvme-1.
func TestPrecheckReach(t *testing.T) {
	_, d := world(t)
	r := relocation(t, observe(t, d), "vm-db", "host-c", "nvme-1", fleet.Live)
	if err := d.Precheck(t.Context(), r); err == nil || !strings.Contains(err.Error(), "host host-c cannot use pool nvme-1") {
		t.Errorf("%v, expected a refusal", err)
	}
}

// TestBusy: a task of an earlier run is seen, and a new driver waits for it instead of making a second one.
func TestBusy(t *testing.T) {
	spec := smallWorld(t.TempDir())
	spec.CopyTime = 2 * time.Second
	srv := startWorld(t, spec)
	d := openDriver(t, config(srv))
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Relocate(ctx, r, true, func(fleet.Bytes, fleet.Bytes) { cancel() })
	if fleet.KindOf(err) != fleet.Unknown {
		t.Fatalf("interrupted: %v, kind %s, expected unknown", err, fleet.KindOf(err))
	}
	fresh := openDriver(t, config(srv))
	o, err := fresh.Locate(t.Context(), r)
	if err != nil || o.Settled || !o.Placement.Equal(r.From) || !strings.Contains(o.Detail, "relocate") {
		t.Errorf("while the task runs: %+v, %v", o, err)
	}
	if err := fresh.Precheck(t.Context(), r); fleet.KindOf(err) != fleet.Retry || !strings.Contains(err.Error(), "busy") {
		t.Errorf("Precheck while the task runs: %v, kind %s, expected retry", err, fleet.KindOf(err))
	}
	srv.FailRelocate(&types.NotSupported{}, 0) // a second task would meet it
	must(t, fresh.Relocate(t.Context(), r, true, nil))
	o, err = fresh.Locate(t.Context(), r)
	if err != nil || !o.Settled || !o.Placement.Equal(r.To) {
		t.Errorf("afterwards: %+v, %v", o, err)
	}
}

// TestWaitSurvivesDroppedConnections: asking for a task is repeated.
func TestWaitSurvivesDroppedConnections(t *testing.T) {
	spec := smallWorld(t.TempDir())
	spec.CopyTime = 500 * time.Millisecond
	srv := startWorld(t, spec)
	d := openDriver(t, config(srv))
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
	once, between := false, 0
	must(t, d.Relocate(t.Context(), r, true, func(done, total fleet.Bytes) {
		if done > 0 && done < total {
			between++
		}
		if !once {
			once = true
			srv.DropRequests(2, "/sdk")
		}
	}))
	if !once || between == 0 {
		t.Errorf("%d reports of progress between the start and the end", between)
	}
}

func TestMoveTimeout(t *testing.T) {
	spec := smallWorld(t.TempDir())
	spec.CopyTime = time.Minute
	srv := startWorld(t, spec)
	cfg := config(srv)
	cfg.MoveTimeout = 300 * time.Millisecond
	d := openDriver(t, cfg)
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
	err := d.Relocate(t.Context(), r, true, nil)
	if fleet.KindOf(err) != fleet.Unknown || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, kind %s, expected unknown by the deadline", err, fleet.KindOf(err))
	}
}

// TestOfflineStopsTheGuest: with tools the guest is shut down, without them powered off; both run at the end.
func TestOfflineStopsTheGuest(t *testing.T) {
	for _, tools := range []types.VirtualMachineToolsRunningStatus{
		types.VirtualMachineToolsRunningStatusGuestToolsRunning, types.VirtualMachineToolsRunningStatusGuestToolsNotRunning,
	} {
		t.Run(string(tools), func(t *testing.T) {
			srv, d := world(t)
			must(t, srv.Edit("vm-db", func(vm *simulator.VirtualMachine) { vm.Guest.ToolsRunningStatus = string(tools) }))
			off := make(chan bool, 1)
			srv.OnRelocate(func(vm *simulator.VirtualMachine) {
				off <- vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff
			})
			r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Offline)
			must(t, d.Relocate(t.Context(), r, true, nil))
			if !<-off {
				t.Error("the guest ran while it was moved offline")
			}
			if o, err := d.Locate(t.Context(), r); err != nil || o.Power != fleet.Running {
				t.Errorf("%+v, %v; expected running", o, err)
			}
		})
	}
}

// TestOfflineNeverStopsASurprise: a guest that somebody started since the plan was made is left running.
func TestOfflineNeverStopsASurprise(t *testing.T) {
	_, d := world(t)
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Offline)
	if err := d.Relocate(t.Context(), r, false, nil); fleet.KindOf(err) != fleet.Permanent {
		t.Errorf("%v, expected a refusal", err)
	}
	if o, err := d.Locate(t.Context(), r); err != nil || o.Power != fleet.Running || !o.Placement.Equal(r.From) {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestFaultRules: faults of the call itself, by the simulator's own rules.
func TestFaultRules(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault simulator.FaultType
		with  types.BaseMethodFault
		want  fleet.ErrorKind
	}{
		{"no permission", simulator.FaultTypeNoPermission, nil, fleet.Permanent},
		{"invalid argument", simulator.FaultTypeInvalidArgument, nil, fleet.Permanent},
		{"in use", simulator.FaultTypeResourceInUse, nil, fleet.Retry},
		{"task in progress", simulator.FaultTypeCustom, &types.TaskInProgress{}, fleet.Retry},
		{"system error", simulator.FaultTypeGeneric, nil, fleet.Unknown},
		{"timeout", simulator.FaultTypeTimeout, nil, fleet.Unknown},
		{"host lost", simulator.FaultTypeCustom, &types.HostNotReachable{}, fleet.Unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, d := world(t)
			srv.Service.AddFaultRule(&simulator.FaultInjectionRule{
				MethodName: "RelocateVM_Task", ObjectType: "VirtualMachine", ObjectName: "vm-db", Probability: 1, MaxCount: 1,
				FaultType: tc.fault, Fault: tc.with, Enabled: true,
			})
			r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
			if err := d.Relocate(t.Context(), r, true, nil); fleet.KindOf(err) != tc.want {
				t.Errorf("%v, kind %s, expected %s", err, fleet.KindOf(err), tc.want)
			}
			must(t, d.Relocate(t.Context(), r, true, nil))
		})
	}
}

// TestRegisteredAnew: a VM that was unregistered and registered again has a new reference; its UUID finds it.
func TestRegisteredAnew(t *testing.T) {
	_, d := world(t)
	r := relocation(t, observe(t, d), "vm-db", "host-b", "nvme-1", fleet.Live)
	r.VM.Ref = "VirtualMachine:vm-99999"
	if o, err := d.Locate(t.Context(), r); err != nil || !o.Placement.Equal(r.From) {
		t.Errorf("%+v, %v", o, err)
	}
	r.VM.UUID = "00000000-0000-0000-0000-000000000000"
	if _, err := d.Locate(t.Context(), r); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("%v, expected fleet.ErrNotFound", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	srv := startWorld(t, smallWorld(t.TempDir()))
	for _, tc := range []struct {
		name string
		edit func(*vsphere.Config)
		kind fleet.ErrorKind
	}{
		{"wrong password", func(c *vsphere.Config) { c.Credentials.Password = "hunter2" }, fleet.Permanent},
		{"user in the URL", func(c *vsphere.Config) { c.URL = strings.Replace(c.URL, "://", "://root:hunter2@", 1) }, fleet.Permanent},
		{"no URL", func(c *vsphere.Config) { c.URL = "" }, fleet.Permanent},
		{"nonsense", func(c *vsphere.Config) { c.URL = "https://root:hunter2@%zz/sdk" }, fleet.Permanent},
		{"nobody listens", func(c *vsphere.Config) { c.URL = "http://127.0.0.1:1/sdk" }, fleet.Retry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(srv)
			tc.edit(&cfg)
			d, err := vsphere.Open(t.Context(), cfg)
			if err == nil {
				_ = d.Close()
				t.Fatal("opened")
			}
			if fleet.KindOf(err) != tc.kind || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, kind %s, expected %s", err, fleet.KindOf(err), tc.kind)
			}
		})
	}
}

// TestTLS: an unknown certificate is refused, unless it has the configured thumbprint or any will do.
func TestTLS(t *testing.T) {
	spec := smallWorld(t.TempDir())
	spec.TLS = true
	srv := startWorld(t, spec)
	for _, tc := range []struct {
		name string
		edit func(*vsphere.Config)
		ok   bool
	}{
		{"unknown certificate", func(*vsphere.Config) {}, false},
		{"wrong thumbprint", func(c *vsphere.Config) { c.Thumbprint = strings.Repeat("AA:", 19) + "AA" }, false},
		{"right thumbprint", func(c *vsphere.Config) { c.Thumbprint = srv.Thumbprint() }, true},
		{"insecure", func(c *vsphere.Config) { c.Insecure = true }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(srv)
			tc.edit(&cfg)
			d, err := vsphere.Open(t.Context(), cfg)
			if (err == nil) != tc.ok {
				t.Fatalf("%v, expected success %v", err, tc.ok)
			}
			if err == nil {
				f := open(t, d, "ssd-1", descriptor)
				must(t, f.Close())
				must(t, d.Close())
			}
		})
	}
}
