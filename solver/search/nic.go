package search

import "github.com/berth-project/berth/plan/model"

// nics judges whether the NICs of a host can give what the VMs on it reserve.
type nics struct {
	packer model.Packer
	needs  []model.NICNeed
}

func newNICs(t *tables) *nics {
	for i := range t.p.VMs {
		if len(t.p.VMs[i].NICs) > 0 {
			return &nics{}
		}
	}
	return nil
}

// nicsAllow says whether the NICs of host h carry v beside its VMs but without; None: beside all.
func (s *state) nicsAllow(v, without, h int32) bool {
	if s.nics == nil || len(s.p.VMs[v].NICs) == 0 {
		return true
	}
	n := s.nics
	n.needs = append(n.needs[:0], s.p.VMs[v].NICs...)
	for _, w := range s.vms[h] {
		if w != without && w != v {
			n.needs = append(n.needs, s.p.VMs[w].NICs...)
		}
	}
	return n.packer.Pack(s.p.Hosts[h].NICs, n.needs)
}
