package cli

import (
	"errors"
	"fmt"

	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

// policyLine is the JSON line of one file of berth policy check.
type policyLine struct {
	File   string         `json:"file"`
	Valid  bool           `json:"valid"`
	Faults []policyFault  `json:"faults"`
	Policy *catalogueView `json:"policy,omitempty"`
}

type policyFault struct {
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	What     string `json:"what"`
	Expected string `json:"expected,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

func (a *app) policyCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check LEVELS...",
		Short: "Check files of service levels, and explain what they say",
		Long: `Check names every fault of a file with its line and column. Of a file without a fault it prints what each level
asks for. It exits with 3 when a file has a fault.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var t tally
			for _, file := range args {
				err := a.checkPolicy(file)
				t.add(codeOf(err))
			}
			return reported(t.code())
		},
	}
}

// checkPolicy checks one file and says what came of it; the error was reported.
func (a *app) checkPolicy(file string) error {
	line := policyLine{File: file, Faults: []policyFault{}}
	cat, err := a.loadCatalogue(file, nil)
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
	a.printCatalogue(&v)
	return nil
}

func (a *app) printCatalogue(v *catalogueView) {
	g := &grid{title: v.Name, headings: []string{"LEVEL", "SERVER", "STORAGE", "NIC CLASS", "QUEUES", "SECURITY", "PRIORITY", "SPREAD"}}
	for _, l := range v.Levels {
		security := ""
		if l.Security >= 0 && l.Security < len(v.SecurityClasses) {
			security = v.SecurityClasses[l.Security]
		}
		g.add(text(l.Name), text(tierName(v.ServerTiers, l.Server)), text(tierName(v.StorageTiers, l.Storage)),
			text(fmt.Sprint(l.NICClass)), text(fmt.Sprint(l.Queues)), text(security), text(fmt.Sprint(l.Priority)), text(string(l.Spread)))
	}
	a.printGrid(g)
	a.printf("A VM without a label is %s. A label without a trusted signature counts up to %s.\n", v.Unlabelled, v.UnsignedCeiling)
	a.printf("%s is valid (%s)\n", cleanLine(v.Name), v.ID)
}
