package drivertest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/drivertest"
	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
)

// env names the fault that a child process runs the suite with.
const env = "BERTH_DRIVERTEST_FAULT"

// broken is a driver with one fault; everything else is the simulated fleet.
type broken struct {
	*sim.Fleet
	fault string
	moved bool
	seen  int
	mu    sync.Mutex
	last  fleet.VMID // that Precheck was asked about
}

func (b *broken) Observe(ctx context.Context) (*fleet.Snapshot, error) {
	s, err := b.Fleet.Observe(ctx)
	b.seen++
	if err == nil && b.fault == "restless" {
		s.VMs[0].Memory += fleet.Bytes(b.seen)
	}
	if err == nil && b.fault == "modest" {
		s.Sources[0].Capabilities.LiveBoth = false
	}
	return s, err
}

func (b *broken) OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error) {
	f, err := b.Fleet.OpenImage(ctx, pool, path)
	if b.fault == "untyped" && err != nil {
		return nil, errors.New(err.Error())
	}
	return f, err
}

func (b *broken) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	o, err := b.Fleet.Locate(ctx, r)
	if b.fault == "unsettled" {
		o.Settled = false
	}
	return o, err
}

func (b *broken) wasMoved() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moved
}

func (b *broken) Precheck(ctx context.Context, r fleet.Relocation) error {
	if b.fault == "careless" {
		return nil
	}
	b.mu.Lock()
	b.last = r.VM.ID
	b.mu.Unlock()
	return b.Fleet.Precheck(ctx, r)
}

func (b *broken) Relocate(ctx context.Context, r fleet.Relocation, on bool, progress func(done, total fleet.Bytes)) error {
	switch {
	case b.fault == "idle":
		return nil
	case b.fault == "once" && b.wasMoved():
		return &fleet.DriverError{Kind: fleet.Permanent, Op: "move vm", Err: errors.New("it was moved before")}
	case b.fault == "silent":
		progress = nil
	case b.fault == "backwards" && progress != nil:
		progress(5, 9)
		progress(4, 9)
	case b.fault == "sleepy":
		on = false
	}
	b.mu.Lock()
	other := b.last != "" && b.last != r.VM.ID
	b.mu.Unlock()
	if b.fault == "forgetful" && other {
		return nil
	}
	err := b.Fleet.Relocate(ctx, r, on, progress)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved = err == nil
	var de *fleet.DriverError
	if b.fault == "fatalist" && errors.As(err, &de) {
		return &fleet.DriverError{Kind: fleet.Permanent, Op: de.Op, Err: de.Err}
	}
	return err
}

// TestSuiteFindsFaults: a suite that passes everything is worth nothing. Each fault is run in a process of
// its own, which has to fail in the check that is there for it.
func TestSuiteFindsFaults(t *testing.T) {
	if os.Getenv(env) != "" {
		t.Skip("this is the child")
	}
	for fault, check := range map[string]string{
		"":          "",
		"restless":  "Observe",
		"modest":    "Observe",
		"untyped":   "OpenImageMissing",
		"unsettled": "Move/live_both",
		"careless":  "PrecheckFull",
		"idle":      "Move/live_both",
		"once":      "Move/live_both",
		"silent":    "Move/live_both",
		"backwards": "Move/live_both",
		"sleepy":    "PowerOn/stopped_host",
		"fatalist":  "Fails/retry",
		"forgetful": "Together",
	} {
		t.Run("fault "+fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v")
			cmd.Env = append(os.Environ(), env+"=child "+fault)
			out, err := cmd.CombinedOutput()
			if check == "" {
				if err != nil {
					t.Errorf("a driver without fault failed: %v\n%s", err, out)
				}
				return
			}
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestChild/"+check+" ") {
				t.Errorf("%v: check %s did not fail:\n%s", err, check, out)
			}
		})
	}
}

func TestChild(t *testing.T) {
	fault, ok := strings.CutPrefix(os.Getenv(env), "child ")
	if !ok {
		t.Skip("run by TestSuiteFindsFaults")
	}
	drivertest.Run(t, drivertest.Harness{
		New: func(t *testing.T) *drivertest.World {
			t.Helper()
			s := twoHosts()
			f := sim.New(s)
			img, err := f.OpenImage(t.Context(), *s.Pool("san"), "san/vm-db.vmdk")
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
			if err != nil {
				t.Fatal(err)
			}
			b := &broken{Fleet: f, fault: fault}
			return &drivertest.World{
				Source: b, Mover: b, Image: drivertest.Image{Pool: "san", Path: "san/vm-db.vmdk", Content: content},
				Fill: func(_ *testing.T, pool fleet.PoolID) { f.SetFree(pool, fleet.KiB) },
				Fail: func(_ *testing.T, kind fleet.ErrorKind) bool {
					f.Inject(sim.Fault{Op: sim.OpBegin, Kind: kind})
					return kind != fleet.Unknown
				},
			}
		},
		Moves: []drivertest.Move{
			{Name: "live both", VM: "vm-db", Host: "host-b", Pool: "host-b/ssd", Mode: fleet.Live},
			{Name: "stopped host", VM: "vm-old", Host: "host-b", Mode: fleet.Offline},
		},
		Together: []drivertest.Move{
			{VM: "vm-db", Host: "host-b", Pool: "host-b/ssd", Mode: fleet.Live}, {VM: "vm-old", Host: "host-b", Mode: fleet.Offline},
			{VM: "vm-web", Host: "host-a", Pool: "host-a/ssd", Mode: fleet.Live},
		},
	})
}

// twoHosts is two hosts with a pool each and one that both share, a running VM and a stopped one on the first, and a running
// one on the other.
func twoHosts() *fleet.Snapshot {
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Taken: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Sources: []fleet.Source{{ID: "lab", Kind: fleet.KVM, Reachable: true, Capabilities: fleet.Capabilities{
			LiveMigration: true, LiveStorage: true, LiveBoth: true, Offline: true,
		}}},
		Pools: []fleet.Pool{{ID: "san", Source: "lab", Ref: "ref-san", Capacity: fleet.TiB, Free: fleet.TiB - fleet.GiB, Shared: true}},
	}
	for _, name := range []string{"host-a", "host-b"} {
		local := fleet.PoolID(name + "/ssd")
		s.Hosts = append(s.Hosts, fleet.Host{
			ID: fleet.HostID(name), Source: "lab", Ref: "ref-" + name, CPU: fleet.CPUs(8), Memory: fleet.GiB, Pools: []fleet.PoolID{local, "san"},
		})
		s.Pools = append(s.Pools, fleet.Pool{ID: local, Source: "lab", Ref: "ref-" + string(local), Capacity: fleet.GiB, Free: fleet.GiB})
	}
	for id, power := range map[fleet.VMID]fleet.PowerState{"vm-db": fleet.Running, "vm-old": fleet.Stopped, "vm-web": fleet.Running} {
		host := fleet.HostID("host-a")
		if id == "vm-web" {
			host = "host-b"
		}
		s.VMs = append(s.VMs, fleet.VM{
			ID: id, Source: "lab", Ref: "ref-" + string(id), UUID: "uuid-" + string(id), Host: host, Power: power,
			Disks: []fleet.Disk{{ID: "vda", Pool: "san", Path: "san/" + string(id) + ".vmdk", Format: "vmdk", Size: fleet.GiB, Used: 100 * fleet.MiB}},
		})
	}
	s.Sort()
	return s
}
