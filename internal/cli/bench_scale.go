package cli

import (
	"fmt"
	"strconv"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/bench"
	"github.com/spf13/cobra"
)

func (a *app) benchScale() *cobra.Command {
	o := bench.ScaleOptions{}
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure one placement, and a whole plan from cold, on made-up fleets of up to 10,000 hosts",
		Long: `Scale makes fleets with tiers, security classes, spread and affinity groups, NIC queues and bandwidth, pools with tiers and
operations, and I/O modules, and measures on them, with all of these asked for:

  - one placement after another while other VMs leave: how long each takes, and how that grows with the fleet;
  - a plan for the whole fleet from cold: time and memory to the first legal plan, and the cost over the seconds given.

What the placements leave and what the plans say is checked by code that shares nothing with the planner. Figures are of
this machine, garbage collection included; other work on it makes them worse.`,
		Example: "  berth bench scale --hosts 100,1000 --seconds 10\n  berth bench scale --seconds 600 --json >scale.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkScale(&o); err != nil {
				return err
			}
			ctx := cmd.Context()
			o.Stop = func() bool { return ctx.Err() != nil }
			o.Say = func(s string) { a.note("%s", s) }
			s, err := bench.RunScale(o)
			if err != nil {
				return fmt.Errorf("measure scale: %w", err)
			}
			if a.json {
				err = a.jsonDocument(s)
			} else {
				a.printScale(s)
			}
			if err == nil && ctx.Err() != nil {
				err = &cliError{code: codePartly, err: fmt.Errorf("measure scale: interrupted")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&o.Hosts, "hosts", []int{100, 1000, 10_000}, "sizes of the fleets, each 4 to 10000 hosts")
	f.IntVar(&o.VMsPerHost, "vms-per-host", 25, "VMs on each host on average, 1 to 100; at most 250000 in all")
	f.IntVar(&o.Seeds, "seeds", 3, "how many fleets of each size placements are measured on, 1 to 20")
	f.IntVar(&o.Placements, "placements", 20_000, "how many placements are measured on each of them, 1000 to 1000000")
	f.IntVar(&o.Seconds, "seconds", 60, "how long a plan is improved, at most 3600; 0 leaves plans out")
	f.BoolVar(&o.Reserve, "reserve", false, "let plans keep a place for gold VMs in the loss of any host or chassis (N+1)")
	return cmd
}

func checkScale(o *bench.ScaleOptions) error {
	if len(o.Hosts) < 1 || len(o.Hosts) > 16 {
		return usagef("--hosts: %d sizes, expected 1 to 16", len(o.Hosts))
	}
	for _, n := range []struct {
		flag      string
		n         int
		low, high int
	}{
		{"vms-per-host", o.VMsPerHost, 1, 100}, {"seeds", o.Seeds, 1, 20}, {"placements", o.Placements, 1000, 1_000_000},
		{"seconds", o.Seconds, 0, 3600},
	} {
		if n.n < n.low || n.n > n.high {
			return usagef("--%s: is %d, expected %d to %d", n.flag, n.n, n.low, n.high)
		}
	}
	for _, h := range o.Hosts {
		if h < 4 || h > maxSimHosts || h*o.VMsPerHost > maxSimVMs {
			return usagef("--hosts: %d with %d VMs each, expected 4 to %d hosts and at most %d VMs in all", h, o.VMsPerHost, maxSimHosts, maxSimVMs)
		}
	}
	return nil
}

func (a *app) printScale(s *bench.Scale) {
	a.printf("%s, %d cores, %s, load %s\n\n", clean(s.Machine.CPU), s.Machine.Cores, s.Machine.Go, s.Machine.Load)
	g := &grid{title: "One placement, all constraints asked for", headings: []string{
		"HOSTS", "VMS", "N+1", "P50", "P99", "MAX", "A SECOND", "WITH DEPARTURES", "REFUSED", "BROKEN", "NOT SURVIVED", "OPENED IN",
	}}
	for _, r := range s.Places {
		g.add(text(strconv.Itoa(r.Hosts)), text(strconv.Itoa(r.VMs)), text(map[bool]string{true: "on", false: "off"}[r.Reserved]),
			text(micros(r.P50)), text(micros(r.P99)), text(micros(r.Max)), text(fmt.Sprintf("%.0f", r.PerSecond)),
			text(fmt.Sprintf("%.0f", r.Churn)), text(fmt.Sprintf("%d of %d", r.Refused, r.Decisions)), text(strconv.Itoa(r.Broken)), text(survived(&r)),
			text(fmt.Sprintf("%.2f s", r.Open)))
	}
	a.printGrid(g)
	a.printf("bars at 10,000 hosts with 250,000 VMs: p99 2 ms, 5000 placements a second; a placement grows less than 4 x\n")
	for _, r := range s.Growth {
		a.printf("growth from %d to %d hosts, N+1 %s: p50 %.2f x, p99 %.2f x, mean %.2f x\n", r.From, r.To,
			map[bool]string{true: "on", false: "off"}[r.Reserved], r.P50, r.P99, r.Mean)
	}
	a.printf("published: kube-scheduler's own floors at 5,000 nodes are 680 pods a second, 35 to 60 with (anti-)affinity\n\n")
	if len(s.Plans) == 0 {
		return
	}
	g = &grid{title: "A plan for the whole fleet, from cold", headings: []string{
		"HOSTS", "VMS", "FIRST LEGAL", "MEMORY TILL THEN", "IN ALL", "MEMORY", "COST FIRST", "COST LAST", "BOUND", "AFTER 60 S", "WRONG", "STEPS", "CHECK", "FAULTS",
	}}
	for _, r := range s.Plans {
		first, last, gain := "-", "-", "-"
		if n := len(r.Curve); n > 0 {
			first, last = strconv.FormatInt(r.Curve[0].Cost, 10), strconv.FormatInt(r.Curve[n-1].Cost, 10)
		}
		if r.LateGain >= 0 {
			gain = fmt.Sprintf("%.2f %%", r.LateGain)
		}
		g.add(text(strconv.Itoa(r.Hosts)), text(strconv.Itoa(r.VMs)), text(fmt.Sprintf("%.2f s", r.First)),
			text(fleet.FormatBytes(fleet.Bytes(r.FirstPeak))), text(fmt.Sprintf("%.2f s", r.Total)), text(fleet.FormatBytes(fleet.Bytes(r.Peak))),
			text(first), text(last), text(strconv.FormatInt(r.Bound, 10)), text(gain), text(fmt.Sprintf("%d -> %d", r.Broken, r.BrokenLeft)),
			text(strconv.Itoa(r.Steps)), text(fmt.Sprintf("%.2f s", r.Check)), text(strconv.Itoa(r.Faults)))
	}
	a.printGrid(g)
	a.printf("bars at 10,000 hosts with 250,000 VMs: the first legal plan in 10 s and 4 GiB; within 1 %% at 60 s of its value at 600 s\n")
}

// survived is how many failures N+1 is broken by, before and after.
func survived(r *bench.PlaceRow) string {
	if !r.Reserved {
		return "-"
	}
	return fmt.Sprintf("%d -> %d", r.LostBefore, r.Lost)
}

// micros is a time in microseconds as people say it.
func micros(us float64) string {
	if us >= 1000 {
		return fmt.Sprintf("%.2f ms", us/1000)
	}
	return fmt.Sprintf("%.1f us", us)
}
