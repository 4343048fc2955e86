package libvirt

import (
	"encoding/xml"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// Bounds of a domain. libvirt has no limits of its own that are this low, but no guest has more.
const (
	maxDisks = 1024
	maxVNICs = 1024
)

// poolInfo is one storage pool of a host.
type poolInfo struct {
	id       fleet.PoolID
	name     string
	kind     string // libvirt's word: dir, fs, netfs, logical
	path     string // target path; clean, absolute
	active   bool
	capacity fleet.Bytes
	free     fleet.Bytes
}

// files says that the pool's volumes are plain files below its path, which is all that the driver can move.
func (p *poolInfo) files() bool { return p.kind == "dir" || p.kind == "fs" }

// shared says that other hosts may see the same files.
func (p *poolInfo) shared() bool {
	switch p.kind {
	case "netfs", "gluster", "rbd", "iscsi", "iscsi-direct", "sheepdog", "vstorage", "mpath":
		return true
	default:
		return false
	}
}

// poolOf is the pool with the longest path above file; nil when no pool holds it.
func poolOf(pools []poolInfo, file string) *poolInfo {
	file = path.Clean(file)
	var best *poolInfo
	for i := range pools {
		p := &pools[i]
		if p.path == "" || !strings.HasPrefix(file, strings.TrimSuffix(p.path, "/")+"/") {
			continue
		}
		if best == nil || len(p.path) > len(best.path) {
			best = p
		}
	}
	return best
}

// guest is what a domain's XML says, in Berth's words. Sizes are not in the XML and are filled in later.
type guest struct {
	vm      fleet.VM
	marker  *marker
	mirrors map[string]mirror // target dev -> block job
	labels  map[string]string // target dev -> envelope, from the metadata
	gaps    []fleet.Gap       // Source is left to the caller
}

// mirror is a block copy that runs on a disk.
type mirror struct {
	path  string
	ready bool
}

// translate turns a domain's XML into a VM at hostID. It reads hostile input: the XML comes from a host.
func translate(doc string, hostID fleet.HostID, pools []poolInfo) (*guest, error) {
	if len(doc) > maxDomainXML {
		return nil, fmt.Errorf("domain XML of %d bytes, expected at most %d", len(doc), maxDomainXML)
	}
	var d libvirtxml.Domain
	if err := xml.Unmarshal([]byte(doc), &d); err != nil {
		return nil, fmt.Errorf("parse domain XML: %w", err)
	}
	if d.Name == "" || d.UUID == "" {
		return nil, fmt.Errorf("parse domain XML: name %q, uuid %q, expected both", d.Name, d.UUID)
	}
	g := &guest{mirrors: map[string]mirror{}, labels: map[string]string{}, vm: fleet.VM{ID: fleet.VMID(d.Name), UUID: d.UUID, Ref: d.UUID, Host: hostID}}
	if d.Memory != nil {
		m, err := sizeOf(uint64(d.Memory.Value), d.Memory.Unit)
		if err != nil {
			return nil, fmt.Errorf("domain %s: memory: %w", d.Name, err)
		}
		g.vm.Memory = m
	}
	if d.VCPU != nil {
		if d.VCPU.Value > 1<<16 {
			return nil, fmt.Errorf("domain %s: %d vcpus", d.Name, d.VCPU.Value)
		}
		g.vm.CPU = fleet.CPUs(int(d.VCPU.Value))
	}
	g.vm.CPUBaseline = baseline(&d)
	if d.Metadata != nil {
		g.metadata(doc)
	}
	g.bootFiles(&d)
	if d.Devices != nil {
		if len(d.Devices.Disks) > maxDisks || len(d.Devices.Interfaces) > maxVNICs {
			return nil, fmt.Errorf("domain %s: %d disks, %d interfaces, expected at most %d", d.Name,
				len(d.Devices.Disks), len(d.Devices.Interfaces), maxDisks)
		}
		for i := range d.Devices.Disks {
			g.disk(&d.Devices.Disks[i], pools)
		}
		for i := range d.Devices.Interfaces {
			g.vnic(i, &d.Devices.Interfaces[i])
		}
		g.devices(d.Devices)
	}
	return g, nil
}

// metadata reads what Berth keeps in the domain's metadata.
func (g *guest) metadata(doc string) {
	g.marker = findMarker(doc)
	var faults map[string]string
	g.labels, faults = findLabels(doc)
	for _, disk := range slices.Sorted(maps.Keys(faults)) {
		g.gap(disk, "label in the metadata", "%s", faults[disk])
	}
}

// pin keeps the VM where it is; the first reason stays.
func (g *guest) pin(format string, args ...any) {
	if g.vm.Pinned == "" {
		g.vm.Pinned = fmt.Sprintf(format, args...)
	}
}

func (g *guest) block(c fleet.Change, format string, args ...any) {
	if g.vm.BlockedBy(c) == "" {
		g.vm.Blocked = append(g.vm.Blocked, fleet.Blocker{Change: c, Reason: fmt.Sprintf(format, args...)})
	}
}

func (g *guest) gap(disk, what, format string, args ...any) {
	object := "vm " + string(g.vm.ID)
	if disk != "" {
		object += " disk " + disk
	}
	g.gaps = append(g.gaps, fleet.Gap{Object: object, What: what, Cause: fmt.Sprintf(format, args...)})
}

// bootFiles pins what boots from, or keeps state in, files of its host that no pool knows.
func (g *guest) bootFiles(d *libvirtxml.Domain) {
	if d.OS == nil {
		return
	}
	if d.OS.Kernel != "" {
		g.pin("boots from %s, a file of its host", d.OS.Kernel)
	}
	if d.OS.NVRam != nil {
		g.pin("keeps UEFI variables in %s, a file of its host", d.OS.NVRam.NVRam)
	}
}

func (g *guest) disk(d *libvirtxml.DomainDisk, pools []poolInfo) {
	dev := ""
	if d.Target != nil {
		dev = d.Target.Dev
	}
	if d.Device == "cdrom" || d.Device == "floppy" {
		if d.Source != nil && (d.Source.File == nil || d.Source.File.File != "") {
			g.pin("%s has a medium in drive %s", g.vm.ID, dev)
		}
		return
	}
	if dev == "" {
		g.gap("", "a disk", "a disk without a target")
		g.pin("has a disk without a target")
		return
	}
	if d.Source == nil || d.Source.File == nil || d.Source.File.File == "" {
		g.gap(dev, "pool", "not a file: block, network and volume sources are not supported yet")
		g.pin("%s is not a file in a pool", dev)
		return
	}
	file := d.Source.File.File
	pool := poolOf(pools, file)
	if pool == nil {
		g.gap(dev, "pool", "%s is in no storage pool of the host", file)
		g.pin("%s is in no storage pool", dev)
		return
	}
	if !pool.files() {
		g.pin("%s is in pool %s of type %s, which is not supported yet", dev, pool.id, pool.kind)
	}
	disk := fleet.Disk{ID: fleet.DiskID(dev), Pool: pool.id, Path: file, Format: "raw", Metadata: g.labels[dev]}
	if d.Driver != nil && d.Driver.Type != "" {
		disk.Format = d.Driver.Type
	}
	g.chain(&disk, d.BackingStore, pools)
	if d.Mirror != nil {
		m := mirror{ready: d.Mirror.Ready == "yes"}
		if d.Mirror.Source != nil && d.Mirror.Source.File != nil {
			m.path = d.Mirror.Source.File.File
		}
		g.mirrors[dev] = m
	}
	switch disk.Format {
	case "vmdk":
		g.block(fleet.ChangeHost, "%s is a VMDK: QEMU refuses live migration", dev)
	case "vdi", "vpc", "vhd": // only reading the image would tell whether it has a label; its disks change the host with it
		for _, c := range []fleet.Change{fleet.ChangeHost, fleet.ChangeStorage} {
			g.block(c, "%s is a %s image: a live copy would lose its label", dev, strings.ToUpper(disk.Format))
		}
	}
	if strings.HasSuffix(file, sidecarSuffix) {
		g.pin("%s has the name of a label file", dev) // beside an image of that name it would become its label
	}
	if d.Shareable != nil {
		g.pin("%s is shared with other VMs", dev)
	}
	g.vm.Disks = append(g.vm.Disks, disk)
}

// chain notes the backing images below disk, which the driver does not move yet.
func (g *guest) chain(disk *fleet.Disk, b *libvirtxml.DomainDiskBackingStore, pools []poolInfo) {
	for b != nil && b.Format != nil { // <backingStore/> without a format ends the chain
		if len(disk.Chain) == fleet.MaxChain {
			g.gap(string(disk.ID), "backing chain", "more than %d images", fleet.MaxChain)
			break
		}
		link := fleet.ChainLink{Format: b.Format.Type}
		if b.Source != nil && b.Source.File != nil {
			link.Path = b.Source.File.File
			if p := poolOf(pools, link.Path); p != nil {
				link.Pool = p.id
			}
		}
		disk.Chain = append(disk.Chain, link)
		b = b.BackingStore
	}
	if len(disk.Chain) > 0 {
		g.pin("%s has a backing chain, which is not moved yet", disk.ID)
	}
}

func (g *guest) vnic(i int, n *libvirtxml.DomainInterface) {
	v := fleet.VNIC{ID: "net" + strconv.Itoa(i), Queues: 1}
	if n.MAC != nil && n.MAC.Address != "" {
		v.ID = n.MAC.Address
	}
	if n.Driver != nil && n.Driver.Queues > 1 {
		v.Queues = fleet.Queues(min(n.Driver.Queues, math.MaxInt16))
	}
	if s := n.Source; s != nil {
		switch {
		case s.Bridge != nil:
			v.Network = s.Bridge.Bridge
		case s.Network != nil:
			v.Network = s.Network.Network
		case s.Direct != nil:
			v.Network = s.Direct.Dev
		case s.Hostdev != nil:
			g.pin("interface %s is a device passed through", v.ID)
		}
	}
	g.vm.VNICs = append(g.vm.VNICs, v)
}

// devices pins what depends on hardware or files of the host.
func (g *guest) devices(d *libvirtxml.DomainDeviceList) {
	if len(d.Hostdevs) > 0 {
		g.pin("has a device passed through")
	}
	if len(d.Filesystems) > 0 {
		g.pin("shares a folder with its host")
	}
	if len(d.TPMs) > 0 {
		g.pin("has a TPM, whose state its host keeps")
	}
	if len(d.Memorydevs) > 0 || len(d.Shmems) > 0 {
		g.pin("has a memory device of its host")
	}
}

// insideMetadata reads a domain's XML up to the inside of its <metadata>; nil when there is none. It starts from the root,
// since a namespace of what is inside may be declared there, which libvirt keeps so.
func insideMetadata(doc string) *xml.Decoder {
	dec := xml.NewDecoder(strings.NewReader(doc))
	for root := true; ; {
		tok, err := dec.Token()
		if err != nil {
			return nil
		}
		s, ok := tok.(xml.StartElement)
		switch {
		case !ok:
		case root:
			root = false
		case s.Name.Local == "metadata":
			return dec
		case dec.Skip() != nil:
			return nil
		}
	}
}

// findMarker finds the driver's mark in a domain's metadata; nil when there is none.
func findMarker(doc string) *marker {
	dec := insideMetadata(doc)
	for dec != nil {
		tok, err := dec.Token()
		if _, end := tok.(xml.EndElement); end || err != nil {
			return nil
		}
		s, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if s.Name.Space != moveNS || s.Name.Local != "move" {
			if err := dec.Skip(); err != nil {
				return nil
			}
			continue
		}
		return &marker{State: attr(s, "state"), From: attr(s, "from"), Autostart: attr(s, "autostart") == "true"}
	}
	return nil
}

// sizeOf reads libvirt's scaled integers. Source: https://libvirt.org/formatdomain.html#memory-allocation
func sizeOf(v uint64, unit string) (fleet.Bytes, error) {
	scale := map[string]uint64{
		"b": 1, "bytes": 1, "KB": 1e3, "k": 1 << 10, "KiB": 1 << 10, "": 1 << 10, "MB": 1e6, "M": 1 << 20, "MiB": 1 << 20,
		"GB": 1e9, "G": 1 << 30, "GiB": 1 << 30, "TB": 1e12, "T": 1 << 40, "TiB": 1 << 40,
	}
	s, ok := scale[unit]
	if !ok {
		return 0, fmt.Errorf("unit %q is not known", unit)
	}
	if v > math.MaxInt64/s {
		return 0, fmt.Errorf("%d %s: too large", v, unit)
	}
	return fleet.Bytes(v * s), nil
}
