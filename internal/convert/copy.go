package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// CopyRequest is what to copy, and whereto. The fields mean what they mean in Request.
type CopyRequest struct {
	Source, Destination string
	SourceFormat        diskimage.Format
	Force               bool
	// Verify reads both files again when the copy is made.
	Verify   bool
	Progress func(done, total label.Bytes)
}

// copying is one run of Copy.
type copying struct {
	*CopyRequest
	src   *member
	all   *source
	stage *stage
	names []copyName
	total int64
	done  int64
}

// copyName is one file to copy.
type copyName struct {
	from string // path
	to   string // name in the destination's folder
	perm os.FileMode
}

// Copy makes the destination a copy of the source's bytes: the same format, identity and label, all parts of a split image,
// the extended attributes of users (user.*), the permissions and the sidecar. Holes stay holes, and where the file system
// can share blocks it does. Errors are those of Convert.
func Copy(ctx context.Context, r CopyRequest) (_ *Result, err error) {
	if r.Source == "" || r.Destination == "" {
		return nil, fmt.Errorf("%w: source or destination is missing", ErrRequest)
	}
	src, err := openSource(r.Source, r.SourceFormat, false, nil)
	if err != nil {
		return nil, err
	}
	defer src.close()
	if err := checkName(r.Destination, src.top().format); err != nil {
		return nil, err
	}
	c := &copying{CopyRequest: &r, src: src.top(), all: src}
	if c.stage, err = newStage(r.Destination, r.Force, append(src.files(), src.under(filepath.Dir(r.Destination))...)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stage.discard()) }()
	if err := c.checkReference(); err != nil {
		return nil, err
	}
	if err := c.plan(); err != nil {
		return nil, err
	}
	for _, n := range c.names {
		if err := c.copyFile(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := c.renameExtents(); err != nil {
		return nil, err
	}
	if err := c.besides(); err != nil {
		return nil, err
	}
	return c.finish(ctx)
}

func (c *copying) finish(ctx context.Context) (*Result, error) {
	res := &Result{Source: c.src.info, Label: c.src.frame, Fate: FateNone}
	if c.src.frame != nil {
		res.Fate, res.From = FateCarried, c.src.path
	}
	var err error
	if res.Destination, err = readBack(c.stage.image(), c.src.format, res.Label); err != nil {
		return nil, err
	}
	if c.Verify {
		for _, n := range c.names {
			if n.to == c.stage.name && c.renamed() {
				continue // another text; it was parsed again instead
			}
			if err := sameContent(ctx, n.from, filepath.Join(c.stage.path, n.to)); err != nil {
				return nil, fmt.Errorf("verify %s: %w", n.to, err)
			}
		}
	}
	if err := errors.Join(ctx.Err(), c.all.same(), c.mode()); err != nil {
		return nil, err
	}
	res.Files, err = c.stage.publish()
	return res, err
}

// mode gives the files the permissions of the source's, and the sidecar those of the image.
func (c *copying) mode() error {
	for _, n := range c.names {
		if err := c.stage.chmod(n.to, n.perm); err != nil {
			return fmt.Errorf("copy permissions: %w", err)
		}
	}
	err := c.stage.chmod(c.stage.name+diskimage.SidecarSuffix, c.names[len(c.names)-1].perm)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// checkReference refuses a copy that would look for its backing image in the wrong folder.
func (c *copying) checkReference() error {
	ref := c.src.info.Parent.Ref
	protocol := strings.Contains(strings.SplitN(ref, "/", 2)[0], ":") && !strings.HasPrefix(ref, "file:")
	if ref == "" || protocol || filepath.IsAbs(strings.TrimPrefix(ref, "file:")) || c.stage.folder == filepath.Dir(c.src.path) {
		return nil
	}
	return fmt.Errorf("copy overlay: %w: from %s, %q would lead elsewhere", ErrReference, c.stage.folder, ref)
}

// plan names all files of the destination, and refuses what is there already before anything is copied.
func (c *copying) plan() error {
	ext, newExt := filepath.Ext(c.src.path), filepath.Ext(c.stage.name)
	stem, newStem := strings.TrimSuffix(filepath.Base(c.src.path), ext), strings.TrimSuffix(c.stage.name, newExt)
	used := []string{c.stage.name, c.stage.name + diskimage.SidecarSuffix}
	for _, p := range c.src.parts {
		name := filepath.Base(p)
		if filepath.Dir(p) != filepath.Dir(c.src.path) {
			return fmt.Errorf("copy image: %w: its part %s lies in another folder", diskimage.ErrUnsupported, p)
		}
		to := name
		if rest, ok := strings.CutPrefix(name, stem+"-"); ok {
			to = newStem + "-" + rest
			if part, ok := strings.CutSuffix(rest, ext); ok {
				to = newStem + "-" + part + newExt
			}
		} else if c.stage.folder == filepath.Dir(c.src.path) {
			to = newStem + "-" + name
		}
		if slices.Contains(used, to) {
			return fmt.Errorf("copy image: %w: two parts would be called %s", ErrRequest, to)
		}
		used = append(used, to)
		c.names = append(c.names, copyName{from: p, to: to})
	}
	c.names = append(c.names, copyName{from: c.src.path, to: c.stage.name})
	for i := range c.names {
		st, err := os.Stat(c.names[i].from)
		if err != nil {
			return fmt.Errorf("copy image: %w", err)
		}
		c.names[i].perm = st.Mode().Perm()
		c.total += st.Size()
	}
	_, err := c.stage.present(used)
	return err
}

func (c *copying) progress(n int64) {
	c.done += n
	if c.Progress != nil {
		c.Progress(label.Bytes(c.done), label.Bytes(c.total))
	}
}

// renamed says whether a part has another name than the source's descriptor says.
func (c *copying) renamed() bool {
	return slices.ContainsFunc(c.names[:len(c.names)-1], func(n copyName) bool { return filepath.Base(n.from) != n.to })
}

// renameExtents writes the new names of the parts into the descriptor, and holds what it then says to what it said before.
func (c *copying) renameExtents() error {
	if !c.renamed() {
		return nil
	}
	names := map[string]string{}
	for _, n := range c.names[:len(c.names)-1] {
		names[filepath.Base(n.from)] = n.to
	}
	if err := rewriteDescriptor(c.stage.image(), names); err != nil {
		return fmt.Errorf("copy descriptor: %w", err)
	}
	f, err := dir.Open(c.stage.image())
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := diskimage.Inspect(f)
	if err != nil {
		return fmt.Errorf("copy descriptor: %w", err)
	}
	want := *c.src.info
	want.Extents = slices.Clone(want.Extents)
	for i := range want.Extents {
		if to, ok := names[filepath.Base(want.Extents[i].Name)]; ok {
			want.Extents[i].Name = to
		}
	}
	if !slices.Equal(want.Extents, info.Extents) || want.Parent != info.Parent || want.Binding() != info.Binding() {
		return fmt.Errorf("copy descriptor: %w: with the new names it says something else", ErrDiffers)
	}
	return nil
}

// besides copies what lies beside the image. A label that the destination's file system cannot keep where the source's did
// goes where it can.
func (c *copying) besides() (err error) {
	src, err := dir.Open(c.src.path)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // it was only read
	dst, err := dir.OpenWrite(c.stage.image())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	sidecar, err := src.Sidecar()
	if err == nil && sidecar != nil {
		err = dst.SetSidecar(sidecar)
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	opts := diskimage.Options{Format: c.src.format}
	now, _, err := opts.ReadLabel(src)
	if err != nil || !sameLabel(now, c.src.frame) {
		return errors.Join(fmt.Errorf("read label of %s again: %w", c.src.path, diskimage.ErrChanged), err)
	}
	got, _, err := opts.ReadLabel(dst)
	if err != nil || got != nil || c.src.frame == nil {
		return err
	}
	edit, err := opts.PlanSet(dst, *c.src.frame)
	if err == nil {
		err = diskimage.Apply(dst, edit)
	}
	return err
}
