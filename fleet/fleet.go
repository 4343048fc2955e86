package fleet

import (
	"time"

	"github.com/berth-project/berth/label"
)

// Identifiers. They are the names that people use (host name, pool name, VM name), made unique over all
// sources by the inventory, which prefixes the source's name when two sources use one name: "kvm-b/host-1".
type (
	// SourceID names one configured hypervisor connection (a vCenter, a libvirtd).
	SourceID string
	// HostID names one hypervisor host.
	HostID string
	// PoolID names one storage pool or datastore. A pool that only one host sees is "host/pool".
	PoolID string
	// VMID names one virtual machine.
	VMID string
	// DiskID names a disk within its VM: the hypervisor's own device name or key ("vda", "2000").
	DiskID string
	// NICID names a NIC within its host ("ens16f0").
	NICID string
	// ModuleID names an I/O module ("io-7").
	ModuleID string
)

// Hypervisor is the kind of hypervisor of a host.
type Hypervisor string

// The kinds of hypervisor.
const (
	VSphere Hypervisor = "vsphere"
	KVM     Hypervisor = "kvm"
	Xen     Hypervisor = "xen"
)

// SnapshotVersion is the version of the snapshot's JSON that this code reads and writes.
const SnapshotVersion = 1

// Snapshot is what was seen of a fleet at one time.
type Snapshot struct {
	Version int       `json:"version"`
	Taken   time.Time `json:"taken"` // UTC; the only clock that the pure core ever sees
	Sources []Source  `json:"sources"`
	Hosts   []Host    `json:"hosts"`
	Pools   []Pool    `json:"pools"`
	VMs     []VM      `json:"vms"`
	Gaps    []Gap     `json:"gaps"`
	// Modules are I/O modules that can change their host; most fleets have none.
	Modules []IOModule `json:"modules,omitempty"`
}

// Source is one hypervisor connection that the snapshot was read from.
type Source struct {
	ID           SourceID     `json:"id"`
	Kind         Hypervisor   `json:"kind"`
	Reachable    bool         `json:"reachable"`
	Capabilities Capabilities `json:"capabilities"`
	// NativeBalancer names an automatic balancer of the hypervisor's own that is on (such as "DRS
	// (fullyAutomated) on cluster-1"); empty when there is none. Berth then only advises.
	NativeBalancer string `json:"nativeBalancer,omitempty"`
}

// Capabilities says what a source's driver can do, as data that the solver plans with.
type Capabilities struct {
	// LiveMigration: a running VM can change its host.
	LiveMigration bool `json:"liveMigration"`
	// LiveStorage: a disk of a running VM can change its pool on the same host.
	LiveStorage bool `json:"liveStorage"`
	// LiveBoth: a running VM can change host and pool in one move.
	LiveBoth bool `json:"liveBoth"`
	// Offline: a VM that is shut down can change host and pools.
	Offline bool `json:"offline"`
	// AttachModules: an I/O module can be attached to another host while the hosts run.
	AttachModules bool `json:"attachModules,omitempty"`
}

// Host is one hypervisor host.
type Host struct {
	ID         HostID            `json:"id"`
	Source     SourceID          `json:"source"`
	Ref        string            `json:"ref"` // the driver's own handle (managed object id, URI)
	Hypervisor Hypervisor        `json:"hypervisor"`
	Version    string            `json:"version,omitempty"`
	Cluster    string            `json:"cluster,omitempty"`
	Chassis    string            `json:"chassis,omitempty"` // failure domain above the host
	Rack       string            `json:"rack,omitempty"`    // failure domain above the chassis
	Site       string            `json:"site,omitempty"`    // failure domain above the rack
	Tags       []string          `json:"tags,omitempty"`
	CPU        MilliCPU          `json:"cpu"`    // what VMs may use
	Memory     Bytes             `json:"memory"` // what VMs may use
	NICs       []NIC             `json:"nics,omitempty"`
	Pools      []PoolID          `json:"pools"`              // reachable from this host
	Networks   []string          `json:"networks,omitempty"` // bridges, port groups that a VNIC can be on
	Attributes map[string]string `json:"attributes,omitempty"`
	// CPUModel is the hypervisor's word for the host's own processor; nothing is decided by it.
	CPUModel string `json:"cpuModel,omitempty"`
	// CPUBaselines are the processors that a guest can be given here (CPU models of libvirt, EVC modes of vSphere);
	// empty: not known, every baseline.
	CPUBaselines []string `json:"cpuBaselines,omitempty"`
	// Guests are the guest types that the hypervisor runs, in the words of VM.Guest; empty: not known, every type.
	Guests []string `json:"guests,omitempty"`
	// Patch is what is known of each vulnerability or patch, by its public name ("XSA-450"). What is not named is
	// PatchUnknown.
	Patch map[string]PatchState `json:"patch,omitempty"`
	// Maintenance: the host takes no VM and should be emptied.
	Maintenance bool `json:"maintenance,omitempty"`
	// Unreachable: nothing is known now; its VMs (if any are listed) are left alone.
	Unreachable bool `json:"unreachable,omitempty"`
}

// PatchState is what is known of one vulnerability on one host.
type PatchState string

// The states of a vulnerability.
const (
	PatchFixed    PatchState = "fixed"
	PatchAffected PatchState = "affected"
	PatchUnknown  PatchState = "unknown"
)

// NIC is one physical network card (port) of a host.
type NIC struct {
	ID     NICID    `json:"id"`
	Class  NICClass `json:"class"`
	Speed  Mbps     `json:"speed"`
	Queues Queues   `json:"queues"` // reservable queue pairs or functions; 0 at class 0 and 1
	// Guarantee is the bandwidth that can be promised to VMs in sum; 0: it can promise none. It is another thing than
	// Class: some cards with hardware functions cannot guarantee a minimum rate.
	Guarantee Mbps     `json:"guarantee,omitempty"`
	Driver    string   `json:"driver,omitempty"`
	Features  []string `json:"features,omitempty"`
	NUMANode  int      `json:"numaNode"`
	// Module is the I/O module that the NIC is on; empty: it is the host's own.
	Module ModuleID `json:"module,omitempty"`
}

// Pool is one storage pool or datastore.
type Pool struct {
	ID       PoolID   `json:"id"`
	Source   SourceID `json:"source"`
	Ref      string   `json:"ref"`  // the driver's own handle
	Type     string   `json:"type"` // the hypervisor's word: "dir", "NFS", "VMFS"
	Tags     []string `json:"tags,omitempty"`
	Capacity Bytes    `json:"capacity"`
	Free     Bytes    `json:"free"`
	Shared   bool     `json:"shared"` // several hosts reach the same files
	// IOPS and Throughput are what the pool can promise to disks in sum; 0: not known, not limited.
	IOPS       IOPS `json:"iops,omitempty"`
	Throughput MBps `json:"throughput,omitempty"`
}

// PowerState of a VM.
type PowerState string

// The power states. A suspended VM has memory state on disk and is never moved.
const (
	Running   PowerState = "running"
	Stopped   PowerState = "stopped"
	Suspended PowerState = "suspended"
)

// VM is one virtual machine: its size, its place, its disks with the labels found in them.
type VM struct {
	ID      VMID       `json:"id"`
	Source  SourceID   `json:"source"`
	Ref     string     `json:"ref"`            // the driver's own handle at its present place
	UUID    string     `json:"uuid,omitempty"` // stays the same over moves
	Host    HostID     `json:"host"`
	Power   PowerState `json:"power"`
	CPU     MilliCPU   `json:"cpu"`
	Memory  Bytes      `json:"memory"`
	Disks   []Disk     `json:"disks"`
	VNICs   []VNIC     `json:"vnics,omitempty"`
	Tags    []string   `json:"tags,omitempty"`
	Pinned  string     `json:"pinned,omitempty"`  // why it must stay where it is; empty: it may move
	Blocked []Blocker  `json:"blocked,omitempty"` // what it cannot do
	// Guest is the hypervisor's word for the guest's type ("windows2019srv_64Guest"); empty: not known, runs anywhere.
	Guest string `json:"guest,omitempty"`
	// CPUBaseline is the processor that the guest was given, in the words of Host.CPUBaselines; empty: any will do.
	CPUBaseline string `json:"cpuBaseline,omitempty"`
}

// Mode is a way of moving a VM.
type Mode string

// The modes of a move. Live keeps the guest running; Offline stops it, moves it and starts it again (when it
// ran before).
const (
	Live    Mode = "live"
	Offline Mode = "offline"
)

// Change is what a move changes.
type Change string

// The changes.
const (
	ChangeHost    Change = "host"
	ChangeStorage Change = "storage"
)

// Blocker says why one kind of live move is impossible for a VM ("vda is a VMDK: QEMU refuses live migration").
type Blocker struct {
	Change Change `json:"change"`
	Reason string `json:"reason"`
}

// VNIC is one virtual NIC of a VM.
type VNIC struct {
	ID      string `json:"id"`
	Network string `json:"network,omitempty"`
	Queues  Queues `json:"queues"`
	// Guarantee is the bandwidth that the hypervisor promises this virtual NIC; 0: none.
	Guarantee Mbps `json:"guarantee,omitempty"`
}

// Disk is one virtual disk of a VM.
type Disk struct {
	ID     DiskID `json:"id"`
	Pool   PoolID `json:"pool"`
	Path   string `json:"path"` // of the top image, in the driver's own notation
	Format string `json:"format"`
	Size   Bytes  `json:"size"` // as the guest sees it
	Used   Bytes  `json:"used"` // in the pool, the whole chain
	// Chain is the backing chain below Path, nearest first, bounded to MaxChain.
	Chain []ChainLink `json:"chain,omitempty"`
	// Metadata is the label that the hypervisor itself keeps for this disk while the image cannot be written, as found: a
	// DSSE envelope of label.Frame, not verified. Empty: none.
	Metadata string `json:"metadata,omitempty"`
	Label    Label  `json:"label"`
}

// ChainLink is one image below the top one.
type ChainLink struct {
	Pool   PoolID `json:"pool"`
	Path   string `json:"path"`
	Format string `json:"format"`
}

// MaxChain bounds a backing chain.
const MaxChain = 64

// Trust is what the verification of a label's signature came to.
type Trust string

// The outcomes of verification, from nothing to a trusted signature.
const (
	TrustNone     Trust = "none"     // no label
	TrustUnknown  Trust = "unread"   // the label could not be read: see the snapshot's Gaps
	TrustUnsigned Trust = "unsigned" // no signature, or one by a key that the trust file does not know
	TrustInvalid  Trust = "invalid"  // wrong signature, expired or revoked key, expired label, another disk's label
	TrustSigned   Trust = "signed"   // signed by a trusted key and bound to this disk
)

// Label is the label of one disk as found and verified when the snapshot was taken.
type Label struct {
	Trust    Trust           `json:"trust"`
	Document *label.Document `json:"document,omitempty"` // nil for TrustNone and TrustUnknown
	Serial   uint32          `json:"serial,omitempty"`
	KeyID    string          `json:"keyId,omitempty"`
	Issuer   string          `json:"issuer,omitempty"`
	Ceiling  string          `json:"ceiling,omitempty"` // highest level that the key may grant; empty: any
	From     string          `json:"from,omitempty"`    // path of the image that held it, when an ancestor's
	Place    LabelPlace      `json:"place,omitempty"`   // where it was found; empty when there is none
	Reason   string          `json:"reason,omitempty"`  // why unsigned or invalid
}

// LabelPlace is where the label that counts was found.
type LabelPlace string

// The places of a label. Of two the one with the higher serial counts; the image's when they are equal.
const (
	LabelInImage    LabelPlace = "image"
	LabelInSidecar  LabelPlace = "sidecar"  // the file NAME.berth beside the image
	LabelInMetadata LabelPlace = "metadata" // the hypervisor's own, Disk.Metadata
)

// Gap is something that could not be seen. It is part of the inventory, shown, and never skipped silently.
type Gap struct {
	Source SourceID `json:"source"`
	Object string   `json:"object"` // "host host-a", "vm vm-db disk vda"
	What   string   `json:"what"`   // what is not known: "label", "nics", "everything"
	Cause  string   `json:"cause"`
}

// DiskPlace is one disk on one pool.
type DiskPlace struct {
	Disk DiskID `json:"disk"`
	Pool PoolID `json:"pool"`
}

// Placement is the place of one VM: its host, and the pool of each disk in the order of VM.Disks.
type Placement struct {
	Host  HostID      `json:"host"`
	Disks []DiskPlace `json:"disks"`
}

// Relocation is one move of one VM, complete: what a driver needs and all it may do.
type Relocation struct {
	VM   VM        `json:"vm"` // as seen in the snapshot: handle, disks, paths
	From Placement `json:"from"`
	To   Placement `json:"to"`
	Mode Mode      `json:"mode"`
	// Host, Pool and Source details of both ends, so that the driver needs no snapshot.
	FromHost Host   `json:"fromHost"`
	ToHost   Host   `json:"toHost"`
	Pools    []Pool `json:"pools"` // every pool named in From and To
	// Files are what the images of disks are called where the plan cannot tell: it does not know the names that are taken in
	// a pool. The driver chooses them before the move begins, and the journal keeps them; no plan has any.
	Files []DiskFile `json:"-"`
}

// DiskFile is what the image of one disk is called at both ends of a move.
type DiskFile struct {
	Disk DiskID `json:"disk"`
	Path string `json:"path"` // before the move, in the driver's own notation
	Name string `json:"name"` // at the target, without folder or pool
}

// File is what r says of the disk's image; nil: nothing, the image keeps its name.
func (r *Relocation) File(id DiskID) *DiskFile {
	for i := range r.Files {
		if r.Files[i].Disk == id {
			return &r.Files[i]
		}
	}
	return nil
}

// Observed is what the hypervisors say now of one VM.
type Observed struct {
	Placement Placement  `json:"placement"`
	Power     PowerState `json:"power"`
	// Settled is false while the VM is between two places: a job runs on it, it is defined on two hosts,
	// a disk is being mirrored, or files of a broken move are left. Placement is then the place that
	// counts (where it runs, or where its definition was first), and Detail says what is going on.
	Settled bool   `json:"settled"`
	Detail  string `json:"detail,omitempty"`
}
