package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/berth-project/berth/internal/bench"
	"github.com/spf13/cobra"
)

func (a *app) benchHuawei() *cobra.Command {
	var o bench.HuaweiOptions
	cmd := &cobra.Command{
		Use:   "huawei",
		Short: "Measure placement on the public trace Huawei-East-1: hosts in use, and waiting times by the SPANE protocol",
		Long: `Huawei places the VMs of a public trace one after another, as they come, with the placer that fleets use. What is known
of a VM is what it asks for; how long it will run is not.

  - the whole trace on elastic hosts: the time that hosts are in use, without moves, and with 1 % of the running VMs
    moved an hour to free hosts;
  - SPANE's protocol: queues on a few hosts of two NUMA nodes, and how long VMs wait in all.

--data names the directory of Huawei-East-1-lt.csv.gz and test_start_index_1000.txt.`,
		Example: "  berth bench huawei --data shared/bench\n  berth bench huawei --data shared/bench --hosts 2,3,4,5 --json >huawei.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range o.Hosts {
				if n < 1 || n > 1000 {
					return usagef("--hosts: %d, expected 1 to 1000", n)
				}
			}
			if o.Starts < 0 {
				return usagef("--starts: is %d, expected at least 1, or 0 for all", o.Starts)
			}
			if o.Dir == "" {
				return usagef("--data: the directory of the benchmark is missing")
			}
			ctx := cmd.Context()
			o.Stop = func() bool { return ctx.Err() != nil }
			o.Say = func(s string) { a.note("%s", s) }
			h, err := bench.RunHuawei(o)
			if err != nil {
				return inputError(fmt.Errorf("measure placement: %w", err), "--data names a directory with the files of the benchmark")
			}
			if a.json {
				err = a.jsonDocument(h)
			} else {
				a.printHuawei(h)
			}
			if err == nil && ctx.Err() != nil {
				err = &cliError{code: codePartly, err: errors.New("measure placement: interrupted")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "data", "", "directory of the benchmark's files")
	f.IntSliceVar(&o.Hosts, "hosts", []int{5}, "numbers of hosts of the SPANE protocol, each 1 to 1000")
	f.IntVar(&o.Starts, "starts", 0, "how many of the protocol's starts; 0: all")
	return cmd
}

func (a *app) printHuawei(h *bench.Huawei) {
	g := &grid{
		title:    fmt.Sprintf("Whole trace, %d VMs on elastic hosts of 80 cores and 180 GB", h.VMs),
		headings: []string{"POLICY", "MOVED AN HOUR", "HOST-DAYS", "OF THE BOUND", "PEAK", "MOVES", "ALLOWED", "SECONDS"},
	}
	g.add(text("lower bound"), text("-"), text(fmt.Sprintf("%.2f", h.Bound)), text("1.000 x"), text(strconv.Itoa(h.BoundPeak)), text("-"), text("-"), text("-"))
	for _, r := range h.Trace {
		g.add(text(r.Policy), text(fmt.Sprintf("%.1f %%", float64(r.PerMille)/10)), text(fmt.Sprintf("%.2f", r.HostDays)),
			text(fmt.Sprintf("%.3f x", r.OverBound)), text(strconv.Itoa(r.Peak)), text(strconv.Itoa(r.Moves)), text(strconv.Itoa(r.Budget)),
			text(fmt.Sprintf("%.2f", r.Seconds)))
	}
	a.printGrid(g)
	if len(h.Spane) > 0 {
		g = &grid{
			title:    "SPANE's protocol: seconds waited in all, mean over the starts, a tenth trimmed on each side",
			headings: []string{"HOSTS", "POLICY", "WAITED", "STARTS", "SECONDS"},
		}
		for _, r := range h.Spane {
			g.add(text(strconv.Itoa(r.Hosts)), text(r.Policy), text(fmt.Sprintf("%.2f", r.Wait)), text(strconv.Itoa(r.Starts)), text(fmt.Sprintf("%.2f", r.Seconds)))
		}
		a.printGrid(g)
	}
	a.printPublished(h.Published)
}

// printPublished shows the figures of others.
func (a *app) printPublished(list []bench.Baseline) {
	if len(list) == 0 {
		return
	}
	g := &grid{title: "Figures of others (baselines.csv)", headings: []string{"SETTING", "POLICY", "METRIC", "VALUE", "ORIGIN"}}
	for _, b := range list {
		g.add(text(b.Setting), text(b.Policy), text(b.Metric), text(strconv.FormatFloat(b.Value, 'f', -1, 64)), text(b.Origin))
	}
	a.printGrid(g)
}
