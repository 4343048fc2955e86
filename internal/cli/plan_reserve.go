package cli

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// printReserve says which failures protected VMs survive before and after the plan p, whom nothing can save in one, and what the solver's
// bounded work left out: one line, none where nothing is protected.
func (a *app) printReserve(problem *policy.Problem, p *plan.Plan) error {
	r := p.Summary.Reserve
	if r.Failures == 0 {
		return nil
	}
	list, err := plan.StrandedAfter(problem, p)
	if err != nil {
		return inputError(fmt.Errorf("print plan: %w", err), "")
	}
	line := fmt.Sprintf("N+1: %d of %s survived before, %d after", r.SurvivedBefore, count(r.Failures, "failure"), r.SurvivedAfter)
	line += strandedPart(list, true, "disk local to its host or chassis") + strandedPart(list, false, "no other host meets its needs")
	if r.Untried > 0 {
		line += fmt.Sprintf("; %d not looked at", r.Untried)
	}
	a.printf("%s\n", cleanLine(line))
	return nil
}

// strandedPart names the first of those in list whose disk is local, or is not.
func strandedPart(list []plan.Stranded, local bool, why string) string {
	const most = 5
	var names []string
	n := 0
	for _, s := range list {
		if s.Local != local {
			continue
		}
		if n++; n <= most {
			names = append(names, string(s.VM))
		}
	}
	if n == 0 {
		return ""
	}
	if n > most {
		names = append(names, "...")
	}
	return fmt.Sprintf("; %s cannot be saved (%s): %s", count(n, "protected VM"), why, strings.Join(names, ", "))
}
