package libvirt

import (
	"encoding/xml"
	"fmt"
	"maps"
	"path"
	"slices"

	"libvirt.org/go/libvirtxml"

	"github.com/berth-project/berth/fleet"
)

// KeptLabel is a label that a domain's metadata keeps for one of its disks.
type KeptLabel struct {
	Disk     fleet.DiskID // target name; empty in a fault that is of no disk
	File     string       // the disk's source, as the XML has it; empty: it is no file
	Format   string       // as declared to the hypervisor: "qcow2"; "raw" where nothing is declared
	Envelope []byte       // DSSE envelope, not verified; nil with a fault
	Fault    string       // why there is no envelope
}

// KeptLabels reads the labels in a domain's XML, such as libvirt gives to a hook; by disk. Only the disk's own source is
// named, never a backing file.
func KeptLabels(doc []byte) (domain string, kept []KeptLabel, err error) {
	if len(doc) > maxDomainXML {
		return "", nil, fmt.Errorf("domain XML of %d bytes, expected at most %d", len(doc), maxDomainXML)
	}
	var d libvirtxml.Domain
	if err := xml.Unmarshal(doc, &d); err != nil {
		return "", nil, fmt.Errorf("parse domain XML: %w", err)
	}
	if d.Name == "" {
		return "", nil, fmt.Errorf("parse domain XML: no name")
	}
	if d.Metadata == nil {
		return d.Name, nil, nil
	}
	labels, faults := findLabels(string(doc))
	for _, disk := range slices.Sorted(maps.Keys(faults)) {
		kept = append(kept, KeptLabel{Disk: fleet.DiskID(disk), Fault: faults[disk]})
	}
	for _, disk := range slices.Sorted(maps.Keys(labels)) {
		k := KeptLabel{Disk: fleet.DiskID(disk), Format: "raw", Envelope: []byte(labels[disk])}
		if source := diskNamed(&d, disk); source == nil {
			k.Envelope, k.Fault = nil, "the domain has no such disk"
		} else {
			k.describe(source)
			if k.Fault = notToWrite(&d, source); k.Fault != "" {
				k.Envelope = nil
			}
		}
		kept = append(kept, k)
	}
	return d.Name, kept, nil
}

func (k *KeptLabel) describe(d *libvirtxml.DomainDisk) {
	if d.Source != nil && d.Source.File != nil {
		k.File = d.Source.File.File
	}
	if d.Driver != nil && d.Driver.Type != "" {
		k.Format = d.Driver.Type
	}
}

// notToWrite says why a domain's label is not for the disk's image: the image is others' too, does not keep what is written,
// or its label file would be another disk of this domain. Empty: it is.
func notToWrite(d *libvirtxml.Domain, disk *libvirtxml.DomainDisk) string {
	switch {
	case disk.ReadOnly != nil:
		return "the disk is read-only for this domain"
	case disk.Shareable != nil:
		return "the disk is shared with other domains"
	case disk.Transient != nil:
		return "the disk forgets what is written"
	case disk.Source == nil || disk.Source.File == nil:
		return ""
	}
	sidecar := path.Clean(disk.Source.File.File) + sidecarSuffix
	for _, other := range d.Devices.Disks {
		if other.Source != nil && other.Source.File != nil && path.Clean(other.Source.File.File) == sidecar {
			return "its label file would be another disk"
		}
	}
	return ""
}

// diskNamed is the disk, and no drive for media, with that target.
func diskNamed(d *libvirtxml.Domain, dev string) *libvirtxml.DomainDisk {
	if d.Devices == nil {
		return nil
	}
	for i := range d.Devices.Disks {
		k := &d.Devices.Disks[i]
		if k.Target != nil && k.Target.Dev == dev && k.Device != "cdrom" && k.Device != "floppy" {
			return k
		}
	}
	return nil
}
