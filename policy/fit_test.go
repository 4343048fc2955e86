package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/fleet"
)

const fitText = `version: 1
tiers: {server: [only], storage: [any]}
security: [open, strict]
match:
  servers: [{tier: only, when: 'host.rack != "r9" && host.site != "away" && host.cpu_model != "i486"'}]
  security: [{class: strict, when: 'host.patch["XSA-450"] == "fixed" && host.patch["CVE-1"] != "affected"'}]
  pools: [{tier: any, when: "pool.iops < 100 && pool.throughput_mb < 100"}]
  nics: [{class: 3, when: 'nic.guarantee_mbps >= 1000'}, {class: 2, when: 'nic.module == "io-1" && host.name == "host-b"'}]
levels:
  - {name: low, server: only, storage: any, nic_rate: 100, iops: 10, iops_per_gib: 0.5, throughput: 20, hypervisor: [xen, kvm]}
  - {name: high, server: only, storage: any, nic_rate: 1000, iops: 10, iops_per_gib: 3, throughput: 50, spread: rack}
defaults: {unlabelled: low, unsigned_ceiling: low}
`

// TestFitOfLevels: rates of the NIC and of each disk's pool, by level and by override, held down to the ceiling.
func TestFitOfLevels(t *testing.T) {
	t.Parallel()
	c := parsed(t, fitText)
	either := []fleet.Hypervisor{fleet.KVM, fleet.Xen}
	for _, tc := range []struct {
		name  string
		disk  fleet.Disk
		rate  fleet.Mbps
		iops  fleet.IOPS
		mbps  fleet.MBps
		kinds []fleet.Hypervisor
		note  string
	}{
		{"nothing said", disk("vda", fleet.TrustNone, ""), 100, 10 + 6, 20, either, ""}, // 11.5 GiB count as 12
		{"by level", disk("vda", fleet.TrustSigned, "high"), 1000, 10 + 36, 50, nil, ""},
		{"rate and IOPS", disk("vda", fleet.TrustSigned, "low", "nic.rate", "2500", "storage.iops", "4000"), 2500, 4000, 20, either, ""},
		{"no IOPS", disk("vda", fleet.TrustSigned, "high", "storage.iops", "0"), 1000, 0, 50, nil, ""},
		{"rate above the ceiling", disk("vda", fleet.TrustUnsigned, "low", "nic.rate", "2500"), 100, 16, 20, either,
			"override nic.rate=2500 is above the unsigned ceiling low: counts as 100"},
		{"IOPS above the ceiling", disk("vda", fleet.TrustUnsigned, "low", "storage.iops", "17"), 100, 16, 20, either,
			"override storage.iops=17 is above the unsigned ceiling low: counts as 16"},
		{"IOPS at the ceiling", disk("vda", fleet.TrustUnsigned, "low", "storage.iops", "16"), 100, 16, 20, either, ""},
		{"no number", disk("vda", fleet.TrustSigned, "low", "storage.iops", "many"), 100, 16, 20, either,
			"override storage.iops=many is ignored: expected a whole number from 0 to 100000000"},
		{"a hypervisor", disk("vda", fleet.TrustUnsigned, "low", "hypervisor", "kvm"), 100, 16, 20, []fleet.Hypervisor{fleet.KVM}, ""},
		{"hypervisors", disk("vda", fleet.TrustSigned, "high", "hypervisor", "xen/vsphere"), 1000, 46, 50, []fleet.Hypervisor{fleet.VSphere, fleet.Xen}, ""},
		{"no hypervisor", disk("vda", fleet.TrustSigned, "low", "hypervisor", "kvm/bochs"), 100, 16, 20, either,
			"override hypervisor=kvm/bochs is ignored: expected some of vsphere, kvm, xen with / between them"},
	} {
		tc.disk.Size = 11*fleet.GiB + fleet.GiB/2
		p, err := Resolve(c, fleetOf(fleet.VM{ID: "vm-db", Disks: []fleet.Disk{tc.disk}}))
		if err != nil {
			t.Fatal(err)
		}
		r := p.VMs["vm-db"]
		if r.Rate != tc.rate || r.Disks[0].IOPS != tc.iops || r.Disks[0].Throughput != tc.mbps || !slices.Equal(r.Hypervisors, tc.kinds) {
			t.Errorf("%s: rate %d, disk %+v, hypervisors %v", tc.name, r.Rate, r.Disks[0], r.Hypervisors)
		}
		if strings.Join(r.Notes, "; ") != tc.note {
			t.Errorf("%s: notes %q, expected %q", tc.name, r.Notes, tc.note)
		}
	}
	if l, _ := c.Level("high"); l.Spread != DomainRack {
		t.Errorf("level high is spread over %s", l.Spread)
	}
}

// TestDisksOfOtherHypervisors: what disks have in common counts; where that is nothing the VM is held, with both named.
func TestDisksOfOtherHypervisors(t *testing.T) {
	t.Parallel()
	c := parsed(t, fitText)
	a := disk("vda", fleet.TrustSigned, "high", "hypervisor", "kvm/xen")
	b := disk("vdb", fleet.TrustSigned, "high", "hypervisor", "xen/vsphere")
	d := disk("vdc", fleet.TrustSigned, "high", "hypervisor", "kvm")
	p, err := Resolve(c, fleetOf(fleet.VM{ID: "vm-a", Disks: []fleet.Disk{a, b}}, fleet.VM{ID: "vm-b", Disks: []fleet.Disk{b, d}}))
	if err != nil {
		t.Fatal(err)
	}
	if r := p.VMs["vm-a"]; !slices.Equal(r.Hypervisors, []fleet.Hypervisor{fleet.Xen}) || r.Hold != "" {
		t.Errorf("vm-a needs %v, held %q", r.Hypervisors, r.Hold)
	}
	want := "its disks contradict each other: vdb needs hypervisor vsphere or xen, vdc needs kvm"
	if r := p.VMs["vm-b"]; r.Hold != want {
		t.Errorf("vm-b is held because %q, expected %q", r.Hold, want)
	}
}

// TestPatches: what a host does not say of a patch is unknown, and the rule says what unknown counts as.
func TestPatches(t *testing.T) {
	t.Parallel()
	c := parsed(t, fitText)
	for _, tc := range []struct {
		patch map[string]fleet.PatchState
		class int
	}{
		{nil, 0},
		{map[string]fleet.PatchState{"XSA-450": fleet.PatchFixed}, 1},
		{map[string]fleet.PatchState{"XSA-450": fleet.PatchFixed, "CVE-1": fleet.PatchUnknown}, 1},
		{map[string]fleet.PatchState{"XSA-450": fleet.PatchFixed, "CVE-1": fleet.PatchAffected}, 0},
		{map[string]fleet.PatchState{"XSA-450": fleet.PatchUnknown, "XSA-1": fleet.PatchFixed}, 0},
		{map[string]fleet.PatchState{"XSA-450": fleet.PatchAffected}, 0},
	} {
		f, err := c.host(&fleet.Host{ID: "host-a", Patch: tc.patch}, nil)
		if err != nil || f.Security != tc.class {
			t.Errorf("%v: class %d, %v, expected %d", tc.patch, f.Security, err, tc.class)
		}
	}
}

// TestFactsOfFit: rules see racks, sites, processors, guarantees, pools' rates and modules; a host's facts have the NICs
// of the modules that it can get.
func TestFactsOfFit(t *testing.T) {
	t.Parallel()
	c := parsed(t, fitText)
	s := fleetOf()
	s.Hosts = []fleet.Host{
		{ID: "host-a", Source: "lab", NICs: []fleet.NIC{{ID: "eth0", Speed: 1000, Guarantee: 1000}}},
		{ID: "host-b", Source: "lab", Rack: "r9"}, {ID: "host-c", Source: "lab", Site: "away"}, {ID: "host-d", Source: "lab", CPUModel: "i486"},
	}
	s.Pools = []fleet.Pool{{ID: "a", Source: "lab", IOPS: 100}, {ID: "b", Source: "lab", Throughput: 100}, {ID: "c", Source: "lab", IOPS: 99, Throughput: 99}}
	s.Modules = []fleet.IOModule{{ID: "io-1", Source: "lab", Kind: fleet.ModuleNIC, NICs: []fleet.NIC{{ID: "io-1/p0", Class: 1}},
		AttachableTo: []fleet.HostID{"host-a", "host-b"}}}
	p, err := Resolve(c, s)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, h := range s.Hosts {
		got[string(h.ID)] = fmt.Sprint(p.Hosts[h.ID].Tier, p.Hosts[h.ID].NICClass)
	}
	for _, q := range s.Pools {
		got[string(q.ID)] = int(p.Pools[q.ID].Tier)
	}
	want := map[string]any{
		"host-a": "0 map[eth0:3 io-1/p0:1]", "host-b": "-1 map[io-1/p0:2]", "host-c": "-1 map[]", "host-d": "-1 map[]", "a": -1, "b": -1, "c": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestFitFaults: what is wrong with the keys of rates and fit is said with its place.
func TestFitFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nic_rate: -1":              `nic_rate is "-1", expected a whole number from 0 to 10000000`,
		"nic_rate: .nan":            `nic_rate is ".nan", expected a whole number`,
		"iops: 1e99":                `iops is "1e99", expected a whole number`,
		"iops: 9223372036854775808": `iops is "9223372036854775808", expected a whole number`,
		"iops_per_gib: .inf":        `iops_per_gib is ".inf", expected a number from 0 to 10000`,
		"throughput: 0.5":           `throughput is "0.5", expected a whole number`,
		"hypervisor: []":            "hypervisor is an empty list, expected at least one of vsphere, kvm, xen",
		"hypervisor: kwm":           `unknown hypervisor "kwm", expected one of vsphere, kvm, xen; did you mean "kvm"?`,
		"hypervisor: [kvm, kvm]":    `"kvm" a second time in hypervisor, expected each once`,
		"spread: row":               `unknown spread "row", expected one of host, chassis, rack, site, cluster`,
	} {
		_, err := Parse("levels.yaml", []byte(strings.Replace(fitText, "nic_rate: 1000, iops: 10, iops_per_gib: 3, throughput: 50, spread: rack", text, 1)))
		if err == nil || !strings.Contains(err.Error(), "levels.yaml:11:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", text, err, want)
		}
	}
	_, err := Parse("levels.yaml", []byte(strings.Replace(fitText, "iops_per_gib: 3", "iops_per_gib: 0.25", 1)))
	if err == nil || !strings.Contains(err.Error(), "lower number of IOPS for each GiB (25, below 50)") {
		t.Errorf("a level that needs less: %v", err)
	}
}

// TestIOPSDoNotOverflow: the largest need of the largest disk is a number that can be added up.
func TestIOPSDoNotOverflow(t *testing.T) {
	t.Parallel()
	n := IONeed{IOPS: maxIOPS, PerGiB: maxPerGiB}
	if got := n.forSize(1<<63 - 1); got != maxDiskIOPS {
		t.Errorf("%d, expected %d", got, int64(maxDiskIOPS))
	}
	if got := n.forSize(0); got != maxIOPS {
		t.Errorf("an empty disk: %d", got)
	}
}

// TestExplainFit: the rates of levels are shown where a level has any.
func TestExplainFit(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := parsed(t, fitText).Explain(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"LEVEL  NIC RATE  IOPS  AND PER GIB  THROUGHPUT  HYPERVISOR", "low    100 Mb/s  10    0.5          20 MB/s     kvm or xen",
		"high   1 Gb/s    10    3            50 MB/s     any",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
}
