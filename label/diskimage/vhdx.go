package diskimage

import "github.com/berth-project/berth/label"

type vhdx struct{}

func (vhdx) format() Format { return FormatVHDX }

func (vhdx) magic() magic { return magic{FormatVHDX, 0, "vhdxfile"} }

func (c vhdx) detect(s *source) (bool, error) { return c.magic().detect(s) }

func (c vhdx) read(*source) (*label.Frame, *Info, error) {
	return nil, &Info{Format: c.format()}, c.magic().unsupported()
}

func (c vhdx) planSet(*source, label.Frame) (*Edit, error) { return nil, c.magic().unsupported() }

func (c vhdx) planRemove(*source) (*Edit, error) { return nil, c.magic().unsupported() }
