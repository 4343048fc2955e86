package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
)

// drawCatalogue is the text of a catalogue of up to 5 levels, tiers and classes.
func drawCatalogue(t *rapid.T) *Catalogue {
	names := func(prefix string) []string {
		list := make([]string, rapid.IntRange(1, 5).Draw(t, prefix+"s"))
		for i := range list {
			list[i] = fmt.Sprintf("%s%d", prefix, i)
		}
		return list
	}
	server, storage, security, levels := names("server"), names("storage"), names("class"), names("level")
	rising := func(what string, most int) []int {
		l := rapid.SliceOfN(rapid.IntRange(0, most), len(levels), len(levels)).Draw(t, what)
		slices.Sort(l)
		return l
	}
	s, d, c := rising("server tier", len(server)-1), rising("storage tier", len(storage)-1), rising("class", len(security)-1)
	n, q, p := rising("nic class", 3), rising("queues", maxQueues), rising("priority", maxPriority)
	r, o, g, m := rising("rate", maxNICRate), rising("iops", maxIOPS), rising("iops for each GiB", 1000), rising("throughput", maxThroughput)
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ntiers: {server: [%s], storage: [%s]}\nsecurity: [%s]\n", strings.Join(server, ","), strings.Join(storage, ","), strings.Join(security, ","))
	b.WriteString("match: {servers: [], pools: []}\nlevels:\n")
	for i, name := range levels {
		fmt.Fprintf(&b, "  - {name: %s, server: %s, storage: %s, security: %s, nic_class: %d, nic_queues: %d, priority: %d, ",
			name, server[s[i]], storage[d[i]], security[c[i]], n[i], q[i], p[i])
		fmt.Fprintf(&b, "nic_rate: %d, iops: %d, iops_per_gib: %d.5, throughput: %d}\n", r[i], o[i], g[i], m[i])
	}
	fmt.Fprintf(&b, "defaults: {unlabelled: %s, unsigned_ceiling: %s}\n",
		rapid.SampledFrom(levels).Draw(t, "unlabelled"), rapid.SampledFrom(levels).Draw(t, "ceiling"))
	cat, err := Parse("drawn", []byte(b.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	return cat
}

// drawDisk is a disk with a label of any trust, with overrides that have a meaning, or have none.
func drawDisk(t *rapid.T, c *Catalogue, id string) fleet.Disk {
	return drawDiskOf(t, c, id, "unknown", fleet.TrustNone, fleet.TrustUnknown, fleet.TrustUnsigned, fleet.TrustInvalid, fleet.TrustSigned)
}

// drawObeyed is a disk with a label that counts.
func drawObeyed(t *rapid.T, c *Catalogue, id string) fleet.Disk {
	return drawDiskOf(t, c, id, c.levels[0].Name, fleet.TrustUnsigned, fleet.TrustSigned)
}

func drawDiskOf(t *rapid.T, c *Catalogue, id, level string, trusts ...fleet.Trust) fleet.Disk {
	values := map[string]*rapid.Generator[string]{
		"priority":       rapid.StringMatching(`[0-9]{1,4}`),
		"server.tier":    rapid.SampledFrom(append(c.ServerTiers(), "none")),
		"storage.tier":   rapid.SampledFrom(append(c.PoolTiers(), "none")),
		"nic.class":      rapid.StringMatching(`[0-4]`),
		"nic.queues":     rapid.StringMatching(`[0-9]{1,2}`),
		"security.class": rapid.SampledFrom(append(c.SecurityClasses(), "none")),
		"spread.group":   rapid.SampledFrom([]string{"web", "db"}),
		"spread.domain":  rapid.SampledFrom([]string{"host", "chassis", "galaxy"}),
		"affinity.group": rapid.SampledFrom([]string{"web", "db"}),
		"nic.rate":       rapid.StringMatching(`[0-9]{1,9}`),
		"storage.iops":   rapid.StringMatching(`[0-9]{1,10}`),
		"hypervisor":     rapid.SampledFrom([]string{"kvm", "xen/kvm", "vsphere", "bochs", "/"}),
	}
	levels := []string{level}
	for _, l := range c.Levels() {
		levels = append(levels, l.Name)
	}
	trust := rapid.SampledFrom(trusts).Draw(t, "trust")
	if trust == fleet.TrustNone || trust == fleet.TrustUnknown {
		return disk(fleet.DiskID(id), trust, "")
	}
	var overrides []string
	for _, k := range overrideNames {
		if rapid.Bool().Draw(t, "has "+k) {
			overrides = append(overrides, k, values[k].Draw(t, k))
		}
	}
	d := disk(fleet.DiskID(id), trust, rapid.SampledFrom(levels).Draw(t, "level"), overrides...)
	if trust == fleet.TrustSigned && rapid.Bool().Draw(t, "has ceiling") {
		d = byKey(d, rapid.SampledFrom(levels).Draw(t, "key's ceiling"))
	}
	return d
}

func resolveVM(t *rapid.T, c *Catalogue, disks ...fleet.Disk) Requirement {
	p, err := Resolve(c, fleetOf(fleet.VM{ID: "vm-db", Disks: disks}))
	if err != nil {
		t.Fatal(err)
	}
	return p.VMs["vm-db"]
}

// exceeds names what a asks more of than b in anything that has an order, "" for nothing.
func exceeds(c *Catalogue, a, b Requirement) string {
	switch {
	case c.levelIndex(a.Level) > c.levelIndex(b.Level):
		return "level"
	case a.Priority > b.Priority:
		return "priority"
	case a.Server > b.Server:
		return "server tier"
	case a.NICClass > b.NICClass:
		return "NIC class"
	case a.Queues > b.Queues:
		return "queues"
	case a.Security > b.Security:
		return "security class"
	case a.Rate > b.Rate:
		return "NIC rate"
	case len(a.Disks) > 0 && len(a.Disks) == len(b.Disks) && a.Disks[0].IOPS > b.Disks[0].IOPS:
		return "IOPS"
	case len(a.Disks) > 0 && len(a.Disks) == len(b.Disks) && a.Disks[0].Throughput > b.Disks[0].Throughput:
		return "throughput"
	}
	return ""
}

// TestTrustNeverRaises: what a label comes to with less trust is never more than with full trust, nor more than its
// ceiling's level, and what is not obeyed comes to the same as no label.
func TestTrustNeverRaises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCatalogue(t)
		d := drawObeyed(t, c, "vda")
		d.Label.Ceiling = ""
		d.Label.Trust = fleet.TrustSigned
		full := resolveVM(t, c, d)
		ceiling := rapid.SampledFrom(c.Levels()).Draw(t, "ceiling")
		if rapid.Bool().Draw(t, "unsigned") {
			d.Label.Trust, ceiling = fleet.TrustUnsigned, c.UnsignedCeiling()
		} else {
			d.Label.Ceiling = ceiling.Name
		}
		less := resolveVM(t, c, d)
		most := Requirement{
			Level: ceiling.Name, Priority: ceiling.Priority, Server: ceiling.Server, NICClass: ceiling.NICClass, Queues: ceiling.Queues,
			Security: ceiling.Security, Rate: ceiling.Rate,
			Disks: []DiskRequirement{ceiling.IO.of(DiskRequirement{}, d.Size)},
		}
		if what := exceeds(c, less, full); what != "" || less.Disks[0].Tier > full.Disks[0].Tier {
			t.Fatalf("%s is raised by less trust: %+v, with full trust %+v", what, less, full)
		}
		if what := exceeds(c, less, most); what != "" || less.Disks[0].Tier > ceiling.Storage {
			t.Fatalf("%s is above the ceiling: %+v, the ceiling is %+v", what, less, most)
		}
		if what := exceeds(c, full, less); what != "" && len(less.Notes) == 0 {
			t.Fatalf("%s was clamped without a note", what)
		}
		d.Label.Trust = fleet.TrustInvalid
		invalid, nothing := resolveVM(t, c, d), resolveVM(t, c, disk("vda", fleet.TrustNone, ""))
		if exceeds(c, invalid, nothing)+exceeds(c, nothing, invalid) != "" || invalid.Disks[0] != nothing.Disks[0] || len(invalid.Notes) == 0 {
			t.Fatalf("an invalid label comes to %+v, no label to %+v", invalid, nothing)
		}
	})
}

// TestStricterOfDisks: a VM needs at least what each of its labelled disks alone would make it need, nothing that
// none of them does, and each disk its own storage.
func TestStricterOfDisks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCatalogue(t)
		a, b := drawObeyed(t, c, "vda"), drawObeyed(t, c, "vdb")
		ra, rb, both, back := resolveVM(t, c, a), resolveVM(t, c, b), resolveVM(t, c, a, b), resolveVM(t, c, b, a)
		if what := exceeds(c, ra, both) + exceeds(c, rb, both); what != "" {
			t.Fatalf("one disk alone asks for more %s: %+v and %+v, both %+v", what, ra, rb, both)
		}
		if both.Priority != max(ra.Priority, rb.Priority) || both.Server != max(ra.Server, rb.Server) || both.Queues != max(ra.Queues, rb.Queues) ||
			both.NICClass != max(ra.NICClass, rb.NICClass) || both.Rate != max(ra.Rate, rb.Rate) || both.Security != max(ra.Security, rb.Security) {
			t.Fatalf("%+v and %+v make %+v", ra, rb, both)
		}
		back.Disks = nil // in another order
		if exceeds(c, both, back)+exceeds(c, back, both) != "" {
			t.Fatalf("the order of disks matters: %+v, %+v", both, back)
		}
		if both.Disks[0] != ra.Disks[0] || both.Disks[1] != rb.Disks[0] {
			t.Fatalf("disks need %+v, alone %+v and %+v", both.Disks, ra.Disks, rb.Disks)
		}
	})
}

// TestCacheIsByContent: resolving many VMs at once comes to the same as each alone, whatever their labels share.
func TestCacheIsByContent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCatalogue(t)
		var vms []fleet.VM
		for i := range rapid.IntRange(1, 8).Draw(t, "vms") {
			vms = append(vms, fleet.VM{ID: fleet.VMID(fmt.Sprintf("vm-%d", i)), Disks: []fleet.Disk{drawDisk(t, c, "vda")}})
		}
		p, err := Resolve(c, fleetOf(slices.Clone(vms)...))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vms {
			alone, together := resolveVM(t, c, v.Disks...), p.VMs[v.ID]
			if fmt.Sprintf("%+v", alone) != fmt.Sprintf("%+v", together) {
				t.Fatalf("%s: alone %+v, together %+v", v.ID, alone, together)
			}
		}
	})
}

// TestPercentOf compares with plain arithmetic where that does not overflow, and looks for saturation where it does.
func TestPercentOf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Percent(rapid.Int64Range(0, 10_000).Draw(t, "percent"))
		small := rapid.Int64Range(0, 1<<49).Draw(t, "n")
		if got, want := p.Of(small), small*int64(p)/100; got != want {
			t.Fatalf("%d %% of %d is %d, expected %d", p, small, got, want)
		}
		big := rapid.Int64Range(1<<49, 1<<63-1).Draw(t, "big")
		if got := p.Of(big); got < 0 || p >= 100 && got < big {
			t.Fatalf("%d %% of %d is %d", p, big, got)
		}
	})
}
