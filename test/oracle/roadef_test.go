package oracle

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/berth-project/berth/internal/bench"
	"github.com/berth-project/berth/plan/model"
)

// benchData is the directory of published instances, where this machine has it.
func benchData(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BERTH_BENCH_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "bench")
	}
	if _, err := os.Stat(filepath.Join(dir, "roadef2012")); err != nil {
		t.Skipf("no published instances in %s (BERTH_BENCH_DATA)", dir)
	}
	return filepath.Join(dir, "roadef2012")
}

// TestPublishedFigures compares the referee with the challenge's: the cost of each initial assignment as its checker
// gives it, the aggregate lower bound, and that no bound is above the best cost known.
func TestPublishedFigures(t *testing.T) {
	t.Parallel()
	dir := benchData(t)
	table, err := os.ReadFile(filepath.Join(dir, "best_known.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatal(len(rows), err)
	}
	column := map[string]int{}
	for k, name := range rows[0] {
		column[name] = k
	}
	figure := func(row []string, name string) int64 {
		x, err := strconv.ParseInt(row[column[name]], 10, 64)
		if err != nil {
			t.Fatalf("%s of %s: %v", name, row[0], err)
		}
		return x
	}
	for _, row := range rows[1:] {
		if row[column["data_present"]] != "yes" {
			continue
		}
		t.Run(row[0], func(t *testing.T) {
			t.Parallel()
			p := instance(t, dir, row[0])
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			c, err := model.Evaluate(p, p.Start())
			if want := figure(row, "initial_cost"); err != nil || c.Total() != want {
				t.Errorf("initial cost %d (%v), published %d", c.Total(), err, want)
			}
			if bad := model.Verify(p, p.Start()); len(bad) > 0 {
				t.Errorf("initial places: %+v", bad[:1])
			}
			if got, want := first(model.BoundWithin(p, 0)), figure(row, "lower_bound_aggregate"); got != want {
				t.Errorf("aggregate bound %d, published %d", got, want)
			}
			if got, best := first(model.Bound(p)), figure(row, "best_known"); got > best {
				t.Errorf("bound %d, but an assignment of cost %d is known", got, best)
			}
			if c := p.Contradictions(); len(c) > 0 {
				t.Errorf("contradictions: %q", c)
			}
		})
	}
}

func first(x model.Points, _ string) model.Points { return x }

func instance(t *testing.T, dir, name string) *model.Problem {
	t.Helper()
	m, err := os.ReadFile(filepath.Join(dir, "model_"+name+".txt.gz"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(filepath.Join(dir, "assignment_"+name+".txt.gz"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.ReadRoadef(bytes.NewReader(m), bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	return r.Problem()
}
