package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

func (a *app) fleetShow() *cobra.Command {
	var in fleetInput
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show hosts, pools and VMs: tiers, labels, and which VMs are where their label asks for",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.loadSituation(cmd.Context(), &in)
			if err != nil {
				return err
			}
			v := newFleetView(st.problem)
			if a.json {
				return a.jsonDocument(v)
			}
			a.printFleet(v)
			return nil
		},
	}
	in.flags(cmd)
	in.policyFlag(cmd)
	return cmd
}

// fleetView is the JSON of berth fleet show.
type fleetView struct {
	Snapshot string       `json:"snapshot"`
	Taken    time.Time    `json:"taken"`
	Policy   string       `json:"policy"`
	Sources  []sourceView `json:"sources"`
	Hosts    []hostView   `json:"hosts"`
	Pools    []poolView   `json:"pools"`
	VMs      []vmView     `json:"vms"`
	Gaps     []fleet.Gap  `json:"gaps"`
	Right    int          `json:"right"` // VMs
	Wrong    int          `json:"wrong"`
	Held     int          `json:"held"` // left alone; each is right or wrong too
}

type sourceView struct {
	ID             fleet.SourceID   `json:"id"`
	Kind           fleet.Hypervisor `json:"kind"`
	Reachable      bool             `json:"reachable"`
	NativeBalancer string           `json:"nativeBalancer,omitempty"`
}

type hostView struct {
	ID          fleet.HostID   `json:"id"`
	Source      fleet.SourceID `json:"source"`
	Tier        string         `json:"tier"` // "unranked": no rule matched
	Rule        string         `json:"rule,omitempty"`
	CPU         fleet.MilliCPU `json:"cpu"` // what VMs may be promised, thousandths of a thread
	CPUUsed     fleet.MilliCPU `json:"cpuUsed"`
	Memory      fleet.Bytes    `json:"memory"`
	MemoryUsed  fleet.Bytes    `json:"memoryUsed"`
	NICClass    fleet.NICClass `json:"nicClass"` // of its best NIC
	VMs         int            `json:"vms"`
	Maintenance bool           `json:"maintenance"`
	Unreachable bool           `json:"unreachable"`
}

type poolView struct {
	ID       fleet.PoolID   `json:"id"`
	Source   fleet.SourceID `json:"source"`
	Tier     string         `json:"tier"`
	Rule     string         `json:"rule,omitempty"`
	Type     string         `json:"type"`
	Capacity fleet.Bytes    `json:"capacity"`
	Free     fleet.Bytes    `json:"free"`
	Reserve  fleet.Bytes    `json:"reserve"`
	Shared   bool           `json:"shared"`
}

type vmView struct {
	ID    fleet.VMID       `json:"id"`
	Level string           `json:"level"`
	Asked string           `json:"asked,omitempty"` // level in the label, when it is another one
	Trust string           `json:"trust"`
	Host  fleet.HostID     `json:"host"`
	Power fleet.PowerState `json:"power"`
	Disks []diskView       `json:"disks"`
	Right bool             `json:"right"`
	Why   []string         `json:"why"`
	Hold  string           `json:"hold,omitempty"`
	Notes []string         `json:"notes"`
}

type diskView struct {
	ID    fleet.DiskID `json:"id"`
	Pool  fleet.PoolID `json:"pool"`
	Tier  string       `json:"tier"`
	Needs string       `json:"needs"`
	Trust fleet.Trust  `json:"trust"`
	// Place is where the label that counts was found; absent where there is none.
	Place fleet.LabelPlace `json:"place,omitempty"`
}

// elsewhere says where the label is when it is not in the image, where one would look.
func (d *diskView) elsewhere() string {
	switch d.Place {
	case fleet.LabelInMetadata:
		return fmt.Sprintf("label of disk %s is in the metadata of its hypervisor", d.ID)
	case fleet.LabelInSidecar:
		return fmt.Sprintf("label of disk %s is beside its image", d.ID)
	default:
		return ""
	}
}

func newFleetView(p *policy.Problem) *fleetView {
	s := p.Snapshot
	v := &fleetView{
		Snapshot: s.Digest(), Taken: s.Taken, Policy: p.PolicyID,
		Sources: []sourceView{}, Hosts: []hostView{}, Pools: []poolView{}, VMs: []vmView{},
		Gaps: append([]fleet.Gap{}, s.Gaps...),
	}
	for _, src := range s.Sources {
		v.Sources = append(v.Sources, sourceView{src.ID, src.Kind, src.Reachable, src.NativeBalancer})
	}
	j := newJudge(p)
	used := map[fleet.HostID]*hostView{}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		used[h.ID] = &hostView{}
	}
	for i := range s.VMs {
		vm := &s.VMs[i]
		if u := used[vm.Host]; u != nil {
			u.CPUUsed += vm.CPU
			u.MemoryUsed += vm.Memory
			u.VMs++
		}
		v.addVM(j, vm)
	}
	for i := range s.Hosts {
		h, f := &s.Hosts[i], p.Hosts[s.Hosts[i].ID]
		u := used[h.ID]
		v.Hosts = append(v.Hosts, hostView{
			ID: h.ID, Source: h.Source, Tier: tierName(p.ServerTiers, f.Tier), Rule: f.Rule,
			CPU: f.CPU, CPUUsed: u.CPUUsed, Memory: f.Memory, MemoryUsed: u.MemoryUsed,
			NICClass: bestNIC(p, h), VMs: u.VMs, Maintenance: h.Maintenance, Unreachable: h.Unreachable,
		})
	}
	for i := range s.Pools {
		o, f := &s.Pools[i], p.Pools[s.Pools[i].ID]
		v.Pools = append(v.Pools, poolView{
			ID: o.ID, Source: o.Source, Tier: tierName(p.PoolTiers, f.Tier), Rule: f.Rule, Type: o.Type,
			Capacity: o.Capacity, Free: o.Free, Reserve: f.Reserve, Shared: o.Shared,
		})
	}
	return v
}

func (v *fleetView) addVM(j *judge, vm *fleet.VM) {
	p := j.p
	req, wrong := p.VMs[vm.ID], j.wrong(vm)
	out := vmView{
		ID: vm.ID, Level: req.Level, Asked: req.Asked, Trust: trustOf(vm), Host: vm.Host, Power: vm.Power,
		Disks: []diskView{}, Right: len(wrong) == 0, Why: append([]string{}, wrong...), Hold: plan.HoldReason(p, vm),
		Notes: append([]string{}, req.Notes...),
	}
	for i, d := range vm.Disks {
		need := policy.Unranked
		if i < len(req.Disks) {
			need = req.Disks[i].Tier
		}
		out.Disks = append(out.Disks, diskView{
			ID: d.ID, Pool: d.Pool, Tier: tierName(p.PoolTiers, p.Pools[d.Pool].Tier),
			Needs: tierName(p.PoolTiers, need), Trust: d.Label.Trust, Place: d.Label.Place,
		})
	}
	v.VMs = append(v.VMs, out)
	if out.Hold != "" {
		v.Held++
	}
	if out.Right {
		v.Right++
	} else {
		v.Wrong++
	}
}

func (a *app) printFleet(v *fleetView) {
	a.printHosts(v)
	pools := &grid{title: "Pools", headings: []string{"POOL", "TIER", "TYPE", "FREE", "CAPACITY", ""}}
	for _, o := range v.Pools {
		shared := ""
		if o.Shared {
			shared = "shared"
		}
		pools.add(text(string(o.ID)), tierCell(o.Tier), text(o.Type), text(fleet.FormatBytes(o.Free)),
			text(fleet.FormatBytes(o.Capacity)), text(shared))
	}
	a.printGrid(pools)
	a.printVMs(v)
	a.printGaps(v.Gaps)
	a.printf("%d VMs: %d right, %d wrong, %d held\n", len(v.VMs), v.Right, v.Wrong, v.Held)
}

func (a *app) printHosts(v *fleetView) {
	g := &grid{title: "Hosts", headings: []string{"HOST", "TIER", "CPU", "MEMORY", "NIC", "VMS", ""}}
	for _, h := range v.Hosts {
		var state []string
		if h.Maintenance {
			state = append(state, "maintenance")
		}
		if h.Unreachable {
			state = append(state, "unreachable")
		}
		g.add(text(string(h.ID)), tierCell(h.Tier),
			text(fmt.Sprintf("%s of %s", h.CPUUsed, h.CPU)),
			text(fmt.Sprintf("%s of %s", fleet.FormatBytes(h.MemoryUsed), fleet.FormatBytes(h.Memory))),
			text(fmt.Sprintf("class %d", h.NICClass)), text(fmt.Sprint(h.VMs)), toned(warnTone, strings.Join(state, ", ")))
	}
	a.printGrid(g)
	for _, s := range v.Sources {
		if s.NativeBalancer != "" {
			a.printf("%s: %s is on: Berth only advises there\n\n", cleanLine(string(s.ID)), cleanLine(s.NativeBalancer))
		}
	}
}

func (a *app) printVMs(v *fleetView) {
	g := &grid{title: "VMs", headings: []string{"VM", "LEVEL", "LABEL", "HOST", "POWER", "POOLS", "PLACE", "WHY"}}
	for _, vm := range v.VMs {
		level := vm.Level
		if vm.Asked != "" && vm.Asked != vm.Level {
			level += " (asks " + vm.Asked + ")"
		}
		places := make([]fleet.DiskPlace, len(vm.Disks))
		for i, d := range vm.Disks {
			places[i] = fleet.DiskPlace{Disk: d.ID, Pool: d.Pool}
		}
		state := toned(goodTone, "right")
		if !vm.Right {
			state = toned(badTone, "wrong")
		}
		why := append([]string{}, vm.Why...)
		if vm.Hold != "" {
			why = append(why, "held: "+vm.Hold)
		}
		why = append(why, vm.Notes...)
		for i := range vm.Disks {
			if note := vm.Disks[i].elsewhere(); note != "" {
				why = append(why, note)
			}
		}
		g.add(text(string(vm.ID)), text(level), trustCell(vm.Trust), text(string(vm.Host)), text(string(vm.Power)),
			text(poolsOf(places)), state, text(strings.Join(why, "; ")))
	}
	a.printGrid(g)
}

// printGaps shows what could not be seen, when there is any of it.
func (a *app) printGaps(gaps []fleet.Gap) {
	if len(gaps) == 0 {
		return
	}
	g := &grid{title: "Not seen", headings: []string{"SOURCE", "OBJECT", "WHAT", "CAUSE"}}
	for _, gap := range gaps {
		g.add(text(string(gap.Source)), text(gap.Object), text(gap.What), toned(warnTone, gap.Cause))
	}
	a.printGrid(g)
}

func tierCell(tier string) cell {
	if tier == "unranked" {
		return toned(warnTone, tier)
	}
	return text(tier)
}

func trustCell(trust string) cell {
	switch fleet.Trust(trust) {
	case fleet.TrustSigned:
		return toned(goodTone, trust)
	case fleet.TrustInvalid, fleet.TrustUnknown:
		return toned(badTone, trust)
	case fleet.TrustNone:
		return toned(dimTone, trust)
	default:
		return text(trust)
	}
}
