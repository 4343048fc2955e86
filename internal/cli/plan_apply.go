package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/internal/journal"
	"github.com/berth-project/berth/plan"
	"github.com/spf13/cobra"
)

func (a *app) planApply() *cobra.Command {
	var configFlag, trustFlag, state string
	var risks []string
	parallel := executor.DefaultParallel
	cmd := &cobra.Command{
		Use:   "apply PLAN",
		Short: "Make the moves of a plan, or go on with a plan that was begun",
		Long: `Apply makes the moves of a plan, those of one wave at once, wave after wave. It refuses a plan that the fleet has
moved away from, and one with a risk that was not accepted by name. What it does is journalled first: after a crash, or after
Ctrl-C, which stops it after the moves that are under way, the same command goes on. When a move fails, those under way are
brought to their end, and no other is begun. At the end it prints where each VM is as the hypervisor says.`,
		Example: "  berth plan apply plan.json --accept-risk=downtime",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			accepted, err := parseRisks(risks)
			if err != nil {
				return err
			}
			if parallel < 1 || parallel > executor.MaxParallel {
				return usagef("--parallel: %d, expected 1 to %d", parallel, executor.MaxParallel)
			}
			p, err := a.loadPlan(args[0])
			if err != nil {
				return err
			}
			c, err := a.loadConfig(configFlag)
			if err != nil {
				return err
			}
			trust, err := a.loadTrust(trustFlag, c)
			if err != nil {
				return err
			}
			ap := &applier{app: a, plan: p, trust: trust, accepted: accepted, parallel: parallel, again: "berth " + a.commandLine}
			if ap.path, err = a.journalPath(state, p.Plan.ID); err != nil {
				return err
			}
			return ap.connect(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&risks, "accept-risk", nil, "accept a `RISK` that the plan names: downtime, displaced")
	f.IntVar(&parallel, "parallel", parallel, "make at most `N` moves of one wave at once, 1 to 64; 1: one after another")
	f.StringVar(&configFlag, "config", "", "the sources are in `FILE` (default: berth.yaml, see docs/cli.md)")
	f.StringVar(&trustFlag, "trust", "", "trust the keys in `FILE` (default: $BERTH_TRUST, the configuration's, trust.yaml)")
	f.StringVar(&state, "state", "", "keep the journal in the folder `DIR` (default: $XDG_STATE_HOME/berth, /var/lib/berth for root)")
	return cmd
}

// allRisks are those that a step can have.
var allRisks = []plan.Risk{plan.RiskDowntime, plan.RiskDisplaced}

func parseRisks(names []string) ([]plan.Risk, error) {
	var out []plan.Risk
	for _, n := range names {
		if !slices.Contains(allRisks, plan.Risk(n)) {
			return nil, usagef("--accept-risk: no risk %q, expected %s or %s", n, plan.RiskDowntime, plan.RiskDisplaced)
		}
		out = append(out, plan.Risk(n))
	}
	return out, nil
}

// journalPath is where the journal of the plan id lies.
func (a *app) journalPath(flag, id string) (string, error) {
	dir := flag
	switch xdg, home := a.env.Getenv("XDG_STATE_HOME"), a.env.Getenv("HOME"); {
	case dir != "":
	case filepath.IsAbs(xdg):
		dir = filepath.Join(xdg, "berth")
	case os.Geteuid() == 0:
		dir = "/var/lib/berth"
	case filepath.IsAbs(home):
		dir = filepath.Join(home, ".local", "state", "berth")
	default:
		return "", usagef("there is no folder for the journal: name one with --state")
	}
	return filepath.Join(dir, "journal", id), nil
}

// connect opens the sources and applies the plan.
func (ap *applier) connect(ctx context.Context, c *config) error {
	w, err := ap.app.openWorld(ctx, c, nil)
	if err != nil {
		return err
	}
	defer closeQuietly(w)
	ap.world = w
	return ap.apply(ctx)
}

// apply checks, runs and looks again. Nothing is changed before every check has passed.
func (ap *applier) apply(ctx context.Context) error {
	a, p := ap.app, ap.plan
	if bad := plan.Check(p.problem, &p.Plan); len(bad) > 0 {
		return inputError(fmt.Errorf("apply plan %s: the plan is not legal: %s", p.Plan.ID, bad[0]), "make a new plan; 'berth plan check' lists all faults")
	}
	progress, err := ap.begun()
	defer ap.closeJournal()
	if err != nil {
		return err
	}
	if err := ap.checkRisks(progress); err != nil {
		return err
	}
	lock, err := ap.lock()
	if err != nil {
		return err
	}
	defer closeQuietly(lock)
	if err := ap.checkWorld(ctx, progress); err != nil {
		return err
	}
	if err := ap.openJournal(); err != nil {
		return err
	}
	if n := progress.Done(); n > 0 || progress.Begun {
		a.note("going on with plan %s: %d of %s done", p.Plan.ID, n, count(len(p.Plan.Steps), "step"))
	}
	result, runErr := ap.execute(ctx)
	view, lookErr := ap.look(context.WithoutCancel(ctx), result)
	if runErr != nil && view != nil {
		view.Error = runErr.Error()
	}
	if view != nil {
		if err := a.printApplied(view); err != nil {
			return err
		}
	}
	return ap.conclude(result, runErr, lookErr, view)
}

// lock takes the state folder for this run: a plan is made and checked for a fleet that nobody else changes.
func (ap *applier) lock() (io.Closer, error) {
	folder := filepath.Dir(filepath.Dir(ap.path))
	lock, err := journal.Acquire(filepath.Join(folder, "apply.lock"))
	var held *journal.HeldError
	if !errors.As(err, &held) {
		if err != nil {
			return nil, fmt.Errorf("apply plan %s: %w", ap.plan.Plan.ID, err)
		}
		return lock, nil
	}
	hint := "wait for it to end"
	if held.PID > 0 {
		hint = fmt.Sprintf("wait for process %d to end", held.PID)
	}
	return nil, &cliError{code: codeRefused, hint: hint,
		err: fmt.Errorf("apply plan %s: another berth applies a plan: %w", ap.plan.Plan.ID, err)}
}

// begun is how far earlier runs came. The journal of an earlier run is locked from here on; none is made.
func (ap *applier) begun() (executor.Progress, error) {
	if _, err := os.Stat(ap.path); err == nil {
		if err := ap.openJournal(); err != nil {
			return executor.Progress{}, err
		}
	}
	progress, err := executor.Status(ap.records, &ap.plan.Plan)
	if err != nil {
		return executor.Progress{}, fmt.Errorf("apply plan: journal %s: %w", ap.path, err)
	}
	return progress, nil
}

// checkRisks refuses the plan when a step that is still to be done needs a risk that was not accepted, and
// names each of them.
func (ap *applier) checkRisks(progress executor.Progress) error {
	refused := 0
	var kinds []string
	for i := range ap.plan.Plan.Steps {
		s := &ap.plan.Plan.Steps[i]
		if progress.Steps[i].Phase == executor.Done {
			continue
		}
		for _, r := range s.Risks {
			if slices.Contains(ap.accepted, r) {
				ap.app.detail("step %d (%s): risk %s is accepted", s.N, s.Move.VM.ID, r)
				continue
			}
			refused++
			if !slices.Contains(kinds, string(r)) {
				kinds = append(kinds, string(r))
			}
			ap.app.note("step %d (%s, %s): risk %s: %s", s.N, s.Move.VM.ID, hostChange(s), r, riskText(r))
		}
	}
	if refused == 0 {
		return nil
	}
	slices.Sort(kinds)
	hint := "apply it with --accept-risk=" + strings.Join(kinds, ",") + " when "
	switch {
	case len(kinds) > 1:
		hint += "these guests may stop for their move, or give way"
	case kinds[0] == string(plan.RiskDisplaced):
		hint += "these VMs may give way"
	default:
		hint += "these guests may stop for their move"
	}
	return refusedf(hint, "apply plan %s: %s not accepted", ap.plan.Plan.ID, count(refused, "risk"))
}

func riskText(r plan.Risk) string {
	if r == plan.RiskDowntime {
		return "the guest is shut down, moved and started again"
	}
	if r == plan.RiskDisplaced {
		return "the VM goes below what its label asks for, for one of higher priority"
	}
	return string(r)
}

// conclude turns what happened into the exit code.
func (ap *applier) conclude(r executor.Result, runErr, lookErr error, view *appliedView) error {
	code, hint := codeOf(runErr), "to go on: "+ap.again
	if code == codeRefused { // it cannot go on
		hint = hintOf(runErr)
	}
	switch {
	case runErr != nil && code != codeUnknown && len(r.Done)+len(r.Skipped) > 0:
		return &cliError{code: codePartly, err: runErr, hint: hint}
	case errors.Is(runErr, context.Canceled):
		return &cliError{code: codePartly, err: runErr, hint: hint}
	case runErr != nil:
		return runErr
	case lookErr != nil:
		return &cliError{code: codeUnknown, err: fmt.Errorf("apply plan: all moves were made, but the fleet cannot be observed: %w", lookErr)}
	}
	for _, vm := range view.VMs {
		if !vm.AsPlanned {
			return &cliError{code: codeUnknown, err: fmt.Errorf("apply plan: vm %s is not where the plan puts it", vm.VM),
				hint: "something else moved it, or the inventory is behind; look with 'berth fleet show'"}
		}
	}
	return nil
}
