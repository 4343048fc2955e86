package solver_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

// TestExplainCountsEveryHost holds explanations of all VMs of random fleets against the plan.
func TestExplainCountsEveryHost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		end := after(p, pl.Steps)
		for i := range p.Snapshot.VMs {
			id := p.Snapshot.VMs[i].ID
			e, err := solver.Explain(p, pl, id)
			if err != nil {
				t.Fatal(err)
			}
			n := e.LegalOthers
			for _, r := range e.Refused {
				n += r.Count
			}
			if n != len(p.Snapshot.Hosts)-1 {
				t.Errorf("%s: speaks of %d of %d other hosts", id, n, len(p.Snapshot.Hosts)-1)
			}
			at := e.From.Host
			if e.To != nil {
				at = e.To.Host
			}
			if v := end.Snapshot.VM(id); v.Host != at || (len(e.Disks) > 0 && e.Disks[0].To != v.Disks[0].Pool) {
				t.Errorf("%s: is explained on %s, and comes to %s", id, at, v.Host)
			}
			if (e.Fate == solver.FateRight) != (len(e.Reasons) == 0) {
				t.Errorf("%s: is %s, with the reasons %q", id, e.Fate, e.Reasons)
			}
			if s := e.String(); !strings.HasPrefix(s, string(id)+": "+string(e.Fate)) || strings.Contains(s, "%!") {
				t.Errorf("text: %s", s)
			}
		}
	})
}

func TestExplainAsJSON(t *testing.T) {
	t.Parallel()
	p := parseFleet(t, "pool nas tier=nvme\nhost gold-1 tier=gold pools=nas\nhost gold-2 tier=gold cpu=8 pools=nas\nhost host-a pools=nas\n"+
		"vm vm-db host=host-a level=gold needs=gold prio=900 disks=nas:5:nvme\n")
	pl := mustSolve(t, p)
	e, err := solver.Explain(p, pl, "vm-db")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"vm":"vm-db"`, `"fate":"moves"`, `"to":{"host":"gold-1","tier":"gold"}`, `"constraint":"server-tier","count":1,"hosts":["host-a"]`,
		`"others":[{"host":"gold-2","more":0}]`, `"legalOthers":1`, `"steps":[1]`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	p := parseFleet(t, "host host-a\nvm vm-db host=host-a\n")
	pl := mustSolve(t, p)
	if _, err := solver.Explain(p, pl, "vm-x"); !errors.Is(err, fleet.ErrNotFound) {
		t.Errorf("no such VM: %v", err)
	}
	other := *pl
	other.SnapshotID = "s-other"
	if _, err := solver.Explain(p, &other, "vm-db"); err == nil || !strings.Contains(err.Error(), "s-other") {
		t.Errorf("plan of another snapshot: %v", err)
	}
	odd := *pl
	odd.Steps = []plan.Step{{N: 1}}
	if _, err := solver.Explain(p, &odd, "vm-db"); err == nil {
		t.Error("a step of no VM was accepted")
	}
}

// TestAnyBudgetGivesALegalPlan cuts the search short everywhere.
func TestAnyBudgetGivesALegalPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		left := rapid.IntRange(0, 12).Draw(t, "asked")
		opts := solver.Options{MaxSteps: rapid.IntRange(0, 4).Draw(t, "steps"), Seed: rapid.Uint64().Draw(t, "seed")}
		if rapid.Bool().Draw(t, "stop") {
			opts.Stop = func() bool { left--; return left < 0 }
		}
		pl, err := solver.Solve(p, opts)
		if err != nil {
			t.Fatal(err)
		}
		if opts.MaxSteps > 0 && len(pl.Steps) > opts.MaxSteps {
			t.Errorf("%d steps, at most %d asked for", len(pl.Steps), opts.MaxSteps)
		}
		for _, v := range plan.Check(p, pl) {
			t.Error(v)
		}
	})
}

func TestSeedPicksAmongEquals(t *testing.T) {
	t.Parallel()
	p := parseFleet(t, "pool nas tier=nvme\nhost gold-1 tier=gold pools=nas\nhost gold-2 tier=gold pools=nas\nhost gold-3 tier=gold pools=nas\n"+
		"host host-a pools=nas\nvm vm-db host=host-a level=gold needs=gold prio=900 disks=nas:5:nvme\n")
	hosts := map[fleet.HostID]bool{}
	for seed := range uint64(20) {
		pl, err := solver.Solve(p, solver.Options{Seed: seed})
		if err != nil || len(pl.Steps) != 1 {
			t.Fatal(err, pl)
		}
		h := pl.Steps[0].Move.To.Host
		if hosts[h] = true; seed == 0 && h != "gold-1" {
			t.Errorf("seed 0 takes %s, not the first", h)
		}
	}
	if len(hosts) < 2 {
		t.Errorf("20 seeds take %v alone", hosts)
	}
}

func TestSolveRefusesUnfitProblems(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(p *policy.Problem){
		"no snapshot":      func(p *policy.Problem) { p.Snapshot = nil },
		"invalid snapshot": func(p *policy.Problem) { p.Snapshot.Hosts[0].Memory = -1 },
		"no host facts":    func(p *policy.Problem) { delete(p.Hosts, "host-a") },
		"no pool facts":    func(p *policy.Problem) { delete(p.Pools, "nas") },
		"no requirement":   func(p *policy.Problem) { delete(p.VMs, "vm-db") },
		"too much":         func(p *policy.Problem) { p.Snapshot.VMs[0].CPU = 1 << 62 },
		"too large a disk": func(p *policy.Problem) { p.Snapshot.VMs[0].Disks[0].Used = 1 << 62 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := parseFleet(t, "pool nas\nhost host-a pools=nas\nvm vm-db host=host-a disks=nas:1:hdd\n")
			spoil(p)
			if _, err := solver.Solve(p, solver.Options{}); err == nil || !strings.HasPrefix(err.Error(), "read problem: ") {
				t.Errorf("got %v", err)
			}
		})
	}
}
