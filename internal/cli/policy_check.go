package cli

import (
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

// policyLine is the JSON line of one file of berth policy check.
type policyLine struct {
	File     string         `json:"file"`
	Valid    bool           `json:"valid"`
	Faults   []policyFault  `json:"faults"`
	Warnings []string       `json:"warnings"`
	Policy   *catalogueView `json:"policy,omitempty"`
}

type policyFault struct {
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	What     string `json:"what"`
	Expected string `json:"expected,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

func (a *app) policyCheck() *cobra.Command {
	var in fleetInput
	cmd := &cobra.Command{
		Use:   "check LEVELS...",
		Short: "Check files of service levels, and explain what they say",
		Long: `Check names every fault of a file with its line and column. Of a file without a fault it prints what the levels and
rules say, and warns of what is allowed but hardly meant; with --from or --config also of what does not fit that fleet. It
exits with 3 when a file has a fault.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s *fleet.Snapshot
			if in.from != "" || in.config != "" {
				var err error
				if s, _, err = a.loadSnapshot(cmd.Context(), &in); err != nil {
					return err
				}
			}
			var t tally
			for _, file := range args {
				t.add(codeOf(a.checkPolicy(file, s)))
			}
			return reported(t.code())
		},
	}
	in.flags(cmd)
	return cmd
}

// checkPolicy checks one file, against s when that is not nil, and says what came of it; the error was
// reported.
func (a *app) checkPolicy(file string, s *fleet.Snapshot) error {
	line := policyLine{File: file, Faults: []policyFault{}, Warnings: []string{}}
	cat, err := a.loadCatalogue(file, nil)
	if err == nil {
		var warnings []string
		if warnings, err = cat.Warnings(s); err != nil {
			err = inputError(fmt.Errorf("check policy: %w", err), "")
		}
		line.Warnings = append(line.Warnings, warnings...)
		if err == nil && s != nil {
			line.Warnings = append(line.Warnings, contradictions(cat, s)...)
		}
	}
	if err != nil {
		var faults *policy.FaultsError
		if errors.As(err, &faults) {
			for _, f := range faults.Faults {
				line.Faults = append(line.Faults, policyFault{f.Line, f.Column, f.What, f.Expected, f.Hint})
			}
		}
		if a.json {
			_ = a.jsonLine(line) // kept by the buffer
		}
		a.report(err)
		return err
	}
	v := viewCatalogue(cat)
	line.Valid, line.Policy = true, &v
	if a.json {
		return a.jsonLine(line)
	}
	if err := cat.Explain(a.out); err != nil {
		return err
	}
	if len(line.Warnings) > 0 {
		a.printf("\nWarnings\n")
	}
	for _, w := range line.Warnings {
		a.printf("  %s\n", cleanLine(w))
	}
	return nil
}

// contradictions are what no plan for the fleet s could satisfy by the policy.
func contradictions(cat *policy.Catalogue, s *fleet.Snapshot) []string {
	p, err := policy.Resolve(cat, s)
	if err != nil {
		return nil // Warnings has said so
	}
	return plan.Contradictions(p)
}
