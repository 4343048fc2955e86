package oracle

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/plan/model"
)

// answer is what a solver found.
type answer struct {
	proven, infeasible bool
	cost               float64
	assignment         *model.Assignment
}

// solver is one exact solver.
type solver struct {
	name string
	// args are those of a run on a program's file, with a file for the solution and a limit in seconds.
	args func(lp, out string, seconds int) []string
	// read reads the solution: columns by name, and how far it is proven.
	read func(out []byte, columns []string) (answer, map[string]float64, error)
}

var solvers = []solver{
	{
		name: "cbc",
		args: func(lp, out string, seconds int) []string {
			return []string{lp, "ratioGap", "0", "allowableGap", "0.5", "seconds", strconv.Itoa(seconds), "solve", "solution", out}
		},
		read: readCBC,
	},
	{
		name: "glpsol",
		args: func(lp, out string, seconds int) []string {
			return []string{"--lp", lp, "--cuts", "--tmlim", strconv.Itoa(seconds), "-w", out}
		},
		read: readGLPK,
	},
}

// installed is those that this machine has.
func installed() []solver {
	var out []solver
	for _, s := range solvers {
		if _, err := exec.LookPath(s.name); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// solve gives p to a solver.
func (s solver) solve(t *testing.T, p *model.Problem, seconds int) answer {
	t.Helper()
	w, err := model.NewProgram(p)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lp, out := filepath.Join(dir, "problem.lp"), filepath.Join(dir, "solution")
	if err := os.WriteFile(lp, w.Text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(4*seconds+30)*time.Second)
	defer cancel()
	said, err := exec.CommandContext(ctx, s.name, s.args(lp, out, seconds)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", s.name, err, said)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatalf("%s wrote no solution: %v\n%s", s.name, err, said)
	}
	a, values, err := s.read(text, w.Columns)
	if err != nil {
		t.Fatalf("%s: %v\n%s", s.name, err, said)
	}
	a.assignment = w.Assignment(func(c string) float64 { return values[c] })
	return a
}

// readCBC reads "Optimal - objective value 12.00", and a line of index, name, value and reduced cost for each column
// that is not 0; a line starts with ** where it breaks a bound.
func readCBC(out []byte, _ []string) (answer, map[string]float64, error) {
	head, rest, _ := bytes.Cut(out, []byte("\n"))
	first := string(head)
	a := answer{proven: strings.HasPrefix(first, "Optimal"), infeasible: strings.Contains(strings.ToLower(first), "infeasible")}
	_, value, ok := strings.Cut(first, "objective value")
	if !ok {
		return a, nil, fmt.Errorf("no objective in %q", first)
	}
	var err error
	if a.cost, err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil {
		return a, nil, err
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(rest)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "**"))
		if len(f) < 3 {
			continue
		}
		if values[f[1]], err = strconv.ParseFloat(f[2], 64); err != nil {
			return a, nil, err
		}
	}
	return a, values, nil
}

// readGLPK reads "s mip ROWS COLUMNS STATUS COST" and "j COLUMN VALUE"; status o is a proven optimum, n no solution.
func readGLPK(out []byte, columns []string) (answer, map[string]float64, error) {
	var a answer
	values := map[string]float64{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 6 && f[0] == "s":
			var err error
			if a.cost, err = strconv.ParseFloat(f[5], 64); err != nil {
				return a, nil, err
			}
			a.proven, a.infeasible = f[4] == "o", f[4] == "n"
			if f[3] != strconv.Itoa(len(columns)) {
				return a, nil, fmt.Errorf("%s columns read, %d written", f[3], len(columns))
			}
		case len(f) == 3 && f[0] == "j":
			k, err := strconv.Atoi(f[1])
			if err != nil || k < 1 || k > len(columns) {
				return a, nil, fmt.Errorf("column %q of %d", f[1], len(columns))
			}
			if values[columns[k-1]], err = strconv.ParseFloat(f[2], 64); err != nil {
				return a, nil, err
			}
		}
	}
	if math.IsNaN(a.cost) {
		return a, nil, fmt.Errorf("cost %v", a.cost)
	}
	return a, values, nil
}
