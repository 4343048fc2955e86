package diskimage

import (
	"errors"
	"fmt"
	"io"

	"github.com/berth-project/berth/label"
)

// MaxChain bounds how many images below the top one Nearest looks at.
const MaxChain = 64

// ErrChain: a parent cannot be followed: not there, not allowed, not an image, a loop, or too deep. That an ancestor has
// no label is then not known.
var ErrChain = errors.New("broken chain of parents")

// Link is an open image of a chain. Nearest closes a Reader that is an io.Closer, but never the top one's.
type Link struct {
	Reader Reader
	Name   string // what messages call it, such as its path
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
	seen := map[string]string{}
	link := top
	for depth := 1; ; depth++ {
		if link.ID != "" {
			if _, twice := seen[link.ID]; twice {
				return nil, closing(link, top, fmt.Errorf("follow chain: %w: %s is its own ancestor", ErrChain, clipName(link.Name)))
			}
			seen[link.ID] = link.Name
		}
		if !info.Parent.Exists() {
			return nil, closing(link, top, nil)
		}
		if depth > MaxChain {
			return nil, closing(link, top, fmt.Errorf("follow chain: %w: more than %d images below %s", ErrChain, MaxChain, clipName(top.Name)))
		}
		parent, err := open(link, info.Parent)
		if err != nil {
			return nil, closing(link, top, fmt.Errorf("follow chain: %w: parent of %s: %w", ErrChain, clipName(link.Name), err))
		}
		if err := closing(link, top, nil); err != nil {
			return nil, closing(parent, top, err)
		}
		frame, pinfo, err := Options{Format: info.Parent.Format}.ReadLabel(parent.Reader)
		if err != nil {
			return nil, closing(parent, top, fmt.Errorf("follow chain: %w: %s: %w", ErrChain, clipName(parent.Name), err))
		}
		switch {
		case frame != nil:
			return &Ancestor{Frame: frame, Info: pinfo, Name: parent.Name, Depth: depth}, closing(parent, top, nil)
		case pinfo.Damaged:
			return nil, closing(parent, top, fmt.Errorf("follow chain: %s: %w", clipName(parent.Name), ErrDamaged))
		}
		link, info = parent, pinfo
	}
}

// closing closes a link that Nearest had opened, and gives err or what closing it said.
func closing(l, top Link, err error) error {
	c, ok := l.Reader.(io.Closer)
	if !ok || l.Reader == top.Reader {
		return err
	}
	if cerr := c.Close(); cerr != nil {
		return errors.Join(err, fmt.Errorf("close %s: %w", clipName(l.Name), cerr))
	}
	return err
}

// clipName bounds a name that an image made up.
func clipName(s string) string {
	if len(s) > 1024 {
		return s[:1024] + "..."
	}
	return s
}
