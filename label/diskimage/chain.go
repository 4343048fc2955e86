package diskimage

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/berth-project/berth/label"
)

// MaxChain bounds how many images below the top one Nearest looks at.
const MaxChain = 64

// ErrChain says that a parent cannot be followed: not there, not allowed, not an image, a loop, or too deep. That an ancestor
// has no label is then not known.
var ErrChain = errors.New("broken chain")

// Link is an open image of a chain. Nearest closes a Reader that is an io.Closer, but never the top one's.
type Link struct {
	Reader Reader
	Name   string // what messages call it, such as its path
	Format Format // set by Nearest before the link is handed to an Opener
	ID     string // equal for the same file under whatever name; empty: not known, only MaxChain then ends a loop
}

// Opener opens what child says it is based on, if that may be opened. Nothing in p is to be trusted.
type Opener func(child Link, p Parent) (Link, error)

// Ancestor is the nearest image below another that has a label.
type Ancestor struct {
	Frame *label.Frame
	Info  *Info  // of that image: its binding is what the label is judged against
	Name  string // of that image
	Depth int    // 1: the parent
}

// Nearest follows the parents of top, an image without a label whose headers say info, to the nearest one that has a
// label. A nil Ancestor means that there is none in the whole chain. A parent whose format is declared is read as that
// format. ErrChain: the chain cannot be followed to its end or to a label. ErrDamaged: an ancestor's label is damaged.
func Nearest(top Link, info *Info, open Opener) (*Ancestor, error) {
	link, seen := top, map[string]bool{}
	own := false // link was opened here
	done := func(a *Ancestor, err error) (*Ancestor, error) {
		if c, ok := link.Reader.(io.Closer); ok && own {
			if cerr := c.Close(); cerr != nil {
				return nil, errors.Join(err, fmt.Errorf("close %s: %w", clipName(link.Name), cerr))
			}
		}
		return a, err
	}
	for depth := 1; info.Parent.Exists(); depth++ {
		if depth > MaxChain {
			return done(nil, fmt.Errorf("follow chain: %w: more than %d images below %s", ErrChain, MaxChain, clipName(top.Name)))
		}
		seen[link.ID], link.Format = true, info.Format
		parent, err := open(link, info.Parent)
		if err != nil {
			return done(nil, fmt.Errorf("follow chain: %w: parent of %s: %w", ErrChain, clipName(link.Name), err))
		}
		said := info.Parent
		if _, err := done(nil, nil); err != nil {
			link = parent
			return done(nil, err)
		}
		child := link.Format
		link, own = parent, true
		if link.ID != "" && seen[link.ID] {
			return done(nil, fmt.Errorf("follow chain: %w: %s is its own ancestor", ErrChain, clipName(link.Name)))
		}
		var frame *label.Frame
		if frame, info, err = (Options{Format: said.Format}).ReadLabel(link.Reader); err != nil {
			return done(nil, fmt.Errorf("follow chain: %w: %s: %w", ErrChain, clipName(link.Name), err))
		}
		switch {
		case other(child, said, info):
			return done(nil, fmt.Errorf("follow chain: %w: %s is %s, its child was made for %s", ErrChain, clipName(link.Name), info.UUID, said.UUID))
		case frame != nil:
			return done(&Ancestor{Frame: frame, Info: info, Name: link.Name, Depth: depth}, nil)
		case info.Damaged:
			return done(nil, fmt.Errorf("follow chain: %s: %w", clipName(link.Name), ErrDamaged))
		}
	}
	return done(nil, nil)
}

// other reports that the image found is not the one that the child was made for, where the child's format names its parent by
// the identity that Info.UUID is. VHDX names it by what changes with each write.
func other(child Format, said Parent, found *Info) bool {
	return (child == FormatVHD || child == FormatVDI) && said.UUID != "" && found.UUID != "" && said.UUID != found.UUID
}

// Path is the path in a reference of an image of format child, with slashes, as QEMU reads it: "file:" is cut off, and
// what names another protocol or more than a path is refused, so is a path of Windows that begins at a drive or a
// server. VHD and VHDX have paths of Windows: their backslashes separate folders.
func (p Parent) Path(child Format) (string, error) {
	ref := p.Ref
	if child == FormatVHD || child == FormatVHDX {
		ref = strings.ReplaceAll(ref, `\`, "/")
	}
	if rest, ok := strings.CutPrefix(ref, "file:"); ok {
		ref = rest
	} else if i := strings.IndexAny(ref, ":/"); i >= 0 && ref[i] == ':' {
		return "", fmt.Errorf("%q is no path: a parent is followed in local folders only", clip(p.Ref))
	}
	switch {
	case ref == "":
		return "", errors.New("it says no path")
	case strings.ContainsRune(ref, 0):
		return "", fmt.Errorf("%q is no path", clip(p.Ref))
	case (child == FormatVHD || child == FormatVHDX) && strings.HasPrefix(ref, "//"):
		return "", fmt.Errorf("%q is a path of another machine", clip(p.Ref))
	}
	return ref, nil
}

// clipName bounds a name that an image made up.
func clipName(s string) string {
	if len(s) > 1024 {
		return s[:1024] + "..."
	}
	return s
}
