package policy

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// need is what one disk's label comes to under a catalogue. It is shared by all disks with equal labels.
type need struct {
	obeyed bool // false: counts as unlabelled
	unread bool
	asked  string // level in the label, also when it is not obeyed
	level  int    // effective, index in the catalogue
	notes  []string

	server        Rank
	storage       Rank
	nicClass      fleet.NICClass
	queues        fleet.Queues
	security      int
	priority      Priority
	protect       bool
	giveWay       bool
	rate          fleet.Mbps
	io            IONeed
	ioLimit       *ioLimit           // of an override of IOPS by a label that may not ask for all; nil: none
	hypervisors   []fleet.Hypervisor // nil: any
	spreadGroup   string
	spreadDomain  Domain
	affinityGroup string
	// trust orders needs by how much their labels may ask for, 0 for unsigned: of several groups that the disks
	// of a VM name, that of the most trusted label counts.
	trust int
}

func (n *need) note(format string, args ...any) {
	n.notes = append(n.notes, fmt.Sprintf(format, args...))
}

// plainNeed is what a level asks for without any override.
func plainNeed(c *Catalogue, level int) *need {
	l := &c.levels[level]
	return &need{
		obeyed: true, level: level, server: l.Server, storage: l.Storage, nicClass: l.NICClass, queues: l.Queues,
		security: l.Security, priority: l.Priority, spreadDomain: l.Spread, protect: l.Protect,
		rate: l.Rate, io: l.IO, hypervisors: l.Hypervisors, giveWay: l.GiveWay,
	}
}

// need judges a label, once for each distinct content.
func (r *resolver) need(l *fleet.Label) *need {
	if l.Trust == fleet.TrustNone || l.Trust == "" {
		return r.unlabelled
	}
	if l.Trust == fleet.TrustUnknown {
		return r.unreadLabel
	}
	r.key = appendKey(r.key[:0], l)
	if n, ok := r.needs[string(r.key)]; ok {
		return n
	}
	n := judge(r.cat, l)
	r.needs[string(r.key)] = n
	return n
}

// appendKey appends all of a label that judge looks at, each part with its length.
func appendKey(key []byte, l *fleet.Label) []byte {
	add := func(s string) { key = append(binary.AppendUvarint(key, uint64(len(s))), s...) }
	add(string(l.Trust))
	add(l.Ceiling)
	if l.Ceiling != "" {
		add(l.KeyID)
	}
	add(l.Reason)
	if l.Document == nil {
		return key
	}
	add(l.Document.Level)
	for _, k := range overrideNames {
		if v, ok := l.Document.Overrides[k]; ok {
			add(k)
			add(v)
		}
	}
	return key
}

// judge applies trust and the catalogue to a label that was read.
func judge(c *Catalogue, l *fleet.Label) *need {
	n := &need{}
	if l.Document != nil {
		n.asked = l.Document.Level
	}
	signed := l.Trust == fleet.TrustSigned
	switch {
	case !signed && l.Trust != fleet.TrustUnsigned:
		n.note("label is not obeyed: %s", orDefault(l.Reason, string(l.Trust)))
		return n
	case l.Document == nil:
		n.note("label is not obeyed: it has no document")
		return n
	}
	level := c.levelIndex(n.asked)
	if level < 0 {
		n.note("label asks for level %q, which the catalogue does not have: counts as unlabelled", n.asked)
		return n
	}
	lim := limitOf(c, l, n)
	if lim.capped && level > lim.level {
		n.note("label asks for %s, %s is %s", n.asked, lim.what, c.levels[lim.level].Name)
		level = lim.level
	}
	before := *n
	*n = *plainNeed(c, level)
	n.asked, n.notes, n.trust = before.asked, before.notes, lim.trust
	n.override(c, l.Document, lim)
	return n
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// limit is how much a label may ask for.
type limit struct {
	capped bool
	level  int    // the ceiling
	what   string // "unsigned ceiling"
	trust  int    // the more, the higher; 0: unsigned
	// group is put before the names of groups: only labels of one trust form a group, or else an unsigned
	// label could pull its VM beside a gold one, or drive that one away. It is no name that a label can hold.
	group string
}

// limitOf is the limit of a label's trust.
func limitOf(c *Catalogue, l *fleet.Label, n *need) limit {
	unsigned := limit{capped: true, level: c.defaults.UnsignedCeiling, what: "unsigned ceiling", group: "unsigned:"}
	if l.Trust != fleet.TrustSigned {
		return unsigned
	}
	if l.Ceiling == "" {
		return limit{trust: len(c.levels)}
	}
	level := c.levelIndex(l.Ceiling)
	if level < 0 {
		n.note("ceiling of key %s is level %q, which the catalogue does not have: counts as unsigned", l.KeyID, l.Ceiling)
		return unsigned
	}
	lim := limit{capped: true, level: level, trust: level + 1, what: "ceiling of key " + l.KeyID}
	if level < len(c.levels)-1 {
		lim.group = l.Ceiling + ":"
	}
	return lim
}

// overrideNames are the keys of a label's overrides, in the order that they are applied and noted in.
var overrideNames = []string{
	"priority", "server.tier", "storage.tier", "nic.class", "nic.queues", "security.class", "spread.group", "spread.domain",
	"affinity.group", "nic.rate", "storage.iops", "hypervisor",
}

// override applies a document's overrides to n, each held down to what the ceiling grants. One that means
// nothing here is left out; both are noted.
func (n *need) override(c *Catalogue, doc *label.Document, lim limit) {
	ceiling := plainNeed(c, len(c.levels)-1)
	if lim.capped {
		ceiling = plainNeed(c, lim.level)
	}
	for _, key := range overrideNames {
		value, ok := doc.Overrides[key]
		if !ok {
			continue
		}
		o := override{key: key, value: value, need: n, lim: lim, ceiling: c.levels[ceiling.level].Name}
		switch key {
		case "priority":
			n.priority = Priority(o.number(maxPriority, int(n.priority), int(ceiling.priority)))
		case "server.tier":
			n.server = Rank(o.name(c.server, int(n.server), int(ceiling.server)))
		case "storage.tier":
			n.storage = Rank(o.name(c.storage, int(n.storage), int(ceiling.storage)))
		case "nic.class":
			n.nicClass = fleet.NICClass(o.number(int(fleet.MaxNICClass), int(n.nicClass), int(ceiling.nicClass)))
		case "nic.queues":
			n.queues = fleet.Queues(o.number(maxQueues, int(n.queues), int(ceiling.queues)))
		case "nic.rate":
			n.rate = fleet.Mbps(o.number(maxNICRate, int(n.rate), int(ceiling.rate)))
		case "storage.iops":
			o.iops(c, ceiling)
		case "hypervisor":
			o.hypervisor()
		case "security.class":
			n.security = o.name(c.security, n.security, ceiling.security)
		case "spread.group":
			n.spreadGroup = o.group()
		case "affinity.group":
			n.affinityGroup = o.group()
		case "spread.domain":
			n.spreadDomain = Domain(domains[o.choose(domains, slices.Index(domains, string(n.spreadDomain)))])
			if n.spreadGroup == "" {
				n.note("override %s=%s has no effect without spread.group", key, value)
			}
		}
	}
}

// override is one override on its way into a need.
type override struct {
	key, value string
	need       *need
	lim        limit
	ceiling    string // name of the level that caps it
}

// number reads a whole number from 0 to high; now stays when it is none.
func (o *override) number(high, now, ceiling int) int {
	v, err := strconv.Atoi(o.value)
	if err != nil || v < 0 || v > high {
		o.need.note("override %s=%s is ignored: expected a whole number from 0 to %d", o.key, o.value, high)
		return now
	}
	return o.clamp(v, ceiling, nil)
}

// name reads one of names that have an order; now stays when it is none of them.
func (o *override) name(names []string, now, ceiling int) int {
	if !slices.Contains(names, o.value) {
		return o.choose(names, now)
	}
	return o.clamp(slices.Index(names, o.value), ceiling, names)
}

// choose reads one of names; now stays when it is none of them.
func (o *override) choose(names []string, now int) int {
	i := slices.Index(names, o.value)
	if i < 0 {
		o.need.note("override %s=%s is ignored: expected one of %s", o.key, o.value, strings.Join(names, ", "))
		return now
	}
	return i
}

// clamp holds v down to what the ceiling's level grants.
func (o *override) clamp(v, ceiling int, names []string) int {
	if !o.lim.capped || v <= ceiling {
		return v
	}
	o.need.note("override %s=%s is above the %s %s: counts as %s", o.key, o.value, o.lim.what, o.ceiling, nameOf(names, ceiling))
	return ceiling
}

// group is the name of a group among labels of the same trust.
func (o *override) group() string {
	if o.lim.group != "" {
		o.need.note("override %s=%s: group %s%s, as the label's trust is limited", o.key, o.value, o.lim.group, o.value)
	}
	return o.lim.group + o.value
}
