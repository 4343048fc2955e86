package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) labelGet() *cobra.Command {
	var sel selection
	var vms vmSelection
	var chain chainRoots
	cmd := &cobra.Command{
		Use:   "get IMAGE...",
		Short: "Print the labels of disk images, one line each",
		Long: `Get prints the label of each image as it is written there; 'berth label verify' says what it is worth. Of an overlay
without a label of its own it prints that of the nearest ancestor that has one, and from which file (from=).
It exits with 6 when no image has a label.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if ok, err := vms.given(args); ok || err != nil {
				if err == nil {
					err = a.getVMs(cmd.Context(), &vms)
				}
				return err
			}
			if err := sel.check(args); err != nil {
				return err
			}
			sel.appliance.disks = vms.disks
			if err := chain.check(); err != nil {
				return err
			}
			get := func(e entry) outcome { return a.getLabel(&chain, e) }
			t, err := a.eachImage(cmd.Context(), &sel, "get label", get, func(o *outcome) {
				switch {
				case a.json:
					_ = a.jsonLine(o.line)
				case o.line.Labelled:
					a.printf("%s: %s\n", a.fileName(o.line.name()), o.line.summary())
				}
			})
			if err != nil {
				return err
			}
			return reported(anyLabel(t))
		},
	}
	sel.flags(cmd, defaultJobs())
	sel.formatFlag(cmd)
	vms.flags(cmd)
	chain.flags(cmd)
	return cmd
}

func (a *app) getLabel(chain *chainRoots, e entry) outcome {
	img, o := chain.readInherited(e)
	if img == nil {
		return o
	}
	if img.frame == nil {
		if e.found && !a.json {
			return outcome{skip: true, note: "no label"}
		}
		o.code, o.note = codeNothing, "no label"
	}
	return o
}
