package cli

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// labelImporter is what berth label import writes.
type labelImporter struct {
	frame  label.Frame // of the envelope
	signer label.Signer
	disk   bool // of an appliance is named
	verify verification
	now    time.Time
}

func (a *app) labelImport() *cobra.Command {
	var keyFlag string
	var v verification
	var sel selection
	choice := &sel.appliance
	cmd := &cobra.Command{
		Use:   "import ENVELOPE IMAGE",
		Short: "Give a disk image the label in an envelope, signature and all",
		Long: `Import writes the label of a DSSE envelope (berth label export) into the image as it is, and prints what it is worth there.
It is refused when it was made for another disk, when its serial is not above that of the label in the image, and when its
signature is wrong. An identical label is fine. Of an appliance with several disks --disk names the one. With --key the label is
made anew: for this disk, with the next serial, signed with the key. ENVELOPE is a file; - is standard input.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f := cmd.Flags().Lookup("key"); f.Changed && keyFlag == "" {
				return usagef("--key: is empty")
			}
			sel.jobs = 1
			if err := sel.check(args[1:]); err != nil {
				return err
			}
			if err := choice.prepare(a); err != nil {
				return err
			}
			li := labelImporter{now: a.env.Now(), disk: len(choice.disks) > 0}
			var err error
			if li.frame, err = a.readEnvelope(args[0]); err != nil {
				return err
			}
			if err := v.load(a, false); err != nil {
				return err
			}
			li.verify = v
			if keyFlag != "" {
				if li.signer, err = a.openSigner(keyFlag); err != nil {
					return err
				}
			}
			t, err := a.eachImage(cmd.Context(), &sel, "import label", li.image, a.showVerified)
			if err != nil {
				return err
			}
			return reported(t.code())
		},
	}
	choice.flags(cmd)
	choice.diskFlag(cmd)
	sel.formatFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&keyFlag, "key", "", "make the label anew for this disk and "+keyFlagHelp)
	v.flags(cmd)
	return cmd
}

// readEnvelope reads a file with one envelope.
func (a *app) readEnvelope(path string) (label.Frame, error) {
	data, err := a.readInput(path, label.MaxEnvelope)
	if err != nil {
		return label.Frame{}, inputError(fmt.Errorf("read envelope: %w", err), "")
	}
	frame, err := label.ParseEnvelope(data)
	if err != nil {
		return label.Frame{}, inputError(fmt.Errorf("read envelope: %s: %w", inputName(path), err),
			"'berth label export IMAGE' prints such an envelope; of several on lines of their own import one at a time")
	}
	return frame, nil
}

func (li *labelImporter) image(e entry) outcome {
	if e.disk != nil {
		if li.signer == nil && !li.disk && len(e.disk.appliance.pkg.Disks) > 1 {
			return outcome{err: &cliError{code: codeUsage, err: errors.New("it has several disks, and an envelope is the label of one"),
				hint: "--disk ID; 'berth label get --json FILE' lists them"}}
		}
		o := e.disk.set(func(present *label.Frame, info *diskimage.Info) (label.Frame, error) {
			return li.choose(present, info)
		})
		if o.err == nil {
			li.judge(&o.line, e.disk.disk.Want(), &e.disk.disk.Info)
		}
		return o
	}
	return changeImage(e, func(f *dir.File) (o outcome) {
		present, info, err := e.opts.ReadLabel(f)
		if err != nil {
			return outcome{err: err}
		}
		frame, err := li.choose(present, info)
		if err != nil {
			return outcome{err: err}
		}
		if present == nil || !sameLabel(frame, *present) {
			edit, err := e.opts.PlanSet(f, frame)
			if err == nil {
				err = diskimage.Apply(f, edit)
			}
			if err != nil {
				return outcome{err: err}
			}
			o.note = "label imported"
		} else {
			o.note = "the image has this very label already"
		}
		o.line.describe(&frame, info)
		li.judge(&o.line, &frame, info)
		return o
	})
}

// judge says in the line what the label is worth in the image.
func (li *labelImporter) judge(l *imageLine, frame *label.Frame, info *diskimage.Info) {
	l.judge(li.verify.file.Verify(*frame, info.Binding(), li.now))
	l.Counts, l.CountsWhy = effective(li.verify.catalogue, l)
}

// choose is the label that the image is to have.
func (li *labelImporter) choose(present *label.Frame, info *diskimage.Info) (label.Frame, error) {
	if li.signer != nil {
		return li.anew(present, info)
	}
	if present != nil && !sameLabel(li.frame, *present) && li.frame.Serial <= present.Serial {
		what := "an older one never wins"
		if li.frame.Serial == present.Serial {
			what = "it is another label of the same serial"
		}
		return label.Frame{}, refusedf("with --key it is made anew, with the next serial",
			"%w: the envelope has serial %d, the image %d: %s", diskimage.ErrSerial, li.frame.Serial, present.Serial, what)
	}
	if err := li.checkSameDisk(present, info); err != nil {
		return label.Frame{}, err
	}
	v := li.verify.file.Verify(li.frame, info.Binding(), li.now)
	switch v.Cause {
	case label.CauseTransplanted:
		return label.Frame{}, refusedf("with --key it is made anew for this disk", "%w: %s", diskimage.ErrBinding, v.Reason)
	case label.CauseMalformed, label.CauseSignature, label.CauseNoKeyID:
		return label.Frame{}, inputError(errors.New("the label is not as it was signed: "+v.Reason), "export it again, or sign it anew with --key")
	default:
		return li.frame, nil
	}
}

// checkSameDisk refuses the label of another disk by the identities in the labels, where the format has none that would tell.
func (li *labelImporter) checkSameDisk(present *label.Frame, info *diskimage.Info) error {
	if present == nil || info.Binding().UUID != "" {
		return nil
	}
	mine, err := li.frame.Document()
	if err != nil {
		return nil //nolint:nilerr // choose says of it that it is malformed
	}
	there, err := present.Document()
	if err != nil || mine.Disk.UUID == "" || there.Disk.UUID == "" || mine.Disk.UUID == there.Disk.UUID {
		return nil //nolint:nilerr // what cannot be read names no disk
	}
	return refusedf("with --key it is made anew for this disk", "%w: made for disk %s, the present label is that of disk %s",
		diskimage.ErrBinding, mine.Disk.UUID, there.Disk.UUID)
}

// anew is the label of the envelope for this disk, after all that were on it.
func (li *labelImporter) anew(present *label.Frame, info *diskimage.Info) (label.Frame, error) {
	disk, err := bindingOf(info, present)
	if err != nil {
		return label.Frame{}, err
	}
	doc, err := li.frame.Document()
	if err != nil {
		return label.Frame{}, err
	}
	if !doc.Expires.IsZero() && !li.now.Before(doc.Expires) {
		return label.Frame{}, refusedf("'berth label set' makes a new one", "the label expired on %s", doc.Expires.Format(time.RFC3339))
	}
	doc.Disk, doc.Issued = disk, li.now.UTC().Truncate(time.Second)
	if present != nil {
		if present.Serial == math.MaxUint32 {
			return label.Frame{}, refusedf("'berth label rm FILE' removes it; then import it again", "the label's serial is at its end")
		}
		doc.Serial = max(doc.Serial, present.Serial+1)
	}
	return label.Seal(doc, li.signer)
}

// sameLabel says whether a and b are one and the same label, signature and all.
func sameLabel(a, b label.Frame) bool {
	return a.Serial == b.Serial && a.KeyID == b.KeyID && a.Signature == b.Signature && a.Flags == b.Flags && bytes.Equal(a.Payload, b.Payload)
}
