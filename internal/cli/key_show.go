package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/berth-project/berth/label"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
)

func (a *app) keyShow() *cobra.Command {
	var sshForm bool
	cmd := &cobra.Command{
		Use:   "show FILE...",
		Short: "Print the id and the public key of private or public key files",
		Long: `Show prints the id and the public key of each file: a private or public key of Berth's or of OpenSSH's. agent:WHICH
is a key that ssh-agent holds. With --ssh it prints what a .pub file of OpenSSH has.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var t tally
			for _, file := range args {
				pub, err := a.readAnyKey(file)
				t.add(codeOf(err))
				if err != nil {
					a.report(err)
					continue
				}
				v := viewKey(file, pub)
				if sshForm {
					v.SSH = pub.SSH() + " berth:" + v.KeyID
				}
				switch {
				case a.json:
					_ = a.jsonLine(v) // kept by the buffer
				case sshForm:
					a.printf("%s\n", v.SSH)
				default:
					a.printf("%s %s\n", v.KeyID, v.PublicKey)
				}
			}
			return reported(t.code())
		},
	}
	cmd.Flags().BoolVar(&sshForm, "ssh", false, "print the line of a .pub file of OpenSSH")
	return cmd
}

// readAnyKey reads the public key of a private or public key file, or of a key of ssh-agent. Only a private file has to
// be its owner's.
func (a *app) readAnyKey(path string) (label.PublicKey, error) {
	if which, ok := strings.CutPrefix(path, agentPrefix); ok {
		signer, err := a.agentSigner(which)
		if err != nil {
			return label.PublicKey{}, err
		}
		return signer.Public(), nil
	}
	data, err := readFile(path, label.MaxKeyText)
	if err != nil {
		return label.PublicKey{}, inputError(fmt.Errorf("show key: %w", err), "")
	}
	if isPrivateKey(data) {
		return publicHalf(path)
	}
	pub, err := label.ParsePublicKey(string(data))
	if err != nil {
		return label.PublicKey{}, inputError(fmt.Errorf("show key %s: %w", path, err), "")
	}
	return pub, nil
}

// publicHalf is the public key in a private key file. OpenSSH's files have it in clear, passphrase or not.
func publicHalf(path string) (label.PublicKey, error) {
	data, err := readPrivateFile(path, label.MaxKeyText)
	if err != nil {
		return label.PublicKey{}, err
	}
	var locked *ssh.PassphraseMissingError
	if _, err := ssh.ParseRawPrivateKey(data); errors.As(err, &locked) && locked.PublicKey != nil {
		pub, err := label.ParsePublicKey(string(ssh.MarshalAuthorizedKey(locked.PublicKey)))
		if err != nil {
			return label.PublicKey{}, inputError(fmt.Errorf("show key %s: %w", path, err), "")
		}
		return pub, nil
	}
	key, err := readPrivateKey(path)
	if err != nil {
		return label.PublicKey{}, err
	}
	return key.Public(), nil
}
