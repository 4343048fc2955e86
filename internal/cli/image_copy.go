package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/berth-project/berth/internal/convert"
	"github.com/spf13/cobra"
)

func (a *app) imageCopy() *cobra.Command {
	var r convert.CopyRequest
	var format string
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a disk image with all that belongs to it",
		Long: `Copy makes DST a copy of SRC, byte for byte: all parts of a split image (named after DST), the label wherever it is, the
sidecar, the permissions and the user.* attributes. Holes stay holes; file systems that can share blocks do. DST is whole or
not there at all. It may be a folder.

Both images then have the same identity and label. An overlay whose reference to its backing image is relative is
copied within its folder only.`,
		Example: "  berth image copy web.vmdk /backup\n" +
			"  berth image copy --verify web.vmdk web-2.vmdk",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.SourceFormat, err = imageFormat(format); err != nil {
				return err
			}
			return a.copyImage(cmd.Context(), &r, args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "source-format", "", "`FORMAT` of SRC (default: by its content)")
	f.BoolVar(&r.Verify, "verify", false, "read both files again when the copy is made, and compare them")
	f.BoolVarP(&r.Force, "force", "f", false, "replace DST when it is there")
	return cmd
}

func (a *app) copyImage(ctx context.Context, r *convert.CopyRequest, src, dst string) error {
	if err := wholeImage(src); err != nil {
		return err
	}
	if st, err := os.Stat(dst); err == nil && st.IsDir() {
		dst = filepath.Join(dst, filepath.Base(src))
	}
	if err := freeName("copy", src, dst); err != nil {
		return err
	}
	r.Source, r.Destination = src, dst
	p := a.newTransfer("copy " + cleanLine(src) + " -> " + cleanLine(dst))
	r.Progress = p.update
	res, err := convert.Copy(ctx, *r)
	p.finish(err == nil)
	if err != nil {
		return transferError("copy", src, err)
	}
	a.showMade(src, dst, res)
	return nil
}
