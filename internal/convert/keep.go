package convert

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/label/diskimage"
)

// backing is what a destination that keeps its chain is based on.
type backing struct {
	while string // name while it is being made, from within the temporary folder
	final string // name that it has in the end, as seen from the destination's folder
}

// backing keeps an absolute reference as it is, and makes a relative one lead to the same file from the destination's
// folder.
func (c *conversion) backing() (backing, error) {
	under := &c.src.chain[1]
	if c.Format == diskimage.FormatVMDK && under.format != diskimage.FormatVMDK {
		return backing{}, fmt.Errorf("%w: a vmdk can only be based on a vmdk, %s is %s", ErrKeep, under.path, under.format)
	}
	if c.Format == diskimage.FormatVMDK && !quotable(under.path) {
		return backing{}, fmt.Errorf("%w: a vmdk cannot name %q", ErrKeep, under.path)
	}
	ref := c.src.top().info.Parent.Ref
	if filepath.IsAbs(ref) || strings.HasPrefix(ref, "file:/") {
		return backing{while: under.path, final: under.path}, nil
	}
	// ".." leads out of the folder that a link leads to, not of the one that has the link.
	folder, err := filepath.EvalSymlinks(c.stage.folder)
	if err != nil {
		return backing{}, fmt.Errorf("keep chain: %w", err)
	}
	target, err := filepath.EvalSymlinks(under.path)
	if err != nil {
		return backing{}, fmt.Errorf("keep chain: %w", err)
	}
	if filepath.Dir(target) == folder && filepath.Dir(under.path) == c.stage.folder {
		target = filepath.Join(folder, filepath.Base(under.path)) // a link beside the image stays one
	}
	rel, err := filepath.Rel(folder, target)
	if err != nil {
		return backing{}, fmt.Errorf("keep chain: %w", err)
	}
	if strings.Contains(strings.SplitN(rel, "/", 2)[0], ":") { // QEMU takes what is before it for a protocol
		rel = "./" + rel
	}
	return backing{while: under.path, final: rel}, nil
}

// rebase gives the destination its final reference, which from the temporary folder leads nowhere. Nothing is read or
// copied. QEMU does not change the reference of a VMDK: it keeps the absolute one.
func (c *conversion) rebase(ctx context.Context) error {
	b, err := c.backing()
	if err != nil || b.while == b.final || c.Format != diskimage.FormatQcow2 {
		return err
	}
	return c.tool.run(ctx, &head{}, "rebase", "-u", "-f", driver(c.Format), "-b", b.final, "-F", driver(c.src.chain[1].format), c.stage.image())
}
