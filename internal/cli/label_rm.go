package cli

import (
	"errors"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

func (a *app) labelRm() *cobra.Command {
	return a.removal(&cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove the labels from disk images",
		Long:  "Rm removes the label of each image. An image without one is an error (exit 6), a damaged label too: see strip.",
	}, "remove label", false)
}

func (a *app) labelStrip() *cobra.Command {
	return a.removal(&cobra.Command{
		Use:   "strip IMAGE...",
		Short: "Remove every trace of Berth from disk images, whatever state it is in",
		Long: `Strip removes the label of each image even when it is damaged. An image without one is fine. Use it before an
image goes to a tool that refuses what it does not know.`,
	}, "strip label", true)
}

func (a *app) removal(cmd *cobra.Command, op string, strip bool) *cobra.Command {
	var sel selection
	var vms vmSelection
	var dryRun bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if ok, err := vms.given(args); ok || err != nil {
			if err == nil && dryRun {
				err = usagef("--vm excludes --dry-run")
			}
			if err == nil {
				err = a.removeVMs(cmd.Context(), &vms, strip)
			}
			return err
		}
		if err := sel.check(args); err != nil {
			return err
		}
		if err := sel.appliance.prepare(a); err != nil {
			return err
		}
		sel.appliance.disks = vms.disks
		work := func(e entry) outcome { return removeLabel(e, strip, dryRun) }
		t, err := a.eachImage(cmd.Context(), &sel, op, work, a.showChange)
		if err != nil {
			return err
		}
		return reported(t.code())
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be done, and do nothing")
	sel.formatFlag(cmd)
	sel.flags(cmd, 1)
	vms.flags(cmd)
	sel.appliance.flags(cmd)
	return cmd
}

func removeLabel(e entry, strip, dryRun bool) outcome {
	if e.disk != nil && dryRun {
		return tryRemoveDisk(e, strip)
	}
	if e.disk != nil {
		return e.disk.remove(strip, e.found)
	}
	if e.found { // do not lock what has no label
		img, o := openImage(e)
		if img == nil {
			return o
		}
		none := img.frame == nil && !img.info.Damaged
		if none && strip {
			_, err := e.opts.PlanStrip(img)
			none = err != nil
		}
		closeQuietly(img)
		if none {
			return outcome{skip: true, note: "no label"}
		}
	}
	return changeImage(e, func(f *dir.File) (o outcome) {
		frame, info, err := e.opts.ReadLabel(f)
		if err != nil {
			return outcome{err: err}
		}
		if info.Damaged && !strip {
			return outcome{err: diskimage.ErrDamaged}
		}
		plan := e.opts.PlanRemove
		if strip {
			plan = e.opts.PlanStrip
		}
		edit, err := plan(f)
		o.line.Format, o.line.Subformat = string(info.Format), info.Subformat
		if errors.Is(err, diskimage.ErrNoLabel) && strip {
			o.note = "no label"
			return o
		}
		if err == nil && !dryRun {
			err = diskimage.Apply(f, edit)
		}
		if err != nil {
			return outcome{err: err}
		}
		verb := "removed"
		if o.line.DryRun = dryRun; dryRun {
			verb = "would be removed"
		}
		o.note = "label " + verb
		if frame == nil {
			o.note = "remains of a label " + verb
		}
		if edit.Remains != "" {
			o.note += "; what other tools still see: " + edit.Remains
		}
		return o
	})
}

// tryRemoveDisk says what removeLabel would make of a disk of an appliance.
func tryRemoveDisk(e entry, strip bool) outcome {
	img, o := openImage(e)
	if img == nil {
		return o
	}
	closeQuietly(img)
	if !img.info.Damaged && img.frame == nil && !strip {
		return outcome{err: diskimage.ErrNoLabel}
	}
	o.line.DryRun, o.note = true, "label would be removed"
	return o
}
