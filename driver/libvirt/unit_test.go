package libvirt

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
)

func testdata(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

var testPools = []poolInfo{
	{id: "gold-1/hdd", name: "hdd", kind: "dir", path: "/var/lib/libvirt/images/hdd", active: true},
	{id: "gold-1/ssd", name: "ssd", kind: "dir", path: "/var/lib/libvirt/images/ssd", active: true},
	{id: "gold-1/all", name: "all", kind: "dir", path: "/var/lib/libvirt/images", active: true},
	{id: "gold-1/lvm", name: "lvm", kind: "logical", path: "/dev/vg0", active: true},
}

func TestParseURI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ uri, network, addr, open, fault string }{
		{uri: "qemu:///system", network: "unix", addr: defaultSocket, open: "qemu:///system"},
		{uri: "qemu+unix:///system?socket=/run/x.sock", network: "unix", addr: "/run/x.sock", open: "qemu:///system"},
		{uri: "qemu+tcp://10.77.0.1/system", network: "tcp", addr: "10.77.0.1:16509", open: "qemu:///system"},
		{uri: "qemu+tcp://[::1]:99/system", network: "tcp", addr: "[::1]:99", open: "qemu:///system"},
		{uri: "test:///default", network: "unix", addr: defaultSocket, open: "test:///default"},
		{uri: "qemu://host-a/system", fault: "TLS is not supported yet"},
		{uri: "qemu+tls://host-a/system", fault: "TLS is not supported yet"},
		{uri: "qemu+ssh://host-a/system", fault: "ssh is not supported yet"},
		{uri: "qemu+tcp:///system", fault: "no host name"},
		{uri: "qemu+unix:///system?socket=x", fault: "absolute"},
		{uri: "qemu+tcp://root:secret@host-a/system", fault: "credentials never"},
		{uri: "qemu+foo://host-a/system", fault: "transport"},
		{uri: "http://host-a", fault: "scheme"},
		{uri: "", fault: "scheme"},
		{uri: "qemu+tcp://a\x00b:secret@c/", fault: "not a URI"},
	} {
		a, err := parseURI(c.uri)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v, expected %q", c.uri, err, c.fault)
			}
			continue
		}
		if err != nil || a != (address{c.network, c.addr, c.open}) {
			t.Errorf("%q: %+v, %v", c.uri, a, err)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	ok := HostConfig{URI: "qemu+tcp://host-a/system"}
	for name, cfg := range map[string]Config{
		"no id": {Hosts: []HostConfig{ok}}, "no hosts": {ID: "kvm"}, "twice": {ID: "kvm", Hosts: []HostConfig{ok, ok}},
		"bad uri": {ID: "kvm", Hosts: []HostConfig{{URI: "x"}}}, "bad peer": {ID: "kvm", Hosts: []HostConfig{{URI: ok.URI, Peer: "qemu+ssh://b"}}},
	} {
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"domain-running.xml", "domain-inactive.xml", "domain-mirror.xml"} {
		g, err := translate(testdata(t, name), "gold-1", testPools)
		if err != nil {
			t.Fatal(err)
		}
		want := fleet.VM{
			ID: "vm-db", UUID: g.vm.UUID, Ref: g.vm.UUID, Host: "gold-1", CPU: 1000, Memory: 16 * fleet.MiB,
			Disks:   []fleet.Disk{{ID: "vda", Pool: "gold-1/hdd", Path: "/var/lib/libvirt/images/hdd/vm-db.vmdk", Format: "vmdk"}},
			VNICs:   []fleet.VNIC{{ID: "52:54:00:" + g.vm.VNICs[0].ID[9:], Network: "vmbr0", Queues: 4}},
			Blocked: []fleet.Blocker{{Change: fleet.ChangeHost, Reason: "vda is a VMDK: QEMU refuses live migration"}},
		}
		if d := cmp.Diff(want, g.vm); d != "" || len(g.vm.UUID) != 36 || len(g.gaps) > 0 || g.marker != nil {
			t.Errorf("%s: %s, gaps %v, marker %v", name, d, g.gaps, g.marker)
		}
		if m, ok := g.mirrors["vda"]; ok != (name == "domain-mirror.xml") || ok && (m.path != "/var/lib/libvirt/images/ssd/vm-db.vmdk" || m.ready) {
			t.Errorf("%s: mirrors %+v", name, g.mirrors)
		}
	}
}

// TestTranslateHeld has a VM for each reason to leave it alone.
func TestTranslateHeld(t *testing.T) {
	t.Parallel()
	disk := func(inner string) string {
		return "<devices><disk type='file' device='disk'><source file='/var/lib/libvirt/images/hdd/a.qcow2'/><target dev='vda'/>" + inner + "</disk></devices>"
	}
	for _, c := range []struct{ inner, pinned string }{
		{disk(""), ""},
		{disk("<backingStore/>"), ""},
		{disk("<backingStore type='file'><format type='qcow2'/><source file='/b'/><backingStore/></backingStore>"), "vda has a backing chain, which is not moved yet"},
		{"<devices><disk type='file' device='disk'><source file='/var/lib/libvirt/images/hdd/a.raw.berth'/><target dev='vda'/></disk></devices>", "vda has the name of a label file"},
		{disk("<shareable/>"), "vda is shared with other VMs"},
		{"<os><kernel>/boot/k</kernel></os>", "boots from /boot/k, a file of its host"},
		{"<os><nvram>/v.fd</nvram></os>", "keeps UEFI variables in /v.fd, a file of its host"},
		{"<devices><hostdev mode='subsystem' type='pci'><source><address domain='0' bus='0' slot='1' function='0'/></source></hostdev></devices>", "has a device passed through"},
		{"<devices><filesystem type='mount'><source dir='/x'/><target dir='y'/></filesystem></devices>", "shares a folder with its host"},
		{"<devices><tpm model='tpm-tis'><backend type='emulator'/></tpm></devices>", "has a TPM, whose state its host keeps"},
		{"<devices><disk type='file' device='cdrom'><source file='/iso'/><target dev='sda'/></disk></devices>", "vm-a has a medium in drive sda"},
		{"<devices><disk type='file' device='cdrom'><target dev='sda'/></disk></devices>", ""},
		{"<devices><disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vda'/></disk></devices>", "vda is not a file in a pool"},
		{"<devices><disk type='file' device='disk'><source file='/elsewhere/x'/><target dev='vda'/></disk></devices>", "vda is in no storage pool"},
		{"<devices><disk type='file' device='disk'><source file='/dev/vg0/x'/><target dev='vda'/></disk></devices>", "vda is in pool gold-1/lvm of type logical, which is not supported yet"},
	} {
		g, err := translate("<domain><name>vm-a</name><uuid>u</uuid>"+c.inner+"</domain>", "gold-1", testPools)
		if err != nil || g.vm.Pinned != c.pinned {
			t.Errorf("%s: pinned %q, %v, expected %q", c.inner, g.vm.Pinned, err, c.pinned)
		}
	}
}

// TestTranslateBlocked has the formats whose label a live copy would lose; the planner has to know.
func TestTranslateBlocked(t *testing.T) {
	t.Parallel()
	for format, want := range map[string][2]bool{ // host, storage
		"vmdk": {true, false}, "vdi": {true, true}, "vpc": {true, true}, "qcow2": {false, false}, "raw": {false, false}, "qed": {false, false},
	} {
		g, err := translate("<domain><name>vm-a</name><uuid>u</uuid><devices><disk type='file' device='disk'><driver type='"+format+
			"'/><source file='/var/lib/libvirt/images/hdd/a'/><target dev='vda'/></disk></devices></domain>", "gold-1", testPools)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{g.vm.BlockedBy(fleet.ChangeHost) != "", g.vm.BlockedBy(fleet.ChangeStorage) != ""}; got != want {
			t.Errorf("%s: blocked %v, expected %v", format, got, want)
		}
	}
}

func TestPoolOf(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"/var/lib/libvirt/images/hdd/a": "hdd", "/var/lib/libvirt/images/hddx/a": "all", "/var/lib/libvirt/images/a": "all",
		"/var/lib/libvirt/images/ssd/../hdd/a": "hdd", "/var/lib": "", "": "",
	} {
		got := ""
		if p := poolOf(testPools, file); p != nil {
			got = p.name
		}
		if got != want {
			t.Errorf("%s: pool %q, expected %q", file, got, want)
		}
	}
}

// TestRewrite changes a path and adds a mark, and nothing else.
func TestRewrite(t *testing.T) {
	t.Parallel()
	const old, target = "/var/lib/libvirt/images/hdd/vm-db.vmdk", "/pool & more/<vm'\".vmdk"
	for _, name := range []string{"domain-running.xml", "domain-inactive.xml", "domain-mirror.xml"} {
		doc := testdata(t, name)
		got, err := rewrite(doc, map[string]string{"vda": target}, &marker{State: stateIncoming, From: "host <a>", Autostart: true})
		if err != nil {
			t.Fatal(err)
		}
		g, err := translate(got, "gold-1", append(testPools, poolInfo{id: "p", name: "p", kind: "dir", path: "/pool & more"}))
		if err != nil {
			t.Fatal(err)
		}
		if g.path("vda") != target || g.marker == nil || *g.marker != (marker{stateIncoming, "host <a>", true}) {
			t.Errorf("%s: path %q, marker %+v", name, g.path("vda"), g.marker)
		}
		back, err := rewrite(got, map[string]string{"vda": old}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if back = strings.Replace(back, g.marker.String(), "", 1); back != doc {
			t.Errorf("%s: more was changed:\n%s", name, cmp.Diff(doc, back))
		}
	}
	for _, inner := range []string{"", "<metadata/>", "<metadata><a xmlns='urn:a'>x</a></metadata>"} {
		doc := "<domain><name>n</name>" + inner + "<uuid>u</uuid></domain>"
		got, err := rewrite(doc, nil, &marker{State: stateIncoming})
		if err != nil {
			t.Fatal(err)
		}
		g, err := translate(got, "", nil)
		if err != nil || g.marker == nil || strings.Contains(inner, "urn:a") != strings.Contains(got, "urn:a") {
			t.Errorf("%s: %s, %v", inner, got, err)
		}
	}
	if _, err := rewrite("<domain><name>n</name></domain>", map[string]string{"vda": "/x"}, nil); err == nil {
		t.Error("a path of a disk that is not there was changed")
	}
}

func TestNICs(t *testing.T) {
	t.Parallel()
	dev := func(name string) *nodeDevice {
		d, err := parseNodeDevice(testdata(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	bridge, ports, err := bridgePorts(testdata(t, "bridge.xml"))
	if err != nil || bridge != "vmbr0" || len(ports) == 0 {
		t.Fatalf("bridge %q, ports %q, %v", bridge, ports, err)
	}
	uplinks := map[string]bool{}
	for _, p := range ports {
		uplinks[p] = true
	}
	pf, vf := dev("pci_0000_00_10_0.xml"), dev("pci_0000_00_10_1.xml")
	ens, eth := dev("net_ens16f0_02_00_0a_4d_01_01.xml"), dev("net_eth0_02_00_0a_4d_00_01.xml")
	if nic, ok := toNIC(ens, pf, uplinks); !ok || nic.Class != 3 || nic.Queues != 7 || nic.NUMANode != 0 {
		t.Errorf("physical function: %+v, %t", nic, ok)
	}
	if _, ok := toNIC(ens, vf, uplinks); ok {
		t.Error("a virtual function counts as a NIC")
	}
	if nic, ok := toNIC(ens, nil, uplinks); !ok || nic.Class != 0 || nic.Queues != 0 {
		t.Errorf("virtual uplink: %+v, %t", nic, ok)
	}
	if _, ok := toNIC(eth, nil, uplinks); ok {
		t.Error("a virtual device that carries no bridge counts as a NIC")
	}
}

func TestParseVMDK(t *testing.T) {
	t.Parallel()
	const flat = "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 65536 FLAT \"a-flat.vmdk\" 0\nddb.x = \"1\"\n"
	v, err := parseVMDK([]byte(flat), int64(len(flat)))
	if err != nil || v == nil || v.embedded {
		t.Fatalf("%+v, %v", v, err)
	}
	if size, ok := v.size(); !ok || size != 32<<20 {
		t.Errorf("size %d", size)
	}
	if d := cmp.Diff([]string{"a-flat.vmdk"}, v.files()) + cmp.Diff([]string{`ddb.x = "1"`}, v.ddb()); d != "" {
		t.Error(d)
	}
	for name, text := range map[string]string{
		"folder":  strings.Replace(flat, "a-flat", "x/a-flat", 1),
		"up":      strings.Replace(flat, "a-flat.vmdk", "..", 1),
		"size":    strings.Replace(flat, "65536", "-1", 1),
		"huge":    strings.Replace(flat, "65536", "99999999999999999999", 1),
		"no type": strings.Replace(flat, "createType", "x", 1),
		"bomb":    flat + strings.Repeat("RW 1 ZERO\n", maxExtents),
		"header":  "KDMV",
		"offset":  "KDMV" + strings.Repeat("\xff", 600),
	} {
		if v, err := parseVMDK([]byte(text), int64(len(text))); err == nil {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v, err := parseVMDK([]byte("QFI\xfb"), 4); v != nil || err != nil {
		t.Errorf("qcow2: %+v, %v", v, err)
	}
}

// TestRuns: the runs and the zeros between them make up the data, and no run is all zero.
func TestRuns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		for range rapid.IntRange(0, 6).Draw(t, "blocks") {
			n := rapid.SampledFrom([]int{zeroBlock, zeroBlock, 1, 4097}).Draw(t, "size")
			b := make([]byte, n)
			if rapid.Bool().Draw(t, "data") {
				b[rapid.IntRange(0, n-1).Draw(t, "at")] = 1
			}
			data = append(data, b...)
		}
		copied := make([]byte, len(data))
		err := runs(data, func(off int, p []byte) error {
			if isZero(p) {
				t.Fatalf("a run of zeros at %d", off)
			}
			copy(copied[off:], p)
			return nil
		})
		if err != nil || string(copied) != string(data) {
			t.Fatalf("differs: %v", err)
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	var timeout net.Error = &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		err     error
		changes bool
		want    fleet.ErrorKind
	}{
		{fmt.Errorf("%w", errTimeout), false, fleet.Retry}, {fmt.Errorf("%w", errTimeout), true, fleet.Unknown},
		{timeout, true, fleet.Unknown}, {&unreachableError{timeout}, true, fleet.Retry}, {errors.New("other"), true, fleet.Permanent},
		{decodeError([]byte("\x00\x00\x00\x2a\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02no\x00\x00")), true, fleet.Permanent},
	} {
		if got := fleet.KindOf(wrap("op", c.err, c.changes)); got != c.want {
			t.Errorf("%v (changes %t): %s, expected %s", c.err, c.changes, got, c.want)
		}
	}
	if err := wrap("op", decodeError([]byte("\x00\x00\x00\x2a\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02no\x00\x00")), true); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("%v is not fleet.ErrNotFound", err)
	}
	if err := decodeError([]byte("short")); err == nil {
		t.Error("no error")
	}
}

// TestSilentServer: a server that accepts and never answers costs the deadline, and no more.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, err := Open(Config{ID: "kvm", Hosts: []HostConfig{{URI: "qemu+unix:///system?socket=" + path}}, Timeouts: Timeouts{Dial: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Observe(t.Context()); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("observe: %v", err)
	}
	pool := fleet.Pool{ID: "p", Ref: d.hosts[0].cfg.URI + "#p"}
	if _, err := d.OpenImage(t.Context(), pool, "/x"); fleet.KindOf(err) != fleet.Retry {
		t.Errorf("open: %v", err)
	}
	if _, err := d.hosts[0].wire(t.Context()); err == nil {
		t.Error("a stream connection was made")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, n := range []string{"domain-running.xml", "domain-inactive.xml", "domain-mirror.xml"} {
		f.Add(testdata(f, n))
	}
	f.Add("<domain><name>a</name><uuid>b</uuid><memory unit='TiB'>99999999999</memory></domain>")
	f.Fuzz(func(t *testing.T, doc string) {
		if g, err := translate(doc, "host-a", testPools); err == nil {
			if g.vm.ID == "" || g.vm.CPU < 0 || g.vm.Memory < 0 || len(g.vm.Disks) > maxDisks {
				t.Errorf("%+v", g.vm)
			}
			for _, d := range g.vm.Disks {
				if d.Pool == "" || len(d.Chain) > fleet.MaxChain {
					t.Errorf("%+v", d)
				}
			}
		}
		if _, err := fileNames(doc); err != nil {
			return
		}
		l, err := locate(doc)
		if err != nil {
			return
		}
		for dev := range l.diskSource {
			if got, err := rewrite(doc, map[string]string{dev: "/x/y"}, &marker{State: stateIncoming}); err == nil {
				if names, err := fileNames(got); err != nil || !names["/x/y"] {
					t.Errorf("disk %q is not at its new path in %q (%v)", dev, got, err)
				}
			}
		}
	})
}

func FuzzParseVMDK(f *testing.F) {
	f.Add([]byte("# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 65536 FLAT \"a-flat.vmdk\" 0\n"))
	f.Add(append([]byte("KDMV\x01\x00\x00\x00"), make([]byte, 600)...))
	f.Fuzz(func(t *testing.T, head []byte) {
		v, err := parseVMDK(head, int64(len(head)))
		if err != nil || v == nil {
			return
		}
		if size, ok := v.size(); ok && size < 0 {
			t.Errorf("size %d", size)
		}
		for _, n := range v.files() {
			if strings.ContainsRune(n, '/') || n == ".." {
				t.Errorf("extent %q", n)
			}
		}
	})
}

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x2a\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02no\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if decodeError(b) == nil {
			t.Error("no error")
		}
	})
}
