package policy

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/fleet"
)

// Weights price the soft costs in one unit, points. Only their ratio matters.
type Weights struct {
	// TierWaste is for each tier that a VM's host is above its need, per whole thread of the VM.
	TierWaste int64 `json:"tierWaste"`
	// PoolWaste is for each tier that a disk's pool is above its need, per whole GiB.
	PoolWaste int64 `json:"poolWaste"`
	// MoveVM is for each VM that moves, MoveGiB for each GiB copied between pools, Downtime for each running VM that
	// is stopped for its move, MoveLink for each GiB of memory of a running VM that goes to another host.
	MoveVM   int64 `json:"moveVM"`
	MoveGiB  int64 `json:"moveGiB"`
	Downtime int64 `json:"downtime"`
	MoveLink int64 `json:"moveLink"`
	// MoveModule is for each I/O module that is attached to another host.
	MoveModule int64 `json:"moveModule"`
	// Overload is for each thread, and each OverloadMemory, that a host has promised above its headroom mark: all of
	// its CPU or memory but HeadroomPercent.
	Overload        int64 `json:"overload"`
	HeadroomPercent int64 `json:"headroomPercent"` // 0 to 90
	// Stranded is for each free thread of a host that has not the memory left to go with it, and the other way round,
	// measured by the fleet's own ratio of the two.
	Stranded int64 `json:"stranded"`
	// HostOn is for each host with a VM on it: energy, licences.
	HostOn int64 `json:"hostOn"`
}

// OverloadMemory is the memory that Weights.Overload counts as much as one thread.
const OverloadMemory = 4 * fleet.GiB

// weight is one price of the file.
type weight struct {
	key   string
	what  string // of which it is the price
	price int64  // where the file says nothing
	high  int
	field func(*Weights) *int64
}

// weightTable lists the prices in the order of the file. Those that are off by default price what is a site's choice.
var weightTable = []weight{
	{"tier_waste", "a host above the need, for each tier and thread of the VM", 20, maxWeight, func(w *Weights) *int64 { return &w.TierWaste }},
	{"pool_waste", "a pool above the need, for each tier and GiB", 1, maxWeight, func(w *Weights) *int64 { return &w.PoolWaste }},
	{"overload", "a host above its headroom mark, for each thread or 4 GiB", 0, maxWeight, func(w *Weights) *int64 { return &w.Overload }},
	{"headroom_percent", "per cent of a host's CPU and memory: its headroom mark", 10, maxReserve, func(w *Weights) *int64 { return &w.HeadroomPercent }},
	{"stranded", "a free thread without free memory to go with it, or the other way round", 0, maxWeight, func(w *Weights) *int64 { return &w.Stranded }},
	{"host_on", "a host in use", 0, maxWeight, func(w *Weights) *int64 { return &w.HostOn }},
	{"move_vm", "a VM that moves", 50, maxWeight, func(w *Weights) *int64 { return &w.MoveVM }},
	{"move_gib", "a GiB that is copied", 2, maxWeight, func(w *Weights) *int64 { return &w.MoveGiB }},
	{"move_link", "a GiB of a running VM's memory that goes to another host", 0, maxWeight, func(w *Weights) *int64 { return &w.MoveLink }},
	{"move_module", "an I/O module that is attached to another host", 20, maxWeight, func(w *Weights) *int64 { return &w.MoveModule }},
	{"downtime", "a running VM that stops for its move", 500, maxWeight, func(w *Weights) *int64 { return &w.Downtime }},
}

// DefaultWeights are those of a file that has none.
func DefaultWeights() Weights {
	var w Weights
	for _, t := range weightTable {
		*t.field(&w) = t.price
	}
	return w
}

// weights reads the prices; what is left out has the price of the built-in catalogue.
func (p *parser) weights(n *yaml.Node) {
	p.cat.weights = DefaultWeights()
	if n == nil {
		return
	}
	keys := make([]string, len(weightTable))
	for i, t := range weightTable {
		keys[i] = t.key
	}
	for key, v := range p.mapping(n, "weights", keys) {
		t := &weightTable[slices.Index(keys, key)]
		*t.field(&p.cat.weights) = int64(p.whole(v, key, 0, t.high))
	}
}

// Examples says what the weights come to, a sentence each: a price by itself tells nobody whether it is high.
func (w Weights) Examples() []string {
	const gib = 64
	live := w.MoveVM + w.MoveGiB*gib
	out := []string{
		fmt.Sprintf("moving a VM of %d GiB costs %d points%s", gib, live, w.threadTiers(live)),
		fmt.Sprintf("moving it with downtime costs %d points%s", live+w.Downtime, w.threadTiers(live+w.Downtime)),
		fmt.Sprintf("moving a VM of 16 GiB of memory to another host on the same pools costs %d points%s", w.MoveVM+16*w.MoveLink,
			w.threadTiers(w.MoveVM+16*w.MoveLink)),
	}
	if w.Overload > 0 {
		out = append(out, fmt.Sprintf("a host of 64 threads with all of its CPU promised costs %d points: %d threads above its mark",
			w.Overload*64*w.HeadroomPercent/100, 64*w.HeadroomPercent/100))
	}
	if w.HostOn > 0 {
		out = append(out, fmt.Sprintf("a host may be emptied by %d moves without copies at most", w.HostOn/max(w.MoveVM, 1)))
	}
	return out
}

// threadTiers says how much tier waste costs as much: the need of how many threads that are one tier too high.
func (w Weights) threadTiers(points int64) string {
	if w.TierWaste <= 0 {
		return ""
	}
	return fmt.Sprintf(" = %d.%d thread-tiers", points/w.TierWaste, points%w.TierWaste*10/w.TierWaste)
}
