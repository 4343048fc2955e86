package cli

import (
	"bytes"
	"fmt"

	"github.com/berth-project/berth/label"
	"github.com/spf13/cobra"
)

func (a *app) keyShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE...",
		Short: "Print the id and the public key of private or public key files",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var t tally
			for _, file := range args {
				pub, err := readAnyKey(file)
				t.add(codeOf(err))
				if err != nil {
					a.report(err)
					continue
				}
				if v := viewKey(file, pub); a.json {
					_ = a.jsonLine(v) // kept by the buffer
				} else {
					a.printf("%s %s\n", v.KeyID, v.PublicKey)
				}
			}
			return reported(t.code())
		},
	}
}

// readAnyKey reads the public key of a private or public key file. Only a private one has to be its owner's.
func readAnyKey(path string) (label.PublicKey, error) {
	data, err := readFile(path, label.MaxKeyText)
	if err != nil {
		return label.PublicKey{}, inputError(fmt.Errorf("show key: %w", err), "")
	}
	if bytes.Contains(data, []byte("PRIVATE KEY")) {
		key, err := readPrivateKey(path)
		if err != nil {
			return label.PublicKey{}, err
		}
		return key.Public(), nil
	}
	pub, err := label.ParsePublicKey(string(data))
	if err != nil {
		return label.PublicKey{}, inputError(fmt.Errorf("show key %s: %w", path, err), "")
	}
	return pub, nil
}
