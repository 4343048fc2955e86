package executor

import (
	"time"

	"github.com/berth-project/berth/fleet"
)

// Phase is what a journal record says of a step.
type Phase string

// The phases. Planned is the first record of a journal and belongs to no step.
const (
	Planned Phase = "planned"
	Intent  Phase = "intent"
	Done    Phase = "done"
	Failed  Phase = "failed"
	Unknown Phase = "unknown"
)

// Record is one journal record.
type Record struct {
	Version int       `json:"version"` // 1
	Time    time.Time `json:"time"`    // UTC
	Phase   Phase     `json:"phase"`
	PlanID  string    `json:"planId"`
	// Digest is the SHA-256 of the plan's JSON, in hex; in the Planned record only.
	Digest string `json:"digest,omitempty"`
	// Step is from 1, VM the one that it moves; not in the Planned record.
	Step int        `json:"step,omitempty"`
	VM   fleet.VMID `json:"vm,omitempty"`
	// Power is the VM's power state before the step; in the Intent record.
	Power fleet.PowerState `json:"power,omitempty"`
	// Error says why a step failed or its outcome is unknown.
	Error string `json:"error,omitempty"`
}
