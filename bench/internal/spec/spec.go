// Package spec is a fleet in the terms that all schedulers of the comparison have: nodes with CPU, memory and a tier, and
// VMs that ask for CPU, memory, at least a tier, and a host apart from the other replicas of their service. Each peer
// translates it into its own input; Problem translates it into Berth's model, which judges everybody's answer.
package spec

// Tier of a node is what it offers, of a VM the least that it accepts.
type Tier int

// The tiers, from the least.
const (
	Bronze Tier = iota
	Silver
	Gold
	Tiers int = iota
)

// String is the tier's name, as the peers' labels have it.
func (t Tier) String() string { return [...]string{"bronze", "silver", "gold"}[t] }

// None is the node of a VM without a place.
const None = -1

// Node is one host.
type Node struct {
	Name   string
	CPU    int64 // thousandths of a thread
	Memory int64 // MiB
	Tier   Tier
	// Rack is the cluster of hosts that share storage pools, in a fleet of the full profile.
	Rack int
	// NICs have queues to reserve, in a fleet of the full profile.
	NICs []NIC
}

// NIC is one NIC of a node.
type NIC struct {
	Class  int // 1 or 2; a need of class 1 is met by both
	Queues int
}

// Pool is the storage that the hosts of a rack share.
type Pool struct {
	Rack int
	Fast bool
	Size int64 // GiB
}

// VM is one virtual machine.
type VM struct {
	Name   string
	CPU    int64 // thousandths of a thread
	Memory int64 // MiB
	Tier   Tier
	// Disk in GiB, on a fast pool if Fast; 0 outside the full profile.
	Disk int64
	Fast bool
	// Queues on one NIC of at least Class; 0 outside the full profile.
	Class, Queues int
}

// Unit is VMs that are asked for at once: one VM, or the equal replicas of a service, no two on one host.
type Unit struct {
	Name string
	VMs  []int // indices of Fleet.VMs, one after another
}

// Fleet is nodes and VMs in the order in which they are asked for.
type Fleet struct {
	Seed  uint64
	Full  bool // pools and NICs count too
	Nodes []Node
	Pools []Pool // by rack: the slow one, then the fast one
	VMs   []VM
	Units []Unit
}

// UnitsWithin is how many units come before the VMs ask for more than the share of the memory or of the CPU.
func (f *Fleet) UnitsWithin(share float64) int {
	cpu, mem := f.Capacity()
	var c, m int64
	for i := range f.Units {
		for _, v := range f.Units[i].VMs {
			c += f.VMs[v].CPU
			m += f.VMs[v].Memory
		}
		if float64(c) > share*float64(cpu) || float64(m) > share*float64(mem) {
			return i
		}
	}
	return len(f.Units)
}

// Capacity is what all nodes have.
func (f *Fleet) Capacity() (cpu, memory int64) {
	for i := range f.Nodes {
		cpu += f.Nodes[i].CPU
		memory += f.Nodes[i].Memory
	}
	return cpu, memory
}

// Used is the share of the CPU and of the memory that the VMs with a place take.
func (f *Fleet) Used(at []int) (cpu, memory float64) {
	var c, m int64
	for i, h := range at {
		if h != None {
			c += f.VMs[i].CPU
			m += f.VMs[i].Memory
		}
	}
	allC, allM := f.Capacity()
	return float64(c) / float64(allC), float64(m) / float64(allM)
}
