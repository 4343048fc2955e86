package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/berth-project/berth/driver/sim"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The bounds of a generated fleet.
const (
	maxSimHosts = 10_000
	maxSimVMs   = 250_000
)

func (a *app) simGenerate() *cobra.Command {
	shape := sim.DefaultShape()
	o := sim.Options{Shape: &shape}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write a made-up fleet as a snapshot (JSON), to try policies and plans on",
		Long: `Generate writes a snapshot of a fleet with hosts, pools and NICs of several tiers, labelled, unlabelled and wrongly
labelled VMs, and a share of VMs in the wrong place. The same flags give the same bytes on every machine.
A placement of the VMs exists that breaks no requirement of the built-in service levels.`,
		Example: "  berth sim generate --hosts 40 --vms 400 --seed 7 | berth plan make --from -\n" +
			"  berth sim generate --hosts 1000 --vms 25000 --fill 90 --misplaced 5 --tiers gold=10,silver=30,bronze=60 >tight.json",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkSimSize(o.Hosts, o.VMs); err != nil {
				return err
			}
			if err := checkShape(&shape); err != nil {
				return err
			}
			return writeSnapshot(a.out, sim.Generate(o))
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Hosts, "hosts", 12, "number of hosts, 1 to 10000")
	f.IntVar(&o.VMs, "vms", 100, "number of VMs, 0 to 250000")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of everything that is drawn")
	shapeFlags(f, &shape)
	f.IntVar(&shape.Misplaced, "misplaced", shape.Misplaced, "per cent of VMs taken to a wrong host, and of disks and groups in proportion; 0: all is right")
	f.IntVar(&shape.Fill, "fill", shape.Fill, "how full the scarcest resource of the hosts is on average, per cent, 1 to 95")
	f.IntVar(&shape.Skew, "skew", shape.Skew, "per cent of hosts that are overloaded, 0 to 50; the first of a cluster takes most")
	f.IntVar(&shape.Spread, "spread", shape.Spread, "per cent of labels that begin a spread group of two or three VMs")
	f.IntVar(&shape.Guarantee, "guarantee", 0, "per cent of signed silver and gold labels that ask for bandwidth and storage operations")
	f.IntVar(&shape.Modules, "modules", 0, "I/O modules of each cluster of 16 hosts, 0 to 16")
	f.IntVar(&shape.Affinity, "affinity", shape.Affinity, "per cent of labels that begin an affinity group of two VMs")
	return cmd
}

// shapeFlags are the flags of a fleet's hosts, pools and NICs.
func shapeFlags(f *pflag.FlagSet, s *sim.Shape) {
	f.Var((*tierShares)(s), "tiers", "per cent of the hosts, and so of the VMs, of each tier; a tier left out has none")
	f.IntVar(&s.PoolsPerCluster, "pools-per-cluster", s.PoolsPerCluster, "shared pools of each cluster of 16 hosts, dealt to the tiers in turn, 3 to 30")
	f.IntVar(&s.NICs, "nics", s.NICs, "NICs of each host, the one on the board included, 2 to 16")
	f.IntVar(&s.Racks, "racks", s.Racks, "racks that the hosts stand in; 0: one for every 32 hosts")
}

// tierShares is the flag --tiers.
type tierShares sim.Shape

// Type says how help calls the value.
func (*tierShares) Type() string { return "SHARES" }

func (t *tierShares) String() string {
	return fmt.Sprintf("gold=%d,silver=%d,bronze=%d", t.Gold, t.Silver, t.Bronze)
}

// Set reads "gold=20,silver=30,bronze=50".
func (t *tierShares) Set(text string) error {
	shares := map[string]*int{"gold": new(int), "silver": new(int), "bronze": new(int)}
	seen := map[string]bool{}
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		if shares[name] == nil || seen[name] || err != nil || n < 0 || n > 100 {
			return fmt.Errorf("%q, expected each of gold, silver and bronze at most once, with 0 to 100: gold=20,silver=30,bronze=50", part)
		}
		*shares[name], seen[name] = n, true
	}
	t.Gold, t.Silver, t.Bronze = *shares["gold"], *shares["silver"], *shares["bronze"]
	if sum := t.Gold + t.Silver + t.Bronze; sum != 100 {
		return fmt.Errorf("the shares add up to %d, expected 100", sum)
	}
	return nil
}

func checkSimSize(hosts, vms int) error {
	if hosts < 1 || hosts > maxSimHosts {
		return usagef("--hosts: is %d, expected 1 to %d", hosts, maxSimHosts)
	}
	if vms < 0 || vms > maxSimVMs {
		return usagef("--vms: is %d, expected 0 to %d", vms, maxSimVMs)
	}
	return nil
}

// checkShape names the flag at fault.
func checkShape(s *sim.Shape) error {
	err := s.Validate()
	var bad *sim.ShapeError
	if errors.As(err, &bad) {
		return usagef("--%w", bad)
	}
	return err
}
