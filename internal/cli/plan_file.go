package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// loadedPlan is a plan file with the problem that its own snapshot and policy give.
type loadedPlan struct {
	*plan.File
	catalogue *policy.Catalogue
	problem   *policy.Problem
}

// loadPlan reads a plan file and its seal, and resolves the policy in it.
func (a *app) loadPlan(path string) (*loadedPlan, error) {
	data, err := a.readInput(path, int64(fleet.MaxFile))
	if err != nil {
		return nil, inputError(fmt.Errorf("read plan: %w", err), "")
	}
	f, err := plan.DecodeFile(inputName(path), data)
	if err != nil {
		hint := "'berth plan make -o FILE' writes a plan"
		if errors.Is(err, plan.ErrAltered) {
			hint = "a plan is never edited: make a new one"
		}
		if errors.Is(err, plan.ErrVersion) {
			hint = "make the plan anew with this berth: 'berth plan make -o FILE'"
		}
		return nil, inputError(fmt.Errorf("read plan: %w", err), hint)
	}
	cat, err := policy.Parse("policy in "+inputName(path), []byte(f.Policy))
	if err != nil {
		return nil, inputError(fmt.Errorf("read plan: %w", err), "")
	}
	problem, err := policy.Resolve(cat, &f.Snapshot)
	if err != nil {
		return nil, inputError(fmt.Errorf("read plan: apply policy: %w", err), "")
	}
	return &loadedPlan{File: f, catalogue: cat, problem: problem}, nil
}

// printPlan prints the steps with their reasons, what could not be helped, and the counts.
func (a *app) printPlan(f *plan.File) {
	p := &f.Plan
	g := &grid{title: "Moves", headings: []string{"STEP", "VM", "LEVEL", "HOST", "DISKS", "MODE", "WHY"}}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Attach != nil {
			g.add(text(fmt.Sprint(s.N)), text(objectText(s)), text(""), text(hostChange(s)), text(""), text("attach"), text(s.Reason))
			continue
		}
		g.add(text(fmt.Sprint(s.N)), text(string(s.Move.VM.ID)), text(s.Level), text(hostChange(s)), text(diskChange(s)),
			modeCell(s), text(s.Reason))
	}
	a.printGrid(g)
	if len(p.Unplaced) > 0 {
		g := &grid{title: "Without a right place", headings: []string{"VM", "LEVEL", "WHY", "HOSTS REFUSED BY", "WAITS FOR"}}
		for _, u := range p.Unplaced {
			g.add(text(string(u.VM)), text(u.Level), toned(badTone, u.Reason), text(refusals(u.Refused)), text(u.Nearest))
		}
		a.printGrid(g)
	}
	if len(p.Held) > 0 {
		g := &grid{title: "Left alone", headings: []string{"VM", "WHY"}}
		for _, h := range p.Held {
			g.add(text(string(h.VM)), text(h.Reason))
		}
		a.printGrid(g)
	}
	a.printGaps(f.Snapshot.Gaps)
	s := &p.Summary
	a.printf("plan %s: %d VMs, %d right, %s, %d without a place, %d left alone; %s to copy\n",
		p.ID, s.VMs, s.Right, count(s.Moves, "move"), s.Unplaced, s.Held, fleet.FormatBytes(s.Bytes))
	a.printf("broken needs: %d before, %d after\n", s.BrokenBefore, s.BrokenAfter)
	a.printf("cost: %d before, %d after%s, %d for the moves\n", s.CostBefore, s.CostAfter, costParts(s.After), s.CostOfMoves)
	a.printf("bound: every plan that mends as much costs at least %d, moves included\n", s.Bound)
	a.printf("gap: %.2f %%\n", s.GapPercent)
	if n := riskySteps(p.Steps, plan.RiskDowntime); n > 0 {
		a.printf("%s with downtime: apply it with --accept-risk=downtime\n", count(n, "move"))
	}
	if n := riskySteps(p.Steps, plan.RiskDisplaced); n > 0 {
		a.printf("%s below the need of a VM that gives way: apply it with --accept-risk=displaced\n", count(n, "move"))
	}
}

// costParts lists what a cost is made of: " (tier waste 300, overload 20)".
func costParts(c plan.Cost) string {
	var parts []string
	for _, p := range []struct {
		name   string
		points int64
	}{{"tier waste", c.TierWaste}, {"pool waste", c.PoolWaste}, {"overload", c.Overload}, {"stranded", c.Stranded}, {"energy", c.Energy}} {
		if p.points > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", p.name, p.points))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func riskySteps(steps []plan.Step, r plan.Risk) int {
	n := 0
	for i := range steps {
		for _, have := range steps[i].Risks {
			if have == r {
				n++
			}
		}
	}
	return n
}

func hostChange(s *plan.Step) string {
	if a := s.Attach; a != nil {
		return cmp.Or(string(a.From), "nowhere") + " -> " + string(a.To)
	}
	if s.Move.From.Host == s.Move.To.Host {
		return string(s.Move.From.Host)
	}
	return string(s.Move.From.Host) + " -> " + string(s.Move.To.Host)
}

// diskChange names the pools that change, each pair once; empty when no disk moves.
func diskChange(s *plan.Step) string {
	var out []string
	seen := map[string]bool{}
	for i, to := range s.Move.To.Disks {
		if i >= len(s.Move.From.Disks) || s.Move.From.Disks[i].Pool == to.Pool {
			continue
		}
		c := string(s.Move.From.Disks[i].Pool) + " -> " + string(to.Pool)
		if !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return "stay"
	}
	return strings.Join(out, ", ")
}

func modeCell(s *plan.Step) cell {
	mode := string(s.Move.Mode)
	if len(s.Risks) == 0 {
		return text(mode)
	}
	names := make([]string, len(s.Risks))
	for i, r := range s.Risks {
		names[i] = string(r)
	}
	return toned(warnTone, mode+" ("+strings.Join(names, ", ")+")")
}

func refusals(list []plan.RefusedHost) string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = fmt.Sprintf("%s: %d", r.Constraint, r.Count)
	}
	return strings.Join(out, ", ")
}
