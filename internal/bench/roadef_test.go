package bench_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/internal/bench"
	"github.com/berth-project/berth/plan/model"
)

// The small example of the challenge's kind: 2 resources, 4 machines, 2 services, 3 processes, one balance.
const (
	tinyModel = `2
1 100
0 10
4
0 0 30 400 16 80 0 1 4 5
0 0 10 240 8 160 1 0 3 4
1 1 15 100 12 80 4 3 0 2
1 2 10 100 8 80 5 4 2 0
2
2 0
1 1 0
3
0 12 10 1000
0 10 20 100
1 6 200 1
1
0 1 20 10
1 10 100
`
	tinyAssignment = "0 3 0\n"
)

func TestReadRoadef(t *testing.T) {
	t.Parallel()
	r, err := bench.ReadRoadef(strings.NewReader(tinyModel), strings.NewReader(tinyAssignment))
	if err != nil {
		t.Fatal(err)
	}
	p := r.Problem()
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := model.Evaluate(p, p.Start())
	if err != nil {
		t.Fatal(err)
	}
	// Loads: machine 0 uses 18 of 16 and 210 of 80, machine 3 uses 10 of 8; balances by hand: max(0, 20*free(0)-free(1)).
	want := model.Cost{Load: 100*2 + 10*130 + 100*2, Balance: 10 * ((20*12 - 190) + 0 + (20*15 - 100) + 0)}
	if c != want {
		t.Errorf("the start costs %+v, expected %+v", c, want)
	}
	a, cost, err := bench.SolveRoadef(r, time.Now(), 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cost.Total() > c.Total() || len(a.Host) != 3 {
		t.Errorf("the answer costs %d, the start %d", cost.Total(), c.Total())
	}
}

func TestReadRoadefGzip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(tinyModel)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := bench.ReadRoadef(&b, strings.NewReader(tinyAssignment))
	if err != nil || len(r.Machines) != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestReadRoadefRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ model, assignment, want string }{
		"empty":                {"", "0", "the file ends where the number of resources is expected"},
		"word":                 {"two", "0", `line 1, token 1: the number of resources: 't' is no digit`},
		"too many":             {"33", "0", "expected 1 to 32"},
		"no such service":      {strings.Replace(tinyModel, "1 6 200 1", "2 6 200 1", 1), tinyAssignment, "line 15, token 62: a service: 2"},
		"negative":             {strings.Replace(tinyModel, "1 10 100\n", "1 -10 100\n", 1), tinyAssignment, "-10"},
		"overflow":             {strings.Replace(tinyModel, "1000", "99999999999999999999", 1), tinyAssignment, "too large a number"},
		"more":                 {tinyModel + "7", tinyAssignment, "after the end"},
		"no such machine":      {tinyModel, "0 4 0", "read assignment: line 1, token 2: a machine: 4, expected 0 to 3"},
		"assignment too short": {tinyModel, "0 3", "the file ends where a machine is expected"},
		"assignment too long":  {tinyModel, "0 3 0 0", "after the end"},
		"lone sign":            {"-", "0", "sign"},
	} {
		_, err := bench.ReadRoadef(strings.NewReader(c.model), strings.NewReader(c.assignment))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}

func TestWriteAssignment(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := bench.WriteAssignment(&b, []int32{3, 0, 12}); err != nil || b.String() != "3 0 12\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestRoadefInstances reads the public instances, where they are there, and compares their initial cost with the published.
func TestRoadefInstances(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("BERTH_BENCH_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "bench")
	}
	dir = filepath.Join(dir, "roadef2012")
	for name, want := range map[string]model.Points{"a1_4": 632499600, "a2_5": 787355300, "b_1": 7644173180} {
		r, err := bench.OpenRoadef(filepath.Join(dir, "model_"+name+".txt"), filepath.Join(dir, "assignment_"+name+".txt"))
		if os.IsNotExist(err) || err != nil && strings.Contains(err.Error(), "no such file") {
			t.Skip("the public instances are not here; set BERTH_BENCH_DATA")
		}
		if err != nil {
			t.Fatal(err)
		}
		p := r.Problem()
		c, err := model.Evaluate(p, p.Start())
		if err != nil || c.Total() != want {
			t.Errorf("%s costs %d at the start, expected %d (%v)", name, c.Total(), want, err)
		}
	}
}

func FuzzReadRoadef(f *testing.F) {
	f.Add([]byte(tinyModel), []byte(tinyAssignment))
	f.Add([]byte("1\n0 1\n1\n0 0 9 9 0\n1\n0 0\n1\n0 1 1\n0\n1 1 1"), []byte("0"))
	f.Fuzz(func(t *testing.T, m, a []byte) {
		r, err := bench.ReadRoadef(bytes.NewReader(m), bytes.NewReader(a))
		if err != nil {
			return
		}
		p := r.Problem()
		if p.Validate() != nil {
			return
		}
		if _, err := model.Evaluate(p, p.Start()); err != nil {
			t.Fatal(err)
		}
	})
}
