package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/whatif"
	"github.com/spf13/cobra"
)

// whatIfFlags are the changes of berth plan what-if.
type whatIfFlags struct {
	lose, add, upgrade, patch []string
}

func (a *app) planWhatIf() *cobra.Command {
	var in fleetInput
	var w whatIfFlags
	cmd := &cobra.Command{
		Use:   "what-if",
		Short: "Say what would become of the fleet if hosts were lost, added, upgraded or patched",
		Long: `What-if changes a copy of the fleet, plans it, and prints which VMs would go where and why, which would have no place,
and what both ends cost, hold and survive. Nothing is changed and nothing written.

VMs of lost hosts are started elsewhere from disks that a host which is left reaches; those with a disk in a pool that
none reaches are lost with it. Names are of hosts, chassis, racks, sites, I/O modules and pools; where one name means
several, its kind comes first: chassis:c-2. All flags can be given several times and together.
It exits with 5 when a VM has no right place.`,
		Example: "  berth plan what-if --from fleet.json --lose host-a,chassis-2\n" +
			"  berth plan what-if --from fleet.json --add hosts.json --patch rack-1=XSA-450 --upgrade io-3=100G --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := w.standardInput(in.from); err != nil {
				return err
			}
			changes, err := a.whatIfChanges(&w)
			if err != nil {
				return err
			}
			st, err := a.loadSituation(cmd.Context(), &in)
			if err != nil {
				return err
			}
			r, err := whatif.Run(st.catalogue, st.snapshot, changes, whatif.Options{})
			if err != nil {
				return whatIfError(err)
			}
			if err := a.showWhatIf(r); err != nil {
				return err
			}
			if len(r.Without) > 0 {
				return reported(codePartly)
			}
			return nil
		},
	}
	in.flags(cmd)
	in.policyFlag(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&w.lose, "lose", nil, "lose the host, chassis, rack, site, module or pool `NAME[,NAME]...`")
	f.StringArrayVar(&w.add, "add", nil, "add the hosts in `FILE`: hosts, and the pools, modules and sources they need, as in a snapshot")
	f.StringArrayVar(&w.upgrade, "upgrade", nil, "give the NICs of a module or host another speed: `NAME=SPEED`, such as io-3=100G")
	f.StringArrayVar(&w.patch, "patch", nil, "fix a vulnerability of a host, chassis, rack or site, or all of them: `NAME[=ID]`")
	return cmd
}

// standardInput refuses a second file that is to be standard input: it would be found empty.
func (w *whatIfFlags) standardInput(from string) error {
	n := 0
	for _, path := range append([]string{from}, w.add...) {
		if path == "-" {
			n++
		}
	}
	if n > 1 {
		return usagef("--from and --add: standard input is named %d times, expected once", n)
	}
	return nil
}

// whatIfChanges reads the flags in the order lose, add, upgrade, patch; what comes is there before anything else.
func (a *app) whatIfChanges(w *whatIfFlags) ([]whatif.Change, error) {
	var out []whatif.Change
	for _, text := range w.lose {
		list, err := whatif.ParseLose(text)
		if err != nil {
			return nil, usagef("--lose: %w", err)
		}
		out = append(out, list...)
	}
	for _, path := range w.add {
		data, err := a.readInput(path, int64(fleet.MaxFile))
		if err != nil {
			return nil, inputError(fmt.Errorf("read addition: %w", err), "")
		}
		parts, err := whatif.DecodeAddition(inputName(path), data)
		if err != nil {
			return nil, inputError(fmt.Errorf("read addition: %w", err), "it holds hosts, pools, modules and sources as a snapshot does, and no VMs")
		}
		out = append(out, whatif.Change{Kind: whatif.Add, Name: inputName(path), Parts: parts})
	}
	for _, text := range w.upgrade {
		c, err := whatif.ParseUpgrade(text)
		if err != nil {
			return nil, usagef("--upgrade: %w", err)
		}
		out = append(out, c)
	}
	for _, text := range w.patch {
		c, err := whatif.ParsePatch(text)
		if err != nil {
			return nil, usagef("--patch: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, usagef("nothing is asked: give --lose, --add, --upgrade or --patch")
	}
	return out, nil
}

func whatIfError(err error) error {
	switch {
	case errors.Is(err, whatif.ErrName):
		return &cliError{code: codeUsage, err: err, hint: "names are those that 'berth fleet export' writes; --lose takes several, NAME,NAME, the other flags one each"}
	case errors.Is(err, whatif.ErrCheck):
		return &cliError{code: codeFailed, err: err, hint: "this is a fault of berth: report it with the output of 'berth fleet export'"}
	}
	return inputError(err, "")
}

func (a *app) showWhatIf(r *whatif.Result) error {
	if a.json {
		return a.jsonDocument(r)
	}
	for _, c := range r.Changes {
		a.printf("what if: %s\n", cleanLine(c))
	}
	a.printf("\n")
	a.printWhatIfMoves(r)
	a.printWithout(r)
	a.printSides(r)
	return nil
}

func (a *app) printWhatIfMoves(r *whatif.Result) {
	g := &grid{title: "Off the lost hosts", headings: []string{"VM", "LEVEL", "PRIORITY", "HOST", "DISKS", "WHY"}}
	moved := &grid{title: "Moved", headings: []string{"VM", "LEVEL", "PRIORITY", "HOST", "DISKS", "WHY"}}
	anyway := 0
	for i := range r.Moves {
		m := &r.Moves[i]
		to := moved
		if m.Restart {
			to = g
		}
		if m.Anyway {
			anyway++
		}
		host := string(m.To.Host)
		if m.From.Host != m.To.Host {
			host = string(m.From.Host) + " -> " + host
		}
		to.add(text(string(m.VM)), text(m.Level), text(fmt.Sprint(m.Priority)), text(host), text(poolChange(m.From, m.To)), text(m.Reason))
	}
	if len(g.rows) > 0 {
		a.printGrid(g)
	}
	a.printGrid(moved)
	if len(r.Modules) > 0 {
		g := &grid{title: "I/O modules", headings: []string{"MODULE", "HOST", "WHY"}}
		for _, m := range r.Modules {
			g.add(text(string(m.Module)), text(string(m.From)+" -> "+string(m.To)), text(m.Reason))
		}
		a.printGrid(g)
	}
	if anyway > 0 {
		a.printf("%s would be made for the fleet as it is too\n\n", count(anyway, "move"))
	}
}

// poolChange names the pools that change, each pair once.
func poolChange(from, to fleet.Placement) string {
	var out []string
	seen := map[string]bool{}
	for i, d := range to.Disks {
		if i >= len(from.Disks) || from.Disks[i].Pool == d.Pool {
			continue
		}
		if c := string(from.Disks[i].Pool) + " -> " + string(d.Pool); !seen[c] {
			seen[c] = true
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return "stay"
	}
	return strings.Join(out, ", ")
}

func (a *app) printWithout(r *whatif.Result) {
	if len(r.Without) > 0 {
		g := &grid{title: "Without a right place", headings: []string{"VM", "LEVEL", "PRIORITY", "RUNS", "WHY"}}
		for i := range r.Without {
			w := &r.Without[i]
			runs := toned(warnTone, "on "+string(w.Host))
			if w.Stopped {
				runs = toned(badTone, "nowhere")
			}
			why := w.Reason
			if w.Anyway {
				why += " (so it is in the fleet as it is)"
			}
			if w.Nearest != "" {
				why += "; it waits for: " + w.Nearest
			}
			g.add(text(string(w.VM)), text(w.Level), text(fmt.Sprint(w.Priority)), runs, text(why))
		}
		a.printGrid(g)
	}
	if len(r.Helped) > 0 {
		names := make([]string, len(r.Helped))
		for i, v := range r.Helped {
			names[i] = string(v)
		}
		a.printf("a right place now, and none before: %s\n\n", cleanLine(strings.Join(names, ", ")))
	}
}

func (a *app) printSides(r *whatif.Result) {
	g := &grid{title: "Before and after", headings: []string{"", "BEFORE", "AFTER"}}
	b, n := &r.Before, &r.After
	row := func(name string, before, after any) {
		g.add(text(name), text(fmt.Sprint(before)), text(fmt.Sprint(after)))
	}
	row("hosts", b.Hosts, n.Hosts)
	row("VMs with a place", b.VMs, n.VMs)
	row("broken needs", b.Broken, n.Broken)
	row("cost", fmt.Sprint(b.Cost)+costParts(b.Parts), fmt.Sprint(n.Cost)+costParts(n.Parts))
	if b.Reserve.Failures+n.Reserve.Failures > 0 {
		row("N+1: losses survived", lossesSurvived(b), lossesSurvived(n))
	}
	for _, t := range unionTiers(b, n) {
		row(t+" CPU promised", tierPart(b, t, false), tierPart(n, t, false))
		row(t+" memory promised", tierPart(b, t, true), tierPart(n, t, true))
	}
	for _, t := range unionPools(b, n) {
		row(t+" pools full", poolPart(b, t), poolPart(n, t))
	}
	a.printGrid(g)
	s := &r.Summary
	a.printf("moves: %d points for %s, %s to copy\n", s.CostOfMoves, count(s.Moves, "move"), fleet.FormatBytes(s.Bytes))
	a.printf("bound: every plan for it costs at least %d, moves included\n", s.Bound)
	a.printf("gap: %.2f %%\n", s.GapPercent)
	a.printf("%d without a right place\n", len(r.Without))
}

func lossesSurvived(s *whatif.Side) string {
	return fmt.Sprintf("%d of %d", s.Reserve.SurvivedBefore, s.Reserve.Failures)
}

func unionTiers(sides ...*whatif.Side) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range sides {
		for _, t := range s.Tiers {
			if !seen[t.Tier] {
				seen[t.Tier] = true
				out = append(out, t.Tier)
			}
		}
	}
	return out
}

func unionPools(sides ...*whatif.Side) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range sides {
		for _, t := range s.Pools {
			if !seen[t.Tier] {
				seen[t.Tier] = true
				out = append(out, t.Tier)
			}
		}
	}
	return out
}

func tierPart(s *whatif.Side, tier string, memory bool) string {
	for _, t := range s.Tiers {
		switch {
		case t.Tier != tier:
		case memory:
			return fmt.Sprintf("%.0f %% of %s on %s", 100*t.MemoryPart, fleet.FormatBytes(t.MemoryAll), count(t.Hosts, "host"))
		default:
			return fmt.Sprintf("%.0f %% of %s threads on %s", 100*t.CPUPart, t.CPUAll, count(t.Hosts, "host"))
		}
	}
	return "no host"
}

func poolPart(s *whatif.Side, tier string) string {
	for _, t := range s.Pools {
		if t.Tier == tier {
			return fmt.Sprintf("%.0f %% of %s in %s", 100*t.Part, fleet.FormatBytes(t.Capacity), count(t.Pools, "pool"))
		}
	}
	return "no pool"
}
