package diskimage

import "github.com/berth-project/berth/label"

type qcow2 struct{}

func (qcow2) format() Format { return FormatQcow2 }

func (qcow2) magic() magic { return magic{FormatQcow2, 0, "QFI\xfb"} }

func (c qcow2) detect(s *source) (bool, error) { return c.magic().detect(s) }

func (c qcow2) read(*source) (*label.Frame, *Info, error) {
	return nil, &Info{Format: c.format()}, c.magic().unsupported()
}

func (c qcow2) planSet(*source, label.Frame) (*Edit, error) { return nil, c.magic().unsupported() }

func (c qcow2) planRemove(*source) (*Edit, error) { return nil, c.magic().unsupported() }
