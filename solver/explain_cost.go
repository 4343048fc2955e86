package solver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
)

// PlaceCost is what a VM costs on one host, by part, in points.
type PlaceCost struct {
	Host fleet.HostID `json:"host"`
	// TierWaste and PoolWaste are of a host and pools above the need.
	TierWaste int64 `json:"tierWaste"`
	PoolWaste int64 `json:"poolWaste"`
	// Move is of the move itself, Copy of what it copies, Downtime of stopping the guest, Link of the memory that it sends.
	Move     int64 `json:"move"`
	Copy     int64 `json:"copy"`
	Downtime int64 `json:"downtime"`
	Link     int64 `json:"link"`
	// Load is what the fleet's overload, stranded capacity and energy grow by when the VM is on this host and not on the
	// chosen one; 0 for that. It can be negative.
	Load int64 `json:"load"`
	// Total is the sum.
	Total int64 `json:"total"`
}

// maxCompared bounds the hosts that the chosen one is compared with.
const maxCompared = 3

// compare lists what i costs on the chosen host, first, and on the others that are legal and cost least.
func (s *state) compare(i vmIx, chosen place, others []place) []PlaceCost {
	slices.SortStableFunc(others, func(a, b place) int { return cmp.Compare(a.cost, b.cost) })
	out := []PlaceCost{s.placeCost(i, chosen, chosen)}
	for _, p := range others[:min(len(others), maxCompared)] {
		out = append(out, s.placeCost(i, p, chosen))
	}
	return out
}

func (s *state) placeCost(i vmIx, p, chosen place) PlaceCost {
	v, w := &s.vms[i], s.p.Weights
	c := PlaceCost{Host: s.hosts[p.host].snap.ID, TierWaste: plan.TierCost(w, s.hosts[p.host].facts.Tier, v.need.Server, v.snap.CPU)}
	for n, pool := range p.disks {
		c.PoolWaste += plan.PoolCost(w, s.pools[pool].facts.Tier, v.need.Disks[n].Tier, v.snap.Disks[n].Used)
	}
	if p.host != v.host || !slices.Equal(p.disks, v.disks) {
		mode := s.mode(v, p.host, p.disks)
		c.Move = plan.MoveCost(w, 0, false)
		c.Copy = plan.MoveCost(w, v.copied(p.disks), false) - c.Move
		if mode == fleet.Offline && v.snap.Power == fleet.Running {
			c.Downtime = plan.MoveCost(w, 0, true) - c.Move
		}
		c.Link = plan.LinkCost(w, v.snap, mode, p.host != v.host)
	}
	c.Load = s.loadOf(i, p.host, chosen.host)
	c.Total = c.TierWaste + c.PoolWaste + c.Move + c.Copy + c.Downtime + c.Link + c.Load
	return c
}

// loadOf is what the costs of hosts by what they have promised grow by with i on the host at and not on the other.
func (s *state) loadOf(i vmIx, at, other hostIx) int64 {
	if at == other || !s.pricesHosts() {
		return 0
	}
	m := plan.NewPrices(s.p)
	v := m.Of(s.vms[i].snap)
	sum := func(on hostIx) int64 {
		var parts int64
		for _, h := range [2]hostIx{at, other} {
			l := s.hosts[h].load
			if s.vms[i].host == h {
				l.Add(v, -1)
			}
			if h == on {
				l.Add(v, 1)
			}
			parts += s.hostParts(m, h, l)
		}
		return parts
	}
	return m.Points(sum(at)) - m.Points(sum(other))
}

// costTable renders what places cost as lines, those parts alone that differ from nothing somewhere.
func costTable(list []PlaceCost) []string {
	if len(list) < 2 {
		return nil
	}
	out := make([]string, 0, len(list))
	for n := range list {
		c := &list[n]
		var parts []string
		for _, p := range []struct {
			name   string
			points int64
		}{
			{"tier", c.TierWaste}, {"pools", c.PoolWaste}, {"move", c.Move}, {"copy", c.Copy}, {"downtime", c.Downtime}, {"link", c.Link}, {"load", c.Load},
		} {
			if p.points != 0 {
				parts = append(parts, fmt.Sprintf("%s %d", p.name, p.points))
			}
		}
		text := fmt.Sprintf("%s: %d points", c.Host, c.Total)
		if len(parts) > 0 {
			text += " (" + strings.Join(parts, ", ") + ")"
		}
		if n == 0 {
			text += ", chosen"
		}
		out = append(out, text)
	}
	return out
}
