package cli

import (
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

func (a *app) policyShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Print the built-in service levels as a commented levels.yaml",
		Example: "  berth policy show > levels.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.jsonDocument(viewCatalogue(policy.Default()))
			}
			a.printf("%s", policy.DefaultText())
			return nil
		},
	}
}

// catalogueView is the JSON of a policy.
type catalogueView struct {
	Name            string         `json:"name"`
	ID              string         `json:"id"`
	ServerTiers     []string       `json:"serverTiers"` // low to high
	StorageTiers    []string       `json:"storageTiers"`
	SecurityClasses []string       `json:"securityClasses"`
	Levels          []policy.Level `json:"levels"` // ranks are positions in the lists above
	Unlabelled      string         `json:"unlabelled"`
	UnsignedCeiling string         `json:"unsignedCeiling"`
	Weights         policy.Weights `json:"weights"`  // in points
	Examples        []string       `json:"examples"` // what the weights come to
}

func viewCatalogue(c *policy.Catalogue) catalogueView {
	return catalogueView{
		Name: c.Name(), ID: c.ID(), ServerTiers: c.ServerTiers(), StorageTiers: c.PoolTiers(),
		SecurityClasses: c.SecurityClasses(), Levels: c.Levels(),
		Unlabelled: c.Unlabelled().Name, UnsignedCeiling: c.UnsignedCeiling().Name,
		Weights: c.Weights(), Examples: c.Weights().Examples(),
	}
}
