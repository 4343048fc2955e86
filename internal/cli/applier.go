package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/internal/journal"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// applier applies one plan to one world.
type applier struct {
	app      *app
	plan     *loadedPlan
	world    *world
	trust    *label.TrustFile
	accepted []plan.Risk
	parallel int    // moves of one wave at once; 0: executor.DefaultParallel
	path     string // of the journal
	again    string // the command that goes on after a stop

	journal *journal.Journal // nil: not open
	records [][]byte         // that it held when it was opened
}

// lookTimeout bounds the look at the fleet after a run.
const lookTimeout = 5 * time.Minute

// checkWorld takes a fresh inventory and refuses the plan when a source cannot be seen, balances on its own,
// or has moved on where the remaining steps need it.
func (ap *applier) checkWorld(ctx context.Context, progress executor.Progress) error {
	id := ap.plan.Plan.ID
	now, err := ap.world.observe(ctx, ap.app, ap.trust)
	if err != nil {
		return fmt.Errorf("apply plan %s: %w", id, err)
	}
	var rest []plan.Step
	open := false
	for i, s := range progress.Steps {
		if s.Phase != executor.Done {
			rest = append(rest, ap.plan.Plan.Steps[i])
		}
		open = open || s.Phase == executor.Intent || s.Phase == executor.Unknown
	}
	for _, src := range involved(rest) {
		s := now.Source(src)
		switch {
		case s == nil:
			return refusedf("use the configuration that the plan was made with", "apply plan %s: source %s is not configured", id, src)
		case !s.Reachable:
			return refusedf("see 'berth fleet show' for the cause", "apply plan %s: source %s cannot be reached", id, src)
		case s.NativeBalancer != "":
			return refusedf("switch it off, or set it to manual: two controllers would move the same VMs",
				"apply plan %s: source %s: %s is on; Berth only advises there", id, src, s.NativeBalancer)
		}
	}
	if open {
		ap.app.detail("moves were under way: they are brought to their end, and the rest is checked then")
		return nil
	}
	return ap.checkRest(now, rest)
}

// checkRest refuses the plan when the fleet as it is now is not as the steps need it.
func (ap *applier) checkRest(now *fleet.Snapshot, rest []plan.Step) error {
	id := ap.plan.Plan.ID
	problem, err := policy.Resolve(ap.plan.catalogue, now)
	if err != nil {
		return fmt.Errorf("apply plan %s: apply policy to the fleet as it is: %w", id, err)
	}
	bad := plan.CheckSteps(problem, rest)
	if len(bad) == 0 {
		return nil
	}
	for _, v := range bad {
		ap.app.note("%s", v.String())
	}
	return refusedf("make a new plan: berth plan make", "apply plan %s: the fleet has moved on: the plan is stale", id)
}

// involved are the sources of the steps, sorted.
func involved(steps []plan.Step) []fleet.SourceID {
	var out []fleet.SourceID
	for i := range steps {
		if a := steps[i].Attach; a != nil {
			out = append(out, a.Module.Source)
			continue
		}
		out = append(out, steps[i].Move.VM.Source)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// openJournal opens and locks the journal, unless it is open.
func (ap *applier) openJournal() (err error) {
	if ap.journal != nil {
		return nil
	}
	if ap.journal, ap.records, err = journal.Open(ap.path); err != nil {
		ap.journal = nil
		return fmt.Errorf("apply plan %s: %w", ap.plan.Plan.ID, err)
	}
	return nil
}

func (ap *applier) closeJournal() {
	if ap.journal != nil {
		closeQuietly(ap.journal) // every record is on disk already
		ap.journal = nil
	}
}

// execute runs the steps that are not done yet.
func (ap *applier) execute(ctx context.Context) (executor.Result, error) {
	stop := context.AfterFunc(ctx, func() {
		ap.app.note("stopping after the moves that are under way; once more to stop at once")
	})
	defer stop()
	show := ap.app.newProgress(&ap.plan.Plan)
	defer show.finish()
	return executor.Run(ctx, executor.Deps{
		Movers: ap.world.mover, Journal: ap.journal, Records: ap.records, Accepted: ap.accepted, Report: show.event,
		Parallel: ap.width(),
		Resumed: func(ctx context.Context, rest []plan.Step) error {
			now, err := ap.world.observe(ctx, ap.app, ap.trust)
			if err != nil {
				return fmt.Errorf("apply plan %s: %w", ap.plan.Plan.ID, err)
			}
			return ap.checkRest(now, rest)
		},
	}, &ap.plan.Plan)
}

// width is how many moves of one wave are under way at most.
func (ap *applier) width() int { return cmp.Or(ap.parallel, executor.DefaultParallel) }

// appliedView is the JSON of berth plan apply.
type appliedView struct {
	Plan      string      `json:"plan"`
	Parallel  int         `json:"parallel"`  // moves of one wave under way at most
	Done      []int       `json:"done"`      // steps made by this run
	Skipped   []int       `json:"skipped"`   // steps that were done before it
	Remaining []int       `json:"remaining"` // steps not done
	VMs       []vmOutcome `json:"vms"`       // that the plan moves, as observed after the run
	Error     string      `json:"error,omitempty"`
}

// vmOutcome is where one VM is.
type vmOutcome struct {
	VM    fleet.VMID        `json:"vm"`
	Host  fleet.HostID      `json:"host"` // empty: not seen
	Disks []fleet.DiskPlace `json:"disks"`
	Power fleet.PowerState  `json:"power"`
	// AsPlanned: it is where its last step puts it.
	AsPlanned bool            `json:"asPlanned"`
	Planned   fleet.Placement `json:"planned"`
}

// look observes the fleet anew and says where each VM of the plan is.
func (ap *applier) look(ctx context.Context, r executor.Result) (*appliedView, error) {
	v := &appliedView{
		Plan: ap.plan.Plan.ID, Parallel: ap.width(), Done: append([]int{}, r.Done...), Skipped: append([]int{}, r.Skipped...),
		Remaining: append([]int{}, r.Remaining...), VMs: []vmOutcome{},
	}
	if len(ap.plan.Plan.Steps) == 0 {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	now, err := ap.world.observe(ctx, ap.app, ap.trust)
	if err != nil {
		return nil, err
	}
	last := map[fleet.VMID]int{}
	for i := range ap.plan.Plan.Steps {
		last[ap.plan.Plan.Steps[i].Move.VM.ID] = i
	}
	for i := range ap.plan.Plan.Steps {
		s := &ap.plan.Plan.Steps[i]
		if s.Attach != nil || last[s.Move.VM.ID] != i {
			continue
		}
		out := vmOutcome{VM: s.Move.VM.ID, Planned: s.Move.To, Disks: []fleet.DiskPlace{}}
		if vm := now.VM(s.Move.VM.ID); vm != nil {
			place := vm.Place()
			out.Host, out.Power = vm.Host, vm.Power
			out.Disks = append(out.Disks, place.Disks...)
			out.AsPlanned = place.Host == s.Move.To.Host && slices.Equal(place.Disks, s.Move.To.Disks)
		}
		v.VMs = append(v.VMs, out)
	}
	return v, nil
}

func (a *app) printApplied(v *appliedView) error {
	if a.json {
		return a.jsonDocument(v)
	}
	for _, vm := range v.VMs {
		a.printf("%s\n", cleanLine(vm.line()))
	}
	a.printf("plan %s: %d done, %d done before, %d not done\n", v.Plan, len(v.Done), len(v.Skipped), len(v.Remaining))
	return nil
}

// line is the result line of one VM.
func (o *vmOutcome) line() string {
	if o.Host == "" {
		return fmt.Sprintf("%s: not seen", o.VM)
	}
	s := fmt.Sprintf("%s: %s, %s, disks on %s", o.VM, o.Host, o.Power, poolsOf(o.Disks))
	if o.AsPlanned {
		return s + ": as planned"
	}
	return s + fmt.Sprintf(": not as planned (%s, %s)", o.Planned.Host, poolsOf(o.Planned.Disks))
}

// powerLost names the VMs that ran before the plan and do not run now.
func (ap *applier) powerLost(v *appliedView) string {
	var out []string
	for _, o := range v.VMs {
		if was := ap.plan.Snapshot.VM(o.VM); was != nil && was.Power == fleet.Running && o.Power != fleet.Running {
			out = append(out, string(o.VM))
		}
	}
	return strings.Join(out, ", ")
}
