package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/berth-project/berth/label"
	"github.com/spf13/cobra"
)

func (a *app) keyNew() *cobra.Command {
	return &cobra.Command{
		Use:   "new FILE",
		Short: "Make a private key in FILE and print its public key",
		Long: `New makes an Ed25519 key. FILE gets mode 0600 and is never overwritten. The public key, which is printed, goes into
the trust file of whoever is to believe the labels that are signed with it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := label.GenerateKey(rand.Reader)
			if err != nil {
				return fmt.Errorf("make key: %w", err)
			}
			err = writeFileAtomic(args[0], key.Encode(), 0o600, true)
			if errors.Is(err, fs.ErrExist) {
				return refusedf("name a new file; a key that labels were signed with is never overwritten", "make key: %s: is there already", args[0])
			}
			if err != nil {
				return fmt.Errorf("make key: %w", err)
			}
			v := viewKey(args[0], key.Public())
			if a.json {
				return a.jsonDocument(v)
			}
			a.printf("%s\n", v.PublicKey)
			if a.verbose || a.errTTY {
				a.note("key %s is in %s; to trust it, add this to trust.yaml:\n  - public_key: %s\n    issuer: WHO\n    ceiling: gold",
					v.KeyID, v.File, v.PublicKey)
			}
			return nil
		},
	}
}
