package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/solver"
	"github.com/spf13/cobra"
)

func (a *app) planExplain() *cobra.Command {
	return &cobra.Command{
		Use:   "explain VM PLAN",
		Short: "Say why a VM gets its place in a plan, and what refuses each other host",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.loadPlan(args[1])
			if err != nil {
				return err
			}
			e, err := solver.Explain(p.problem, &p.Plan, fleet.VMID(args[0]))
			if errors.Is(err, fleet.ErrNotFound) {
				return &cliError{code: codeNothing, err: fmt.Errorf("explain vm %s: the plan's snapshot has no such VM", args[0])}
			}
			if err != nil {
				return err
			}
			if e.Help, err = solver.Relax(p.problem, &p.Plan, e.VM, p.catalogue); err != nil {
				return err
			}
			if a.json {
				return a.jsonDocument(e)
			}
			a.printf("%s\n", strings.TrimRight(clean(e.String()), "\n"))
			return nil
		},
	}
}
