package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// conversion is one run of Convert.
type conversion struct {
	*Request
	tool  *tool
	src   *source
	stage *stage
	frame *label.Frame // to carry; nil: none
	owner *member      // whose label that is
}

// Convert makes the destination. What it returns an error for has not changed the destination; the error is one of
// this package's (but see Request.RemoveSource), of package diskimage's, *dir.LockedError when the source or the destination is in use, or ctx's.
func Convert(ctx context.Context, r Request) (_ *Result, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	c := &conversion{Request: &r}
	if c.tool, err = findTool(); err != nil {
		return nil, err
	}
	if c.src, err = openSource(r.Source, r.SourceFormat, true, r.Roots); err != nil {
		return nil, err
	}
	defer c.src.close()
	if r.Format == "" {
		r.Format = c.src.top().format
	}
	if err := errors.Join(r.checkKeep(), checkName(r.Destination, r.Format)); err != nil {
		return nil, err
	}
	if r.Keep && len(c.src.chain) == 1 {
		return nil, fmt.Errorf("%w: %s is no overlay", ErrKeep, r.Source)
	}
	if n := c.src.top().states; n > 0 && r.RemoveSource {
		return nil, fmt.Errorf("%w: %s has %d", ErrSnapshots, r.Source, n)
	}
	if r.RemoveSource {
		if err := c.src.needed(); err != nil {
			return nil, err
		}
	}
	frame, owner := c.src.label(!r.Keep)
	c.frame, c.owner = frame, &c.src.chain[owner]
	if c.stage, err = newStage(r.Destination, r.Force, c.src.files()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stage.discard()) }()
	c.tool.src = r.Source
	c.tool.hide = strings.NewReplacer(c.stage.path+"/", c.stage.folder+"/", c.src.spec(), r.Source, c.src.alone(), r.Source)
	return c.run(ctx)
}

func (c *conversion) run(ctx context.Context) (*Result, error) {
	size, err := c.tool.virtualSize(ctx, driver(c.src.top().format), c.src.alone())
	if err == nil {
		err = c.sameSize(size)
	}
	if err != nil {
		return nil, err
	}
	if err := c.rehearse(ctx, size); err != nil {
		return nil, err
	}
	if err := c.fill(ctx, size); err != nil {
		return nil, err
	}
	res := &Result{Source: c.src.top().info, Fate: FateNone, Snapshots: c.src.top().states}
	if err := c.unchanged(); err != nil {
		return nil, err
	}
	if c.frame != nil {
		l, err := c.deliver(c.stage.image(), *c.frame, c.owner.info.Binding())
		if err != nil {
			return nil, err
		}
		res.Label, res.Fate, res.From = &l.frame, l.fate, c.owner.path
	}
	if res.Destination, err = readBack(c.stage.image(), c.Format, res.Label); err != nil {
		return nil, err
	}
	if err := c.stage.mode(c.src.held[0].st); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if res.Files, err = c.stage.publish(); err != nil {
		return nil, err
	}
	if c.Deliver != nil {
		if err := c.Deliver(ctx, res); err != nil {
			return res, err
		}
	}
	if c.RemoveSource {
		return res, c.removeSource(res)
	}
	return res, nil
}

// sameSize holds QEMU to have understood the same disk as we have: it counts in sectors, and takes the size of a VHD from other fields
// where it knows who made it.
func (c *conversion) sameSize(size label.Bytes) error {
	const sector = 512
	m := c.src.top()
	if m.format == diskimage.FormatVHD || size == (m.info.VirtualSize+sector-1)/sector*sector {
		return nil
	}
	return fmt.Errorf("read image %s: %w: a disk of %d bytes, qemu-img makes %d of it", m.path, diskimage.ErrUnsupported, m.info.VirtualSize, size)
}

// rehearse makes an empty destination of the same size and options, and labels it: what is wrong with the options, the size,
// the names or the label is then known before the long copy.
func (c *conversion) rehearse(ctx context.Context, size label.Bytes) (err error) {
	r := &stage{path: filepath.Join(c.stage.path, asideFolder), folder: c.stage.folder, name: c.stage.name, force: c.stage.force, inputs: c.stage.inputs}
	if err := os.Mkdir(r.path, 0o700); err != nil {
		return fmt.Errorf("make destination: %w", err)
	}
	defer func() { err = errors.Join(err, r.discard()) }()
	var opts []string
	for _, o := range c.options() {
		if !strings.HasPrefix(o, "preallocation=") { // that takes as long as the copy
			opts = append(opts, o)
		}
	}
	hide := c.tool.hide
	c.tool.hide = strings.NewReplacer(r.path+"/", c.stage.folder+"/")
	defer func() { c.tool.hide = hide }()
	args := append([]string{"create", "-q", "-f", driver(c.Format)}, asOptions(opts)...)
	if err := c.tool.run(ctx, &head{}, append(args, r.image(), fmt.Sprint(int64(size)))...); err != nil {
		return err
	}
	names, err := r.files()
	if err == nil {
		_, err = r.present(names)
	}
	if err != nil || c.frame == nil {
		return err
	}
	_, err = c.deliver(r.image(), *c.frame, c.owner.info.Binding())
	return err
}

// fill lets qemu-img write the destination.
func (c *conversion) fill(ctx context.Context, size label.Bytes) error {
	args := []string{"convert", "-p", "-f", driver(c.src.top().format), "-O", driver(c.Format)}
	args = append(args, asOptions(c.options())...)
	if c.Keep {
		b, err := c.backing()
		if err != nil {
			return err
		}
		args = append(args, "-B", b.while, "-F", driver(c.src.chain[1].format))
	}
	m := newMeter(size, c.Progress)
	err := c.tool.run(ctx, m, append(args, c.src.spec(), c.stage.image())...)
	m.end()
	if err == nil && (c.Verify || c.RemoveSource) { // before the reference to a backing image is one from the final folder
		err = c.compare(ctx)
	}
	if err != nil || !c.Keep {
		return err
	}
	return c.rebase(ctx)
}

// unchanged holds the source to what was read at the beginning: to its files, and to the labels of all images of which the
// destination may have one.
func (c *conversion) unchanged() error {
	for i := range c.src.chain {
		if err := c.src.chain[i].sameLabel(); err != nil {
			return err
		}
		if c.Keep {
			break
		}
	}
	return c.src.same()
}

// compare holds the destination's content, as a guest sees it, to the source's.
func (c *conversion) compare(ctx context.Context) error {
	err := c.tool.run(ctx, &head{}, "compare", "-q", "-f", driver(c.src.top().format), "-F", driver(c.Format), c.src.spec(), c.stage.image())
	var te *ToolError
	if errors.As(err, &te) && te.Text == "" {
		return fmt.Errorf("verify %s: %w", c.Destination, ErrDiffers)
	}
	return err
}
