package model

// Indices into the slices of a Problem.
type (
	// HostIx is an index of Problem.Hosts, or None.
	HostIx int32
	// PoolIx is an index of Problem.Pools, or None.
	PoolIx int32
	// GroupIx is an index of Problem.Groups, or None.
	GroupIx int32
)

// None is the index of nothing: a VM without a host, a VM without a group.
const None = -1

// Forbidden in a table of costs says that the combination is not allowed.
const Forbidden = int64(-1)

// Limits of a problem; Validate refuses what is larger.
const (
	MaxHosts     = 1 << 17
	MaxPools     = 1 << 18
	MaxVMs       = 1 << 21
	MaxResources = 32
	MaxLevels    = 8
	MaxDisks     = 256     // of one VM
	MaxNICs      = 64      // of one host
	MaxNeeds     = 256     // NIC needs of one VM
	MaxAllNeeds  = 1 << 24 // NIC needs of all VMs
	MaxBalances  = 64
	MaxClasses   = 1 << 14 // of VMs, hosts, disks, pools each
	// MaxGroupNeeds bounds Group.Needs of one group.
	MaxGroupNeeds = 1 << 10
)

// Points is a soft cost. What one point is worth is the policy's business; only ratios matter.
type Points = int64

// Problem is what has to be decided.
type Problem struct {
	Resources []Resource // of hosts
	// PoolResources are those of pools: space, IOPS, throughput.
	PoolResources []Resource
	Balances      []Balance
	Hosts         []Host
	Pools         []Pool
	VMs           []VM
	Groups        []Group
	// Fit is what a VM of a class costs on a host of a class, by [VM.Class][Host.Class], or Forbidden: tier, security
	// class, hypervisor kind, CPU compatibility, networks, maintenance and source come to this one table.
	Fit [][]Points
	// PoolFit is the same for disks, by [Disk.Class][Pool.Class], in points for the disk's Weight units.
	PoolFit [][]Points
	// Hop is what a move costs by the two hosts, by [Host.Place of the old][Host.Place of the new], times HopWeight.
	// Nil: nothing.
	Hop       [][]int32
	HopWeight Points
	// GroupMove is for each VM moved of the group of which most VMs move: it spreads the moves over the groups. Moved is
	// a VM that has an Initial host and another host now; one that was dropped has not moved.
	GroupMove Points
}

// Resource is one countable thing that VMs take of a host, or disks of a pool.
type Resource struct {
	Name string
	// Transient: what moves counts at its initial place too, because both ends hold it while the move lasts and all
	// moves are made at once. A VM that is dropped holds nothing there: it ends before others move.
	Transient bool
	// Load is for each unit of use above Host.Soft.
	Load Points
}

// Balance prices capacity that is stranded: for each unit by which a host's free amount of resource B falls short of
// Target times its free amount of resource A, Weight points. Free is capacity minus use, without the transient part.
type Balance struct {
	A, B   int
	Target int64
	Weight Points
}

// Host is one host.
type Host struct {
	Capacity []int64 // by resource, hard
	Soft     []int64 // by resource: use above it costs Resource.Load
	// Domain is the failure domain that the host is in, by level: 0 the finest. Domain numbers of different levels are
	// unrelated; on level 0 every host may be a domain of its own.
	Domain []int32
	// Zone is the affinity zone (neighbourhood) that Group.Needs is judged in.
	Zone  int32
	Class int32 // column of Fit
	Place int32 // row and column of Hop
	// On is the price of the host being in use: energy, a licence, a machine to buy.
	On Points
	// Open hosts take VMs; a VM whose Initial host is not open may stay or leave.
	Open  bool
	NICs  []NIC
	Pools []PoolIx // that the host reaches, sorted
}

// NIC is what one NIC of a host has to give to VMs that reserve a part of it.
type NIC struct {
	Class  int8
	Queues int32 // queue pairs or functions
	Rate   int64 // bandwidth that can be guaranteed, in Mbps
}

// NICNeed is what one virtual NIC reserves on one NIC of at least Class. The zero value with Class 0 asks for nothing.
type NICNeed struct {
	Class  int8
	Queues int32
	Rate   int64
}

// Pool is one storage pool.
type Pool struct {
	Capacity []int64 // by pool resource: what may be used in all, the reserve already taken off
	// Base is what is used by others than the problem's disks.
	Base  []int64
	Class int32 // column of PoolFit
	Open  bool  // takes disks
}

// VM is one virtual machine, or several that have to sit together and are placed as one.
type VM struct {
	Demand []int64 // by resource
	Group  GroupIx
	// Apart is the level on which the VM shares no failure domain with another VM of its group; None: it may. Two VMs
	// are apart when neither's level is broken.
	Apart   int8
	Class   int32  // row of Fit
	Initial HostIx // None: it has no place yet
	// Fixed: it keeps its Initial place.
	Fixed bool
	// Priority decides who gives way; it is no cost. Higher wins.
	Priority int32
	// Drop is the price of having no host. 0 with Initial None is a VM that need not be placed; 0 with an Initial is one
	// that must have a host. A dropped VM pays Drop and the PoolFit of its disks, which stay in their Initial pools
	// (None where they have none) and hold them; it pays no Move, Hop or Copy.
	Drop Points
	// Move is the price of ending elsewhere than Initial, by what changes: Move[HostChange], Move[DiskChange],
	// Move[HostChange|DiskChange]; Forbidden where it is not possible. Move[0] is 0. Without an Initial nothing is due.
	Move  [4]Points
	Disks []Disk
	NICs  []NICNeed
}

// The kinds of change that VM.Move prices, to be or-ed.
const (
	HostChange = 1
	DiskChange = 2
)

// Disk is one disk of a VM.
type Disk struct {
	Demand  []int64 // by pool resource
	Class   int32   // row of PoolFit
	Initial PoolIx  // None: no place yet
	// Fixed: it stays in Initial, and its VM on hosts that reach it.
	Fixed bool
	// Weight multiplies PoolFit's cost (GiB, say).
	Weight int64
	// Copy is the price of ending in another pool than Initial.
	Copy Points
	// Sticky: the initial pool gets nothing back when the disk leaves (others share its backing chain).
	Sticky bool
}

// Group is VMs with rules about each other: a spread group, a service.
type Group struct {
	// Level and Min: the VMs of the group sit in at least Min distinct domains of the level. Min 0 or 1 asks for nothing.
	// Of a group with VMs without a host, as many domains as VMs that have one are enough.
	Level int8
	Min   int32
	// Needs: every VM of the group that has a host has a VM of each of these groups in the zone of its own host.
	Needs []GroupIx
}

// Assignment is an answer: Host by VM, and Pool by VM and disk. Pool[i] may be nil for a VM without disks.
type Assignment struct {
	Host []HostIx
	Pool [][]PoolIx
}

// Start is the assignment of the initial places.
func (p *Problem) Start() *Assignment {
	a := &Assignment{Host: make([]HostIx, len(p.VMs)), Pool: make([][]PoolIx, len(p.VMs))}
	for i := range p.VMs {
		v := &p.VMs[i]
		a.Host[i] = v.Initial
		if len(v.Disks) > 0 {
			a.Pool[i] = make([]PoolIx, len(v.Disks))
			for j := range v.Disks {
				a.Pool[i][j] = v.Disks[j].Initial
			}
		}
	}
	return a
}

// Clone copies a deeply.
func (a *Assignment) Clone() *Assignment {
	b := &Assignment{Host: append([]HostIx(nil), a.Host...), Pool: make([][]PoolIx, len(a.Pool))}
	for i, p := range a.Pool {
		if p != nil {
			b.Pool[i] = append([]PoolIx(nil), p...)
		}
	}
	return b
}

// Cost is what an assignment costs, by part.
type Cost struct {
	Load, Balance   Points // of hosts
	Fit, PoolFit    Points
	On              Points
	Move, Copy, Hop Points // of moves
	GroupMove       Points
	Drop            Points // of VMs without a host
}

// Total is the sum.
func (c Cost) Total() Points {
	return c.Load + c.Balance + c.Fit + c.PoolFit + c.On + c.Move + c.Copy + c.Hop + c.GroupMove + c.Drop
}

// Violation is one hard constraint that an assignment breaks.
type Violation struct {
	Constraint string // one of the constants below
	VM         int    // None where it is of no single VM
	Host       HostIx
	Pool       PoolIx
	Detail     string
}

// The hard constraints, as Violation names them.
const (
	ShapeRule     = "shape"     // the assignment's lengths and indices are those of the problem
	CapacityRule  = "capacity"  // use of a host is at most its Capacity
	TransientRule = "transient" // and so it is with what leaves, in transient resources; hosts and pools alike
	FitRule       = "fit"       // no combination that Fit or PoolFit forbids
	OpenRule      = "open"      // what comes goes to open hosts and pools only
	ApartRule     = "apart"     // VM.Apart
	SpreadRule    = "spread"    // Group.Min
	NeedsRule     = "needs"     // Group.Needs
	NICRule       = "nic"       // the reservations of a host's VMs fit its NICs, see Pack
	ReachRule     = "reach"     // every disk of a VM with a host is in a pool that the host reaches
	PoolRule      = "pool"      // use of a pool is at most its Capacity
	FixedRule     = "fixed"     // what is Fixed stays
	MoveRule      = "move"      // no change that VM.Move forbids
	DropRule      = "drop"      // a VM that must have a host has one; the disks of one without stay where they were
)
