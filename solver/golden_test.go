package solver_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden solves each fleet of testdata, checks the plan, and holds it and the explanations asked for
// (section "explain", a VM a line) against the file. go test ./solver -update writes them anew.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			p := parseFleet(t, section(ar, "fleet"))
			pl, err := solver.Solve(p, solver.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range plan.Check(p, pl) {
				t.Error(v)
			}
			set(t, ar, name, "plan", planText(pl))
			if ask := section(ar, "explain"); ask != "" {
				set(t, ar, name, "explained", explained(t, p, pl, ask))
			}
			if again, err := solver.Solve(after(p, pl.Steps), solver.Options{}); err != nil || len(again.Steps) > 0 {
				t.Errorf("solved again: %v, %s", err, planText(again))
			}
		})
	}
}

func section(ar *txtar.Archive, name string) string {
	for _, f := range ar.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func set(t *testing.T, ar *txtar.Archive, file, name, got string) {
	t.Helper()
	if !*update {
		if want := section(ar, name); got != want {
			t.Errorf("%s: got\n%s\nexpected\n%s", name, got, want)
		}
		return
	}
	for i := range ar.Files {
		if ar.Files[i].Name == name {
			ar.Files[i].Data = []byte(got)
			name = ""
		}
	}
	if name != "" {
		ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(got)})
	}
	if err := os.WriteFile(file, txtar.Format(ar), 0o600); err != nil {
		t.Fatal(err)
	}
}

func explained(t *testing.T, p *policy.Problem, pl *plan.Plan, ask string) string {
	t.Helper()
	var b strings.Builder
	for _, id := range strings.Fields(ask) {
		e, err := solver.Explain(p, pl, fleet.VMID(id))
		if err != nil {
			t.Fatal(err)
		}
		if e.Help, err = solver.Relax(p, pl, e.VM, nil); err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.String())
	}
	return b.String()
}

func planText(pl *plan.Plan) string {
	var b strings.Builder
	parallel := len(pl.Steps) > 0 && pl.Steps[len(pl.Steps)-1].Wave < len(pl.Steps)
	for i, st := range pl.Steps {
		m := &st.Move
		if parallel && (i == 0 || pl.Steps[i-1].Wave != st.Wave) {
			fmt.Fprintf(&b, "wave %d\n", st.Wave)
		}
		if a := st.Attach; a != nil {
			fmt.Fprintf(&b, "%d. module %s %q -> %s\n   %s\n", st.N, a.Module.ID, a.From, a.To, st.Reason)
			continue
		}
		fmt.Fprintf(&b, "%d. %s %s", st.N, m.VM.ID, m.Mode)
		if m.From.Host != m.To.Host {
			fmt.Fprintf(&b, " %s -> %s", m.From.Host, m.To.Host)
		}
		for i, d := range m.To.Disks {
			if from := m.From.Disks[i].Pool; from != d.Pool {
				fmt.Fprintf(&b, ", %s %s -> %s", d.Disk, from, d.Pool)
			}
		}
		for _, r := range st.Risks {
			fmt.Fprintf(&b, " (risk %s)", r)
		}
		fmt.Fprintf(&b, "\n   %s\n", st.Reason)
	}
	for _, u := range pl.Unplaced {
		fmt.Fprintf(&b, "unplaced %s: %s\n", u.VM, u.Reason)
		for _, r := range u.Refused {
			fmt.Fprintf(&b, "   %s: %d %v\n", r.Constraint, r.Count, r.Hosts)
		}
	}
	for _, u := range pl.Unordered {
		fmt.Fprintf(&b, "unordered %s to %s: %s\n", u.VM, u.To.Host, u.Reason)
	}
	if r := pl.Summary.Reserve; r.Failures > 0 {
		fmt.Fprintf(&b, "survives %d of %d failures, %d before; %d VMs that no reserve can help\n", r.SurvivedAfter, r.Failures, r.SurvivedBefore, r.Unprotected)
	}
	for _, h := range pl.Held {
		fmt.Fprintf(&b, "held %s: %s\n", h.VM, h.Reason)
	}
	s := pl.Summary
	fmt.Fprintf(&b, "%d VMs: %d right, %d moves, %d unplaced, %d held; %s copied; broken %d -> %d; cost %d -> %d, moves cost %d\n",
		s.VMs, s.Right, s.Moves, s.Unplaced, s.Held, fleet.FormatBytes(s.Bytes), s.BrokenBefore, s.BrokenAfter, s.CostBefore, s.CostAfter, s.CostOfMoves)
	return b.String()
}
