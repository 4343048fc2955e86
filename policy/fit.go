package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/fleet"
)

// Ranges of what a level or label can reserve. A disk of the largest size a label knows, at the most for each GiB,
// counts as maxDiskIOPS.
const (
	maxNICRate      = 10_000_000         // Mb/s
	maxIOPS         = 100_000_000        // of one disk, as named
	maxPerGiB       = Percent(1_000_000) // hundredths of an IOPS
	maxThroughput   = 10_000_000         // MB/s
	maxDiskIOPS     = 1 << 40
	hypervisorsText = "vsphere, kvm, xen"
)

// hypervisors are the kinds that a level or label can name.
var hypervisors = []string{string(fleet.VSphere), string(fleet.KVM), string(fleet.Xen)}

func domainNames() []string {
	var names []string
	for _, d := range Domains() {
		names = append(names, string(d))
	}
	return names
}

// IONeed is what is reserved for one disk in its pool.
type IONeed struct {
	IOPS       fleet.IOPS `json:"iops,omitempty"`
	PerGiB     Percent    `json:"perGiB,omitempty"` // IOPS for each GiB that the guest sees, in hundredths
	Throughput fleet.MBps `json:"throughput,omitempty"`
}

// forSize is the number of IOPS that n reserves for a disk of a size, rounded up.
func (n IONeed) forSize(size fleet.Bytes) fleet.IOPS {
	gib := int64(size / fleet.GiB)
	if size%fleet.GiB > 0 {
		gib++
	}
	if gib > 0 && int64(n.PerGiB) > maxDiskIOPS/gib {
		return maxDiskIOPS
	}
	return min(n.IOPS+fleet.IOPS((gib*int64(n.PerGiB)+99)/100), maxDiskIOPS)
}

// of fills in what a disk of a size reserves.
func (n IONeed) of(r DiskRequirement, size fleet.Bytes) DiskRequirement {
	r.IOPS, r.Throughput = n.forSize(size), n.Throughput
	return r
}

// ioLimit holds an override of IOPS down to what the level of a label's ceiling gives a disk of the size.
type ioLimit struct {
	io          IONeed
	value       string // of the override
	what, level string // "unsigned ceiling", "silver"
}

func (l *ioLimit) hold(req *Requirement, v *fleet.VM, disk int) {
	if l == nil {
		return
	}
	d := &req.Disks[disk]
	most := l.io.forSize(v.Disks[disk].Size)
	if d.IOPS <= most {
		return
	}
	note := fmt.Sprintf("override storage.iops=%s is above the %s %s: counts as %d", l.value, l.what, l.level, most)
	if len(v.Disks) > 1 {
		note = fmt.Sprintf("disk %s: %s", v.Disks[disk].ID, note)
	}
	req.Notes = append(req.Notes, note)
	d.IOPS = most
}

// iops reads storage.iops, which stands for all that the level says of IOPS.
func (o *override) iops(c *Catalogue, ceiling *need) {
	v, err := strconv.Atoi(o.value)
	if err != nil || v < 0 || v > maxIOPS {
		o.need.note("override %s=%s is ignored: expected a whole number from 0 to %d", o.key, o.value, maxIOPS)
		return
	}
	o.need.io.IOPS, o.need.io.PerGiB = fleet.IOPS(v), 0
	if o.lim.capped {
		o.need.ioLimit = &ioLimit{io: ceiling.io, value: o.value, what: o.lim.what, level: c.levels[ceiling.level].Name}
	}
}

// hypervisor reads the kinds that a label names, "kvm" or "kvm/xen". A label that is held down may choose too: it keeps
// its own VM off hosts, and raises nothing.
func (o *override) hypervisor() {
	var kinds []fleet.Hypervisor
	for _, name := range strings.Split(o.value, "/") {
		if !slices.Contains(hypervisors, name) {
			o.need.note("override %s=%s is ignored: expected some of %s with / between them", o.key, o.value, hypervisorsText)
			return
		}
		kinds = append(kinds, fleet.Hypervisor(name))
	}
	slices.Sort(kinds)
	o.need.hypervisors = slices.Compact(kinds)
}

// hypervisors narrows req to the kinds that all labelled disks of v can do with. Disks that contradict each other hold
// the VM where it is: there is no host that would be right.
func (r *resolver) hypervisors(req *Requirement, v *fleet.VM, needs []*need) {
	obeyed := false
	first := -1 // the disk that named the kinds so far
	for i, n := range needs {
		obeyed = obeyed || n.obeyed
		if !n.obeyed || n.hypervisors == nil {
			continue
		}
		if first < 0 {
			req.Hypervisors, first = n.hypervisors, i
			continue
		}
		both := slices.DeleteFunc(slices.Clone(req.Hypervisors), func(h fleet.Hypervisor) bool { return !slices.Contains(n.hypervisors, h) })
		if len(both) == 0 {
			why := fmt.Sprintf("its disks contradict each other: %s needs hypervisor %s, %s needs %s", v.Disks[first].ID,
				joinKinds(req.Hypervisors), v.Disks[i].ID, joinKinds(n.hypervisors))
			req.Hold = joinHold(req.Hold, why)
			return
		}
		req.Hypervisors = both
	}
	if !obeyed {
		req.Hypervisors = r.cat.levels[r.cat.defaults.Unlabelled].Hypervisors
	}
}

func joinHold(hold, why string) string {
	if hold == "" {
		return why
	}
	return hold + "; " + why
}

func joinKinds(kinds []fleet.Hypervisor) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, " or ")
}

// fit reads one of a level's keys of rates and fit.
func (p *parser) fit(l *Level, key string, n *yaml.Node) {
	switch key {
	case "nic_rate":
		l.Rate = fleet.Mbps(p.whole(n, key, 0, maxNICRate))
	case "iops":
		l.IO.IOPS = fleet.IOPS(p.whole(n, key, 0, maxIOPS))
	case "iops_per_gib":
		l.IO.PerGiB = p.percent(n, key, 0, maxPerGiB)
	case "throughput":
		l.IO.Throughput = fleet.MBps(p.whole(n, key, 0, maxThroughput))
	case "hypervisor":
		l.Hypervisors = p.kinds(n)
	}
}

// kinds reads one hypervisor, or a list of them of which any will do.
func (p *parser) kinds(n *yaml.Node) []fleet.Hypervisor {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = p.list(n, "hypervisor", len(hypervisors))
		if len(n.Content) == 0 {
			p.fault(n, "hypervisor is an empty list", "at least one of "+hypervisorsText)
		}
	}
	var kinds []fleet.Hypervisor
	for _, item := range items {
		i := p.choice(item, "hypervisor", hypervisors)
		switch {
		case i < 0:
		case slices.Contains(kinds, fleet.Hypervisor(hypervisors[i])):
			p.fault(item, fmt.Sprintf("%q a second time in hypervisor", hypervisors[i]), "each once")
		default:
			kinds = append(kinds, fleet.Hypervisor(hypervisors[i]))
		}
	}
	slices.Sort(kinds)
	return kinds
}

// explainFit writes what the levels need of rates and hypervisors; nothing when none needs any.
func (c *Catalogue) explainFit(b *strings.Builder) {
	if !slices.ContainsFunc(c.levels, func(l Level) bool { return l.Rate > 0 || l.IO != IONeed{} || l.Hypervisors != nil }) {
		return
	}
	b.WriteString("\nAnd by level: bandwidth of its NIC, and for each disk operations and bytes a second of its pool\n")
	t := table(b)
	row(t, "LEVEL", "NIC RATE", "IOPS", "AND PER GIB", "THROUGHPUT", "HYPERVISOR")
	for i := range c.levels {
		l := &c.levels[i]
		kinds := joinKinds(l.Hypervisors)
		if kinds == "" {
			kinds = "any"
		}
		row(t, l.Name, l.Rate.String(), fmt.Sprint(int64(l.IO.IOPS)), l.IO.PerGiB.factor(), fmt.Sprintf("%d MB/s", int64(l.IO.Throughput)), kinds)
	}
	_ = t.Flush() // into a strings.Builder
}
