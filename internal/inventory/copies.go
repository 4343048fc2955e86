package inventory

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// copies adds a gap for every disk whose signed label another disk has as well: somebody copied an image with its grant.
// Only a label with a disk's UUID tells; without one, two disks of a size may well have been labelled alike.
func copies(s *fleet.Snapshot) {
	type holder struct {
		vm   *fleet.VM
		disk *fleet.Disk
	}
	first := map[string]holder{}
	for i := range s.VMs {
		v := &s.VMs[i]
		for j := range v.Disks {
			d := &v.Disks[j]
			l := &d.Label
			if l.Trust != fleet.TrustSigned || l.From != "" || l.Document == nil || l.Document.Disk.UUID == "" {
				continue
			}
			text, err := l.Document.Canonical()
			if err != nil {
				continue // what was verified is valid
			}
			key := l.KeyID + string(text) // Ed25519 gives one text one signature
			other, twice := first[key]
			if !twice {
				first[key] = holder{v, d}
				continue
			}
			if other.disk.Pool == d.Pool && other.disk.Path == d.Path {
				continue // one disk that two VMs share
			}
			s.Gaps = append(s.Gaps, fleet.Gap{
				Source: v.Source, Object: fmt.Sprintf("vm %s disk %s", v.ID, d.ID), What: "original",
				Cause: fmt.Sprintf("its signed label is also that of vm %s disk %s: one of them is a copy", other.vm.ID, other.disk.ID),
			})
		}
	}
}
