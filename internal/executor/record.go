package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// Phase is what a journal record says of a step.
type Phase string

// The phases. Planned is the first record of a journal and belongs to no step; the empty phase is a step that
// was not begun and is in no record.
const (
	NotBegun Phase = ""
	Planned  Phase = "planned"
	Intent   Phase = "intent"
	Done     Phase = "done"
	Failed   Phase = "failed"
	Unknown  Phase = "unknown"
)

// follows says which phases a step's record may follow.
func (p Phase) follows(before Phase) bool {
	switch p {
	case Intent:
		return before == NotBegun || before == Failed
	case Done, Failed:
		return before != Done
	case Unknown:
		return before.open()
	default:
		return false
	}
}

// open says whether the step may have changed the world and was not brought to an end.
func (p Phase) open() bool { return p == Intent || p == Unknown }

// recordVersion is the version of the records' JSON.
const recordVersion = 1

// maxErrorText bounds the text of an error in a record, in bytes.
const maxErrorText = 4096

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
	// Files are what the images of the VM's disks are called where the plan cannot tell; in the Intent record.
	Files []fleet.DiskFile `json:"files,omitempty"`
	// Error says why a step failed or its outcome is unknown.
	Error string `json:"error,omitempty"`
}

// digest names the content of p, its ID apart from it: an altered plan has another one.
func digest(p *plan.Plan) (string, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encode plan %s: %w", p.ID, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// StepState is what the journal says of one step.
type StepState struct {
	Step  int              `json:"step"`
	VM    fleet.VMID       `json:"vm"`
	Phase Phase            `json:"phase"` // empty: not begun
	Power fleet.PowerState `json:"power,omitempty"`
	Files []fleet.DiskFile `json:"files,omitempty"`
	Time  time.Time        `json:"time,omitzero"`
	Error string           `json:"error,omitempty"`
}

// Progress is how far the runs of a plan came, as the journal has it.
type Progress struct {
	Begun bool        `json:"begun"`
	Steps []StepState `json:"steps"` // all steps of the plan, in its order
}

// Done counts the steps that are done.
func (p Progress) Done() int {
	n := 0
	for _, s := range p.Steps {
		if s.Phase == Done {
			n++
		}
	}
	return n
}

// Status reads the records of a journal of p. Errors: *JournalError when they belong to another plan, to this
// one before it was altered, or make no sense.
func Status(records [][]byte, p *plan.Plan) (Progress, error) {
	h, err := readHistory(records, p)
	if err != nil {
		return Progress{}, err
	}
	return h.Progress, nil
}

// history is a Progress to which records are added, and what the rule on waves needs to know of it.
type history struct {
	Progress
	wave    []int // of each step by its index, counted from 0
	left    []int // steps of each wave that are not done
	current int   // the first wave with such a step; later ones wait for it
}

func newHistory(p *plan.Plan) *history {
	h := &history{Progress: Progress{Steps: make([]StepState, len(p.Steps))}, wave: make([]int, 0, len(p.Steps))}
	for n, steps := range plan.Waves(p.Steps) {
		h.left = append(h.left, len(steps))
		for i := range steps {
			at := len(h.wave)
			h.Steps[at] = StepState{Step: at + 1, VM: steps[i].Move.VM.ID}
			h.wave = append(h.wave, n)
		}
	}
	return h
}

func readHistory(records [][]byte, p *plan.Plan) (*history, error) {
	h := newHistory(p)
	h.Begun = len(records) > 0
	for i, raw := range records {
		var r Record
		if err := fleet.DecodeJSON("record", raw, &r); err != nil {
			return nil, &JournalError{Record: i + 1, Reason: err.Error()}
		}
		var reason string
		switch {
		case r.Version != recordVersion:
			reason = fmt.Sprintf("version is %d, expected %d", r.Version, recordVersion)
		case r.PlanID != p.ID:
			reason = fmt.Sprintf("belongs to plan %s, expected %s", r.PlanID, p.ID)
		case i == 0:
			reason = checkPlanned(r, p)
		default:
			reason = h.apply(r)
		}
		if reason != "" {
			return nil, &JournalError{Record: i + 1, Reason: reason}
		}
	}
	return h, nil
}

func checkPlanned(r Record, p *plan.Plan) string {
	if r.Phase != Planned {
		return fmt.Sprintf("phase is %q, expected %q", r.Phase, Planned)
	}
	want, err := digest(p)
	if err != nil {
		return err.Error()
	}
	if r.Digest != want {
		return fmt.Sprintf("plan %s was altered since it was begun", p.ID)
	}
	return ""
}

// apply adds one record; the text says what is wrong with it.
func (h *history) apply(r Record) string {
	if r.Step < 1 || r.Step > len(h.Steps) {
		return fmt.Sprintf("step %d, expected 1 to %d", r.Step, len(h.Steps))
	}
	s, wave := &h.Steps[r.Step-1], h.wave[r.Step-1]
	switch {
	case r.VM != s.VM:
		return fmt.Sprintf("step %d moves vm %s, expected %s", r.Step, r.VM, s.VM)
	case wave > h.current:
		return fmt.Sprintf("step %d comes before step %d of an earlier wave is done", r.Step, h.waiting())
	case !r.Phase.follows(s.Phase):
		return fmt.Sprintf("step %d: phase %q cannot follow %q", r.Step, r.Phase, s.Phase)
	}
	s.Phase, s.Time, s.Error = r.Phase, r.Time, r.Error
	if r.Phase == Intent {
		s.Power, s.Files = r.Power, r.Files
	}
	if r.Phase == Done { // nothing follows it
		h.left[wave]--
		for h.current < len(h.left) && h.left[h.current] == 0 {
			h.current++
		}
	}
	return ""
}

// waiting is the number of the first step of the current wave that is not done.
func (h *history) waiting() int {
	return 1 + slices.IndexFunc(h.Steps, func(s StepState) bool { return s.Phase != Done })
}
