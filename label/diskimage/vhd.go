package diskimage

import (
	"bytes"

	"github.com/berth-project/berth/label"
)

type vhd struct{}

func (vhd) format() Format { return FormatVHD }

func (vhd) magic() magic { return magic{FormatVHD, 0, "conectix"} }

func (v vhd) detect(s *source) (bool, error) {
	if ok, err := v.magic().detect(s); ok || err != nil {
		return ok, err
	}
	if s.size < sectorSize || s.size%sectorSize != 0 {
		return false, nil
	}
	foot, err := s.at(s.size-sectorSize, sectorSize)
	return err == nil && len(foot) == sectorSize && bytes.HasPrefix(foot, []byte(v.magic().bytes)), err
}

func (c vhd) read(*source) (*label.Frame, *Info, error) {
	return nil, &Info{Format: c.format()}, c.magic().unsupported()
}

func (c vhd) planSet(*source, label.Frame) (*Edit, error) { return nil, c.magic().unsupported() }

func (c vhd) planRemove(*source) (*Edit, error) { return nil, c.magic().unsupported() }
