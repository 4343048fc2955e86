package executor

import (
	"context"
	"fmt"
	"strings"
)

// chooseFiles has the driver choose free names for the images, before the look at what lies at the target. What an earlier run chose
// and failed with may be taken by now.
func (s *step) chooseFiles(ctx context.Context) error {
	s.move.Files = nil
	n, ok := s.mover.(Namer)
	if !ok {
		return nil
	}
	return s.insist(ctx, func(ctx context.Context) (err error) {
		s.move.Files, err = n.ChooseFiles(ctx, s.move)
		return err
	})
}

// renamed says which disks get another name; "" when none does.
func (s *step) renamed() string {
	var parts []string
	for i := range s.move.VM.Disks {
		f := s.move.File(s.move.VM.Disks[i].ID)
		if f != nil && f.Path != f.Name && !strings.HasSuffix(f.Path, "/"+f.Name) && !strings.HasSuffix(f.Path, " "+f.Name) {
			parts = append(parts, fmt.Sprintf("disk %s becomes %s on %s: its name is taken there", f.Disk, f.Name, s.move.To.Disks[i].Pool))
		}
	}
	return strings.Join(parts, "; ")
}
