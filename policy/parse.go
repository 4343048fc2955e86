package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/fleet"
)

// The keys of each mapping of the file, in the order that messages list them.
var (
	topKeys   = []string{"version", "tiers", "security", "match", "levels", "defaults", "weights", "moves", "reserve"}
	tierKeys  = []string{"server", "storage"}
	matchKeys = []string{"servers", "security", "pools", "nics"}
	levelKeys = []string{"name", "server", "storage", "nic_class", "nic_queues", "security", "priority", "spread", "protect",
		"nic_rate", "iops", "iops_per_gib", "throughput", "hypervisor", "give_way"}
	defaultKeys   = []string{"unlabelled", "unsigned_ceiling", "overcommit", "pool_reserve_percent"}
	overcommitKey = []string{"cpu", "memory", "by_tier"}
	domains       = domainNames()
)

// Ranges of the numbers of a catalogue, also of a label's overrides.
const (
	catalogueVersion = 1
	maxPriority      = 1000
	maxQueues        = 64
	maxWeight        = 1_000_000
	maxReserve       = 90 // per cent
)

// parser builds a catalogue while its reader collects the faults.
type parser struct {
	reader
	cat *Catalogue
}

func parse(name string, data []byte) (*Catalogue, error) {
	p := &parser{reader: reader{file: name}, cat: &Catalogue{name: name, text: string(data)}}
	if err := p.file(data); err != nil {
		return nil, err
	}
	p.cat.patches = p.patches
	return p.cat, nil
}

func (p *parser) file(data []byte) error {
	root := p.document(data)
	if root == nil {
		return p.err()
	}
	keys := p.mapping(root, "the file", topKeys, "version", "tiers", "match", "levels", "defaults")
	if n := keys["version"]; n != nil && p.whole(n, "version", catalogueVersion, catalogueVersion) < 0 {
		p.faults = p.faults[len(p.faults)-1:] // of another version nothing else can be judged
		return p.err()
	}
	if n := keys["tiers"]; n != nil {
		t := p.mapping(n, "tiers", tierKeys, tierKeys...)
		p.cat.server = p.names(t["server"], "tiers.server")
		p.cat.storage = p.names(t["storage"], "tiers.storage")
	}
	p.cat.security = []string{"open"}
	if n := keys["security"]; n != nil {
		p.cat.security = p.names(n, "security")
	}
	if n := keys["match"]; n != nil {
		if err := p.match(n); err != nil {
			return err
		}
	}
	if n := keys["levels"]; n != nil {
		p.levels(n)
	}
	if n := keys["defaults"]; n != nil {
		p.defaults(n)
	}
	p.weights(keys["weights"])
	p.moves(keys["moves"])
	p.reserve(keys["reserve"])
	return p.err()
}

// names reads a list of distinct names, low to high. A nil node is reported already.
func (p *parser) names(n *yaml.Node, what string) []string {
	if n == nil {
		return nil
	}
	var names []string
	items := p.list(n, what, maxTiers)
	for _, item := range items {
		v, ok := p.text(item, "an item of "+what)
		switch {
		case !ok:
		case !validName(v):
			p.fault(item, fmt.Sprintf("%q in %s", clip(v), what), fmt.Sprintf("1 to %d of a-z, 0-9, '.', '_' and '-'", maxName))
		case slices.Contains(names, v):
			p.fault(item, fmt.Sprintf("%q a second time in %s", v, what), "each name once")
		default:
			names = append(names, v)
		}
	}
	if n.Kind == yaml.SequenceNode && len(items) == 0 {
		p.fault(n, what+" is an empty list", "at least one name, from low to high")
	}
	return names
}

// match reads the rules. An error is a fault of this program, not of the file.
func (p *parser) match(n *yaml.Node) error {
	keys := p.mapping(n, "match", matchKeys, "servers", "pools")
	hostEnv, err := newRuleEnv("host")
	if err != nil {
		return err
	}
	poolEnv, err := newRuleEnv("pool")
	if err != nil {
		return err
	}
	nicEnv, err := newRuleEnv("nic", "host")
	if err != nil {
		return err
	}
	classes := make([]string, fleet.MaxNICClass+1)
	for i := range classes {
		classes[i] = fmt.Sprint(i)
	}
	p.cat.serverRules = p.rules(keys["servers"], "match.servers", "tier", "server tier", p.cat.server, hostEnv)
	p.cat.securityRules = p.rules(keys["security"], "match.security", "class", "security class", p.cat.security, hostEnv)
	p.cat.poolRules = p.rules(keys["pools"], "match.pools", "tier", "storage tier", p.cat.storage, poolEnv)
	p.cat.nicRules = p.rules(keys["nics"], "match.nics", "class", "NIC class", classes, nicEnv)
	return nil
}

// rules reads one list of rules, each with the key gives (one of names) and the key when.
func (p *parser) rules(n *yaml.Node, what, gives, kind string, names []string, env *ruleEnv) []Rule {
	if n == nil {
		return nil
	}
	var rules []Rule
	for _, item := range p.list(n, what, maxRules) {
		if len(p.faults) > MaxFaults {
			break // compiling is dear, and more faults would not be shown
		}
		keys := p.mapping(item, "a rule of "+what, []string{gives, "when"}, gives, "when")
		rank, value := -1, keys["when"]
		if g := keys[gives]; g != nil {
			rank = p.choice(g, kind, names)
		}
		if value == nil {
			continue
		}
		if _, ok := p.text(value, "when"); !ok {
			continue
		}
		program := p.compile(value, env)
		if rank < 0 || program == nil {
			continue
		}
		rules = append(rules, Rule{
			Gives: names[rank], When: value.Value, Line: item.Line,
			rank: rank, at: position{value.Line, value.Column}, program: program,
		})
	}
	return rules
}

func (p *parser) levels(n *yaml.Node) {
	items := p.list(n, "levels", maxLevels)
	if n.Kind == yaml.SequenceNode && len(items) == 0 {
		p.fault(n, "levels is an empty list", "at least one level, from low to high")
	}
	var before map[string]*yaml.Node
	for _, item := range items {
		keys := p.mapping(item, "a level", levelKeys, "name", "server", "storage")
		if keys == nil {
			continue
		}
		l := p.level(item, keys)
		if i := p.cat.levelIndex(l.Name); i >= 0 && l.Name != "" {
			p.fault(keys["name"], fmt.Sprintf("level %q a second time (first on line %d)", l.Name, p.cat.levels[i].Line), "each name once")
			continue
		}
		if before != nil {
			p.monotone(item, keys, &p.cat.levels[len(p.cat.levels)-1], &l)
		}
		p.cat.levels = append(p.cat.levels, l)
		before = keys
	}
}

// level reads one level. A number that has a fault is -1, so that monotone leaves it alone.
func (p *parser) level(item *yaml.Node, keys map[string]*yaml.Node) Level {
	l := Level{Line: item.Line, Server: Unranked, Storage: Unranked, Spread: DomainHost}
	for key, n := range keys { // each key sets its own field: the order does not matter, faults are sorted
		switch key {
		case "name":
			v, ok := p.text(n, "the name of a level")
			if ok && !validName(v) {
				p.fault(n, fmt.Sprintf("level name %q", clip(v)), fmt.Sprintf("1 to %d of a-z, 0-9, '.', '_' and '-'", maxName))
			} else if ok {
				l.Name = v
			}
		case "server":
			l.Server = Rank(p.choice(n, "server tier", p.cat.server))
		case "storage":
			l.Storage = Rank(p.choice(n, "storage tier", p.cat.storage))
		case "nic_class":
			l.NICClass = fleet.NICClass(p.whole(n, "nic_class", 0, int(fleet.MaxNICClass)))
		case "nic_queues":
			l.Queues = fleet.Queues(p.whole(n, "nic_queues", 0, maxQueues))
		case "security":
			l.Security = p.choice(n, "security class", p.cat.security)
		case "priority":
			l.Priority = Priority(p.whole(n, "priority", 0, maxPriority))
		case "spread":
			if i := p.choice(n, "spread", domains); i >= 0 {
				l.Spread = Domain(domains[i])
			}
		case "nic_rate", "iops", "iops_per_gib", "throughput", "hypervisor":
			p.fit(&l, key, n)
		case "protect":
			l.Protect = p.choice(n, "protect", booleans) == 1
		case "give_way":
			l.GiveWay = p.choice(n, "give_way", booleans) == 1
		}
	}
	return l
}

// monotone reports what the level l needs less of than low, the one before it: a ceiling would then raise.
func (p *parser) monotone(item *yaml.Node, keys map[string]*yaml.Node, low, l *Level) {
	less := func(key, what string, before, now int, names []string) {
		if before < 0 || now < 0 || now >= before {
			return
		}
		at := keys[key]
		if at == nil {
			at = item
		}
		p.fault(at, fmt.Sprintf("level %q comes after %q but has a lower %s (%s, below %s)", l.Name, low.Name, what,
			nameOf(names, now), nameOf(names, before)), "levels from low to high, each with at least what the one before it has")
	}
	less("server", "server tier", int(low.Server), int(l.Server), p.cat.server)
	less("storage", "storage tier", int(low.Storage), int(l.Storage), p.cat.storage)
	less("nic_class", "NIC class", int(low.NICClass), int(l.NICClass), nil)
	less("nic_queues", "number of NIC queues", int(low.Queues), int(l.Queues), nil)
	less("security", "security class", low.Security, l.Security, p.cat.security)
	less("nic_rate", "NIC rate", int(low.Rate), int(l.Rate), nil)
	less("iops", "number of IOPS", int(low.IO.IOPS), int(l.IO.IOPS), nil)
	less("iops_per_gib", "number of IOPS for each GiB", int(low.IO.PerGiB), int(l.IO.PerGiB), nil)
	less("throughput", "throughput", int(low.IO.Throughput), int(l.IO.Throughput), nil)
	less("priority", "priority", int(low.Priority), int(l.Priority), nil)
	less("protect", "protection", boolRank(low.Protect), boolRank(l.Protect), booleans)
	if l.GiveWay && !low.GiveWay {
		p.fault(keys["give_way"], fmt.Sprintf("level %q gives way and %q, which comes before it, does not", l.Name, low.Name),
			"give_way in every level below one that has it")
	}
}

// nameOf is the name of a rank, or the number itself where numbers are their own names.
func nameOf(names []string, rank int) string {
	switch {
	case names == nil:
		return fmt.Sprint(rank)
	case rank >= 0 && rank < len(names):
		return names[rank]
	}
	return "none"
}

func (p *parser) defaults(n *yaml.Node) {
	d := Defaults{CPU: 100, Memory: 100}
	keys := p.mapping(n, "defaults", defaultKeys, "unlabelled", "unsigned_ceiling")
	var names []string
	for _, l := range p.cat.levels {
		if l.Name != "" {
			names = append(names, l.Name)
		}
	}
	if k := keys["unlabelled"]; k != nil {
		d.Unlabelled = p.choice(k, "level", names)
	}
	if k := keys["unsigned_ceiling"]; k != nil {
		d.UnsignedCeiling = p.choice(k, "level", names)
	}
	if k := keys["pool_reserve_percent"]; k != nil {
		d.PoolReserve = Percent(p.whole(k, "pool_reserve_percent", 0, maxReserve))
	}
	if k := keys["overcommit"]; k != nil {
		o := p.mapping(k, "overcommit", overcommitKey)
		base := p.overcommit(o, Overcommit{CPU: 100, Memory: 100})
		d.CPU, d.Memory = base.CPU, base.Memory
		if t := o["by_tier"]; t != nil {
			d.ByTier = p.byTier(t, base)
		}
	}
	p.cat.defaults = d
}

func (p *parser) byTier(n *yaml.Node, base Overcommit) map[Rank]Overcommit {
	tiers := map[Rank]Overcommit{}
	for name, v := range p.mapping(n, "overcommit.by_tier", p.cat.server) {
		o := p.mapping(v, "overcommit of tier "+name, overcommitKey[:2])
		tiers[Rank(slices.Index(p.cat.server, name))] = p.overcommit(o, base)
	}
	return tiers
}

func (p *parser) overcommit(keys map[string]*yaml.Node, base Overcommit) Overcommit {
	const low, high = 10, 10_000 // a tenth to a hundred times
	if k := keys["cpu"]; k != nil {
		base.CPU = p.percent(k, "overcommit of cpu", low, high)
	}
	if k := keys["memory"]; k != nil {
		base.Memory = p.percent(k, "overcommit of memory", low, high)
	}
	return base
}

// factor prints a share as a factor: 400 is "4", 150 is "1.5".
func (p Percent) factor() string {
	s := fmt.Sprintf("%d.%02d", int64(p)/100, int64(p)%100)
	return cmp.Or(strings.TrimSuffix(strings.TrimRight(s, "0"), "."), "0")
}
