package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// chainRoots are the folders, besides that of the image itself, in which its parents may lie (--chain-root).
type chainRoots struct{ folders []string }

// maxChainRoots bounds the folders that are opened for each overlay.
const maxChainRoots = 64

// flags adds the flag of commands that show the label of an ancestor where an image has none.
func (c *chainRoots) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&c.folders, "chain-root", nil,
		"follow backing files of overlays into `DIR` too, not only below the folder of the image; may be given several times")
}

func (c *chainRoots) check() error {
	if len(c.folders) > maxChainRoots {
		return usagef("--chain-root: is given %d times, expected at most %d", len(c.folders), maxChainRoots)
	}
	for _, f := range c.folders {
		st, err := os.Stat(f)
		if err == nil && !st.IsDir() {
			err = errors.New("not a folder")
		}
		if err != nil {
			return usagef("--chain-root %s: %w", f, bare(err))
		}
	}
	return nil
}

// inherit finds the label of the nearest ancestor of the image at path that has one; nil: none has. info is what the image's headers say;
// whoever calls has seen that it has no label of its own.
func (c *chainRoots) inherit(path string, info *diskimage.Info) (*diskimage.Ancestor, error) {
	if !info.Parent.Exists() {
		return nil, nil //nolint:nilnil // no ancestor and no fault: as in diskimage.Nearest
	}
	tree, err := dir.OpenTree(path, c.folders...)
	if err != nil {
		return nil, inputError(fmt.Errorf("follow chain: %w", err), "")
	}
	defer closeQuietly(tree)
	found, err := diskimage.Nearest(diskimage.Link{Name: path, ID: tree.Top().ID()}, info, opener(tree))
	switch {
	case errors.Is(err, dir.ErrOutside):
		return nil, inputError(err, "--chain-root DIR allows one more folder")
	case err != nil:
		return nil, inputError(err, "")
	}
	return found, nil
}

// opener opens parents in tree. The top is the link without a Reader.
func opener(tree *dir.Tree) diskimage.Opener {
	return func(child diskimage.Link, p diskimage.Parent) (diskimage.Link, error) {
		at, ok := child.Reader.(*dir.Node)
		if !ok {
			at = tree.Top()
		}
		var node *dir.Node
		var err error
		if p.Ref != "" {
			var ref string
			if ref, err = p.Path(child.Format); err == nil {
				node, err = tree.Open(at, ref)
			}
		} else {
			node, err = tree.Search(at, func(n *dir.Node) bool { return isImage(n, child.Format, p.UUID) })
		}
		if err != nil {
			return diskimage.Link{}, err
		}
		return diskimage.Link{Reader: node, Name: node.Path(), ID: node.ID()}, nil
	}
}

// isImage knows a parent of which the child says the identity alone: it has the child's format.
func isImage(r diskimage.Reader, format diskimage.Format, uuid string) bool {
	if found, err := diskimage.Detect(r); uuid == "" || err != nil || found != format {
		return false
	}
	info, err := diskimage.Inspect(r)
	return err == nil && info.UUID == uuid
}

// readInherited is readImage for commands that show the label of the nearest labelled ancestor where an image has none. The
// image's frame and info are then the ancestor's: that is what the label is judged against.
func (c *chainRoots) readInherited(e entry) (*image, outcome) {
	img, o := readImage(e)
	if img == nil || e.disk != nil { // a disk of an appliance has no folder of its own
		return img, o
	}
	found := c.complete(&o, e.path, img.frame, img.info)
	switch {
	case o.err != nil:
		return nil, o
	case found != nil:
		img.frame, img.info = found.Frame, found.Info
	}
	return img, o
}

// complete puts the label of the nearest labelled ancestor into o when the image at path has none of its own; or the
// reason why that is not known.
func (c *chainRoots) complete(o *outcome, path string, frame *label.Frame, info *diskimage.Info) *diskimage.Ancestor {
	if frame != nil || info.Damaged {
		return nil
	}
	found, err := c.inherit(path, info)
	switch {
	case err != nil:
		*o = outcome{err: err}
	case found != nil:
		o.line.inherited(found)
	}
	return found
}

// inherited fills l with the label of an ancestor; format and subformat stay those of the image itself.
func (l *imageLine) inherited(a *diskimage.Ancestor) {
	format, subformat := l.Format, l.Subformat
	l.describe(a.Frame, a.Info)
	l.Format, l.Subformat, l.From = format, subformat, a.Name
}
