package diskimage

import "github.com/berth-project/berth/label"

// raw is whatever consists of whole sectors and is nothing else. Its label is beside it: every byte of the image
// is the guest's.
type raw struct{}

func (raw) format() Format { return FormatRaw }

func (raw) detect(s *source) (bool, error) { return s.size > 0 && s.size%sectorSize == 0, nil }

func (r raw) read(s *source) (*label.Frame, *Info, error) {
	info := &Info{Format: FormatRaw, VirtualSize: label.Bytes(s.size)}
	frame, err := s.readBeside(info)
	return frame, info, err
}

func (r raw) planSet(s *source, frame label.Frame) (*Edit, error) {
	present, info, err := r.read(s)
	if err != nil {
		return nil, err
	}
	return s.planSetBeside(frame, info, present)
}

func (r raw) planRemove(s *source) (*Edit, error) {
	_, info, err := r.read(s)
	if err != nil {
		return nil, err
	}
	return s.planRemoveBeside(info)
}
