package plan

// The hard constraints of a place, by the names that Check, RefusedHost and berth plan explain use. A host is
// always judged in this order, so that the first one that refuses it is the same everywhere.
const (
	// ConstraintSource: the host belongs to another source; there are no moves between sources.
	ConstraintSource = "source"
	// ConstraintUnreachable: the host, or its source, could not be seen.
	ConstraintUnreachable = "unreachable"
	// ConstraintMaintenance: the host is in maintenance and takes no VM.
	ConstraintMaintenance = "maintenance"
	// ConstraintHypervisor: the host is of no hypervisor that the VM may run on.
	ConstraintHypervisor = "hypervisor"
	// ConstraintGuest: the host does not run guests of the VM's type.
	ConstraintGuest = "guest"
	// ConstraintCPUModel: the host lacks the processor baseline that the guest was given.
	ConstraintCPUModel = "cpu-model"
	// ConstraintServerTier: the host is below the server tier that the VM needs, or no rule ranks it.
	ConstraintServerTier = "server-tier"
	// ConstraintSecurity: the host is below the security class that the VM needs.
	ConstraintSecurity = "security"
	// ConstraintNetwork: the host lacks a network that a virtual NIC of the VM is on.
	ConstraintNetwork = "network"
	// ConstraintNICClass: no NIC of the host is of the class that the VM needs.
	ConstraintNICClass = "nic-class"
	// ConstraintAffinity: the VMs of an affinity group would sit on more hosts than before.
	ConstraintAffinity = "affinity"
	// ConstraintSpread: another VM of the spread group sits in the same failure domain.
	ConstraintSpread = "spread"
	// ConstraintCPU and ConstraintMemory: the host has not as much left.
	ConstraintCPU    = "cpu"
	ConstraintMemory = "memory"
	// ConstraintNICQueues: no NIC of the class has as many queues left.
	ConstraintNICQueues = "nic-queues"
	// ConstraintNICRate: no NIC of the class can promise as much bandwidth, queues included.
	ConstraintNICRate = "nic-rate"
	// ConstraintPoolReach: the host does not reach a pool that a disk, or its backing chain, lies on.
	ConstraintPoolReach = "pool-reach"
	// ConstraintPoolTier: no reachable pool is of the storage tier that a disk needs.
	ConstraintPoolTier = "pool-tier"
	// ConstraintPoolSpace: no reachable pool of the tier has room above its reserve.
	ConstraintPoolSpace = "pool-space"
	// ConstraintPoolIOPS and ConstraintPoolThroughput: no reachable pool of the tier with room can promise as much.
	ConstraintPoolIOPS       = "pool-iops"
	ConstraintPoolThroughput = "pool-throughput"
	// ConstraintMode: the driver cannot move the VM so, or something in the VM forbids it.
	ConstraintMode = "mode"
)

// What Check holds a plan against besides.
const (
	// ConstraintProblem: the problem itself is unfit to be checked against.
	ConstraintProblem = "problem"
	// ConstraintVersion: the plan is of another version, snapshot or policy.
	ConstraintVersion = "version"
	// ConstraintSeal: the plan's ID is not that of its content.
	ConstraintSeal = "seal"
	// ConstraintNumber: the steps are not numbered from 1.
	ConstraintNumber = "number"
	// ConstraintPlace: the VM is not where the step says that it starts, or the step goes nowhere.
	ConstraintPlace = "place"
	// ConstraintDetails: what the step says of VM, hosts and pools is not what the snapshot says.
	ConstraintDetails = "details"
	// ConstraintHeld: a VM that must be left alone.
	ConstraintHeld = "held"
	// ConstraintRisk: a risk is not declared, or one is declared that there is not.
	ConstraintRisk = "risk"
	// ConstraintDisplaced: a VM would go below what its label asks for, and no VM of higher priority gets a right place by that.
	ConstraintDisplaced = "displaced"
	// ConstraintModule: an I/O module cannot be attached so, or a VM would lose what it brings.
	ConstraintModule = "module"
	// ConstraintWave: the waves are not numbered in order, or the steps of one may not run at once.
	ConstraintWave = "wave"
	// ConstraintReserve: a protected VM would have no place left, were what the policy's reserve names lost.
	ConstraintReserve = "reserve"
	// ConstraintSummary: the lists or the counts of the plan are not true.
	ConstraintSummary = "summary"
)
