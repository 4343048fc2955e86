package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// madeLine is the JSON of an image that was made of another.
type madeLine struct {
	Source      string          `json:"source"`
	Destination string          `json:"destination"`
	Format      string          `json:"format"`
	Subformat   string          `json:"subformat,omitempty"`
	VirtualSize label.Bytes     `json:"virtualSize"`
	Label       string          `json:"label"`          // convert.Fate
	From        string          `json:"from,omitempty"` // the file whose label that is
	Serial      uint32          `json:"serial,omitempty"`
	KeyID       string          `json:"keyId,omitempty"`
	Document    *label.Document `json:"document,omitempty"`
	Files       []string        `json:"files"`
}

// imageConverter is the command line of berth image convert.
type imageConverter struct {
	request      convert.Request
	format       string
	sourceFormat string
	chain        string
	key          string
	trust        string
	config       string
	workDir      string
	roots        chainRoots
	into         *delivery // of a DST in a source's pool; nil: DST is a local file
}

func (a *app) imageConvert() *cobra.Command {
	var ic imageConverter
	cmd := &cobra.Command{
		Use:   "convert [-O FORMAT] SRC DST",
		Short: "Convert a disk image to another format, with its label",
		Long: `Convert makes DST of SRC with qemu-img, and the label is in it before it gets its name. DST is whole or not there at
all. Formats: vmdk, qcow2, vhdx, vdi, vhd, raw. Without -O the format is that of DST's name (.vmdk, .qcow2, .vhdx, .vdi,
.vhd, .raw), else SRC's.

The label goes along as it is, signature and all; where it is bound to an identity, DST gets that identity. An overlay is
made one image with all that lies under it, and without a label of its own gets that of its nearest ancestor.

SRC may be SOURCE:POOL/PATH, an image in a pool of a source of the configuration whose VM is switched off: it is fetched
first. DST may be SOURCE:POOL/NAME, a new volume in a pool of a libvirt source: it is made in a temporary folder here, uploaded,
and read back whole. --remove-source makes a conversion a move: SRC goes when DST was compared with it and has its label; an image in a
source goes only when no VM refers to it.`,
		Example: "  berth image convert web.vmdk web.qcow2\n" +
			"  berth image convert -O vmdk --option subformat=streamOptimized web.qcow2 web.vmdk\n" +
			"  berth image convert --remove-source vc:nvme-1/vm-db/vm-db.vmdk rack:host-a/default/vm-db.qcow2",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"key", "source-format", "work-dir"} {
				if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return usagef("--%s: is empty", name)
				}
			}
			return a.convertImage(cmd.Context(), &ic, args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.StringVarP(&ic.format, "output-format", "O", "", "`FORMAT` of DST")
	f.StringVar(&ic.sourceFormat, "source-format", "", "`FORMAT` of SRC (default: by its content)")
	f.StringArrayVar(&ic.request.Options, "option", nil, "`KEY=VALUE` for qemu-img -o, such as subformat=streamOptimized")
	f.StringVar(&ic.chain, "chain", "flatten", "flatten: DST stands alone; keep: it is an overlay on what SRC is an overlay of")
	ic.roots.flags(cmd)
	f.StringVar(&ic.key, "key", "", keyFlagHelp+"; SRC's label has to be signed by the same key, or by one of the trust file")
	f.StringVar(&ic.trust, "trust", "", "trust the keys in `FILE` (default: $BERTH_TRUST, the configuration's, trust.yaml)")
	f.StringVar(&ic.config, "config", "", "take the trust file's name from the configuration in `FILE`")
	f.BoolVar(&ic.request.VHDFooter, "vhd-footer", false, "of a VHD: the label in its footer, not beside it")
	f.BoolVar(&ic.request.Verify, "verify", false, "compare the disks' content when the conversion is done")
	f.BoolVar(&ic.request.RemoveSource, "remove-source", false, "remove SRC when DST was compared with it, has its name and its label")
	f.StringVar(&ic.workDir, "work-dir", "", "make an image that goes to a source in a temporary folder in `DIR` (default: $TMPDIR, /tmp)")
	f.BoolVarP(&ic.request.Force, "force", "f", false, "replace DST when it is there")
	completeWords(cmd, map[string][]string{
		"output-format": {"vmdk", "qcow2", "vhdx", "vdi", "vhd", "raw"},
		"source-format": {"vmdk", "qcow2", "vhdx", "vdi", "vhd", "raw"},
		"chain":         {"flatten", "keep"},
	})
	return cmd
}

// completeWords lets a shell complete the values of flags.
func completeWords(cmd *cobra.Command, flags map[string][]string) {
	for name, all := range flags {
		_ = cmd.RegisterFlagCompletionFunc(name, words(all...)) // fails for a flag that is not there alone
	}
}

// imageFormat reads the name of a format, ours or QEMU's.
func imageFormat(s string) (diskimage.Format, error) {
	if f, ok := diskimage.FormatNamed(strings.ToLower(s)); ok || s == "" {
		return f, nil
	}
	return "", usagef("format %q: expected vmdk, qcow2, vhdx, vdi, vhd or raw", s)
}

// formatOfName is the format that a name's ending stands for; empty when it stands for none.
func formatOfName(path string) diskimage.Format {
	ext := strings.TrimPrefix(filepath.Ext(path), ".")
	f, err := imageFormat(ext)
	if err != nil || ext == "vpc" {
		return ""
	}
	return f
}

// complete makes the request of the flags.
func (ic *imageConverter) complete(a *app) (err error) {
	r := &ic.request
	if r.Format, err = imageFormat(ic.format); err != nil {
		return err
	}
	if r.SourceFormat, err = imageFormat(ic.sourceFormat); err != nil {
		return err
	}
	if r.Format == "" {
		r.Format = formatOfName(r.Destination)
	}
	switch ic.chain {
	case "flatten":
	case "keep":
		r.Keep = true
	default:
		return usagef("--chain %q: expected flatten or keep", ic.chain)
	}
	if err := ic.roots.check(); err != nil {
		return err
	}
	r.Roots, r.Now = ic.roots.folders, a.env.Now()
	if ic.key == "" {
		return nil
	}
	trust, err := a.verifyTrust(ic.trust, ic.config)
	if err != nil {
		return err
	}
	if r.Signer, err = a.openSigner(ic.key); err != nil {
		return err
	}
	r.Bind = func(info *diskimage.Info) (label.Binding, error) { return bindingOf(info, nil) }
	r.Vouch = func(f label.Frame, b label.Binding) error { return vouch(r.Signer, trust, f, b, a) }
	return nil
}

// vouch refuses to sign a label anew for which nobody stands: the new key would.
func vouch(signer label.Signer, trust *label.TrustFile, frame label.Frame, disk label.Binding, a *app) error {
	const hint = "say what the disk needs yourself: convert without --key, then 'berth label set --key'"
	own, err := label.ParseTrust("key", []byte("version: 1\nkeys:\n  - public_key: "+signer.Public().String()+"\n    issuer: own\n"))
	if err != nil {
		return err
	}
	if own.Verify(frame, disk, a.env.Now()).Trust == label.TrustSigned {
		return nil
	}
	v := trust.Verify(frame, disk, a.env.Now())
	if v.Trust != label.TrustSigned {
		return refusedf(hint, "the source's label is %s: %s", v.Trust, v.Reason)
	}
	doc, err := frame.Document()
	if err != nil {
		return err
	}
	if v.Ceiling != "" && v.Ceiling != doc.Level {
		return refusedf(hint, "the source's label asks for %s, signed by a key that may grant no more than %s", doc.Level, v.Ceiling)
	}
	return nil
}

func (a *app) convertImage(ctx context.Context, ic *imageConverter, src, dst string) (err error) {
	ic.request.Source, ic.request.Destination = src, dst
	if err := ic.complete(a); err != nil {
		return err
	}
	if err := freeName("convert", src, dst); err != nil {
		return err
	}
	source, conf, err := a.isRemote(src, ic.config)
	if err != nil {
		return err
	}
	target, tconf, err := a.isRemote(dst, ic.config)
	if err != nil {
		return err
	}
	if err := ic.checkPlaces(src, dst, source, target); err != nil {
		return err
	}
	if target != "" {
		if ic.into, err = a.openDelivery(ctx, target, tconf, dst, ic.workFolder(a)); err != nil {
			return transferError("convert", src, err)
		}
		ic.request.Destination, ic.request.Deliver = filepath.Join(ic.into.folder, ic.into.name), ic.into.deliver
		defer func() { err = errors.Join(err, ic.into.close()) }()
	}
	if source != "" {
		return a.convertRemote(ctx, ic, source, conf, dst)
	}
	if err := wholeImage(src); err != nil {
		return err
	}
	if ic.sourceFormat == "" && applianceFormat(src) != "" {
		return fmt.Errorf("convert %s: %w", src, errAppliance)
	}
	if ic.into != nil {
		if err := ic.into.room(1, usedBy(src)); err != nil {
			return transferError("convert", src, err)
		}
	}
	res, err := a.runConvert(ctx, ic, src)
	if err != nil {
		return transferError("convert", src, err)
	}
	a.showMade(src, dst, res)
	return nil
}

// checkPlaces refuses what makes no sense of an image in a hypervisor's storage.
func (ic *imageConverter) checkPlaces(src, dst string, source, target fleet.SourceID) error {
	switch r := &ic.request; {
	case (source != "" || target != "") && r.Keep:
		return usagef("--chain keep: an image of a hypervisor's storage cannot be based on what is there, nor what is there on an image here")
	case target != "" && r.Force:
		return usagef("--force: %s is in a hypervisor's storage: no volume is ever replaced", dst)
	case target == "" && ic.workDir != "":
		return usagef("--work-dir: %s is no image of a source: it is made beside itself", dst)
	case source != "" && target == "" && !r.Force:
		if _, err := os.Lstat(dst); err == nil {
			return transferError("convert", src, fmt.Errorf("make destination %s: %w", dst, convert.ErrExists))
		}
	}
	return nil
}

// workFolder is where an image is made that is going to a source.
func (ic *imageConverter) workFolder(a *app) string {
	if ic.workDir != "" {
		return ic.workDir
	}
	if dir := a.env.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/tmp"
}

// convertRemote converts an image of a hypervisor's storage: fetched first, then as a local one, then compared with the
// source once more before that is removed.
func (a *app) convertRemote(ctx context.Context, ic *imageConverter, source fleet.SourceID, conf *config, dst string) error {
	r := &ic.request
	src, remove := r.Source, r.RemoveSource
	from, err := a.openRemote(ctx, source, conf, src)
	if err != nil {
		return transferError("convert", src, err)
	}
	defer from.close()
	folder := filepath.Dir(r.Destination)
	if remove {
		r.RemoveSource, r.Verify = false, true // what is removed is not the copy
		err = from.removable()
	}
	if err == nil && ic.into != nil {
		folder = ic.into.folder
		if from.disk != nil {
			err = ic.into.room(2, from.disk.Used)
		}
	}
	if err != nil {
		return transferError("convert", src, err)
	}
	f, err := a.fetchRemote(ctx, from, src, folder)
	if err != nil {
		return transferError("convert", src, err)
	}
	r.Source = f.Path
	if r.SourceFormat == "" {
		r.SourceFormat = from.declared()
	}
	if ic.into != nil {
		err = ic.into.room(1, f.Used())
	}
	var res *convert.Result
	if err == nil {
		res, err = a.runConvert(ctx, ic, src)
	}
	if err == nil && remove {
		if err = a.removeRemote(ctx, from, f, src); err != nil {
			err = keptError(dst, err)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return transferError("convert", src, err)
	}
	if res.From != "" {
		res.From = src
	}
	a.showMade(src, dst, res)
	return nil
}

// keptError says that the destination is there and the source was not, or not wholly, removed.
func keptError(dst string, err error) error {
	code := codeOf(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, diskimage.ErrChanged) {
		code = codePartly
	}
	return &cliError{code: code, err: fmt.Errorf("%s is there and was read back, but the source was not removed: %w", dst, err), hint: hintOf(err)}
}

// runConvert converts with a bar. src is how the source is called.
func (a *app) runConvert(ctx context.Context, ic *imageConverter, src string) (*convert.Result, error) {
	dst := ic.request.Destination
	if ic.into != nil {
		dst = ic.into.dst
	}
	p := a.newTransfer("convert " + cleanLine(src) + " -> " + cleanLine(dst))
	ic.request.Progress = p.update
	res, err := convert.Convert(ctx, ic.request)
	p.finish(err == nil)
	if err == nil && ic.into != nil {
		ic.into.rename(res)
	}
	return res, err
}

// wholeImage refuses a part of a split image.
func wholeImage(path string) error {
	s := selection{args: []string{path}}
	if o, done := s.checkExtent(entry{path: path}); done {
		return fmt.Errorf("%s: %w", path, o.err)
	}
	return nil
}

// freeName refuses a destination that is a part of another image: that one would be lost.
func freeName(verb, src, dst string) error {
	if err := wholeImage(dst); err != nil {
		return &cliError{code: codeRefused, err: fmt.Errorf("%s %s: make destination %w", verb, src, err), hint: "choose another name, or remove that image first"}
	}
	return nil
}

func (a *app) showMade(src, dst string, res *convert.Result) {
	l := madeLine{
		Source: src, Destination: dst, Format: string(res.Destination.Format), Subformat: res.Destination.Subformat,
		VirtualSize: res.Destination.VirtualSize, Label: string(res.Fate), From: res.From, Files: res.Files,
	}
	var s imageLine
	s.describe(res.Label, res.Destination)
	l.Serial, l.KeyID, l.Document = s.Serial, s.KeyID, s.Document
	if a.json {
		_ = a.jsonLine(l) // kept by the buffer
	}
	if res.Snapshots > 0 {
		a.note("%s: %d internal snapshots stay behind; the destination has the present state", src, res.Snapshots)
	}
	switch res.Fate {
	case convert.FateNone:
		a.detail("%s: no label, as the source", dst)
	case convert.FateRebound:
		a.note("%s: the label was not signed; it is now bound to a disk of %d bytes", dst, l.VirtualSize)
	default:
		a.detail("%s: label %s from %s: %s", dst, res.Fate, res.From, s.summary())
	}
}

// oneLineError is an error in one line, whatever names are in it: a line of a name's own could pass for one of ours.
type oneLineError struct{ err error }

func (e oneLineError) Error() string { return cleanLine(e.err.Error()) }
func (e oneLineError) Unwrap() error { return e.err }

// transferError gives the errors of package convert their exit codes and hints.
func transferError(verb, src string, err error) error {
	var ce *cliError
	var size *convert.SizeError
	var locked *dir.LockedError
	code, hint := codeOf(err), hintOf(err)
	switch {
	case errors.As(err, &ce):
	case errors.Is(err, context.Canceled):
		code, hint = codePartly, "nothing was left behind; the destination is as it was"
		err = errors.New("interrupted")
	case errors.Is(err, convert.ErrNoTool):
		code, hint = codeFailed, "apt install qemu-utils"
	case errors.Is(err, convert.ErrExists):
		code, hint = codeRefused, "--force replaces it"
	case errors.Is(err, convert.ErrRequest), errors.Is(err, convert.ErrKeep), errors.Is(err, convert.ErrSame):
		code = codeUsage
	case errors.Is(err, dir.ErrOutside):
		code, hint = codeInput, "--chain-root DIR allows a folder for backing images"
	case errors.Is(err, diskimage.ErrChain):
		code = codeInput
	case errors.Is(err, diskimage.ErrUnsupported):
		code, hint = codeInput, "'berth image info FILE' shows what it is" // the usual hint is to convert it
	case errors.As(err, &size):
		code, hint = codeRefused, "--key signs it anew for the destination"
	case errors.Is(err, convert.ErrSnapshots):
		code, hint = codeRefused, "convert it without --remove-source"
	case errors.Is(err, convert.ErrBase):
		code, hint = codeRefused, "convert it without --remove-source, or make that image stand alone first: berth image convert"
	case errors.Is(err, convert.ErrReference):
		code, hint = codeRefused, "copy it into the same folder, or make one image of the chain: berth image convert"
	case errors.As(err, &locked):
		code, hint = codeRefused, "shut the VM down first"
	case errors.Is(err, diskimage.ErrBinding):
		code, hint = codeInput, "'berth label set' labels the source anew, or 'berth label rm' removes what is there"
	}
	return &cliError{code: code, err: oneLineError{fmt.Errorf("%s %s: %w", verb, src, err)}, hint: strings.ReplaceAll(hint, "FILE", cleanLine(src))}
}
