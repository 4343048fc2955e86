package sim

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/drivertest"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// small is two hosts with a local pool each and one that both share, a running VM and a stopped
// one on the first, and a running one on the other.
func small() *fleet.Snapshot {
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
	doc := &label.Document{
		Level: "gold", Disk: label.Binding{UUID: "6000c293-5a0d-4b0e-9c6e-8f2b1f6d2a10", Size: fleet.GiB}, Serial: 3, Issued: s.Taken,
	}
	for i, power := range []fleet.PowerState{fleet.Running, fleet.Stopped, fleet.Running} {
		id, host := []fleet.VMID{"vm-db", "vm-old", "vm-web"}[i], []fleet.HostID{"host-a", "host-a", "host-b"}[i]
		v := fleet.VM{ID: id, Source: "lab", Ref: "ref-" + string(id), UUID: fmt.Sprintf("uuid-%d", i), Host: host, Power: power}
		for j := range 2 {
			v.Disks = append(v.Disks, fleet.Disk{
				ID: fleet.DiskID(fmt.Sprintf("vd%c", 'a'+j)), Pool: "san", Path: fmt.Sprintf("san/%s-%d.vmdk", id, j), Format: "vmdk",
				Size: fleet.GiB, Used: 100 * fleet.MiB, Label: fleet.Label{Trust: fleet.TrustSigned, Document: doc, Serial: 3, Issuer: "ops"},
			})
		}
		s.VMs = append(s.VMs, v)
	}
	s.Sort()
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, drivertest.Harness{
		New: func(t *testing.T) *drivertest.World {
			t.Helper()
			f := New(small())
			t.Cleanup(func() {
				for _, v := range f.Violations() {
					t.Errorf("violation: %s", v)
				}
			})
			return &drivertest.World{
				Source: f, Mover: f,
				Image: drivertest.Image{Pool: "san", Path: "san/vm-db-0.vmdk", Content: read(t, f, "san/vm-db-0.vmdk")},
				Take: func(_ *testing.T, r fleet.Relocation) {
					f.volumes[f.targets(f.guests[r.VM.Ref], r)[0]] = f.volumes[place{"ref-san", "san/vm-old-0.vmdk"}]
				},
				Fill: func(_ *testing.T, pool fleet.PoolID) { f.SetFree(pool, fleet.MiB) },
				Fail: func(_ *testing.T, kind fleet.ErrorKind) bool {
					rule := Fault{Op: OpBegin, Kind: kind}
					if kind == fleet.Unknown {
						rule = Fault{Op: OpCopy, Action: Lose}
					}
					f.Inject(rule)
					return true
				},
				Gone: func(_ *testing.T, vm fleet.VMID) { f.Remove(vm) },
			}
		},
		Moves: []drivertest.Move{
			{Name: "live both", VM: "vm-db", Host: "host-b", Pool: "host-b/ssd", Mode: fleet.Live},
			{Name: "live host", VM: "vm-db", Host: "host-b", Mode: fleet.Live},
			{Name: "live storage", VM: "vm-db", Pool: "host-a/ssd", Mode: fleet.Live},
			{Name: "offline both", VM: "vm-db", Host: "host-b", Pool: "host-b/ssd", Mode: fleet.Offline},
			{Name: "stopped host", VM: "vm-old", Host: "host-b", Mode: fleet.Offline},
			{Name: "stopped storage", VM: "vm-old", Pool: "host-a/ssd", Mode: fleet.Offline},
		},
		Together: []drivertest.Move{
			{VM: "vm-db", Host: "host-b", Pool: "host-b/ssd", Mode: fleet.Live}, {VM: "vm-old", Host: "host-b", Pool: "host-b/ssd", Mode: fleet.Offline},
			{VM: "vm-web", Host: "host-a", Pool: "host-a/ssd", Mode: fleet.Live},
		},
	})
}

func read(t *testing.T, f *Fleet, path string) []byte {
	t.Helper()
	img, err := f.OpenImage(context.Background(), *f.base.Pool("san"), path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGuestStartedByHand: after a move broke, somebody started the VM at its source; what was copied and
// defined at the target is then old and must not come to life.
func TestGuestStartedByHand(t *testing.T) {
	t.Parallel()
	for _, op := range []Op{OpCreate, OpCopy, OpDefine} {
		for _, end := range []fleet.PowerState{fleet.Running, fleet.Stopped} {
			startedByHand(t, op, end)
		}
	}
}

func startedByHand(t *testing.T, op Op, end fleet.PowerState) {
	t.Helper()
	s := small()
	f := New(s)
	r := relocation(s, "vm-db", "host-b", "host-b/ssd")
	f.Inject(Fault{Op: op, After: true, Kind: fleet.Permanent})
	if err := f.Relocate(context.Background(), r, true, nil); err == nil {
		t.Fatalf("%s: no fault", op)
	}
	def := f.guests["ref-vm-db"].defs["ref-host-a"]
	def.power = fleet.Running
	for range 3 { // its guest writes meanwhile
		if _, err := f.Locate(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	def.power = end
	if err := f.Relocate(context.Background(), r, true, nil); err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	if o, err := f.Locate(context.Background(), r); err != nil || !o.Settled || !o.Placement.Equal(r.To) || o.Power != fleet.Running {
		t.Errorf("%s, then %s: %+v, %v", op, end, o, err)
	}
	for _, v := range f.Violations() {
		t.Errorf("%s, then %s: violation: %s", op, end, v)
	}
}

func relocation(s *fleet.Snapshot, id fleet.VMID, host fleet.HostID, pool fleet.PoolID) fleet.Relocation {
	vm := s.VM(id)
	r := fleet.Relocation{
		VM: *vm, From: vm.Place(), To: vm.Place(), Mode: fleet.Offline, FromHost: *s.Host(vm.Host), ToHost: *s.Host(host), Pools: s.Pools,
	}
	r.To.Host = host
	for i := range r.To.Disks {
		r.To.Disks[i].Pool = pool
	}
	return r
}

// TestViolationsAreSeen breaks each invariant on purpose: a simulation that cannot see a breach proves nothing.
func TestViolationsAreSeen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(f *Fleet, g *guest)
	}{
		{"running twice", func(_ *Fleet, g *guest) {
			def := *g.defs["ref-host-a"]
			g.defs["ref-host-b"] = &def
		}},
		{"defined nowhere", func(_ *Fleet, g *guest) { clear(g.defs) }},
		{"no volume", func(f *Fleet, g *guest) { delete(f.volumes, g.defs["ref-host-a"].disks[0]) }},
		{"half a volume", func(f *Fleet, g *guest) { f.volumes[g.defs["ref-host-a"].disks[1]].whole = false }},
		{"lost writes", func(_ *Fleet, g *guest) { g.writes += 2 }},
		{"full pool", func(f *Fleet, _ *guest) { f.pools["ref-san"].Free = -1 }},
	} {
		f := New(small())
		g := f.guests["ref-vm-db"]
		c.spoil(f, g)
		f.touched = g
		f.inspect()
		if len(f.Violations()) == 0 {
			t.Errorf("%s: not seen", c.name)
		}
	}
}

// TestLabelTravels reads the label with the real codec, before and after a move, and after it was changed
// with the real codec.
func TestLabelTravels(t *testing.T) {
	t.Parallel()
	s := small()
	f := New(s)
	before := read(t, f, "san/vm-db-0.vmdk")
	r := relocation(s, "vm-db", "host-b", "host-b/ssd")
	if err := f.Relocate(context.Background(), r, true, nil); err != nil {
		t.Fatal(err)
	}
	img, err := f.OpenImage(context.Background(), *s.Pool("host-b/ssd"), "host-b/ssd/vm-db-0.vmdk")
	if err != nil {
		t.Fatal(err)
	}
	after, err := io.ReadAll(io.NewSectionReader(img, 0, img.Size()))
	if err != nil || string(after) != string(before) {
		t.Fatalf("the image changed on its way: %v\n%s\n%s", err, before, after)
	}
	frame, info, err := diskimage.ReadLabel(img)
	if err != nil || frame == nil {
		t.Fatalf("read label: %v, %v\n%s", frame, err, after)
	}
	doc, err := frame.Document()
	want := s.VMs[0].Disks[0].Label.Document
	if err != nil || doc.Level != want.Level || doc.Disk != want.Disk || info.Binding() != want.Disk {
		t.Errorf("label %+v of %+v, %v, expected %+v", doc, info.Binding(), err, want)
	}
	text, err := f.TrustText()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := label.ParseTrust("trust.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if v := trust.Verify(*frame, info.Binding(), s.Taken); v.Trust != label.TrustSigned || v.Issuer != "ops" {
		t.Errorf("verdict %+v", v)
	}
	doc.Serial, doc.Level = 4, "silver"
	next, err := label.Seal(doc, nil)
	if err != nil {
		t.Fatal(err)
	}
	edit, err := diskimage.PlanSet(img, next)
	if err != nil {
		t.Fatal(err)
	}
	if err := diskimage.Apply(img, edit); err != nil {
		t.Fatal(err)
	}
	if frame, _, err = diskimage.ReadLabel(img); err != nil || frame == nil || frame.Serial != 4 {
		t.Errorf("label after a change: %+v, %v", frame, err)
	}
}
