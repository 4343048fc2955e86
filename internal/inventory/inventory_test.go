package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// gold is a document bound to a disk of 1 GiB.
func gold() *label.Document {
	return &label.Document{
		Level: "gold", Disk: label.Binding{UUID: "6000c293-5a0d-4b0e-9c6e-8f2b1f6d2a10", Size: fleet.GiB}, Serial: 3,
		Issued: now.Add(-time.Hour),
	}
}

func signed() fleet.Label {
	return fleet.Label{Trust: fleet.TrustSigned, Document: gold(), Serial: 3, Issuer: "ops", Ceiling: "gold"}
}

// world is one host with one pool and one VM with the disks given; each gets a size of 1 GiB and a path.
func world(source fleet.SourceID, disks ...fleet.Disk) *fleet.Snapshot {
	s := &fleet.Snapshot{
		Version: fleet.SnapshotVersion, Taken: now,
		Sources: []fleet.Source{{ID: source, Kind: fleet.KVM, Reachable: true}},
		Hosts:   []fleet.Host{{ID: "host-a", Source: source, Ref: "ref-host-a", Pools: []fleet.PoolID{"host-a/ssd"}}},
		Pools:   []fleet.Pool{{ID: "host-a/ssd", Source: source, Ref: "ref-ssd", Capacity: fleet.TiB, Free: fleet.GiB}},
	}
	vm := fleet.VM{ID: "vm-db", Source: source, Ref: "ref-vm-db", UUID: "0000-" + string(source), Host: "host-a", Power: fleet.Running}
	for i, d := range disks {
		d.ID, d.Pool, d.Size = fleet.DiskID(fmt.Sprintf("vd%c", 'a'+i)), "host-a/ssd", fleet.GiB
		d.Path = fmt.Sprintf("vm-db-%d.%s", i, d.Format)
		vm.Disks = append(vm.Disks, d)
	}
	s.VMs = []fleet.VM{vm}
	return s
}

func vmdk(l fleet.Label, chain ...fleet.ChainLink) fleet.Disk {
	return fleet.Disk{Format: "vmdk", Label: l, Chain: chain}
}

func link(path, format string) fleet.ChainLink {
	return fleet.ChainLink{Pool: "host-a/ssd", Path: path, Format: format}
}

// take takes the inventory of a fleet that knows its own keys.
func take(t *testing.T, s *fleet.Snapshot, sources ...Source) *fleet.Snapshot {
	t.Helper()
	f := sim.New(s)
	text, err := f.TrustText()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := label.ParseTrust("trust.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if sources == nil {
		sources = []Source{f}
	}
	out, err := Take(context.Background(), sources, Options{Trust: trust, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Validate(); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return out
}

func TestLabels(t *testing.T) {
	t.Parallel()
	unsigned := fleet.Label{Trust: fleet.TrustUnsigned, Document: gold(), Serial: 3}
	invalid := signed()
	invalid.Trust = fleet.TrustInvalid
	transplanted := signed()
	transplanted.Document = gold()
	transplanted.Document.Disk.Size = 2 * fleet.GiB
	expired := signed()
	expired.Document = gold()
	expired.Document.Expires = now
	inherited := signed()
	inherited.From = "base.vmdk"
	none := fleet.Label{Trust: fleet.TrustNone}
	for _, c := range []struct {
		name   string
		disk   fleet.Disk
		trust  fleet.Trust
		from   string
		reason string
		gap    string
	}{
		{"signed", vmdk(signed()), fleet.TrustSigned, "", "", ""},
		{"unsigned", vmdk(unsigned), fleet.TrustUnsigned, "", "not signed", ""},
		{"bad signature", vmdk(invalid), fleet.TrustInvalid, "", "signature", ""},
		{"of another disk", vmdk(transplanted), fleet.TrustInvalid, "", "transplanted", ""},
		{"expired", vmdk(expired), fleet.TrustInvalid, "", "expired", ""},
		{"no label", vmdk(none), fleet.TrustNone, "", "", ""},
		{"unreadable", vmdk(fleet.Label{Trust: fleet.TrustUnknown}), fleet.TrustUnknown, "", "", "cannot be read"},
		{"qcow2", fleet.Disk{Format: "qcow2", Label: none}, fleet.TrustNone, "", "", ""},
		{"raw", fleet.Disk{Format: "raw", Label: none}, fleet.TrustNone, "", "", ""},
		{"qed", fleet.Disk{Format: "qed", Label: none}, fleet.TrustNone, "", "", "qed images carry no label"},
		{"of the ancestor", vmdk(inherited, link("snap.vmdk", "vmdk"), link("base.vmdk", "vmdk")), fleet.TrustSigned, "base.vmdk", "", ""},
		{"of the ancestor of a qcow2 overlay", fleet.Disk{Format: "qcow2", Label: inherited, Chain: []fleet.ChainLink{link("base.vmdk", "vmdk")}},
			fleet.TrustSigned, "base.vmdk", "", ""},
		{"no label in the whole chain", vmdk(none, link("snap.vmdk", "vmdk"), link("base.vmdk", "vmdk")), fleet.TrustNone, "", "", ""},
		{"chain with a loop", vmdk(none, link("snap.vmdk", "vmdk"), link("vm-db-0.vmdk", "vmdk")), fleet.TrustUnknown, "", "", "comes back to vm-db-0.vmdk"},
	} {
		s := world("lab", c.disk)
		before := s.VMs[0].Disks[0].Label
		out := take(t, s)
		got := out.VMs[0].Disks[0].Label
		if got.Trust != c.trust || got.From != c.from || !strings.Contains(got.Reason, c.reason) || (c.reason == "") != (got.Reason == "") {
			t.Errorf("%s: %+v, expected %s from %q because %q", c.name, got, c.trust, c.from, c.reason)
		}
		if diff := cmp.Diff(before.Document, got.Document); diff != "" {
			t.Errorf("%s: document (-stored +read):\n%s", c.name, diff)
		}
		if c.trust == fleet.TrustSigned && (got.Issuer != "ops" || got.Ceiling != "gold" || len(got.KeyID) != 16 || got.Serial != 3) {
			t.Errorf("%s: %+v", c.name, got)
		}
		switch {
		case c.gap == "" && len(out.Gaps) > 0:
			t.Errorf("%s: gaps %+v", c.name, out.Gaps)
		case c.gap == "":
		case len(out.Gaps) != 1 || !strings.Contains(out.Gaps[0].Cause, c.gap) || out.Gaps[0].What != "label" ||
			out.Gaps[0].Object != "vm vm-db disk vda" || out.Gaps[0].Source != "lab":
			t.Errorf("%s: gaps %+v, expected one with %q", c.name, out.Gaps, c.gap)
		}
	}
}

// TestRawDiskCannotLabelItself: the first bytes of a raw disk are its guest's, who wrote a labelled VMDK there.
func TestRawDiskCannotLabelItself(t *testing.T) {
	t.Parallel()
	s := world("lab", vmdk(signed()))
	out := take(t, s, relabelled{sim.New(s), "raw"})
	if got := out.VMs[0].Disks[0].Label; got.Trust != fleet.TrustNone || got.Document != nil {
		t.Errorf("label %+v, expected none", got)
	}
}

// relabelled reports another format for every disk.
type relabelled struct {
	*sim.Fleet
	format string
}

func (r relabelled) Observe(ctx context.Context) (*fleet.Snapshot, error) {
	s, err := r.Fleet.Observe(ctx)
	for i := range s.VMs {
		for j := range s.VMs[i].Disks {
			s.VMs[i].Disks[j].Format = r.format
		}
	}
	return s, err
}

func TestClashingNames(t *testing.T) {
	t.Parallel()
	a, b := world("kvm-a", vmdk(signed(), link("base.vmdk", "vmdk"))), world("kvm-b", vmdk(signed()))
	b.VMs[0].ID = "vm-web"
	b.Pools = append(b.Pools, fleet.Pool{ID: "nfs", Source: "kvm-b", Ref: "ref-nfs"})
	b.Hosts[0].Pools = append(b.Hosts[0].Pools, "nfs")
	b.Sort()
	out := take(t, a, sim.New(b), sim.New(a))
	var ids []string
	for _, h := range out.Hosts {
		ids = append(ids, fmt.Sprint(h.ID, h.Pools))
	}
	for _, p := range out.Pools {
		ids = append(ids, string(p.ID))
	}
	for _, v := range out.VMs {
		ids = append(ids, fmt.Sprint(v.ID, " on ", v.Host, " ", v.Disks[0].Pool, " ", v.Disks[0].Label.Trust))
		for _, l := range v.Disks[0].Chain {
			ids = append(ids, string(l.Pool))
		}
	}
	want := []string{
		"kvm-a/host-a[kvm-a/host-a/ssd]", "kvm-b/host-a[kvm-b/host-a/ssd nfs]",
		"kvm-a/host-a/ssd", "kvm-b/host-a/ssd", "nfs",
		"vm-db on kvm-a/host-a kvm-a/host-a/ssd signed", "kvm-a/host-a/ssd", "vm-web on kvm-b/host-a kvm-b/host-a/ssd signed",
	}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("identifiers (-want +got):\n%s", diff)
	}
	one, other := take(t, a, sim.New(a), sim.New(b)), out
	if one.Digest() != other.Digest() {
		t.Error("the order of the sources changes the snapshot")
	}
}

func TestSourceThatFails(t *testing.T) {
	t.Parallel()
	a, b := world("kvm-a", vmdk(signed())), world("kvm-b")
	down := sim.New(b)
	down.Inject(sim.Fault{Op: sim.OpObserve, Kind: fleet.Retry})
	out := take(t, a, down, sim.New(a))
	if len(out.VMs) != 1 || out.VMs[0].Disks[0].Label.Trust != fleet.TrustSigned {
		t.Errorf("VMs %+v, expected those of the other source", out.VMs)
	}
	if s := out.Source("kvm-b"); s == nil || s.Reachable {
		t.Errorf("source %+v, expected it unreachable", s)
	}
	if len(out.Gaps) != 1 || out.Gaps[0].Source != "kvm-b" || out.Gaps[0].What != "everything" || !strings.Contains(out.Gaps[0].Cause, "injected") {
		t.Errorf("gaps %+v", out.Gaps)
	}
}

// odd is a source that says what a test wants.
type odd struct {
	id      fleet.SourceID
	observe func(ctx context.Context) (*fleet.Snapshot, error)
	open    func(ctx context.Context) (fleet.ImageFile, error)
}

func (o odd) ID() fleet.SourceID { return o.id }

func (o odd) Observe(ctx context.Context) (*fleet.Snapshot, error) { return o.observe(ctx) }

func (o odd) OpenImage(ctx context.Context, _ fleet.Pool, _ string) (fleet.ImageFile, error) {
	return o.open(ctx)
}

func TestDriverThatContradictsItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cause string
		spoil       func(s *fleet.Snapshot) *fleet.Snapshot
	}{
		{"nothing", "saw nothing", func(*fleet.Snapshot) *fleet.Snapshot { return nil }},
		{"another source", "names 1 sources", func(s *fleet.Snapshot) *fleet.Snapshot { s.Sources[0].ID = "x"; return s }},
		{"no host", `no host "host-z"`, func(s *fleet.Snapshot) *fleet.Snapshot { s.VMs[0].Host = "host-z"; return s }},
		{"a host twice", "sorted and unique", func(s *fleet.Snapshot) *fleet.Snapshot { s.Hosts = append(s.Hosts, s.Hosts[0]); return s }},
	} {
		out := take(t, world("other"), odd{id: "lab", observe: func(context.Context) (*fleet.Snapshot, error) { return c.spoil(world("lab")), nil }})
		if len(out.Gaps) != 1 || !strings.Contains(out.Gaps[0].Cause, c.cause) || out.Sources[0].Reachable {
			t.Errorf("%s: %+v, expected a gap with %q", c.name, out.Gaps, c.cause)
		}
	}
	f := sim.New(world("lab"))
	if _, err := Take(context.Background(), []Source{f, f}, Options{Now: now}); err == nil || !strings.Contains(err.Error(), "lab") {
		t.Errorf("one source twice: %v", err)
	}
}

func TestVMsOfOneName(t *testing.T) {
	t.Parallel()
	s := world("lab", vmdk(signed()))
	s.Hosts = append(s.Hosts, fleet.Host{ID: "host-b", Source: "lab"})
	for i, v := range []struct {
		id   fleet.VMID
		host fleet.HostID
		uuid string
	}{{"vm-db", "host-b", "1"}, {"vm-web", "host-b", "2"}, {"vm-web", "host-b", "3"}, {"vm-x", "host-b", "4"}, {"vm-x", "host-b", "4"}} {
		s.VMs = append(s.VMs, fleet.VM{ID: v.id, Source: "lab", Ref: fmt.Sprint("ref-", i), Host: v.host, UUID: v.uuid, Power: fleet.Stopped})
	}
	out := take(t, world("other"), odd{
		id: "lab", observe: func(context.Context) (*fleet.Snapshot, error) { return s, nil },
		open: func(context.Context) (fleet.ImageFile, error) { return nil, errors.New("closed for today") },
	})
	var got []string
	for _, v := range out.VMs {
		got = append(got, string(v.ID))
	}
	if diff := cmp.Diff([]string{"vm-db@host-a", "vm-db@host-b", "vm-web@host-b#2", "vm-web@host-b#3"}, got); diff != "" {
		t.Errorf("VMs (-want +got):\n%s", diff)
	}
	if len(out.Gaps) != 3 { // two that cannot be told apart, one label
		t.Errorf("gaps %+v", out.Gaps)
	}
}

// TestReadsThatHang: a driver that ignores its context costs one deadline for each parallel read, then the
// rest is not tried.
func TestReadsThatHang(t *testing.T) {
	t.Parallel()
	var disks []fleet.Disk
	for range 20 {
		disks = append(disks, vmdk(fleet.Label{Trust: fleet.TrustNone}))
	}
	s := world("lab", disks...)
	release := make(chan struct{})
	defer close(release)
	var opened atomic.Int64
	hang := odd{
		id: "lab", observe: sim.New(s).Observe,
		open: func(context.Context) (fleet.ImageFile, error) {
			opened.Add(1)
			<-release
			return nil, errors.New("too late")
		},
	}
	out, err := Take(context.Background(), []Source{hang}, Options{Now: now, Parallel: 2, ReadTimeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range out.VMs[0].Disks {
		if d.Label.Trust != fleet.TrustUnknown {
			t.Errorf("disk %s: %+v, expected unread", d.ID, d.Label)
		}
	}
	if len(out.Gaps) != 20 || opened.Load() > 4 {
		t.Errorf("%d gaps, %d images opened, expected 20 and at most 4", len(out.Gaps), opened.Load())
	}
}

// TestPassingFaultIsTriedAgain: one failed read does not hold a VM back.
func TestPassingFaultIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault sim.Fault
		want  fleet.Trust
	}{
		{sim.Fault{Op: sim.OpOpen, Kind: fleet.Retry}, fleet.TrustSigned},
		{sim.Fault{Op: sim.OpOpen, Kind: fleet.Retry, Times: 2}, fleet.TrustUnknown},
		{sim.Fault{Op: sim.OpOpen, Kind: fleet.Permanent}, fleet.TrustUnknown},
	} {
		s := world("lab", vmdk(signed()))
		f := sim.New(s)
		f.Inject(c.fault)
		out := take(t, s, f)
		if got := out.VMs[0].Disks[0].Label.Trust; got != c.want || (got == fleet.TrustUnknown) != (len(out.Gaps) == 1) {
			t.Errorf("%+v: %s, gaps %+v, expected %s", c.fault, got, out.Gaps, c.want)
		}
	}
}

func TestObserveThatHangs(t *testing.T) {
	t.Parallel()
	f := sim.New(world("lab"))
	f.Inject(sim.Fault{Op: sim.OpObserve, Action: sim.Hang})
	out, err := Take(context.Background(), []Source{f}, Options{Now: now, ObserveTimeout: 10 * time.Millisecond})
	if err != nil || len(out.Gaps) != 1 || out.Sources[0].Reachable {
		t.Errorf("%+v, %v, expected an unreachable source", out, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Take(ctx, []Source{f}, Options{Now: now}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestUnreachableHost(t *testing.T) {
	t.Parallel()
	s := world("lab", vmdk(signed()))
	s.Hosts[0].Unreachable = true
	out := take(t, s)
	if got := out.VMs[0].Disks[0].Label; got.Trust != fleet.TrustUnknown || len(out.Gaps) != 1 || !strings.Contains(out.Gaps[0].Cause, "host-a is unreachable") {
		t.Errorf("label %+v, gaps %+v", got, out.Gaps)
	}
}

// TestLimitsOnParallelReads counts how many images are open at once.
func TestLimitsOnParallelReads(t *testing.T) {
	t.Parallel()
	var disks []fleet.Disk
	for range 30 {
		disks = append(disks, vmdk(signed()))
	}
	c := &counting{Fleet: sim.New(world("lab", disks...)), enough: make(chan struct{})}
	if _, err := Take(context.Background(), []Source{c}, Options{Now: now, Parallel: 3}); err != nil {
		t.Fatal(err)
	}
	if most := c.most.Load(); most != 3 || c.open.Load() != 0 {
		t.Errorf("%d images open at once, %d still, expected 3 and none", most, c.open.Load())
	}
}

type counting struct {
	*sim.Fleet
	open, most atomic.Int64
	once       sync.Once
	enough     chan struct{} // closed when three images are open at once
}

func (c *counting) OpenImage(ctx context.Context, p fleet.Pool, path string) (fleet.ImageFile, error) {
	n := c.open.Add(1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	if n == 3 {
		c.once.Do(func() { close(c.enough) })
	}
	select {
	case <-c.enough:
	case <-ctx.Done(): // fewer than three at once: the test fails by its count
	}
	f, err := c.Fleet.OpenImage(ctx, p, path)
	return counted{f, c}, err
}

type counted struct {
	fleet.ImageFile
	c *counting
}

func (f counted) Close() error {
	f.c.open.Add(-1)
	return f.ImageFile.Close()
}

// TestGeneratedFleet takes the inventory of a generated fleet with VMDK disks: it comes back as it was, labels and
// all, but for the keys' names.
func TestGeneratedFleet(t *testing.T) {
	t.Parallel()
	s := sim.Generate(sim.Options{Hosts: 20, VMs: 200, Seed: 7})
	for i := range s.VMs {
		for j := range s.VMs[i].Disks {
			s.VMs[i].Disks[j].Format = "vmdk"
		}
	}
	f := sim.New(s)
	var sources []Source
	for _, src := range f.Sources() {
		sources = append(sources, src)
	}
	out := take(t, s, sources...)
	if len(out.VMs) != len(s.VMs) || len(out.Hosts) != len(s.Hosts) || len(out.Pools) != len(s.Pools) {
		t.Fatalf("%d VMs, %d hosts, %d pools", len(out.VMs), len(out.Hosts), len(out.Pools))
	}
	read := 0
	for i := range s.VMs {
		if !out.VMs[i].Place().Equal(s.VMs[i].Place()) || out.VMs[i].Power != s.VMs[i].Power {
			t.Errorf("vm %s: %+v", s.VMs[i].ID, out.VMs[i])
		}
		for j, d := range s.VMs[i].Disks {
			got := out.VMs[i].Disks[j].Label
			if s.Host(s.VMs[i].Host).Unreachable {
				continue
			}
			if got.Trust != d.Label.Trust || got.Issuer != d.Label.Issuer && got.Trust == fleet.TrustSigned || got.Ceiling != d.Label.Ceiling {
				t.Errorf("vm %s disk %s: %+v, expected %+v", s.VMs[i].ID, d.ID, got, d.Label)
			}
			if diff := cmp.Diff(d.Label.Document, got.Document); diff != "" {
				t.Errorf("vm %s disk %s: document:\n%s", s.VMs[i].ID, d.ID, diff)
			}
			read++
		}
	}
	if read < 200 {
		t.Errorf("only %d labels were compared", read)
	}
	t.Logf("%d labels compared, %d gaps", read, len(out.Gaps))
}

// shortRead breaks the contract of io.ReaderAt.
type shortRead struct{ fleet.ImageFile }

func (shortRead) ReadAt([]byte, int64) (int, error) { return 0, nil }

func TestShortReadIsAnError(t *testing.T) {
	t.Parallel()
	p := &patient{ctx: context.Background(), file: shortRead{}}
	if _, err := p.ReadAt(make([]byte, 4), 0); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%v, expected io.ErrNoProgress", err)
	}
}
