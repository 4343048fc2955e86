package cli

import (
	"context"
	"fmt"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
	"github.com/spf13/cobra"
)

func (a *app) planMake() *cobra.Command {
	var in fleetInput
	var output string
	cmd := &cobra.Command{
		Use:   "make",
		Short: "Plan the moves that put every VM where its label asks for",
		Long: `Make looks at the fleet (or takes it from a snapshot with --from), plans, and prints the moves with the reason for
each. Nothing is changed. The same snapshot and policy give the same plan, byte for byte, on every machine.`,
		Example: "  berth plan make -o plan.json\n  berth plan make --from fleet.json --policy levels.yaml --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, problem, err := a.makePlan(cmd.Context(), &in)
			if err != nil {
				return err
			}
			contradictions := plan.Contradictions(problem)
			data, err := f.Encode()
			if err != nil {
				return err
			}
			if output != "" && output != "-" {
				if err := writeFileAtomic(output, data, 0o644, false); err != nil {
					return fmt.Errorf("write plan: %w", err)
				}
			}
			if a.json || output == "-" {
				for _, c := range contradictions {
					a.note("contradiction: %s", cleanLine(c))
				}
				return a.writeJSON(data)
			}
			a.printContradictions(contradictions)
			a.printPlan(f)
			return a.printReserve(problem, &f.Plan)
		},
	}
	in.flags(cmd)
	in.policyFlag(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the plan to `FILE`, whole or not at all; - is standard output")
	return cmd
}

func (a *app) makePlan(ctx context.Context, in *fleetInput) (*plan.File, *policy.Problem, error) {
	st, err := a.loadSituation(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	f, err := st.plan()
	return f, st.problem, err
}

// printContradictions prints what no plan could satisfy, if there is anything.
func (a *app) printContradictions(list []string) {
	if len(list) == 0 {
		return
	}
	a.printf("%s\n", a.bold("Contradictions"))
	for _, c := range list {
		a.printf("  %s\n", cleanLine(c))
	}
	a.printf("\n")
}

// plan solves the situation and has the result checked by the independent verifier: a plan that the solver
// got wrong is never shown.
func (st *situation) plan() (*plan.File, error) {
	p, err := solver.Solve(st.problem, solver.Options{Rules: st.catalogue})
	if err != nil {
		// The solver refuses only a fleet that cannot be counted: amounts whose sum overflows.
		return nil, inputError(fmt.Errorf("make plan: %w", err), "")
	}
	if bad := plan.Check(st.problem, p); len(bad) > 0 {
		return nil, &cliError{code: codeFailed,
			err:  fmt.Errorf("make plan: the plan does not pass its check: %s", bad[0]),
			hint: "this is a fault of berth: report it with the output of 'berth fleet export'"}
	}
	return &plan.File{Plan: *p, Policy: st.catalogue.Text(), Snapshot: *st.snapshot}, nil
}
