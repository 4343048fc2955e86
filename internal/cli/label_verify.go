package cli

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

// verification is what berth label verify judges labels by.
type verification struct {
	trust, config, policy string // the flags

	file      *label.TrustFile
	catalogue *policy.Catalogue
}

func (v *verification) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.trust, "trust", "", "trust the keys in `FILE` (default: $BERTH_TRUST, the configuration's, trust.yaml)")
	f.StringVar(&v.config, "config", "", "take the names of trust file and policy from the configuration in `FILE`")
	f.StringVar(&v.policy, "policy", "", "use the service levels in `FILE` (default: the configuration's, or the built-in ones)")
}

// load reads what the flags name. The configuration is read only when it has to be. An audit has no use for the policy.
func (v *verification) load(a *app, audit bool) error {
	if audit {
		var err error
		v.file, err = a.verifyTrust(v.trust, v.config)
		return err
	}
	var c *config
	need := v.trust == "" && a.env.Getenv("BERTH_TRUST") == "" || v.policy == ""
	if need && a.findConfig(v.config) != "" {
		var err error
		if c, err = a.loadConfig(v.config); err != nil {
			return err
		}
	}
	var err error
	if v.file, err = a.loadTrust(v.trust, c); err != nil {
		return err
	}
	v.catalogue, err = a.loadCatalogue(v.policy, c)
	return err
}

func (a *app) labelVerify() *cobra.Command {
	var sel selection
	var v verification
	var au auditor
	var chain chainRoots
	cmd := &cobra.Command{
		Use:   "verify IMAGE... | verify --all [FOLDER...]",
		Short: "Say whether the labels of disk images are signed by a trusted key, for this very disk",
		Long: `Verify prints "signed by ...", "unsigned: why" or "invalid: why" for each image. It exits with 0 only when every
label is signed by a key of the trust file, unexpired, and made for the disk that it was found in. Of an overlay without a label
of its own it judges that of the nearest ancestor that has one, for that ancestor.

With --all it audits everything in the folders, or the fleet of the configuration: it also finds labels that are older than they
were when they were last seen, that are gone, and that are on two disks. What it saw it keeps in the state folder.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if au.all {
				return a.audit(cmd, &au, &v, &sel, args)
			}
			if err := au.refuse(cmd); err != nil {
				return err
			}
			if err := sel.check(args); err != nil {
				return err
			}
			if err := chain.check(); err != nil {
				return err
			}
			if err := v.load(a, false); err != nil {
				return err
			}
			t, err := a.eachImage(cmd.Context(), &sel, "verify label", func(e entry) outcome { return a.verifyLabel(&v, &chain, e) }, a.showVerified)
			if err != nil {
				return err
			}
			if t.ok == 0 && len(t.codes) == 0 {
				t.add(codeNothing) // those met in a folder were passed over
			}
			return reported(t.code())
		},
	}
	v.flags(cmd)
	au.flags(cmd)
	chain.flags(cmd)
	sel.flags(cmd, defaultJobs())
	sel.formatFlag(cmd)
	sel.appliance.diskFlag(cmd)
	return cmd
}

// showVerified prints what a label is worth.
func (a *app) showVerified(o *outcome) {
	if a.json {
		_ = a.jsonLine(o.line) // kept by the buffer
		return
	}
	a.printf("%s: %s\n", a.fileName(o.line.name()), verifyText(&o.line))
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

func (a *app) verifyLabel(v *verification, chain *chainRoots, e entry) outcome {
	img, o := chain.readInherited(e)
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
	o.line.judge(v.file.Verify(*img.frame, img.info.Binding(), a.env.Now()))
	o.line.Counts, o.line.CountsWhy = effective(v.catalogue, &o.line)
	if o.line.Trust != label.TrustSigned {
		o.code = codeFailed
	}
	return o
}

// judge puts a verdict into the line.
func (l *imageLine) judge(v label.Verdict) {
	l.Trust, l.Signer, l.Ceiling, l.Reason, l.Cause = v.Trust, v.Issuer, v.Ceiling, v.Reason, string(v.Cause)
}

// effective is the level that a label gives to a VM with this one disk, and the notes of why it is not the one it asks
// for. It is what planning comes to: package policy decides.
func effective(c *policy.Catalogue, l *imageLine) (level string, why []string) {
	found := fleet.Label{
		Trust: fleet.Trust(l.Trust), Document: l.Document, Serial: l.Serial, KeyID: l.KeyID, Issuer: l.Signer, Ceiling: l.Ceiling, Reason: l.Reason,
	}
	const vm = fleet.VMID("vm")
	p, err := policy.Resolve(c, &fleet.Snapshot{VMs: []fleet.VM{{ID: vm, Disks: []fleet.Disk{{Label: found}}}}})
	if err != nil {
		return "", nil
	}
	return p.VMs[vm].Level, p.VMs[vm].Notes
}

func verifyText(l *imageLine) string {
	switch {
	case !l.Labelled:
		return "no label"
	case l.Trust != label.TrustSigned:
		return l.Trust + ": " + cleanLine(l.Reason)
	}
	s := "signed by " + l.Signer + " (key " + l.KeyID + "): "
	if l.From != "" {
		s = "signed by " + l.Signer + " (key " + l.KeyID + ") in " + cleanLine(l.From) + ": "
	}
	capped := l.Counts != "" && l.Counts != l.Document.Level
	switch {
	case capped && l.Ceiling != "" && l.Ceiling == l.Counts:
		return s + fmt.Sprintf("asks for %s; its key may grant %s: counts as %s", l.Document.Level, l.Ceiling, l.Counts)
	case capped:
		return s + fmt.Sprintf("asks for %s: counts as %s: %s", l.Document.Level, l.Counts, cleanLine(strings.Join(l.CountsWhy, "; ")))
	}
	s += l.Document.Level
	if l.Ceiling != "" {
		s += ", may grant up to " + l.Ceiling
	}
	if len(l.CountsWhy) > 0 {
		s += "; " + cleanLine(strings.Join(l.CountsWhy, "; "))
	}
	return s
}
