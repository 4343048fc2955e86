package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-project/berth/internal/bench"
	"github.com/spf13/cobra"
)

// roadefFlags are those of bench roadef.
type roadefFlags struct {
	bench.RoadefOptions
	model, assignment, out string
}

func (a *app) benchRoadef() *cobra.Command {
	var o roadefFlags
	cmd := &cobra.Command{
		Use:   "roadef",
		Short: "Measure rebalancing on the machine reassignment of the ROADEF/EURO challenge 2012",
		Long: `Roadef gives each instance of the challenge to the search that improves fleets, for --seconds on two cores, reading
included, and shows what it costs beside the best of the challenge and of anybody since. Every answer is judged by code
that shares nothing with the search.

--data names the directory of model_*.txt and assignment_*.txt, plain or gzip. With --model, --assignment and --out one
instance is solved and the answer written in the challenge's form.`,
		Example: `  berth bench roadef --data shared/bench --set B --seconds 300
  berth bench roadef --model model_b_1.txt.gz --assignment assignment_b_1.txt.gz --seconds 30 --out new.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			o.Stop = func() bool { return ctx.Err() != nil }
			o.Say = func(s string) { a.note("%s", s) }
			if err := checkRoadef(&o); err != nil {
				return err
			}
			if o.model != "" {
				return a.roadefOne(&o)
			}
			r, err := bench.RunRoadef(o.RoadefOptions)
			if err != nil {
				return inputError(fmt.Errorf("measure rebalancing: %w", err), "--data names a directory with the files of the benchmark")
			}
			if a.json {
				err = a.jsonDocument(r)
			} else {
				a.printRoadef(r)
			}
			if err == nil && ctx.Err() != nil {
				err = &cliError{code: codePartly, err: errors.New("measure rebalancing: interrupted")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "data", "", "directory of the benchmark's files")
	f.StringVar(&o.Set, "set", "B", "which instances: A, B or all")
	f.Float64Var(&o.Seconds, "seconds", 300, "time for each instance, 1 to 3600")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of everything that is drawn")
	f.StringVar(&o.model, "model", "", "model file of one instance")
	f.StringVar(&o.assignment, "assignment", "", "file of its initial assignment")
	f.StringVar(&o.out, "out", "", "file to write the answer to")
	return cmd
}

func checkRoadef(o *roadefFlags) error {
	one := o.model != "" || o.assignment != "" || o.out != ""
	switch {
	case !(o.Seconds >= 1 && o.Seconds <= 3600):
		return usagef("--seconds: is %g, expected 1 to 3600", o.Seconds)
	case one && (o.model == "" || o.assignment == "" || o.out == ""):
		return usagef("--model, --assignment and --out: one instance needs all three")
	case one && o.Dir != "":
		return usagef("--data: is for a directory, --model for one instance")
	case !one && o.Dir == "":
		return usagef("--data: the directory of the benchmark is missing")
	case o.Set != "A" && o.Set != "B" && o.Set != "all":
		return usagef("--set: is %q, expected A, B or all", o.Set)
	}
	return nil
}

// roadefOne solves one instance and writes the answer.
func (a *app) roadefOne(o *roadefFlags) error {
	start := time.Now()
	if err := canWrite(o.out); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	r, err := bench.OpenRoadef(o.model, o.assignment)
	if err != nil {
		return inputError(err, "--model and --assignment name the two files of an instance")
	}
	answer, cost, err := bench.SolveRoadef(r, start, o.Seconds, o.Seed, o.Stop)
	if err != nil {
		return fmt.Errorf("measure rebalancing: %w", err)
	}
	hosts := make([]int32, len(answer.Host))
	for i, h := range answer.Host {
		hosts[i] = int32(h)
	}
	var b bytes.Buffer
	if err := bench.WriteAssignment(&b, hosts); err != nil {
		return err
	}
	if err := writeFileAtomic(o.out, b.Bytes(), 0o644, false); err != nil {
		return err
	}
	if a.json {
		return a.jsonDocument(map[string]any{"cost": cost.Total(), "parts": cost})
	}
	a.printf("%d\n", cost.Total())
	return nil
}

func (a *app) printRoadef(r *bench.RoadefReport) {
	g := &grid{
		title:    fmt.Sprintf("ROADEF/EURO 2012, %g s for each instance on two cores", r.Seconds),
		headings: []string{"INSTANCE", "COST", "CHALLENGE", "BEST KNOWN", "BOUND", "SCORE", "S38", "S41", "OVER KNOWN", "SECONDS"},
	}
	known := func(n int64) cell {
		if n == 0 {
			return text("-")
		}
		return text(strconv.FormatInt(n, 10))
	}
	for _, w := range r.Rows {
		score := []cell{text("-"), text("-"), text("-")}
		if w.Challenge > 0 {
			for i, x := range []float64{w.Score, w.S38, w.S41} {
				score[i] = text(fmt.Sprintf("%.4f", x))
			}
		}
		g.add(text(w.Instance), known(w.Cost), known(w.Challenge), known(w.BestKnown), known(w.Bound), score[0], score[1], score[2],
			text(fmt.Sprintf("%.4f %%", w.OverKnown)), text(fmt.Sprintf("%.1f", w.Seconds)))
	}
	a.printGrid(g)
	if r.S38 != 0 {
		a.printf("Score in all: %.4f; S38 %.4f, S41 %.4f\n", r.Score, r.S38, r.S41)
	}
}
