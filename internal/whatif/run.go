package whatif

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// Result is what the changes come to.
type Result struct {
	// Changes says what was done to the copy of the fleet, in words.
	Changes []string `json:"changes"`
	// Moves are the VMs that get another place, restarts first, each once and in the order of the plan.
	Moves   []Move   `json:"moves"`
	Modules []Module `json:"modules"` // I/O modules that get another host
	// Without are the VMs that have no place, or only one that breaks their need, by priority.
	Without []Without `json:"without"`
	// Helped are VMs that had no right place in a plan for the fleet as it is, and get one now.
	Helped []fleet.VMID `json:"helped"`
	Before Side         `json:"before"`
	After  Side         `json:"after"`
	// Summary is that of the plan for the changed fleet: its bound holds for what the moves and the fleet after them cost.
	Summary plan.Summary `json:"summary"`
}

// Move is a VM that gets another place.
type Move struct {
	VM       fleet.VMID      `json:"vm"`
	Level    string          `json:"level"`
	Priority policy.Priority `json:"priority"`
	// Restart: its host is lost, so that it is started anew, or only defined when it was shut down.
	Restart bool            `json:"restart"`
	From    fleet.Placement `json:"from"`
	To      fleet.Placement `json:"to"`
	// Down: a guest that runs is stopped for the move.
	Down   bool        `json:"down"`
	Bytes  fleet.Bytes `json:"bytes"`
	Reason string      `json:"reason"`
	// Anyway: a plan for the fleet as it is would move it to the same place.
	Anyway bool `json:"anyway"`
}

// Module is an I/O module that gets another host.
type Module struct {
	Module fleet.ModuleID `json:"module"`
	From   fleet.HostID   `json:"from,omitempty"`
	To     fleet.HostID   `json:"to"`
	Reason string         `json:"reason"`
}

// Without is a VM that has no place.
type Without struct {
	VM       fleet.VMID      `json:"vm"`
	Level    string          `json:"level"`
	Priority policy.Priority `json:"priority"`
	Host     fleet.HostID    `json:"host"` // where it was
	// Stopped: it runs nowhere, since its host or its disks are lost; otherwise it stays where its need is broken.
	Stopped bool   `json:"stopped"`
	Reason  string `json:"reason"`
	// Anyway: so it is in a plan for the fleet as it is.
	Anyway bool `json:"anyway"`
	// Nearest is the smallest change that would give it a place, in words.
	Nearest string             `json:"nearest,omitempty"`
	Refused []plan.RefusedHost `json:"refused"`
}

// Side is a fleet before the changes, or after the plan for them.
type Side struct {
	Hosts   int                 `json:"hosts"` // lost ones left out
	VMs     int                 `json:"vms"`   // those that have a place
	Cost    int64               `json:"cost"`  // points, without moves
	Parts   plan.Cost           `json:"parts"`
	Broken  int                 `json:"broken"`           // VMs with a broken hard constraint
	Reserve plan.ReserveSummary `json:"reserve,omitzero"` // only what was survived before any move
	Tiers   []Tier              `json:"tiers"`
	Pools   []PoolTier          `json:"pools"`
}

// Options bound the two plans that an answer takes.
type Options struct {
	// Solver is handed on to the solver.
	Solver solver.Options
}

// ErrName is wrapped when a change names what the fleet does not have, or not only once.
var ErrName = errors.New("name")

// ErrCheck is wrapped when a plan does not pass plan.Check, which is a fault of Berth's.
var ErrCheck = errors.New("the plan does not pass its check")

// Run plans the fleet s, and s as the changes make it, by the catalogue, and compares them. s is not changed. The error names the
// change that means nothing, or what is wrong with the changed fleet.
func Run(cat *policy.Catalogue, s *fleet.Snapshot, changes []Change, o Options) (*Result, error) {
	if cat == nil || s == nil {
		return nil, errors.New("ask what if: no catalogue or no snapshot")
	}
	c, err := apply(s, cat.Patches(), changes)
	if err != nil {
		return nil, err
	}
	now, err := solve(cat, s, o)
	if err != nil {
		return nil, err
	}
	then, err := solve(cat, c.snap, o)
	if err != nil {
		return nil, err
	}
	r := &Result{
		Changes: c.texts, Moves: []Move{}, Modules: []Module{}, Without: []Without{}, Helped: []fleet.VMID{}, Summary: then.plan.Summary,
	}
	if r.Before, err = sideOf(cat, s, now.problem); err != nil {
		return nil, err
	}
	after := settle(c, s, then.plan)
	if r.After, err = sideOf(cat, after, nil); err != nil {
		return nil, err
	}
	r.moves(c, then)
	r.without(c, s, now, then)
	r.compare(now, then)
	return r, nil
}

// solved is a fleet with its plan.
type solved struct {
	problem *policy.Problem
	plan    *plan.Plan
	at      map[fleet.VMID]fleet.Placement // where the plan moves VMs
	wrong   map[fleet.VMID]bool            // unplaced
}

func solve(cat *policy.Catalogue, s *fleet.Snapshot, o Options) (*solved, error) {
	p, err := policy.Resolve(cat, s)
	if err != nil {
		return nil, fmt.Errorf("apply policy: %w", err)
	}
	opts := o.Solver
	opts.Rules = cat
	pl, err := solver.Solve(p, opts)
	if err != nil {
		return nil, fmt.Errorf("make plan: %w", err)
	}
	if bad := plan.Check(p, pl); len(bad) > 0 {
		return nil, fmt.Errorf("make plan: %w: %s", ErrCheck, bad[0])
	}
	out := &solved{problem: p, plan: pl, at: map[fleet.VMID]fleet.Placement{}, wrong: map[fleet.VMID]bool{}}
	for i := range pl.Steps {
		if st := &pl.Steps[i]; st.Attach == nil {
			out.at[st.Move.VM.ID] = st.Move.To
		}
	}
	for _, u := range pl.Unplaced {
		out.wrong[u.VM] = true
	}
	return out, nil
}

// moves lists what the plan moves, each VM once.
func (r *Result) moves(c *changed, then *solved) {
	at := map[fleet.VMID]int{}
	for i := range then.plan.Steps {
		st := &then.plan.Steps[i]
		if a := st.Attach; a != nil {
			r.Modules = append(r.Modules, Module{Module: a.Module.ID, From: a.From, To: a.To, Reason: st.Reason})
			continue
		}
		id := st.Move.VM.ID
		n, ok := at[id]
		if !ok {
			n = len(r.Moves)
			at[id] = n
			from := st.Move.From.Host
			r.Moves = append(r.Moves, Move{
				VM: id, Level: st.Level, Priority: then.problem.VMs[id].Priority, From: st.Move.From.Clone(),
				Restart: c.hosts[from] != "", Reason: c.words(from, st.Reason),
			})
		}
		m := &r.Moves[n]
		m.To = st.Move.To.Clone()
		m.Down = m.Down || slices.Contains(st.Risks, plan.RiskDowntime)
		m.Bytes += st.Bytes
	}
	r.Moves = slices.DeleteFunc(r.Moves, func(m Move) bool { return m.From.Equal(m.To) })
	slices.SortStableFunc(r.Moves, func(a, b Move) int {
		switch {
		case a.Restart == b.Restart:
			return 0
		case a.Restart:
			return -1
		}
		return 1
	})
}

// words says lost of a host that the solver took for one in maintenance.
func (c *changed) words(h fleet.HostID, reason string) string {
	what := c.hosts[h]
	if what == "" {
		return reason
	}
	lost := "host " + string(h) + " is lost"
	if what != "host "+string(h) {
		lost += " with " + what
	}
	return strings.ReplaceAll(reason, "host "+string(h)+" is in maintenance", lost)
}
