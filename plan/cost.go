package plan

import (
	"math/bits"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// maxPoints bounds one term of a cost, so that no sum of costs overflows.
const maxPoints = 1 << 40

// points is rate points for each unit of n, rounded down, at most maxPoints; 0 for what is not positive.
func points(rate, n, unit int64) int64 {
	if rate <= 0 || n <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(rate), uint64(n))
	if hi >= uint64(unit) {
		return maxPoints
	}
	q, _ := bits.Div64(hi, lo, uint64(unit))
	return int64(min(q, maxPoints))
}

// TierCost is the soft cost, in points, of cpu on a host of the tier at, above the need.
func TierCost(w policy.Weights, at, need policy.Rank, cpu fleet.MilliCPU) int64 {
	return points(w.TierWaste*above(at, need), int64(cpu), 1000)
}

// PoolCost is the soft cost, in points, of used bytes in a pool of the tier at, above the need, by whole GiB.
func PoolCost(w policy.Weights, at, need policy.Rank, used fleet.Bytes) int64 {
	return points(w.PoolWaste*above(at, need), int64(used/fleet.GiB), 1)
}

// MoveCost is the cost, in points, of one move that copies bytes and, with down, stops a running VM.
func MoveCost(w policy.Weights, copied fleet.Bytes, down bool) int64 {
	c := min(max(w.MoveVM, 0), maxPoints) + points(w.MoveGiB, int64(copied), int64(fleet.GiB))
	if down {
		c += min(max(w.Downtime, 0), maxPoints)
	}
	return c
}

// LinkCost is the cost, in points, of the memory that a move in the mode m sends from host to host.
func LinkCost(w policy.Weights, v *fleet.VM, m fleet.Mode, host bool) int64 {
	if !host || m != fleet.Live {
		return 0
	}
	return points(w.MoveLink, int64(v.Memory), int64(fleet.GiB))
}

// Cost is what a fleet costs as it is, by part, in points.
type Cost struct {
	TierWaste int64 `json:"tierWaste"` // VMs on hosts above their need
	PoolWaste int64 `json:"poolWaste"` // disks in pools above their need
	Overload  int64 `json:"overload"`  // hosts above their headroom mark
	Stranded  int64 `json:"stranded"`  // CPU without memory to go with it, memory without CPU
	Energy    int64 `json:"energy"`    // hosts in use
}

// Total is the sum.
func (c Cost) Total() int64 {
	return c.TierWaste + c.PoolWaste + c.Overload + c.Stranded + c.Energy
}

func above(at, need policy.Rank) int64 {
	return int64(max(at-max(need, 0), 0))
}

// SoftCost is what the place at costs for v without any move: the tiers of its host and pools above its
// need, in points.
func SoftCost(p *policy.Problem, v *fleet.VM, at fleet.Placement) int64 {
	tier, pool := wasteAt(p, v, at)
	return tier + pool
}

func wasteAt(p *policy.Problem, v *fleet.VM, at fleet.Placement) (tier, pool int64) {
	need := p.VMs[v.ID]
	tier = TierCost(p.Weights, p.Hosts[at.Host].Tier, need.Server, v.CPU)
	for i, d := range at.Disks {
		pool += PoolCost(p.Weights, p.Pools[d.Pool].Tier, need.Disks[i].Tier, v.Disks[i].Used)
	}
	return tier, pool
}

// HoldReason says why v must be left alone, or "" when it may move.
func HoldReason(p *policy.Problem, v *fleet.VM) string {
	if r := p.VMs[v.ID].Hold; r != "" {
		return r
	}
	h, s := p.Snapshot.Host(v.Host), p.Snapshot.Source(v.Source)
	switch {
	case v.Pinned != "":
		return "pinned: " + v.Pinned
	case v.Power != fleet.Running && v.Power != fleet.Stopped:
		return "is " + string(v.Power)
	case h == nil || h.Unreachable:
		return "its host " + string(v.Host) + " is unreachable"
	case s == nil || !s.Reachable:
		return "its source " + string(v.Source) + " is unreachable"
	}
	return ""
}

// DomainOf names the failure domain of the kind k that h sits in. A host that names none is in the next finer domain: of
// two hosts without a rack those of one chassis are together still. The finest is the host itself.
func DomainOf(k policy.Domain, h *fleet.Host) string {
	for _, d := range []struct {
		kind policy.Domain
		name string
	}{{policy.DomainSite, h.Site}, {policy.DomainRack, h.Rack}, {policy.DomainChassis, h.Chassis}} {
		if k == d.kind {
			if d.name != "" {
				return string(k) + " " + d.name
			}
			k = finer[k]
		}
	}
	if k == policy.DomainCluster && h.Cluster != "" {
		return string(k) + " " + h.Cluster
	}
	return "host " + string(h.ID)
}

// finer is the kind of domains that those of a kind consist of.
var finer = map[policy.Domain]policy.Domain{
	policy.DomainSite: policy.DomainRack, policy.DomainRack: policy.DomainChassis, policy.DomainChassis: policy.DomainHost,
}

// Freed is what the pool of d gains when d leaves it: nothing when d has a backing chain, since others may
// share it. A disk that moved before is flat: its copy has no chain.
func Freed(d *fleet.Disk, flat bool) fleet.Bytes {
	if len(d.Chain) > 0 && !flat {
		return 0
	}
	return d.Used
}

// ModeRefusal says why v cannot make the change that a move brings in the mode m by a source with the
// capabilities c; "" when it can.
func ModeRefusal(c fleet.Capabilities, v *fleet.VM, m fleet.Mode, host, storage bool) string {
	if m == fleet.Offline {
		if !c.Offline {
			return "its source cannot move a VM that is shut down"
		}
		return ""
	}
	switch {
	case v.Power != fleet.Running:
		return "a VM that does not run cannot move live"
	case host && storage && !c.LiveBoth:
		return "its source cannot change host and pool of a running VM at once"
	case host && !storage && !c.LiveMigration:
		return "its source cannot migrate a running VM"
	case storage && !host && !c.LiveStorage:
		return "its source cannot move a disk of a running VM"
	}
	if r := v.BlockedBy(fleet.ChangeHost); host && r != "" {
		return r
	}
	if r := v.BlockedBy(fleet.ChangeStorage); storage && r != "" {
		return r
	}
	return ""
}
