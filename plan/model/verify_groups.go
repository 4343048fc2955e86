package model

import (
	"cmp"
	"fmt"
	"slices"
)

// groupFaults judges apart, spread and needs. O(VMs log VMs).
func (p *Problem) groupFaults(a *Assignment, yield func(*fault) bool) bool {
	off, members := p.members()
	zones := p.zones(a)
	var s groupScratch
	for g := range p.Groups {
		mine := members[off[g]:off[g+1]]
		if !p.apartFaults(g, mine, a, &s, yield) || !p.spreadFault(g, mine, a, &s, yield) ||
			!p.needsFaults(g, mine, a, zones, yield) {
			return false
		}
	}
	return true
}

// members lists the VMs of each group: those of g are list[off[g]:off[g+1]].
func (p *Problem) members() (off, list []int32) {
	off = make([]int32, len(p.Groups)+1)
	for i := range p.VMs {
		if g := p.VMs[i].Group; g != None {
			off[g+1]++
		}
	}
	for g := range p.Groups {
		off[g+1] += off[g]
	}
	list = make([]int32, off[len(p.Groups)])
	at := slices.Clone(off)
	for i := range p.VMs {
		if g := p.VMs[i].Group; g != None {
			list[at[g]] = int32(i) //nolint:gosec // MaxVMs
			at[g]++
		}
	}
	return off, list
}

// groupScratch is memory for one group after another.
type groupScratch struct {
	in []seat
}

// seat is a VM in a domain.
type seat struct {
	domain, vm int32
}

// seats sorts the VMs that have a host by their domain of a level.
func (s *groupScratch) seats(p *Problem, vms []int32, a *Assignment, level int) []seat {
	s.in = s.in[:0]
	for _, i := range vms {
		if h := a.Host[i]; h != None {
			s.in = append(s.in, seat{p.Hosts[h].Domain[level], i})
		}
	}
	slices.SortFunc(s.in, func(x, y seat) int { return cmp.Or(cmp.Compare(x.domain, y.domain), cmp.Compare(x.vm, y.vm)) })
	return s.in
}

// apartFaults reports each domain in which VMs of the group sit together although one of them is to be apart.
func (p *Problem) apartFaults(g int, vms []int32, a *Assignment, s *groupScratch, yield func(*fault) bool) bool {
	var levels [MaxLevels]bool
	for _, i := range vms {
		if l := p.VMs[i].Apart; l >= 0 {
			levels[l] = true
		}
	}
	for l, asked := range levels {
		if !asked || len(vms) < 2 {
			continue
		}
		in := s.seats(p, vms, a, l)
		for from := 0; from < len(in); {
			to := from + 1
			for to < len(in) && in[to].domain == in[from].domain {
				to++
			}
			together := in[from:to]
			from = to
			k := slices.IndexFunc(together, func(x seat) bool { return int(p.VMs[x.vm].Apart) == l })
			if len(together) < 2 || k < 0 {
				continue
			}
			vm, other := int(together[k].vm), int(together[0].vm)
			if k == 0 {
				other = int(together[1].vm)
			}
			d, n := together[0].domain, len(together)
			ok := yield(&fault{
				key: key{ApartRule, g, l, int(d)}, rule: ApartRule, amount: int64(n), vm: vm, host: a.Host[vm], pool: None,
				detail: func() string {
					return fmt.Sprintf("shares domain %d of level %d with vm %d of its group %d (%d in all)", d, l, other, g, n)
				},
			})
			if !ok {
				return false
			}
		}
	}
	return true
}

func (p *Problem) spreadFault(g int, vms []int32, a *Assignment, s *groupScratch, yield func(*fault) bool) bool {
	group := &p.Groups[g]
	if group.Min <= 1 {
		return true
	}
	in := s.seats(p, vms, a, int(group.Level))
	distinct := int32(0)
	for k := range in {
		if k == 0 || in[k].domain != in[k-1].domain {
			distinct++
		}
	}
	want := group.Min
	if len(in) < len(vms) {
		want = min(want, int32(len(in))) //nolint:gosec // MaxVMs
	}
	return distinct >= want || yield(&fault{
		key: key{SpreadRule, g, 0, 0}, rule: SpreadRule, amount: int64(want - distinct), vm: None, host: None, pool: None,
		detail: func() string {
			return fmt.Sprintf("group %d sits in %d domains of level %d, needs %d", g, distinct, group.Level, want)
		},
	})
}

// zoned is a group that has a VM in a zone.
type zoned struct {
	group GroupIx
	zone  int32
}

// zones collects where the groups that others need are.
func (p *Problem) zones(a *Assignment) map[zoned]struct{} {
	needed := make([]bool, len(p.Groups))
	for g := range p.Groups {
		for _, n := range p.Groups[g].Needs {
			needed[n] = true
		}
	}
	at := map[zoned]struct{}{}
	for i := range p.VMs {
		if g, h := p.VMs[i].Group, a.Host[i]; g != None && h != None && needed[g] {
			at[zoned{g, p.Hosts[h].Zone}] = struct{}{}
		}
	}
	return at
}

func (p *Problem) needsFaults(g int, vms []int32, a *Assignment, at map[zoned]struct{}, yield func(*fault) bool) bool {
	for _, n := range p.Groups[g].Needs {
		for _, i := range vms {
			h := a.Host[i]
			if h == None {
				continue
			}
			zone := p.Hosts[h].Zone
			if _, ok := at[zoned{n, zone}]; ok {
				continue
			}
			ok := yield(&fault{
				key: key{NeedsRule, int(i), int(n), 0}, rule: NeedsRule, amount: 1, vm: int(i), host: h, pool: None,
				detail: func() string { return fmt.Sprintf("group %d has no vm in zone %d", n, zone) },
			})
			if !ok {
				return false
			}
		}
	}
	return true
}
