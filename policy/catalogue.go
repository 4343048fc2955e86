package policy

import (
	"crypto/sha256"
	_ "embed" // the default catalogue is part of the package
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Limits of a catalogue. They are far above what a site needs and keep a hostile file cheap.
const (
	// MaxCatalogue bounds the file.
	MaxCatalogue fleet.Bytes = fleet.MiB
	maxName                  = 64   // bytes of the name of a level, tier or class
	maxTiers                 = 32   // of one kind
	maxLevels                = 64   // in all
	maxRules                 = 256  // of one kind
	maxExpr                  = 4096 // bytes of one rule's expression
	maxDepth                 = 16   // of nested YAML
)

//go:embed levels.yaml
var defaultText string

// Catalogue is a parsed levels.yaml. It is immutable.
type Catalogue struct {
	name     string
	text     string
	server   []string // tiers, low to high
	storage  []string
	security []string
	levels   []Level // low to high
	defaults Defaults
	weights  Weights
	moves    MoveLimits
	reserve  Reserve

	patches []string // that rules ask for by name

	serverRules, securityRules, poolRules, nicRules []Rule
}

// Level is one service level: what a label's name stands for. Ranks are positions in the catalogue's lists.
type Level struct {
	Name     string         `json:"name"`
	Server   Rank           `json:"server"`   // minimum tier of the host
	Storage  Rank           `json:"storage"`  // minimum tier of each disk's pool
	NICClass fleet.NICClass `json:"nicClass"` // minimum class
	Queues   fleet.Queues   `json:"queues"`   // reserved on one NIC; 0 reserves nothing
	Security int            `json:"security"` // minimum security class of the host
	Priority Priority       `json:"priority"`
	Spread   Domain         `json:"spread"` // over what a spread group of this level is spread
	// Protect: a VM of the level keeps a place to go to when what the catalogue's reserve names is lost.
	Protect bool `json:"protect"`
	// GiveWay: where a VM of higher priority has no right place, one of this level may be moved below what it asks for.
	GiveWay bool `json:"giveWay,omitempty"`
	// Rate is the bandwidth reserved for the VM on one NIC, with Queues; 0 reserves nothing.
	Rate fleet.Mbps `json:"rate,omitempty"`
	// IO is what is reserved for each disk in its pool.
	IO IONeed `json:"io,omitzero"`
	// Hypervisors are the kinds of which the host has to be one, sorted; empty: any.
	Hypervisors []fleet.Hypervisor `json:"hypervisors,omitempty"`
	Line        int                `json:"line"` // in the file
}

// Defaults is what holds where a label or rule says nothing.
type Defaults struct {
	Unlabelled      int // index of the level of a VM without any label
	UnsignedCeiling int // index of the highest level that an unsigned label can give
	CPU             Percent
	Memory          Percent
	ByTier          map[Rank]Overcommit // where a server tier differs from CPU and Memory
	PoolReserve     Percent             // of a pool's capacity, kept free
}

// Percent is a share in hundredths: 400 is four times, 5 is a twentieth.
type Percent int64

// Of is p percent of n, rounded down, and the largest int64 where that would overflow. n is not negative.
func (p Percent) Of(n int64) int64 {
	const largest = 1<<63 - 1
	whole, rest := n/100, n%100
	if p > 0 && whole > (largest-rest*int64(p)/100)/int64(p) {
		return largest
	}
	return whole*int64(p) + rest*int64(p)/100
}

// Overcommit is how much more than it has a host may promise.
type Overcommit struct {
	CPU, Memory Percent
}

// Parse reads a catalogue (levels.yaml; the format is in docs/policy.md). name stands for the file in errors.
// The error is a *FaultsError with up to MaxFaults faults, each a *Error with its line and column.
func Parse(name string, data []byte) (*Catalogue, error) {
	return parse(name, data)
}

// DefaultText is the built-in catalogue as a file: commented, to be copied and changed.
func DefaultText() string { return defaultText }

// Default is the built-in catalogue.
func Default() *Catalogue {
	c, err := Parse("built-in levels.yaml", []byte(defaultText))
	if err != nil {
		panic(fmt.Sprintf("parse built-in catalogue: %v", err)) // a test parses this very text
	}
	return c
}

// Name is the name that the catalogue was parsed with.
func (c *Catalogue) Name() string { return c.name }

// Text is the text that the catalogue was parsed from.
func (c *Catalogue) Text() string { return c.text }

// ID names the content of the catalogue: "c-" and 16 hex digits of the SHA-256 of its text.
func (c *Catalogue) ID() string {
	sum := sha256.Sum256([]byte(c.text))
	return "c-" + hex.EncodeToString(sum[:8])
}

// Levels are the service levels, low to high.
func (c *Catalogue) Levels() []Level { return slices.Clone(c.levels) }

// Level finds a level by name.
func (c *Catalogue) Level(name string) (Level, bool) {
	i := c.levelIndex(name)
	if i < 0 {
		return Level{}, false
	}
	return c.levels[i], true
}

func (c *Catalogue) levelIndex(name string) int {
	return slices.IndexFunc(c.levels, func(l Level) bool { return l.Name == name })
}

// ServerTiers are the names of the server tiers by Rank.
func (c *Catalogue) ServerTiers() []string { return slices.Clone(c.server) }

// PoolTiers are the names of the storage tiers by Rank.
func (c *Catalogue) PoolTiers() []string { return slices.Clone(c.storage) }

// SecurityClasses are the names of the security classes, low to high.
func (c *Catalogue) SecurityClasses() []string { return slices.Clone(c.security) }

// Unlabelled is the level of a VM without any label.
func (c *Catalogue) Unlabelled() Level { return c.levels[c.defaults.Unlabelled] }

// UnsignedCeiling is the highest level that an unsigned label can give.
func (c *Catalogue) UnsignedCeiling() Level { return c.levels[c.defaults.UnsignedCeiling] }

// Weights are the prices of the soft costs.
func (c *Catalogue) Weights() Weights { return c.weights }
