package cli

import (
	"github.com/berth-project/berth/driver/sim"
	"github.com/spf13/cobra"
)

// The bounds of a generated fleet.
const (
	maxSimHosts = 10_000
	maxSimVMs   = 250_000
)

func (a *app) simGenerate() *cobra.Command {
	var o sim.Options
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write a made-up fleet as a snapshot (JSON), to try policies and plans on",
		Long: `Generate writes a snapshot of a fleet with hosts, pools and NICs of several tiers, labelled, unlabelled and wrongly
labelled VMs, and a share of VMs in the wrong place. The same flags give the same bytes on every machine.`,
		Example: "  berth sim generate --hosts 40 --vms 400 --seed 7 | berth plan make --from -",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if o.Hosts < 1 || o.Hosts > maxSimHosts {
				return usagef("--hosts: is %d, expected 1 to %d", o.Hosts, maxSimHosts)
			}
			if o.VMs < 0 || o.VMs > maxSimVMs {
				return usagef("--vms: is %d, expected 0 to %d", o.VMs, maxSimVMs)
			}
			return writeSnapshot(a.out, sim.Generate(o))
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Hosts, "hosts", 12, "number of hosts, 1 to 10000")
	f.IntVar(&o.VMs, "vms", 100, "number of VMs, 0 to 250000")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of everything that is drawn")
	return cmd
}
