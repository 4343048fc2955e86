package cli

import (
	"github.com/berth-project/berth/plan"
	"github.com/spf13/cobra"
)

func (a *app) planShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show PLAN",
		Short: "Print a plan",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.loadPlan(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.jsonDocument(&p.Plan)
			}
			a.printContradictions(plan.Contradictions(p.problem))
			a.printPlan(p.File)
			return a.printReserve(p.problem, &p.Plan)
		},
	}
}
