package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/replay"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/berth-project/berth/solver"
	"github.com/spf13/cobra"
)

// replayFlags are the flags of berth sim replay.
type replayFlags struct {
	from, policy   string
	fleet          sim.Options
	shape          sim.Shape
	cpu, memory    int
	every, settle  string
	budget         string
	lose           []string
	queue, samples int
	svg            string
	noTiming       bool
}

func (a *app) simReplay() *cobra.Command {
	in := replayFlags{shape: sim.DefaultShape()}
	in.fleet.Shape = &in.shape
	cmd := &cobra.Command{
		Use:   "replay TRACE",
		Short: "Play a trace of VMs that come and go against a fleet, and report what became of them",
		Long: `Replay places every arrival of TRACE at once, not knowing how long it will live, lets it go when its time is over, and
plans the fleet anew at intervals within a budget of moves. Time is that of the trace: days take seconds.

Every placement is counted against its host and pools, and the fleet is judged at intervals by code that shares nothing
with the planner. Latencies are measured by the wall clock; all else is the same on every run.

TRACE is what 'berth sim trace' writes, or has the columns vmid,cpu,mem,at,lt; gzip is unpacked; - is standard input.`,
		Example: "  berth sim trace --hosts 100 --days 7 | berth sim replay - --hosts 100 --svg week.svg\n" +
			"  berth sim replay week.csv --from fleet.json --policy levels.yaml --improve-every 30m --budget 0.5% --lose host-a@12h",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runReplay(cmd, &in, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.from, "from", "", "begin with the fleet in snapshot `FILE`, whose own VMs stay, instead of an empty one; - is standard input")
	f.StringVar(&in.policy, "policy", "", "use the service levels in `FILE` (default: the built-in ones)")
	f.IntVar(&in.fleet.Hosts, "hosts", 12, "begin with an empty fleet of so many hosts, 1 to 10000")
	f.Uint64Var(&in.fleet.Seed, "seed", 1, "seed of that fleet")
	f.IntVar(&in.cpu, "host-cpu", 32, "threads of each host of that fleet, 1 to 4096")
	f.IntVar(&in.memory, "host-memory", 192, "memory of each host of that fleet in GiB, 1 to 65536")
	shapeFlags(f, &in.shape)
	f.StringVar(&in.every, "improve-every", "1h", "plan the fleet anew at this interval, such as 30m, 1h or 1d; 0: never")
	f.StringVar(&in.budget, "budget", "1%", "how many of the running VMs may be moved in an hour")
	f.StringVar(&in.settle, "settle", "1d", "leave a VM that was moved alone for so long")
	f.StringArrayVar(&in.lose, "lose", nil, "a host that fails, and when: `HOST@TIME`, such as host-a@12h; may be given again")
	f.IntVar(&in.queue, "queue", 1000, "how many VMs may wait for a place, 0 to 100000; further ones are turned away")
	f.IntVar(&in.samples, "samples", replay.DefaultSamples, "how often the fleet is judged and the plot has a point, 1 to 10000")
	f.StringVar(&in.svg, "svg", "", "draw what happened over time into `FILE`")
	f.BoolVar(&in.noTiming, "no-timing", false, "measure no latencies: the output is then the same on every run")
	return cmd
}

func (a *app) runReplay(cmd *cobra.Command, in *replayFlags, path string) error {
	s, o, err := a.replayInput(cmd, in, path)
	if err != nil {
		return err
	}
	t, err := a.readTrace(path)
	if err != nil {
		return err
	}
	if in.noTiming {
		o.Open = openPlacer
	} else {
		m := &stopwatch{}
		o.Open = m.open
		o.Latency = m.latency
	}
	ctx := cmd.Context()
	o.Stop = func() bool { return ctx.Err() != nil }
	o.Tell = func(now, end replay.Second, live int) {
		a.detail("%.1f of %.1f hours, %d VMs", float64(now)/3600, float64(end)/3600, live)
	}
	r, err := replay.Run(s, t, *o)
	if errors.Is(err, replay.ErrStopped) {
		return &cliError{code: codePartly, err: errors.New("the replay was interrupted: nothing is written")}
	}
	if err != nil {
		return inputError(err, "")
	}
	if in.svg != "" {
		var b bytes.Buffer
		if err := r.SVG(&b); err != nil {
			return err
		}
		if err := writeFileAtomic(in.svg, b.Bytes(), 0o644, false); err != nil {
			return fmt.Errorf("write plot: %w", err)
		}
	}
	if a.json {
		return a.jsonDocument(r)
	}
	a.printReplay(r)
	return nil
}

// replayInput is the fleet, and the options that the flags come to.
func (a *app) replayInput(cmd *cobra.Command, in *replayFlags, path string) (*fleet.Snapshot, *replay.Options, error) {
	o := &replay.Options{Improve: improveWithin(cmd.Context()), Queue: in.queue, Samples: in.samples}
	if in.samples < 1 || in.samples > replay.MaxSamples {
		return nil, nil, usagef("--samples: is %d, expected 1 to %d", in.samples, replay.MaxSamples)
	}
	if in.queue < 0 || in.queue > replay.MaxQueue {
		return nil, nil, usagef("--queue: is %d, expected 0 to %d", in.queue, replay.MaxQueue)
	}
	if err := in.times(o); err != nil {
		return nil, nil, err
	}
	if in.from == "-" && path == "-" {
		return nil, nil, usagef("--from and TRACE are both standard input, expected one of them")
	}
	if in.svg != "" {
		if err := canWrite(in.svg); err != nil {
			return nil, nil, usagef("--svg: %w", err)
		}
	}
	s, err := a.replayFleet(cmd, in)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range o.Losses {
		if s.Host(l.Host) == nil {
			return nil, nil, usagef("--lose: the fleet has no host %q", l.Host)
		}
	}
	o.Catalogue, err = a.loadCatalogue(in.policy, nil)
	return s, o, err
}

func (a *app) replayFleet(cmd *cobra.Command, in *replayFlags) (*fleet.Snapshot, error) {
	if in.from != "" {
		for _, name := range []string{"hosts", "seed", "host-cpu", "host-memory", "tiers", "pools-per-cluster", "nics", "racks"} {
			if cmd.Flags().Changed(name) {
				return nil, usagef("--from excludes --%s: the fleet is that of the snapshot", name)
			}
		}
		return a.readSnapshot(in.from)
	}
	if err := checkSimSize(in.fleet.Hosts, 0); err != nil {
		return nil, err
	}
	if in.cpu < 1 || in.cpu > 4096 {
		return nil, usagef("--host-cpu: is %d, expected 1 to 4096", in.cpu)
	}
	if in.memory < 1 || in.memory > 1<<16 {
		return nil, usagef("--host-memory: is %d, expected 1 to %d", in.memory, 1<<16)
	}
	in.shape.Host = sim.HostSize{CPU: fleet.CPUs(in.cpu), Memory: fleet.Bytes(in.memory) * fleet.GiB}
	if err := checkShape(&in.shape); err != nil {
		return nil, err
	}
	return sim.Generate(in.fleet), nil
}

// times reads the flags that hold times and shares.
func (in *replayFlags) times(o *replay.Options) error {
	var err error
	if o.Every, err = parseTime(in.every); err != nil {
		return usagef("--improve-every: %w", err)
	}
	if o.Settle, err = parseTime(in.settle); err != nil {
		return usagef("--settle: %w", err)
	}
	share, ok := strings.CutSuffix(in.budget, "%")
	v, err := strconv.ParseFloat(share, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return usagef("--budget: is %q, expected 0%% to 100%%", in.budget)
	}
	o.Budget = int(math.Round(v * 100))
	for _, text := range in.lose {
		host, at, ok := strings.Cut(text, "@")
		when, err := parseTime(at)
		if !ok || host == "" || err != nil {
			return usagef("--lose: is %q, expected HOST@TIME, such as host-a@12h", text)
		}
		o.Losses = append(o.Losses, replay.Loss{Host: fleet.HostID(host), At: when})
	}
	return nil
}

// parseTime reads a time such as 90s, 30m, 12h or 2d, in whole seconds.
func parseTime(text string) (replay.Second, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > replay.MaxSeconds/86_400 {
			return 0, fmt.Errorf("is %q, expected a time such as 30m, 12h or 2d", text)
		}
		return replay.Second(n * 86_400), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > replay.MaxSeconds*time.Second || d%time.Second != 0 {
		return 0, fmt.Errorf("is %q, expected a time such as 30m, 12h or 2d", text)
	}
	return replay.Second(d / time.Second), nil
}

// improveWithin plans within a number of steps, by the local search too where that is asked for.
func improveWithin(ctx context.Context) func(*policy.Problem, int, bool) (*plan.Plan, error) {
	return func(p *policy.Problem, steps int, thorough bool) (*plan.Plan, error) {
		effort := 0
		if !thorough {
			effort = -1
		}
		made, err := solver.Solve(p, solver.Options{MaxSteps: steps, Effort: effort, Stop: func() bool { return ctx.Err() != nil }})
		if err == nil && ctx.Err() != nil {
			err = replay.ErrStopped
		}
		return made, err
	}
}

func (a *app) printReplay(r *replay.Report) {
	share := func(n int) string {
		if r.Arrivals == 0 {
			return "0 %"
		}
		return strconv.FormatFloat(float64(n)*100/float64(r.Arrivals), 'f', 2, 64) + " %"
	}
	row := func(what, format string, args ...any) {
		a.printf("%-20s %s\n", what, cleanLine(fmt.Sprintf(format, args...)))
	}
	row("trace", "%d arrivals in %.1f hours, %d departed", r.Arrivals, r.Hours, r.Departed)
	row("placed", "%d (%s), %d of them after waiting %s in all", r.Placed, share(r.Placed), r.PlacedLater, time.Duration(r.WaitSeconds)*time.Second)
	row("refused on arrival", "%d (%s)", r.Refused, share(r.Refused))
	for _, reason := range r.Reasons {
		row("", "%d by %s", reason.VMs, reason.Constraint)
	}
	row("at the end", "%d run, %d wait, %d were turned away", r.Live, r.Waiting, r.TurnedAway)
	row("preempted", "%d gave way to a higher priority", r.Preempted)
	row("restarted", "%d after the loss of their host", r.Restarted)
	row("moves", "%d in %d plans, %s copied, %d flip-flops", r.Moves, r.Improved, fleet.FormatBytes(r.MovedBytes), r.FlipFlops)
	row("host-hours", "%.1f, at most %d of %d hosts in use", r.HostHours, r.HostsMost, r.Hosts)
	row("utilisation", "CPU %.1f %%, memory %.1f %% on average, at most %d VMs", r.CPUMean, r.MemoryMean, r.LiveMost)
	row("violations", "%d in %d checks of the fleet and at each placement (%d VMs were broken at the start)", r.Violations, r.Checks, r.BrokenAtStart)
	if r.Detail != "" {
		row("", "%s", r.Detail)
	}
	if l := r.Latency; l != nil {
		row("latency", "p50 %.0f us, p99 %.0f us, most %.0f us of %d decisions", l.P50, l.P99, l.Max, l.Decisions)
	}
}
