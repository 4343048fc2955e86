package libvirt

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// baselines asks which CPU models a guest can be given on the host.
func (h *host) baselines(l *golibvirt.Libvirt, host *fleet.Host) error {
	doc, err := l.ConnectGetDomainCapabilities(nil, nil, nil, golibvirt.OptString{"kvm"}, 0)
	if hasCode(err, golibvirt.ErrNoSupport) || hasCode(err, golibvirt.ErrInvalidArg) || hasCode(err, golibvirt.ErrConfigUnsupported) {
		return nil // no KVM there, or a driver that does not tell: every baseline is as good as unknown
	}
	if err != nil {
		return err
	}
	host.CPUBaselines, err = usableModels(doc)
	return err
}

// usableModels are the named CPU models that libvirt calls usable. nil when it calls none so: then it cannot tell.
func usableModels(doc string) ([]string, error) {
	if len(doc) > maxDomainXML {
		return nil, fmt.Errorf("domain capabilities of %d bytes", len(doc))
	}
	var c libvirtxml.DomainCaps
	if err := xml.Unmarshal([]byte(doc), &c); err != nil {
		return nil, fmt.Errorf("parse domain capabilities: %w", err)
	}
	if c.CPU == nil {
		return nil, nil
	}
	var out []string
	for _, m := range c.CPU.Modes {
		for _, model := range m.Models {
			if m.Name == "custom" && model.Usable == "yes" && cpuName(model.Name) {
				out = append(out, model.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// baseline is the CPU model that a domain's guest is given by name; "" for what is not a matter of a name: the host's
// own processor, or a guest without KVM, which any processor can run. The features that a domain adds to its model are
// not looked at.
func baseline(d *libvirtxml.Domain) string {
	if d.Type != "kvm" || d.CPU == nil || d.CPU.Model == nil || d.CPU.Mode != "" && d.CPU.Mode != "custom" {
		return ""
	}
	if name := strings.TrimSpace(d.CPU.Model.Value); cpuName(name) {
		return name
	}
	return ""
}

// cpuName says whether a host's or a domain's word can be the name of a CPU model.
func cpuName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= 0x20 || r == 0x7f })
}

// proven adds the baselines of guests that run on a host to those that it says it has: it does have them.
func proven(s *fleet.Snapshot) {
	hosts := make(map[fleet.HostID]*fleet.Host, len(s.Hosts))
	for i := range s.Hosts {
		hosts[s.Hosts[i].ID] = &s.Hosts[i]
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		h := hosts[v.Host]
		if h != nil && v.Power == fleet.Running && v.CPUBaseline != "" && len(h.CPUBaselines) > 0 && !slices.Contains(h.CPUBaselines, v.CPUBaseline) {
			h.CPUBaselines = append(h.CPUBaselines, v.CPUBaseline)
		}
	}
}
