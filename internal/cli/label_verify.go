package cli

import (
	"github.com/berth-project/berth/label"
	"github.com/spf13/cobra"
)

func (a *app) labelVerify() *cobra.Command {
	var sel selection
	var trustFlag, configFlag string
	cmd := &cobra.Command{
		Use:   "verify IMAGE...",
		Short: "Say whether the labels of disk images are signed by a trusted key, for this very disk",
		Long: `Verify prints "signed by ...", "unsigned: why" or "invalid: why" for each image. It exits with 0 only when every
label is signed by a key of the trust file, unexpired, and made for the disk that it was found in.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sel.check(args); err != nil {
				return err
			}
			trust, err := a.verifyTrust(trustFlag, configFlag)
			if err != nil {
				return err
			}
			t, err := a.eachImage(cmd.Context(), &sel, "verify label", func(e entry) outcome { return a.verifyLabel(trust, e) },
				func(o *outcome) {
					if a.json {
						_ = a.jsonLine(o.line)
						return
					}
					a.printf("%s: %s\n", a.fileName(o.line.Path), verifyText(&o.line))
				})
			if err != nil {
				return err
			}
			if t.ok == 0 && len(t.codes) == 0 {
				t.add(codeNothing) // those met in a folder were passed over
			}
			return reported(t.code())
		},
	}
	cmd.Flags().StringVar(&trustFlag, "trust", "", "trust the keys in `FILE` (default: $BERTH_TRUST, the configuration's, trust.yaml)")
	cmd.Flags().StringVar(&configFlag, "config", "", "take the trust file's name from the configuration in `FILE`")
	sel.flags(cmd, defaultJobs())
	return cmd
}

// verifyTrust finds the trust file; a configuration is read only when it has to be.
func (a *app) verifyTrust(trustFlag, configFlag string) (*label.TrustFile, error) {
	var c *config
	if trustFlag == "" && a.env.Getenv("BERTH_TRUST") == "" && a.findConfig(configFlag) != "" {
		var err error
		if c, err = a.loadConfig(configFlag); err != nil {
			return nil, err
		}
	}
	return a.loadTrust(trustFlag, c)
}

func (a *app) verifyLabel(trust *label.TrustFile, e entry) outcome {
	img, o := readImage(e)
	if img == nil {
		return o
	}
	if img.frame == nil {
		if e.found {
			return outcome{skip: true, note: "no label"}
		}
		o.code = codeNothing
		return o
	}
	v := trust.Verify(*img.frame, img.info.Binding(), a.env.Now())
	o.line.Trust, o.line.Signer, o.line.Ceiling, o.line.Reason = v.Trust, v.Issuer, v.Ceiling, v.Reason
	if v.Trust != label.TrustSigned {
		o.code = codeFailed
	}
	return o
}

func verifyText(l *imageLine) string {
	switch {
	case !l.Labelled:
		return "no label"
	case l.Trust != label.TrustSigned:
		return l.Trust + ": " + cleanLine(l.Reason)
	}
	s := "signed by " + l.Signer + " (key " + l.KeyID + "): " + l.Document.Level
	if l.Ceiling != "" {
		s += ", may grant up to " + l.Ceiling
	}
	return s
}
