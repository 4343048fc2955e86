package cli

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// labelSetter is what berth label set writes into each image.
type labelSetter struct {
	level     string
	overrides []string
	keyFile   string
	expires   string
	issuer    string
	table     string // --from
	dryRun    bool

	rows map[string]*labelSetter // of the table, by path

	doc label.Document // without what belongs to one disk
	key label.Signer   // nil: not signed
}

func (a *app) labelSet() *cobra.Command {
	var sel selection
	var ls labelSetter
	var vms vmSelection
	cmd := &cobra.Command{
		Use:   "set --level LEVEL IMAGE...",
		Short: "Label disk images with a service level",
		Long: `Set writes a label into each image, in place of the one that is there. It prints nothing when all goes well.
An image in use is refused; an image that cannot be labelled is left as it was, and the rest is done.

With --from the images and their labels come from a table (CSV with a header). Flags count for cells that are empty. The whole
table is checked before the first image is touched.`,
		Example: "  berth label set --level gold --override nic.class=2 --key ops.key --expires 90d *.vmdk\n" +
			"  berth label set --level silver -r /srv/images",
		RunE: func(cmd *cobra.Command, args []string) error {
			onVMs, err := vms.given(args)
			if err == nil && !onVMs {
				err = ls.checkFiles(&sel, args)
			}
			if err == nil {
				sel.appliance.disks = vms.disks
				err = sel.appliance.prepare(a)
			}
			if err != nil {
				return err
			}
			for _, name := range []string{"key", "expires", "from"} {
				// A script's variable that is not set must not make a label that is unsigned, or lasts for ever.
				if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return usagef("--%s: is empty", name)
				}
			}
			if err := ls.prepare(a.env.Now()); err != nil {
				return err
			}
			if ls.keyFile != "" {
				var err error
				if ls.key, err = a.openSigner(ls.keyFile); err != nil {
					return err
				}
			}
			if onVMs && (ls.table != "" || ls.dryRun) {
				return usagef("--vm excludes --from and --dry-run")
			}
			if ls.table != "" {
				if err := a.loadTable(&sel, &ls); err != nil {
					return err
				}
			}
			if onVMs {
				return a.setVMs(cmd.Context(), &vms, ls.seal)
			}
			t, err := a.eachImage(cmd.Context(), &sel, "set label", ls.set, a.showChange)
			if err != nil {
				return err
			}
			return reported(t.code())
		},
	}
	ls.flags(cmd)
	sel.formatFlag(cmd)
	cmd.Flags().BoolVar(&sel.opts.VHDFooter, "vhd-footer", false, "let the first label of a VHD go into its footer, which every copy keeps; some tools want it to be zero there")
	sel.flags(cmd, 1)
	vms.flags(cmd)
	sel.appliance.flags(cmd)
	return cmd
}

func (ls *labelSetter) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&ls.level, "level", "", "service `LEVEL` that the disk needs")
	f.StringArrayVar(&ls.overrides, "override", nil, "change one requirement: `KEY=VALUE` ("+strings.Join(label.OverrideKeys(), ", ")+")")
	f.StringVar(&ls.keyFile, "key", "", keyFlagHelp)
	f.StringVar(&ls.expires, "expires", "", "`WHEN` the label ends: 90d, 12h, 2027-01-31 or an RFC 3339 time")
	f.StringVar(&ls.issuer, "issuer", "", "`WHO` set the label, as free text")
	f.StringVar(&ls.table, "from", "", "set the labels that the CSV `TABLE` says: columns path, level, expires, issuer and the keys of overrides; - is standard input")
	f.BoolVar(&ls.dryRun, "dry-run", false, "print what would be done, and do nothing")
}

// prepare checks everything that does not depend on an image, before any is touched.
func (ls *labelSetter) prepare(now time.Time) error {
	if ls.level == "" && ls.table == "" {
		return &cliError{code: codeUsage, err: errors.New("--level is missing"), hint: "for example --level gold; 'berth policy show' lists the levels"}
	}
	ls.doc = label.Document{Level: ls.level, Issuer: ls.issuer, Issued: now.UTC().Truncate(time.Second)}
	for _, o := range ls.overrides {
		k, v, ok := strings.Cut(o, "=")
		if !ok {
			return usagef("--override %q: expected KEY=VALUE", o)
		}
		if _, twice := ls.doc.Overrides[k]; twice {
			return usagef("--override %s: is given twice", k)
		}
		if ls.doc.Overrides == nil {
			ls.doc.Overrides = map[string]string{}
		}
		ls.doc.Overrides[k] = v
	}
	if ls.expires != "" {
		at, err := parseExpiry(ls.expires, now)
		if err != nil {
			return err
		}
		ls.doc.Expires = at
	}
	probe := ls.doc
	probe.Serial, probe.Disk.Size = 1, 1
	if probe.Level == "" {
		probe.Level = "x" // each row has its own
	}
	if err := probe.Validate(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// seal makes the label of one disk.
func (ls *labelSetter) seal(disk label.Binding, serial uint32) (label.Frame, error) {
	doc := ls.doc
	doc.Disk, doc.Serial = disk, serial
	return label.Seal(doc, ls.key)
}

// next is the label that follows the present one of a disk.
func (ls *labelSetter) next(present *label.Frame, info *diskimage.Info) (label.Frame, error) {
	disk, err := bindingOf(info, present)
	if err != nil {
		return label.Frame{}, err
	}
	serial := uint32(1)
	if present != nil {
		if present.Serial == math.MaxUint32 {
			return label.Frame{}, refusedf("'berth label rm FILE' removes it; then set it again", "the label's serial is at its end")
		}
		serial = present.Serial + 1
	}
	return ls.seal(disk, serial)
}

// set labels one image.
func (ls *labelSetter) set(e entry) outcome {
	if row := ls.rows[e.path]; row != nil {
		return row.set(e)
	}
	if e.disk != nil && ls.dryRun {
		return ls.tryDisk(e)
	}
	if e.disk != nil {
		return e.disk.set(ls.next)
	}
	if e.found { // do not lock what is no image
		img, o := openImage(e)
		if img == nil {
			return o
		}
		closeQuietly(img)
	}
	return changeImage(e, func(f *dir.File) (o outcome) {
		frame, info, err := e.opts.ReadLabel(f)
		if err != nil {
			return outcome{err: err}
		}
		sealed, err := ls.next(frame, info)
		if err != nil {
			return outcome{err: err}
		}
		edit, err := e.opts.PlanSet(f, sealed)
		if err == nil && !ls.dryRun {
			err = diskimage.Apply(f, edit)
		}
		if err != nil {
			return outcome{err: err}
		}
		o.line.describe(&sealed, info)
		o.note = "labelled " + o.line.summary()
		if o.line.DryRun = ls.dryRun; ls.dryRun {
			o.note = "would be " + o.note
		}
		return o
	})
}

// tryDisk says what set would make of a disk of an appliance.
func (ls *labelSetter) tryDisk(e entry) outcome {
	img, o := openImage(e)
	if img == nil {
		return o
	}
	defer closeQuietly(img)
	sealed, err := ls.next(img.frame, img.info)
	if err != nil {
		return outcome{err: err}
	}
	o.line.describe(&sealed, img.info)
	o.line.DryRun, o.note = true, "would be labelled "+o.line.summary()
	return o
}

// changeImage runs change on an image that is open for writing and locked.
func changeImage(e entry, change func(f *dir.File) outcome) outcome {
	f, err := dir.OpenWrite(e.path)
	if err != nil {
		return notOpened(e, err)
	}
	o := change(f)
	if err := f.Close(); err != nil && o.err == nil {
		o.err = fmt.Errorf("close: %w", err)
	}
	return o
}
