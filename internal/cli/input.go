package cli

import (
	"context"
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

// fleetInput says where a command has the fleet and the policy from.
type fleetInput struct {
	config string
	from   string
	policy string
	trust  string
}

func (in *fleetInput) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&in.config, "config", "", "look at the sources in `FILE` (default: berth.yaml, see docs/cli.md)")
	f.StringVar(&in.from, "from", "", "take the fleet from a snapshot in `FILE` (berth fleet export); - is standard input")
	f.StringVar(&in.trust, "trust", "", "trust the keys in `FILE` (default: $BERTH_TRUST, the configuration's, trust.yaml)")
}

func (in *fleetInput) policyFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&in.policy, "policy", "", "use the service levels in `FILE` (default: the configuration's, or the built-in ones)")
}

// situation is a fleet with the policy it is judged by.
type situation struct {
	snapshot  *fleet.Snapshot
	catalogue *policy.Catalogue
	problem   *policy.Problem
}

// loadSnapshot reads the snapshot from a file, or takes the inventory of the configured sources.
func (a *app) loadSnapshot(ctx context.Context, in *fleetInput) (*fleet.Snapshot, *config, error) {
	if in.from != "" && (in.config != "" || in.trust != "") {
		return nil, nil, usagef("--from excludes --config and --trust: a snapshot holds what was seen and verified when it was taken")
	}
	if in.from != "" {
		s, err := a.readSnapshot(in.from)
		return s, nil, err
	}
	c, err := a.loadConfig(in.config)
	if err != nil {
		return nil, nil, err
	}
	trust, err := a.loadTrust(in.trust, c)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.inventory(ctx, c, trust, nil)
	return s, c, err
}

// inventory opens the wanted sources (nil: all), observes them and closes them again.
func (a *app) inventory(ctx context.Context, c *config, trust *label.TrustFile, want func(fleet.SourceID) bool) (*fleet.Snapshot, error) {
	w, err := a.openWorld(ctx, c, want)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(w)
	return w.observe(ctx, a, trust)
}

func (a *app) readSnapshot(path string) (*fleet.Snapshot, error) {
	data, err := a.readInput(path, int64(fleet.MaxFile))
	if err != nil {
		return nil, inputError(fmt.Errorf("read fleet: %w", err), "")
	}
	s, err := fleet.DecodeSnapshot(inputName(path), data)
	if err != nil {
		return nil, inputError(fmt.Errorf("read fleet: %w", err), "'berth fleet export' and 'berth sim generate' write such files")
	}
	return s, nil
}

// loadSituation reads the fleet and the policy and joins them.
func (a *app) loadSituation(ctx context.Context, in *fleetInput) (*situation, error) {
	s, c, err := a.loadSnapshot(ctx, in)
	if err != nil {
		return nil, err
	}
	cat, err := a.loadCatalogue(in.policy, c)
	if err != nil {
		return nil, err
	}
	p, err := policy.Resolve(cat, s)
	if err != nil {
		return nil, inputError(fmt.Errorf("apply policy: %w", err), "")
	}
	return &situation{snapshot: s, catalogue: cat, problem: p}, nil
}
