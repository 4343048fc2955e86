package cli

import (
	"context"
	"fmt"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

// checkView is the JSON of berth plan check.
type checkView struct {
	Plan       string           `json:"plan"`
	Legal      bool             `json:"legal"`      // against its own snapshot
	Violations []plan.Violation `json:"violations"` // against its own snapshot
	// Current says whether it may still be applied to the fleet as it is; absent without --config.
	Current *bool            `json:"current,omitempty"`
	World   []plan.Violation `json:"world,omitempty"`
}

func (a *app) planCheck() *cobra.Command {
	var configFlag, trustFlag string
	cmd := &cobra.Command{
		Use:   "check PLAN",
		Short: "Verify a plan without the solver: against its own snapshot, and with --config against the fleet as it is",
		Long: `Check walks the steps of a plan one by one and holds each intermediate state against every hard constraint. It
exits with 3 when the plan is not legal, and with 4 when it is but the fleet has moved on.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.loadPlan(args[0])
			if err != nil {
				return err
			}
			bad := plan.Check(p.problem, &p.Plan)
			v := checkView{Plan: p.Plan.ID, Legal: len(bad) == 0, Violations: append([]plan.Violation{}, bad...)}
			if configFlag != "" {
				if v.World, err = a.checkWorld(cmd.Context(), p, configFlag, trustFlag); err != nil {
					return err
				}
				current := len(v.World) == 0
				v.Current = &current
			}
			if v.Legal && !a.json { // the counts of one that is not may be made up
				if err := a.printReserve(p.problem, &p.Plan); err != nil {
					return err
				}
			}
			return a.printCheck(&v, len(p.Plan.Steps))
		},
	}
	cmd.Flags().StringVar(&configFlag, "config", "", "check against the sources in `FILE` as they are now, too")
	cmd.Flags().StringVar(&trustFlag, "trust", "", "trust the keys in `FILE` (default: $BERTH_TRUST, the configuration's, trust.yaml)")
	return cmd
}

// checkWorld holds the steps of p against the fleet as it is now.
func (a *app) checkWorld(ctx context.Context, p *loadedPlan, configFlag, trustFlag string) ([]plan.Violation, error) {
	c, err := a.loadConfig(configFlag)
	if err != nil {
		return nil, err
	}
	trust, err := a.loadTrust(trustFlag, c)
	if err != nil {
		return nil, err
	}
	now, err := a.inventory(ctx, c, trust, nil)
	if err != nil {
		return nil, err
	}
	problem, err := policy.Resolve(p.catalogue, now)
	if err != nil {
		return nil, fmt.Errorf("check plan: apply policy to the fleet as it is: %w", err)
	}
	return plan.CheckSteps(problem, p.Plan.Steps), nil
}

func (a *app) printCheck(v *checkView, steps int) error {
	code := codeOK
	switch {
	case !v.Legal:
		code = codeInput
	case v.Current != nil && !*v.Current:
		code = codeRefused
	}
	if a.json {
		if err := a.jsonDocument(v); err != nil {
			return err
		}
		return reported(code)
	}
	for _, bad := range v.Violations {
		a.printf("%s\n", cleanLine(bad.String()))
	}
	for _, bad := range v.World {
		a.printf("now: %s\n", cleanLine(bad.String()))
	}
	switch {
	case !v.Legal:
		a.printf("plan %s is not legal\n", v.Plan)
	case code == codeRefused:
		a.printf("plan %s is stale: the fleet has moved on\n", v.Plan)
	case v.Current != nil:
		a.printf("plan %s: %s: legal, and the fleet is as it needs it\n", v.Plan, count(steps, "step"))
	default:
		a.printf("plan %s: %s: legal\n", v.Plan, count(steps, "step"))
	}
	return reported(code)
}
