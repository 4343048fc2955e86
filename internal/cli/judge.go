package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// verdict says whether a VM is where its label asks for.
type verdict struct {
	right bool
	why   []string // what is wrong; or why it is held
}

// judge holds the place of one VM against what it needs: tiers, classes, pools. What concerns several VMs
// (capacity, spread, affinity) is the plan's business.
func judge(p *policy.Problem, v *fleet.VM) verdict {
	req, ok := p.VMs[v.ID]
	if !ok {
		return verdict{why: []string{"the policy says nothing of it"}}
	}
	var why []string
	host := p.Hosts[v.Host]
	if host.Tier < req.Server {
		why = append(why, fmt.Sprintf("host is %s, needs %s", tierName(p.ServerTiers, host.Tier), tierName(p.ServerTiers, req.Server)))
	}
	if host.Security < req.Security {
		why = append(why, "host is below the security class it needs")
	}
	if best := bestNIC(p, v.Host); best < req.NICClass {
		why = append(why, fmt.Sprintf("host's best NIC is class %d, needs %d", best, req.NICClass))
	}
	for i, d := range v.Disks {
		if i >= len(req.Disks) {
			break
		}
		if have, need := p.Pools[d.Pool].Tier, req.Disks[i].Tier; have < need {
			why = append(why, fmt.Sprintf("%s is on %s, needs %s", d.ID, tierName(p.PoolTiers, have), tierName(p.PoolTiers, need)))
		}
	}
	return verdict{right: len(why) == 0, why: why}
}

func bestNIC(p *policy.Problem, id fleet.HostID) fleet.NICClass {
	var best fleet.NICClass
	for _, c := range p.Hosts[id].NICClass {
		best = max(best, c)
	}
	return best
}

func tierName(names []string, r policy.Rank) string {
	if r < 0 || int(r) >= len(names) {
		return "unranked"
	}
	return names[r]
}

// trustOf joins what the labels of the disks of v came to, each outcome once, in disk order.
func trustOf(v *fleet.VM) string {
	var out []string
	for _, d := range v.Disks {
		t := string(d.Label.Trust)
		if t != "" && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return string(fleet.TrustNone)
	}
	return strings.Join(out, ",")
}

// poolsOf lists the pools of the disks of a placement, each once.
func poolsOf(disks []fleet.DiskPlace) string {
	var out []string
	for _, d := range disks {
		if !slices.Contains(out, string(d.Pool)) {
			out = append(out, string(d.Pool))
		}
	}
	return strings.Join(out, ",")
}
