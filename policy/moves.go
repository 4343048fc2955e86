package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MoveLimits bounds how many moves run at once. A field that is 0 bounds nothing.
type MoveLimits struct {
	// PerHost counts the moves that leave a host, come to it, or copy a disk on it.
	PerHost int `json:"perHost"`
	// PerLink counts the moves from one host to one other.
	PerLink int `json:"perLink"`
	// PerPool counts the moves that read a pool or write to it.
	PerPool int `json:"perPool"`
	// PerWave counts all of them.
	PerWave int `json:"perWave"`
}

// Loss is a kind of failure that protected VMs have to survive.
type Loss string

// The kinds of failures.
const (
	LossHost    Loss = "host"
	LossChassis Loss = "chassis" // every host of one chassis
	LossModule  Loss = "module"  // one I/O module: its NIC, or the pools that it alone reaches
)

// Reserve says which failures VMs of protected levels have to survive: each keeps a legal place elsewhere.
type Reserve struct {
	Over []Loss `json:"over"`
	// EvictUnprotected lets VMs of unprotected levels be counted as stopped in a failure. They are not otherwise.
	EvictUnprotected bool `json:"evictUnprotected"`
}

// The keys of the sections and the range of the limits.
var (
	moveKeys    = []string{"per_host", "per_link", "per_pool", "per_wave"}
	reserveKeys = []string{"over", "evict_unprotected"}
	losses      = []string{string(LossHost), string(LossChassis), string(LossModule)}
	booleans    = []string{"false", "true"}
)

const maxMoves = 10_000

// MoveLimits are the limits of moves at once.
func (c *Catalogue) MoveLimits() MoveLimits { return c.moves }

// Reserve says what protected levels have to survive.
func (c *Catalogue) Reserve() Reserve {
	r := c.reserve
	r.Over = slices.Clone(r.Over)
	return r
}

// moves reads the limits of moves at once; what is left out is as in the built-in catalogue.
func (p *parser) moves(n *yaml.Node) {
	m := &p.cat.moves
	*m = MoveLimits{PerHost: 2, PerLink: 1, PerPool: 4, PerWave: 64}
	if n == nil {
		return
	}
	fields := []*int{&m.PerHost, &m.PerLink, &m.PerPool, &m.PerWave}
	for key, v := range p.mapping(n, "moves", moveKeys) {
		*fields[slices.Index(moveKeys, key)] = p.whole(v, key, 1, maxMoves)
	}
}

// reserve reads what protected levels have to survive: by default the loss of a host, or of a chassis.
func (p *parser) reserve(n *yaml.Node) {
	r := &p.cat.reserve
	r.Over = []Loss{LossHost, LossChassis}
	if n == nil {
		return
	}
	keys := p.mapping(n, "reserve", reserveKeys)
	if k := keys["evict_unprotected"]; k != nil {
		r.EvictUnprotected = p.choice(k, "evict_unprotected", booleans) == 1
	}
	k := keys["over"]
	if k == nil {
		return
	}
	r.Over = []Loss{}
	for _, item := range p.list(k, "reserve.over", len(losses)) {
		i := p.choice(item, "loss", losses)
		switch {
		case i < 0:
		case slices.Contains(r.Over, Loss(losses[i])):
			p.fault(item, fmt.Sprintf("%q a second time in reserve.over", losses[i]), "each once")
		default:
			r.Over = append(r.Over, Loss(losses[i]))
		}
	}
	slices.Sort(r.Over) // the order means nothing, and an equal policy is an equal problem
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// explainMoves writes how many moves run at once, and what the levels that are protected have to survive.
func (c *Catalogue) explainMoves(b *strings.Builder) {
	b.WriteString("\nMoves at once, at most\n")
	t := table(b)
	row(t, fmt.Sprint(c.moves.PerHost), "that leave, reach or copy on one host")
	row(t, fmt.Sprint(c.moves.PerLink), "from one host to one other")
	row(t, fmt.Sprint(c.moves.PerPool), "that read or write one pool")
	row(t, fmt.Sprint(c.moves.PerWave), "in all")
	_ = t.Flush() // into a strings.Builder
	b.WriteString("\nProtected levels, whose VMs keep a place to go to when one of these is lost\n")
	t = table(b)
	var levels, over []string
	for i := range c.levels {
		if c.levels[i].Protect {
			levels = append(levels, c.levels[i].Name)
		}
	}
	for _, l := range c.reserve.Over {
		over = append(over, string(l))
	}
	row(t, "levels", cmp.Or(strings.Join(levels, ", "), "none"))
	row(t, "lost", cmp.Or(strings.Join(over, ", "), "nothing"))
	row(t, "VMs of other levels are stopped for it", booleans[boolRank(c.reserve.EvictUnprotected)])
	_ = t.Flush() // into a strings.Builder
}
