package plan

import (
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// What a look at a host costs decides how large a fleet can keep a reserve. Here is what is remembered for it: which kinds of
// hosts take which kinds of VMs, and the NICs of each host and the needs there, sorted.

// vmKind is all of a VM that hostRefusal looks at.
type vmKind struct {
	source          fleet.SourceID
	guest, baseline string
	server          policy.Rank
	security        int
	class           fleet.NICClass
	more            string // hypervisors and networks
}

// hostKind is all of a host that hostRefusal looks at.
type hostKind struct {
	source     fleet.SourceID
	shut       bool
	hypervisor fleet.Hypervisor
	tier       policy.Rank
	security   int
	class      fleet.NICClass
	more       string // guests, processor baselines and networks
}

// kinds answers hostRefusal from a table.
type kinds struct {
	vms   map[vmKind]int32
	hosts map[hostKind]int32
	rows  [][]uint8 // by kind of VM and of host: 0 is not known yet
	cells int
}

// maxKindCells bounds the table; beyond, hosts are looked at each time.
const maxKindCells = 1 << 26

const (
	taken uint8 = iota + 1
	refused
)

func (k *kinds) ofVM(v *vmAt) int32 {
	var b strings.Builder
	for _, h := range v.need.Hypervisors {
		writePart(&b, string(h))
	}
	b.WriteByte('|')
	for i := range v.vm.VNICs {
		writePart(&b, v.vm.VNICs[i].Network)
	}
	key := vmKind{v.vm.Source, v.vm.Guest, v.vm.CPUBaseline, v.need.Server, v.need.Security, v.need.NICClass, b.String()}
	n, ok := k.vms[key]
	if !ok {
		n = int32(len(k.vms)) // at most as many as VMs
		k.vms[key] = n
		k.rows = append(k.rows, nil)
	}
	return n
}

// writePart writes s so that no other list of parts reads the same.
func writePart(b *strings.Builder, s string) {
	b.WriteString(strings.ReplaceAll(strings.ReplaceAll(s, "%", "%%"), ",", "%c"))
	b.WriteByte(',')
}

func (k *kinds) ofHost(w *world, h *hostAt) int32 {
	var b strings.Builder
	for _, g := range h.host.Guests {
		writePart(&b, g)
	}
	b.WriteByte('|')
	for _, c := range h.host.CPUBaselines {
		writePart(&b, c)
	}
	b.WriteByte('|')
	for _, n := range h.host.Networks {
		writePart(&b, n)
	}
	class := fleet.NICClass(0)
	for i := range h.host.NICs {
		class = max(class, h.class(&h.host.NICs[i]))
	}
	src := w.p.Snapshot.Source(h.host.Source)
	key := hostKind{
		h.host.Source, h.host.Unreachable || h.host.Maintenance || !src.Reachable, h.host.Hypervisor, h.facts.Tier, h.facts.Security, class, b.String(),
	}
	n, ok := k.hosts[key]
	if !ok {
		n = int32(len(k.hosts)) // at most as many as hosts and moves of modules
		k.hosts[key] = n
	}
	return n
}

// refresh reads the NICs of h anew when a module has come or gone.
func (r *Reserve) refresh(h *reserveHost) {
	if h.seen == h.at.host {
		return
	}
	h.seen, h.kind = h.at.host, r.kinds.ofHost(r.w, h.at)
	h.rooms, h.tooMuch = h.rooms[:0:0], nil
	for i := range h.at.host.NICs {
		n := &h.at.host.NICs[i]
		h.rooms = append(h.rooms, QueueRoom{Class: h.at.class(n), Free: n.Queues, Rate: n.Guarantee})
	}
	slices.SortFunc(h.rooms, QueueRoom.Before)
}

// admits says whether no constraint that depends on host and VM alone refuses v on h.
func (r *Reserve) admits(v *reserveVM, h *reserveHost) bool {
	r.refresh(h)
	row := r.kinds.rows[v.kind]
	if int(h.kind) < len(row) && row[h.kind] != 0 {
		return row[h.kind] == taken
	}
	ok := r.w.hostRefusal(v.at, h.at.host.ID).constraint == ""
	if more := int(h.kind) + 1 - len(row); more > 0 {
		if r.kinds.cells += more; r.kinds.cells > maxKindCells {
			r.kinds.cells -= more
			return ok
		}
		row = append(row, make([]uint8, more)...)
		r.kinds.rows[v.kind] = row
	}
	row[h.kind] = refused
	if ok {
		row[h.kind] = taken
	}
	return ok
}

// reserveNICs enters the needs of v into the sorted list of h, or takes them out.
func (h *reserveHost) reserveNICs(needs []QueueNeed, comes bool) {
	for _, n := range needs {
		at, found := slices.BinarySearchFunc(h.needs, n, QueueNeed.Before)
		switch {
		case comes:
			h.needs = slices.Insert(h.needs, at, n)
		case found:
			h.needs = slices.Delete(h.needs, at, at+1)
		}
	}
	if !comes {
		h.tooMuch = nil
	}
}

// packs says whether what the VMs on h, those of more and v reserve on NICs can be given, without the NICs of a lost module.
func (r *Reserve) packs(h int32, lost fleet.ModuleID, more []int32, v []QueueNeed) bool {
	host := &r.hosts[h]
	if len(host.needs) == 0 && len(more) == 0 && len(v) == 0 {
		return true
	}
	r.refresh(host)
	if lost == "" && slices.ContainsFunc(v, host.hopeless) {
		return false
	}
	needs := append(r.needs[:0], host.needs...) //nolint:gocritic // the scratch is kept below
	insert := func(list []QueueNeed) {
		for _, n := range list {
			at, _ := slices.BinarySearchFunc(needs, n, QueueNeed.Before)
			needs = slices.Insert(needs, at, n)
		}
	}
	insert(v)
	for _, i := range more {
		insert(r.vms[i].nics)
	}
	r.needs = needs
	rooms := host.rooms
	if lost != "" {
		rooms = nil
		for i := range host.at.host.NICs {
			if n := &host.at.host.NICs[i]; n.Module != lost {
				rooms = append(rooms, QueueRoom{Class: host.at.class(n), Free: n.Queues, Rate: n.Guarantee})
			}
		}
		slices.SortFunc(rooms, QueueRoom.Before)
	}
	ok := enoughQueues(rooms, needs) && PackSorted(rooms, needs)
	if !ok && lost == "" && len(more) == 0 && len(v) == 1 && len(host.tooMuch) < maxTooMuch {
		host.tooMuch = append(host.tooMuch, v[0])
	}
	return ok
}

// maxTooMuch bounds the needs that a host remembers to have no room for.
const maxTooMuch = 8

// hopeless says whether no less than n was refused since a VM last left h.
func (h *reserveHost) hopeless(n QueueNeed) bool {
	return slices.ContainsFunc(h.tooMuch, func(o QueueNeed) bool { return n.Class >= o.Class && n.Queues >= o.Queues && n.Rate >= o.Rate })
}

// enoughQueues compares, for each class, the sums that needs of it and above ask for with those that NICs of it and above
// have. Both lists are sorted by Before, so that each prefix of the needs meets a suffix of the rooms.
func enoughQueues(rooms []QueueRoom, needs []QueueNeed) bool {
	var left QueueRoom
	r := len(rooms)
	for i := range needs {
		n := &needs[i]
		for r > 0 && rooms[r-1].Class >= n.Class {
			r--
			left.Free, left.Rate = left.Free+rooms[r].Free, left.Rate+rooms[r].Rate
		}
		left.Free, left.Rate = left.Free-n.Queues, left.Rate-n.Rate
		if (i+1 == len(needs) || needs[i+1].Class != n.Class) && (left.Free < 0 || left.Rate < 0) {
			return false
		}
	}
	return true
}

// relocate gives those whom the case k brings to h, where there is too little room now, other places while it takes to.
func (r *Reserve) relocate(k, h int32) bool {
	f := &r.cases[k]
	if !f.survived {
		return true
	}
	for i := len(f.plan) - 1; i >= 0; i-- { // the smallest first, as settle found them
		g := f.plan[i]
		if g.host != h || g.free {
			continue
		}
		r.unbook(k, g.vm)
		to := r.refuge(k, g.vm, false)
		if to < 0 {
			to = h // too much still: the next may help
		}
		r.charge(k, g.vm, to)
		if to != h && r.holds(k, h) {
			return true
		}
	}
	return r.holds(k, h)
}

// holds says whether h has room for what the case k brings there.
func (r *Reserve) holds(k, h int32) bool {
	host := &r.hosts[h]
	c := host.charge(k)
	facts := &host.at.facts
	return (c.cpu == 0 || host.cpu+c.cpu <= facts.CPU) && (c.memory == 0 || host.memory+c.memory <= facts.Memory) &&
		(c.nics == 0 || r.packs(h, "", r.coming(k, h), nil))
}
