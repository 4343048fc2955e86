// Command bench gives the same fleets to Berth and to the schedulers that others use, kube-scheduler, Nomad's, and
// Ganeti's hail and hbal, and prints what each made of them side by side.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-project/berth/bench/internal/berth"
	"github.com/berth-project/berth/bench/internal/compare"
	"github.com/berth-project/berth/bench/internal/ganeti"
	"github.com/berth-project/berth/bench/internal/kube"
	"github.com/berth-project/berth/bench/internal/nomad"
	"github.com/berth-project/berth/bench/internal/peer"
)

// report is all that was measured.
type report struct {
	Go       string               `json:"go"`
	CPUs     int                  `json:"cpus"`
	Seed     uint64               `json:"seed"`
	Full     bool                 `json:"full"`
	LeftOut  []string             `json:"leftOut"`
	Fill     []compare.FillRow    `json:"fill"`
	Speed    []compare.SpeedRow   `json:"speed"`
	Balance  []compare.BalanceRow `json:"balance"`
	Settings string               `json:"settings"`
}

type settings struct {
	o      compare.Options
	only   string
	parts  string
	sizes  []compare.Size
	asJSON bool
}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, out, notes io.Writer) error {
	s, err := parse(args, notes)
	if err != nil {
		return err
	}
	s.o.Say = func(format string, args ...any) { put(notes, format+"\n", args...) }
	r := &report{Go: runtime.Version(), CPUs: runtime.NumCPU(), Seed: s.o.Seed, Full: s.o.Full, Settings: strings.Join(args, " ")}
	kinds := append(append(berth.Kinds(), kube.Kinds()...), nomad.Kinds()...)
	hail, missing := ganeti.Kinds()
	if missing != nil {
		r.LeftOut = append(r.LeftOut, missing.Error())
		s.o.Say("left out: %v", missing)
	}
	kinds = named(append(kinds, hail...), s.only)
	if strings.Contains(s.parts, "fill") {
		if r.Fill, err = compare.Fill(kinds, &s.o); err != nil {
			return err
		}
	}
	if strings.Contains(s.parts, "speed") {
		if r.Speed, err = compare.Speed(kinds, &s.o); err != nil {
			return err
		}
	}
	if strings.Contains(s.parts, "balance") && missing == nil {
		if r.Balance, err = compare.Balance(s.sizes, &s.o); err != nil {
			return err
		}
	}
	if s.asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.print(out)
}

func parse(args []string, notes io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(notes)
	nodes := f.String("nodes", "100,1000,5000", "sizes of the fleets that are filled and timed")
	sizes := f.String("balance", "20x200,40x400,80x1600", "sizes of the clusters that are balanced, nodes x instances")
	f.Uint64Var(&s.o.Seed, "seed", 1, "seed of the fleets")
	f.BoolVar(&s.o.Full, "full", false, "fleets with storage pools and NIC queues too, which the peers cannot express")
	f.Float64Var(&s.o.Load, "load", 0.7, "share of the capacity in use when decisions are timed")
	f.IntVar(&s.o.Decisions, "decisions", 2000, "placements that are timed, by scheduler and size")
	f.DurationVar(&s.o.Budget, "budget", 2*time.Minute, "the longest that one scheduler works on one fleet")
	f.StringVar(&s.parts, "parts", "fill,speed,balance", "what is measured")
	f.StringVar(&s.only, "only", "", "only schedulers whose name holds this")
	f.BoolVar(&s.asJSON, "json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	for _, x := range strings.Split(*nodes, ",") {
		n, err := strconv.Atoi(x)
		if err != nil || n < 1 || n > 10_000 {
			return nil, fmt.Errorf("read --nodes %q: want numbers from 1 to 10000", *nodes)
		}
		s.o.Nodes = append(s.o.Nodes, n)
	}
	for _, x := range strings.Split(*sizes, ",") {
		a, b, _ := strings.Cut(x, "x")
		n, err1 := strconv.Atoi(a)
		m, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || n < 2 || n > 1000 || m < 1 || m > 20*n {
			return nil, fmt.Errorf("read --balance %q: want 20x200 and the like, 2 to 1000 nodes, at most 20 instances each", *sizes)
		}
		s.sizes = append(s.sizes, compare.Size{Nodes: n, Instances: m})
	}
	if s.o.Load < 0 || s.o.Load > 0.9 || s.o.Decisions < 1 || s.o.Budget <= 0 {
		return nil, errors.New("read flags: --load is from 0 to 0.9, --decisions and --budget are positive")
	}
	return s, nil
}

func named(kinds []peer.Kind, part string) []peer.Kind {
	var out []peer.Kind
	for i := range kinds {
		if strings.Contains(kinds[i].Name, part) {
			out = append(out, kinds[i])
		}
	}
	return out
}

func (r *report) print(out io.Writer) error {
	b := &bytes.Buffer{}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	put(w, "%s, %d CPUs, seed %d\n", r.Go, r.CPUs, r.Seed)
	for _, x := range r.LeftOut {
		put(w, "left out: %s\n", x)
	}
	if len(r.Fill) > 0 {
		put(w, "\nDensity: a fleet filled from empty, VMs in one order for all; time out is marked *\nnodes\tscheduler\toffered\tbefore first refusal\tCPU\tmemory\tplaced\tCPU\tmemory\ton better tier\tviolations\tVMs/s\t\n")
	}
	for i := range r.Fill {
		x := &r.Fill[i]
		first, c, m := "-", "-", "-"
		if x.First >= 0 {
			first, c, m = strconv.Itoa(x.First), percent(x.FirstCPU), percent(x.FirstMem)
		}
		put(w, "%d\t%s%s\t%d\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d %s\t%.0f\t\n", x.Nodes, x.Scheduler, star(x.TimedOut), x.Offered, first, c, m, x.Placed,
			percent(x.CPU), percent(x.Memory), x.Waste, x.Broken, x.BrokenBy, x.PerSecond)
	}
	if len(r.Speed) > 0 {
		put(w, "\nDecisions on a fleet in use\nnodes\tscheduler\trunning\tdecisions\trefused\tVMs/s\tp50 us\tp99 us\tviolations\t\n")
	}
	for i := range r.Speed {
		x := &r.Speed[i]
		put(w, "%d\t%s\t%d\t%d\t%d\t%.0f\t%.1f\t%.1f\t%d\t\n", x.Nodes, x.Scheduler, x.Running, x.Decisions, x.Refused, x.PerSecond, x.P50, x.P99, x.Broken)
	}
	if len(r.Balance) > 0 {
		put(w, "\nBalance: Ganeti's score, computed by hbal for all; time out is marked *\nnodes\tinstances\tdisks\tbalancer\tbefore\tafter\tmoves\tdisk copies\tnot N+1\tCPU s\twall s\ttimes faster (CPU)\twith fewer moves than\tat least\t\n")
	}
	for i := range r.Balance {
		x := &r.Balance[i]
		put(w, "%d\t%d\t%s\t%s%s\t%.4f\t%.4f\t%d\t%d\t%d\t%.4f\t%.4f\t%.0f\t%d\t%.4f\t\n", x.Nodes, x.Instances, x.Template, x.Balancer, star(x.TimedOut), x.Before, x.After,
			x.Moves, x.Copies, x.Unsafe, x.CPU, x.Wall, x.Faster, x.Fewest, x.Floor)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err := b.WriteTo(out)
	return err
}

func star(late bool) string {
	if late {
		return "*"
	}
	return ""
}

func percent(x float64) string { return fmt.Sprintf("%.1f%%", 100*x) }

// put prints to a buffer, or a note that nobody misses.
func put(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
