package solver

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// label says in short where the need of v comes from: "label gold, signed by ops".
func (s *state) label(v *vmState) string {
	for i := range v.snap.Disks {
		l := &v.snap.Disks[i].Label
		if l.Document == nil {
			continue
		}
		text := "label " + l.Document.Level
		switch {
		case l.Trust == fleet.TrustSigned && l.Issuer != "":
			text += ", signed by " + l.Issuer
		case l.Trust == fleet.TrustSigned:
			text += ", signed"
		default:
			text += ", " + string(l.Trust)
		}
		if l.Document.Level != v.need.Level {
			text += ", counts as " + v.need.Level
		}
		return text
	}
	return "unlabelled, counts as " + v.need.Level
}

// whyWrong says what is wrong with the place of a VM that is mended.
func (s *state) whyWrong(i vmIx, p place) string {
	v := &s.vms[i]
	if r := s.fault(i); r != "" {
		return r
	}
	return fmt.Sprintf("stays with its affinity group %s on %s", v.need.AffinityGroup, s.hosts[p.host].snap.ID)
}

// fault says what is wrong with the place of the VM i itself; "" when nothing is.
func (s *state) fault(i vmIx) string {
	v := &s.vms[i]
	h := &s.hosts[v.host]
	switch s.fixedRefusal(s.single(i), v.host) {
	case "":
	case plan.ConstraintMaintenance:
		return fmt.Sprintf("host %s is in maintenance", h.snap.ID)
	case plan.ConstraintHypervisor:
		return fmt.Sprintf("needs a hypervisor of %v (%s): %s is %s", v.need.Hypervisors, s.label(v), h.snap.ID, h.snap.Hypervisor)
	case plan.ConstraintGuest:
		return fmt.Sprintf("%s does not run guests of type %s", h.snap.ID, v.snap.Guest)
	case plan.ConstraintCPUModel:
		return fmt.Sprintf("%s lacks the processor baseline %s", h.snap.ID, v.snap.CPUBaseline)
	case plan.ConstraintServerTier:
		return fmt.Sprintf("needs server tier %s (%s): %s is %s", s.p.ServerTier(max(v.need.Server, 0)), s.label(v), h.snap.ID, s.p.ServerTier(h.facts.Tier))
	case plan.ConstraintSecurity:
		return fmt.Sprintf("needs security class %s (%s): %s has %s", s.p.SecurityClass(v.need.Security), s.label(v), h.snap.ID,
			s.p.SecurityClass(h.facts.Security))
	case plan.ConstraintNICClass:
		return fmt.Sprintf("needs a NIC of class %d (%s): %s has none", v.need.NICClass, s.label(v), h.snap.ID)
	case plan.ConstraintNetwork:
		return fmt.Sprintf("host %s lacks a network that it is on", h.snap.ID)
	default:
		return fmt.Sprintf("host %s is no place for it", h.snap.ID)
	}
	for n, p := range v.disks {
		pool, need := &s.pools[p], max(v.need.Disks[n].Tier, 0)
		if pool.facts.Tier < need {
			return fmt.Sprintf("disk %s needs storage tier %s (%s): %s is %s", v.snap.Disks[n].ID, s.p.PoolTier(need), s.label(v),
				pool.snap.ID, s.p.PoolTier(pool.facts.Tier))
		}
		if !s.reaches(v.host, p) {
			return fmt.Sprintf("disk %s: %s does not reach %s", v.snap.Disks[n].ID, h.snap.ID, pool.snap.ID)
		}
	}
	if u := v.unit; u != none && len(s.apart(u)) > 0 {
		return fmt.Sprintf("affinity group %s is apart: %s elsewhere", v.need.AffinityGroup, s.names(s.apart(u)))
	}
	return ""
}

func (s *state) reaches(h hostIx, p poolIx) bool {
	for _, q := range s.hosts[h].pools {
		if q == p {
			return true
		}
	}
	return false
}

// apart lists the VMs of u that are not where its first one, or the held ones of its group, are.
func (s *state) apart(ui unitIx) []vmIx {
	u := &s.units[ui]
	at := u.anchor
	if at == none {
		at = s.vms[u.vms[0]].host
	}
	var out []vmIx
	for _, i := range u.vms {
		if s.vms[i].host != at {
			out = append(out, i)
		}
	}
	return out
}

// where says what the target of a move has.
func (s *state) where(v *vmState, h hostIx, disks []poolIx) string {
	var parts []string
	if v.host != h {
		host := &s.hosts[h]
		parts = append(parts, fmt.Sprintf("%s has %s of %s CPU and %s free", host.snap.ID, host.freeCPU(), host.facts.CPU,
			fleet.FormatBytes(host.freeMemory())))
	}
	seen := map[poolIx]bool{}
	for i, p := range disks {
		if p != v.disks[i] && !seen[p] {
			seen[p] = true
			pool := &s.pools[p]
			parts = append(parts, fmt.Sprintf("%s (%s) has %s", pool.snap.ID, s.p.PoolTier(pool.facts.Tier), fleet.FormatBytes(s.room(p))))
		}
	}
	return strings.Join(parts, ", ")
}

// whyRoom says for whom a VM gives way.
func (s *state) whyRoom(u *unit) func(vmIx, place) string {
	first := &s.vms[u.vms[0]]
	text := fmt.Sprintf("makes room for %s (%s, priority %d)", s.names(u.vms), first.need.Level, u.priority)
	return func(i vmIx, _ place) string {
		v := &s.vms[i]
		return fmt.Sprintf("%s: %s has priority %d and needs only %s", text, v.snap.ID, v.need.Priority, s.p.ServerTier(max(v.need.Server, 0)))
	}
}

func (s *state) whyOverfull(h hostIx, c string) func(vmIx, place) string {
	text := s.overfullText(h, c)
	return func(vmIx, place) string { return text }
}

func (s *state) overfullText(h hostIx, c string) string {
	host := &s.hosts[h]
	switch c {
	case plan.ConstraintCPU:
		return fmt.Sprintf("%s has promised %s of %s CPU", host.snap.ID, host.cpu, host.facts.CPU)
	case plan.ConstraintMemory:
		return fmt.Sprintf("%s has promised %s of %s memory", host.snap.ID, fleet.FormatBytes(host.memory), fleet.FormatBytes(host.facts.Memory))
	case plan.ConstraintNICRate:
		return fmt.Sprintf("%s has NICs that promise too little bandwidth for all its VMs", host.snap.ID)
	default:
		return fmt.Sprintf("%s has too few NIC queues for all its VMs", host.snap.ID)
	}
}

func (s *state) whyOverpromised(p poolIx, c string) func(vmIx, place) string {
	text := s.overpromisedText(p, c)
	return func(vmIx, place) string { return text }
}

func (s *state) overpromisedText(p poolIx, c string) string {
	unit := "operations a second"
	if c == plan.ConstraintPoolThroughput {
		unit = "MB/s"
	}
	pool := &s.pools[p]
	return fmt.Sprintf("%s has promised %d of %d %s", pool.snap.ID, promised(c, pool.io), offered(c, pool.snap), unit)
}

// whySpread names the other VM of the group that is too near.
func (s *state) whySpread(i vmIx, _ place) string {
	v := &s.vms[i]
	if v.spread == none {
		return "stays with its affinity group " + v.need.AffinityGroup
	}
	for _, j := range s.members[v.spread] {
		w := &s.vms[j]
		a, b := s.hosts[v.host].domains, s.hosts[w.host].domains
		if j != i && (a[v.kind] == b[v.kind] || a[w.kind] == b[w.kind]) {
			kind := kinds[v.kind]
			if a[v.kind] != b[v.kind] {
				kind = kinds[w.kind]
			}
			return fmt.Sprintf("shares a %s with %s of spread group %s", kind, w.snap.ID, v.need.SpreadGroup)
		}
	}
	return "spread group " + v.need.SpreadGroup + " is to be apart"
}

// overNeed says where v is above its need.
func (s *state) overNeed(v *vmState) []string {
	var over []string
	if t := s.hosts[v.host].facts.Tier; t > max(v.need.Server, 0) {
		over = append(over, fmt.Sprintf("%s is %s, it needs only %s", s.hosts[v.host].snap.ID, s.p.ServerTier(t), s.p.ServerTier(max(v.need.Server, 0))))
	}
	for n, d := range v.disks {
		if t := s.pools[d].facts.Tier; t > max(v.need.Disks[n].Tier, policy.Rank(0)) {
			over = append(over, fmt.Sprintf("%s is %s, disk %s needs only %s", s.pools[d].snap.ID, s.p.PoolTier(t), v.snap.Disks[n].ID,
				s.p.PoolTier(max(v.need.Disks[n].Tier, 0))))
		}
	}
	return over
}

// whyWaste says what is spent on a VM above its need.
func (s *state) whyWaste(i vmIx, p place) string {
	v := &s.vms[i]
	over := s.overNeed(v)
	if len(over) == 0 {
		return s.whyWrong(i, p)
	}
	u := &s.units[v.unit]
	return fmt.Sprintf("%s: saves %d points, the move included", strings.Join(over, ", "), s.present(u)-p.cost)
}
