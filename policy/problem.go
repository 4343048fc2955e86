package policy

import (
	"strconv"

	"github.com/berth-project/berth/fleet"
)

// Rank is the position of a tier in its list of the catalogue, 0 the lowest. Unranked is a host or pool that
// no rule matched: nothing that asks for a tier is ever placed there.
type Rank int

// Unranked is the rank of what no rule of the catalogue matched.
const Unranked Rank = -1

// Priority orders VMs when not everything fits: higher wins. 0 to 1000.
type Priority int

// Problem is a snapshot with its needs resolved: the input of the solver and of plan.Check. It is read-only
// after Resolve.
type Problem struct {
	Snapshot *fleet.Snapshot
	// PolicyID is the digest of the catalogue that it was resolved with.
	PolicyID    string
	ServerTiers []string // names, by Rank
	PoolTiers   []string // names, by Rank
	// SecurityClasses are the names that HostFacts.Security and Requirement.Security are positions in.
	SecurityClasses []string
	Hosts           map[fleet.HostID]HostFacts
	Pools           map[fleet.PoolID]PoolFacts
	VMs             map[fleet.VMID]Requirement
	Weights         Weights
	// Moves bounds how many moves may run at once. Zero fields bound nothing.
	Moves MoveLimits
	// Reserve says what must be lost without a protected VM losing its place.
	Reserve Reserve
}

// ServerTier names a rank as people do: "gold", "unranked", or "2" where the problem has no name for it.
func (p *Problem) ServerTier(r Rank) string { return rankName(p.ServerTiers, int(r)) }

// PoolTier names a rank of pools, as ServerTier does of servers.
func (p *Problem) PoolTier(r Rank) string { return rankName(p.PoolTiers, int(r)) }

// SecurityClass names a rank of security classes, as ServerTier does of servers.
func (p *Problem) SecurityClass(rank int) string { return rankName(p.SecurityClasses, rank) }

func rankName(names []string, rank int) string {
	switch {
	case rank < 0:
		return "unranked"
	case rank >= len(names):
		return strconv.Itoa(rank)
	default:
		return names[rank]
	}
}

// HostFacts is what the rules say of a host. NICClass is by NIC, since a rule may overrule what was detected.
type HostFacts struct {
	Tier     Rank
	Security int // rank in the catalogue's security classes, 0 the lowest
	// CPU and Memory are what VMs may be promised in sum: the host's own, times the catalogue's overcommit.
	CPU    fleet.MilliCPU
	Memory fleet.Bytes
	// NICClass has the NICs of I/O modules that can be attached to the host too.
	NICClass map[fleet.NICID]fleet.NICClass
	Rule     string // the rule that matched, "line 12: ..."; empty when none did
}

// PoolFacts is what the rules say of a pool.
type PoolFacts struct {
	Tier Rank
	// Reserve is what has to stay free in the pool.
	Reserve fleet.Bytes
	Rule    string
}

// Requirement is what one VM needs, with the reason for it. Fields are minimums unless said otherwise.
type Requirement struct {
	Level    string // effective level
	Asked    string // level in the label, when it is another one
	Priority Priority
	Server   Rank
	Disks    []DiskRequirement // in the order of VM.Disks
	NICClass fleet.NICClass
	Queues   fleet.Queues // reserved on one NIC of at least NICClass
	// Rate is the bandwidth reserved for the VM on the same NIC as Queues; 0 reserves nothing.
	Rate     fleet.Mbps
	Security int
	// Hypervisors are the kinds of which the host has to be one, sorted; empty: any.
	Hypervisors []fleet.Hypervisor
	// Spread: VMs with one non-empty group sit in distinct failure domains of the kind Domain.
	SpreadGroup  string
	SpreadDomain Domain
	// Affinity: VMs with one non-empty group sit on one host.
	AffinityGroup string
	// Protect: the VM keeps a place to go to when what Problem.Reserve names is lost.
	Protect bool
	// GiveWay: for a VM of strictly higher priority that has no legal place otherwise, a plan may displace the VM: move it
	// to a host or pools below Server, NICClass and the disks' Tier, and below nothing else.
	GiveWay bool
	// Hold: why the VM stays where it is (its label could not be read, its host is unreachable, it is
	// suspended or pinned); empty: it may move.
	Hold string
	// Notes says what trust or defaults changed: "label asks for gold, unsigned ceiling is silver".
	Notes []string
}

// DiskRequirement is what one disk needs.
type DiskRequirement struct {
	Tier  Rank
	Level string // the level that asked for it
	// IOPS and Throughput are reserved for the disk in its pool; 0 reserves nothing.
	IOPS       fleet.IOPS
	Throughput fleet.MBps
}

// Domain is a kind of failure domain.
type Domain string

// The kinds of failure domains that a spread can be over.
const (
	DomainHost    Domain = "host"
	DomainChassis Domain = "chassis"
	DomainRack    Domain = "rack"
	DomainSite    Domain = "site"
	DomainCluster Domain = "cluster"
)

// Domains are the kinds of failure domains: host, chassis, rack and site from the finest to the coarsest, each within
// the next, and cluster, which is what the hypervisor says.
func Domains() [5]Domain {
	return [5]Domain{DomainHost, DomainChassis, DomainRack, DomainSite, DomainCluster}
}
