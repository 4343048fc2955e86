package diskimage

import "github.com/berth-project/berth/label"

type vdi struct{}

func (vdi) format() Format { return FormatVDI }

func (vdi) magic() magic { return magic{FormatVDI, 64, "\x7f\x10\xda\xbe"} }

func (c vdi) detect(s *source) (bool, error) { return c.magic().detect(s) }

func (c vdi) read(*source) (*label.Frame, *Info, error) {
	return nil, &Info{Format: c.format()}, c.magic().unsupported()
}

func (c vdi) planSet(*source, label.Frame) (*Edit, error) { return nil, c.magic().unsupported() }

func (c vdi) planRemove(*source) (*Edit, error) { return nil, c.magic().unsupported() }
