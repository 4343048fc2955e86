package sim

import (
	"fmt"

	"github.com/berth-project/berth/fleet"
)

// Shape is what is usual of a generated fleet. Shares are per cent.
type Shape struct {
	// Gold, Silver and Bronze are the shares of hosts (and so of VMs) of each tier; they add up to 100.
	Gold, Silver, Bronze int
	// PoolsPerCluster is the number of shared pools of a cluster, dealt to the three tiers in turn: 3 to MaxPools.
	PoolsPerCluster int
	// NICs of each host, the one on the board included: 2 to MaxNICs.
	NICs int
	// Modules is the number of I/O modules of a cluster, 0 to MaxModules.
	Modules int
	// Skew is the share of hosts that are overloaded; the first of a cluster gets most of it, as in Zipf's law.
	Skew int
	// Misplaced is the share of VMs that are taken to a wrong host; of disks and spread groups a share in proportion.
	// With 0 every VM is in its right place.
	Misplaced int
	// Fill is how full the fullest resource of a tier's hosts is on average: 1 to MaxFill.
	Fill int
	// Racks is the number of racks that the hosts' chassis stand in, in order; 0 is a rack for every 32 hosts, and no
	// failure domain.
	Racks int
	// Spread and Affinity are the shares of labels that begin a group of either kind.
	Spread, Affinity int
	// Guarantee is the share of signed labels of silver and gold that ask for a guaranteed bandwidth and for storage
	// operations. With 0 no NIC and no pool has any to promise.
	Guarantee int
	// Host is the size of every host. The zero value makes sizes follow from the VMs and Fill.
	Host HostSize
}

// HostSize is what a host has.
type HostSize struct {
	CPU    fleet.MilliCPU
	Memory fleet.Bytes
}

// The bounds of a Shape.
const (
	MaxPools   = 30
	MaxNICs    = 16
	MaxModules = 16
	MaxFill    = 95
	// MaxRacks is one rack for each host of the largest fleet.
	MaxRacks = 10_000
)

// DefaultShape is a fleet as it is met before Berth comes.
func DefaultShape() Shape {
	return Shape{
		Gold: 20, Silver: 30, Bronze: 50, PoolsPerCluster: int(tiers), NICs: 2, Skew: 3, Misplaced: 15, Fill: 68,
		Spread: 8, Affinity: 4,
	}
}

// ShapeError is a field of a Shape with a value that it cannot have.
type ShapeError struct {
	Field    string // "pools-per-cluster", as the command line calls it
	Value    int
	Min, Max int
}

func (e *ShapeError) Error() string {
	return fmt.Sprintf("%s: is %d, expected %d to %d", e.Field, e.Value, e.Min, e.Max)
}

// Validate says which field of s has a value that it cannot have; the error is a *ShapeError.
func (s *Shape) Validate() error {
	for _, f := range []ShapeError{
		{"tiers: gold", s.Gold, 0, 100},
		{"tiers: silver", s.Silver, 0, 100},
		{"tiers: bronze", s.Bronze, 0, 100},
		{"pools-per-cluster", s.PoolsPerCluster, int(tiers), MaxPools},
		{"nics", s.NICs, 2, MaxNICs},
		{"modules", s.Modules, 0, MaxModules},
		{"skew", s.Skew, 0, 50},
		{"misplaced", s.Misplaced, 0, 100},
		{"fill", s.Fill, 1, MaxFill},
		{"racks", s.Racks, 0, MaxRacks},
		{"spread", s.Spread, 0, 100},
		{"affinity", s.Affinity, 0, 100 - min(max(s.Spread, 0), 100)},
		{"guarantee", s.Guarantee, 0, 100},
		{"host-cpu", int(s.Host.CPU / 1000), 0, 4096},
		{"host-memory (GiB)", int(s.Host.Memory / fleet.GiB), 0, 1 << 16},
	} {
		if f.Value < f.Min || f.Value > f.Max {
			return &f
		}
	}
	if sum := s.Gold + s.Silver + s.Bronze; sum != 100 {
		return &ShapeError{"tiers: the sum", sum, 100, 100}
	}
	return nil
}

// tierOf is the tier of host i: the built-in pattern, or for other shares that of which the hosts so far have least.
func (g *generator) tierOf(i int) tier {
	s := &g.shape
	if d := DefaultShape(); s.Gold == d.Gold && s.Silver == d.Silver && s.Bronze == d.Bronze {
		return clusterPattern[i%clusterSize]
	}
	best, most := bronze, 0
	for t, share := range [tiers]int{s.Bronze, s.Silver, s.Gold} {
		if short := share*(i+1) - 100*g.hostCount[t]; share > 0 && (most == 0 || short >= most) {
			best, most = tier(t), short
		}
	}
	return best
}

// rackOf is the rack of host i of n.
func (g *generator) rackOf(i, n int) string {
	if g.shape.Racks == 0 {
		return fmt.Sprintf("r%02d", i/(2*clusterSize)+1)
	}
	chassis := (n + chassisSize - 1) / chassisSize // one stands in one rack
	return "r" + number(i/chassisSize*g.shape.Racks/chassis, g.shape.Racks, 2)
}

// namedRack is the rack as a failure domain: only where the number of racks was asked for.
func (g *generator) namedRack(i, n int) string {
	if g.shape.Racks == 0 {
		return ""
	}
	return g.rackOf(i, n)
}

// isHot says whether host i is one of those that heat overloads. Of the usual share it is one host of every 32.
func (g *generator) isHot(i int) bool {
	if g.shape.Skew == DefaultShape().Skew {
		return i%(2*clusterSize) == chassisSize
	}
	return (i+1)*g.shape.Skew/100 > i*g.shape.Skew/100
}

// bigPool is how many times the memory of its hosts a shared pool has where hosts have a size of their own, and so
// nothing else says how much will be stored.
const bigPool = 16

// roomy is the least capacity of a pool in a fleet whose hosts have a size of their own; else 0.
func (g *generator) roomy(p *fleet.Pool) fleet.Bytes {
	switch {
	case g.shape.Host.Memory == 0:
		return 0
	case p.Shared:
		return g.shape.Host.Memory * fleet.Bytes(bigPool*clusterSize*int(tiers)/g.shape.PoolsPerCluster)
	default:
		return g.shape.Host.Memory * bigPool / 4
	}
}
