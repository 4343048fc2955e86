package replay

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/policy"
)

// guest is one VM of the replay.
type guest struct {
	vm   fleet.VM
	need policy.Requirement
	at   Second // when it arrives
	life Second // negative: it stays
	seq  int    // order of arrival
	// since is when it began to wait.
	since Second
	// starts counts its starts, so that a departure that was due before its host was lost does not end it.
	starts int
	ends   Second // when it leaves, once it has started
	left   []stay // hosts that it was moved away from in the last FlipFlop seconds
	moved  Second // when it was last moved; negative: never
}

// stay is the end of a stay on a host.
type stay struct {
	host fleet.HostID
	at   Second
}

// guests makes the VMs of a trace and resolves what they need under the catalogue, in one go.
func guests(c *policy.Catalogue, s *fleet.Snapshot, t *Trace) ([]*guest, error) {
	probe := *s
	probe.VMs, probe.Gaps = make([]fleet.VM, 0, len(t.Arrivals)), nil
	home, err := anyHost(s)
	if err != nil {
		return nil, err
	}
	for i := range t.Arrivals {
		a := &t.Arrivals[i]
		if s.VM(fleet.VMID(a.ID)) != nil {
			return nil, fmt.Errorf("read trace: vm %s: the fleet has one of that name already", a.ID)
		}
		vm, err := a.vm(home, s.Taken)
		if err != nil {
			return nil, err
		}
		probe.VMs = append(probe.VMs, vm)
	}
	slices.SortFunc(probe.VMs, func(a, b fleet.VM) int { return strings.Compare(string(a.ID), string(b.ID)) })
	problem, err := policy.Resolve(c, &probe)
	if err != nil {
		return nil, fmt.Errorf("replay trace: %w", err)
	}
	out := make([]*guest, len(t.Arrivals))
	for i := range t.Arrivals {
		a := &t.Arrivals[i]
		vm, need := probe.VM(fleet.VMID(a.ID)), problem.VMs[fleet.VMID(a.ID)]
		if a.Level != "" && need.Level != a.Level {
			return nil, fmt.Errorf("read trace: vm %s: level %q: the policy takes it for %q", a.ID, a.Level, need.Level)
		}
		need.Hold, need.Notes = "", nil
		out[i] = &guest{vm: *vm, need: need, at: a.At, life: a.Life, seq: i, moved: never}
	}
	return out, nil
}

// anyHost is a host to name in VMs that have none yet.
func anyHost(s *fleet.Snapshot) (*fleet.Host, error) {
	for i := range s.Hosts {
		if h := &s.Hosts[i]; !h.Unreachable && s.Source(h.Source).Reachable && len(h.Pools) > 0 {
			return h, nil
		}
	}
	return nil, fmt.Errorf("replay trace: the fleet has no host that can be reached and has a pool")
}

// vm is the VM that arrives. Its host and pool are the caller's, for the sake of a valid snapshot, until it is placed.
func (a *Arrival) vm(home *fleet.Host, now time.Time) (fleet.VM, error) {
	v := fleet.VM{
		ID: fleet.VMID(a.ID), Ref: a.ID, Source: home.Source, Host: home.ID, Power: fleet.Running, CPU: a.CPU, Memory: a.Memory,
	}
	if a.Disk == 0 {
		return v, nil
	}
	d := fleet.Disk{
		ID: "vda", Pool: home.Pools[0], Path: a.ID + ".qcow2", Format: "qcow2", Size: a.Disk, Used: a.Disk,
		Label: fleet.Label{Trust: fleet.TrustNone},
	}
	if a.Level != "" {
		doc := &label.Document{Level: a.Level, Disk: label.Binding{Size: a.Disk}, Serial: 1, Issuer: "trace", Issued: now}
		for key, value := range map[string]string{"spread.group": a.Spread, "affinity.group": a.Affinity} {
			if value != "" {
				if doc.Overrides == nil {
					doc.Overrides = map[string]string{}
				}
				doc.Overrides[key] = value
			}
		}
		if err := doc.Validate(); err != nil {
			return v, fmt.Errorf("read trace: vm %s: %w", a.ID, err)
		}
		d.Label = fleet.Label{Trust: fleet.TrustSigned, Document: doc, Serial: 1, KeyID: "trace", Issuer: "trace"}
	}
	v.Disks = []fleet.Disk{d}
	return v, nil
}
