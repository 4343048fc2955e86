package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-project/berth/internal/bench"
	"github.com/spf13/cobra"
)

func (a *app) benchVBP() *cobra.Command {
	var o bench.VBPOptions
	cmd := &cobra.Command{
		Use:   "vbp",
		Short: "Measure packing on public instances of vector bin packing: how many hosts more than needed",
		Long: `VBP packs the items of public instances into bins with the code that places VMs and frees hosts of a fleet: an item is a
VM, a bin a host that costs when it is in use. The figures are bins over the optimum, or over the lower bound where the
optimum is not proven.

--data names the directory of FAMILY_instances.tar.gz and FAMILY_summary_known.csv.`,
		Example: "  berth bench vbp --data shared/bench\n  berth bench vbp --data shared/bench --families Triplet --steps 20000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkVBP(&o); err != nil {
				return err
			}
			ctx := cmd.Context()
			o.Pack.Stop = func() bool { return ctx.Err() != nil }
			o.Say = func(s string) { a.note("%s", s) }
			v, err := bench.RunVBP(o)
			if err != nil {
				return inputError(fmt.Errorf("measure packing: %w", err), "--data names a directory with the files of the benchmark")
			}
			if len(v.Rows) == 0 && ctx.Err() == nil {
				return usagef("--max-items: no instance has %d items or fewer", o.MaxItems)
			}
			if a.json {
				err = a.jsonDocument(v)
			} else {
				a.printVBP(v)
			}
			if err == nil && ctx.Err() != nil {
				err = &cliError{code: codePartly, err: errors.New("measure packing: interrupted")}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "data", "", "directory of the benchmark's files")
	f.StringSliceVar(&o.Families, "families", []string{"Panigrahy", "New", "Triplet"}, "families of instances")
	f.IntVar(&o.MaxItems, "max-items", 200, "leave out instances with more items")
	f.IntVar(&o.Every, "every", 1, "take one instance in so many")
	f.IntVar(&o.Pack.Steps, "steps", 2000, "steps of each attempt to free a bin, 0 to 10000000")
	f.IntVar(&o.Pack.Tries, "tries", 4, "attempts that may fail one after another, 0 to 1000")
	f.Uint64Var(&o.Pack.Seed, "seed", 1, "seed of the search")
	return cmd
}

func checkVBP(o *bench.VBPOptions) error {
	switch {
	case o.Dir == "":
		return usagef("--data: the directory of the benchmark is missing")
	case o.MaxItems < 1:
		return usagef("--max-items: is %d, expected at least 1", o.MaxItems)
	case o.Every < 1:
		return usagef("--every: is %d, expected at least 1", o.Every)
	case o.Pack.Steps < 0 || o.Pack.Steps > 10_000_000:
		return usagef("--steps: is %d, expected 0 to 10000000", o.Pack.Steps)
	case o.Pack.Tries < 0 || o.Pack.Tries > 1000:
		return usagef("--tries: is %d, expected 0 to 1000", o.Pack.Tries)
	}
	for _, f := range o.Families {
		if f == "" || strings.ContainsAny(f, `/\`) {
			return usagef("--families: %q is no name of a family", f)
		}
	}
	return nil
}

func (a *app) printVBP(v *bench.VBP) {
	g := &grid{
		title:    "Vector bin packing: bins over the optimum or the bound",
		headings: []string{"FAMILY", "ITEMS", "INSTANCES", "BERTH", "BEST PUBLISHED", "AT THE OPTIMUM", "FEWER", "MORE", "SECONDS EACH", "SLOWEST"},
	}
	for _, r := range v.Rows {
		g.add(text(r.Family), text(r.Items), text(strconv.Itoa(r.Instances)), text(fmt.Sprintf("%.3f %%", r.Over)),
			text(fmt.Sprintf("%.3f %%", r.Published)), text(strconv.Itoa(r.AtReference)), text(strconv.Itoa(r.Fewer)), text(strconv.Itoa(r.More)),
			text(fmt.Sprintf("%.3f", r.Seconds)), text(fmt.Sprintf("%.2f", r.Slowest)))
	}
	a.printGrid(g)
	for _, r := range v.Rows {
		if r.Raised > 0 {
			a.printf("%s, %s: %d instances have demands below nothing; they are taken as 0, which makes none easier\n", r.Family, r.Items, r.Raised)
		}
	}
	for _, r := range v.Refused {
		a.note("%s", r)
	}
	a.printPublished(v.Published)
}
