package libvirt

import (
	"encoding/xml"
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// nodeDevice is a node device of interest: a network device, or the PCI function that it sits on.
type nodeDevice struct {
	name, parent string
	driver       string
	net          *libvirtxml.NodeDeviceNetCapability
	pci          *libvirtxml.NodeDevicePCICapability
}

func parseNodeDevice(doc string) (*nodeDevice, error) {
	if len(doc) > maxDomainXML {
		return nil, fmt.Errorf("node device XML of %d bytes", len(doc))
	}
	var d libvirtxml.NodeDevice
	if err := xml.Unmarshal([]byte(doc), &d); err != nil {
		return nil, fmt.Errorf("parse node device XML: %w", err)
	}
	n := &nodeDevice{name: d.Name, parent: d.Parent, net: d.Capability.Net, pci: d.Capability.PCI}
	if d.Driver != nil {
		n.driver = d.Driver.Name
	}
	return n, nil
}

// toNIC turns a network device and its parent (nil for a virtual one) into a NIC. ok is false for what is no
// uplink of guests: loopback, taps, bridges, virtual devices that carry no guest bridge, and the virtual
// functions themselves, which their physical function counts. uplinks are the ports of guest bridges.
//
// Class 3: SR-IOV, as many functions as the card has. Class 1: receive hashing, so several queues. libvirt
// tells nothing from which class 2 would follow.
func toNIC(dev, parent *nodeDevice, uplinks map[string]bool) (fleet.NIC, bool) {
	if dev == nil || dev.net == nil || dev.net.Interface == "" || dev.net.Interface == "lo" {
		return fleet.NIC{}, false
	}
	nic := fleet.NIC{ID: fleet.NICID(dev.net.Interface), NUMANode: -1, Driver: dev.driver}
	if l := dev.net.Link; l != nil && l.Speed != "" {
		var speed int64
		if _, err := fmt.Sscanf(l.Speed, "%d", &speed); err == nil && speed > 0 && speed < 1e9 {
			nic.Speed = fleet.Mbps(speed)
		}
	}
	for _, f := range dev.net.Features {
		nic.Features = append(nic.Features, f.Name)
		if f.Name == "rxhash" {
			nic.Class = 1
		}
	}
	if parent == nil || parent.pci == nil {
		return nic, uplinks[dev.net.Interface] && !strings.HasPrefix(dev.net.Interface, "vnet")
	}
	if nic.Driver == "" {
		nic.Driver = parent.driver
	}
	if parent.pci.NUMA != nil {
		nic.NUMANode = parent.pci.NUMA.Node
	}
	for _, c := range parent.pci.Capabilities {
		if c.PhysFunction != nil {
			return fleet.NIC{}, false
		}
		if c.VirtFunctions != nil {
			n := max(c.VirtFunctions.MaxCount, len(c.VirtFunctions.Address))
			if n > 0 && n <= 1<<16 {
				nic.Class, nic.Queues = 3, fleet.Queues(n)
			}
		}
	}
	return nic, true
}

// bridgePorts reads an interface's XML: the bridge's name and its ports. Empty when it is no bridge.
func bridgePorts(doc string) (bridge string, ports []string, err error) {
	if len(doc) > maxDomainXML {
		return "", nil, fmt.Errorf("interface XML of %d bytes", len(doc))
	}
	var i libvirtxml.Interface
	if err := xml.Unmarshal([]byte(doc), &i); err != nil {
		return "", nil, fmt.Errorf("parse interface XML: %w", err)
	}
	if i.Bridge == nil {
		return "", nil, nil
	}
	for k := range i.Bridge.Interfaces {
		ports = append(ports, i.Bridge.Interfaces[k].Name)
	}
	return i.Name, ports, nil
}
