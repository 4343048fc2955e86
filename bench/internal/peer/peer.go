// Package peer is what the comparison asks of a scheduler, and how it is asked.
package peer

import "github.com/berth-project/berth/bench/internal/spec"

// Scheduler places the units of one fleet, one after another.
type Scheduler interface {
	// Place finds nodes for the unit's VMs, and takes them: by VM of the unit, spec.None without a place.
	Place(unit int) ([]int, error)
	// Close frees what the scheduler holds.
	Close()
}

// Kind is a scheduler that can be opened.
type Kind struct {
	Name    string
	Version string
	// Note says which constraints it is not given, and how it is driven.
	Note string
	// Open gives it the fleet with the VMs that are placed already.
	Open func(f *spec.Fleet, at []int) (Scheduler, error)
	// MaxNodes is the size above which it is not asked: a process for each decision takes too long. 0: none.
	MaxNodes int
}
