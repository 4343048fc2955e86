package libvirt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

// labelNS is the XML namespace of the labels that a domain's metadata keeps for its disks:
//
//	<berth:labels xmlns:berth="https://berth-project.org/xmlns/label/1"><berth:label disk="vda">BASE64</berth:label></berth:labels>
//
// BASE64 is of a DSSE envelope, which the driver carries without understanding it.
const labelNS = "https://berth-project.org/xmlns/label/1"

// maxEnvelope bounds an envelope in the metadata, in bytes: the label itself has at most 2,100.
const maxEnvelope = 4000

// findLabels reads the labels from a domain's metadata, by target name. What cannot be read is a fault under its
// disk's name, "" where there is none; the metadata is written by anybody who may define the domain.
func findLabels(doc string) (labels, faults map[string]string) {
	labels, faults = map[string]string{}, map[string]string{}
	dec := insideMetadata(doc)
	for dec != nil {
		tok, err := dec.Token()
		if _, end := tok.(xml.EndElement); end {
			return labels, faults
		}
		if err != nil {
			faults[""] = err.Error()
			return labels, faults
		}
		s, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if s.Name != (xml.Name{Space: labelNS, Local: "labels"}) {
			err = dec.Skip()
		} else {
			err = readLabels(dec, labels, faults)
		}
		if err != nil {
			faults[""] = err.Error()
			return labels, faults
		}
	}
	return labels, faults
}

// readLabels reads up to the end of <labels>.
func readLabels(dec *xml.Decoder, labels, faults map[string]string) error {
	for {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		s, ok := tok.(xml.StartElement)
		if _, end := tok.(xml.EndElement); end {
			return nil
		}
		if !ok {
			continue
		}
		var l struct {
			Disk string `xml:"disk,attr"`
			Text string `xml:",chardata"`
		}
		if s.Name != (xml.Name{Space: labelNS, Local: "label"}) {
			if err := dec.Skip(); err != nil {
				return err
			}
			continue
		}
		if err := dec.DecodeElement(&l, &s); err != nil {
			return err
		}
		if len(labels)+len(faults) > maxDisks {
			return fmt.Errorf("more than %d labels", maxDisks)
		}
		addLabel(l.Disk, strings.TrimSpace(l.Text), labels, faults)
	}
}

func addLabel(disk, text string, labels, faults map[string]string) {
	envelope, err := base64.StdEncoding.DecodeString(text)
	switch _, twice := labels[disk]; {
	case disk == "" || len(disk) > 64:
		faults[""] = fmt.Sprintf("a label of disk %.64q", disk)
	case twice || faults[disk] != "":
		delete(labels, disk)
		faults[disk] = "two labels"
	case len(text) > base64.StdEncoding.EncodedLen(maxEnvelope):
		faults[disk] = fmt.Sprintf("%d characters, expected at most %d", len(text), base64.StdEncoding.EncodedLen(maxEnvelope))
	case err != nil || len(envelope) == 0:
		faults[disk] = "not the base64 of an envelope"
	default:
		labels[disk] = string(envelope)
	}
}

// addLabels takes in the labels of the VM's definition. A running VM's own metadata may be older: a saved memory image brings
// back that of the time when it was made.
func (g *guest) addLabels(defined map[string]string, labels Labels) {
	for disk, envelope := range defined {
		own, ok := g.labels[disk]
		switch {
		case !ok:
			g.labels[disk] = envelope
		case labels != nil:
			g.labels[disk] = labels.Later(own, envelope)
		}
	}
	for i := range g.vm.Disks {
		g.vm.Disks[i].Metadata = g.labels[string(g.vm.Disks[i].ID)]
	}
}

// labelsXML is the element that DomainSetMetadata takes: without a namespace, since libvirt gives one to every element
// that has none, and fails where the prefix is declared already.
func labelsXML(labels map[string]string) string {
	var b bytes.Buffer
	b.WriteString("<labels>")
	for _, disk := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString(`<label disk="`)
		_ = xml.EscapeText(&b, []byte(disk)) // a bytes.Buffer cannot fail
		b.WriteString(`">` + base64.StdEncoding.EncodeToString([]byte(labels[disk])) + "</label>")
	}
	b.WriteString("</labels>")
	return b.String()
}

// SetLabelMetadata keeps envelope as the label of one disk of vm in the metadata of its domain, running and defined
// alike; nil removes it. It is refused, and can be tried again after another Observe, when the disk's label there is no longer that of vm. The
// labels of its other disks stay. libvirt takes the metadata along when the VM moves. The
// call reads back what it wrote; of two that change one VM at once the later one may undo the other's, which is then
// told so.
func (d *Driver) SetLabelMetadata(ctx context.Context, vm fleet.VM, disk fleet.DiskID, envelope []byte) error {
	op := fmt.Sprintf("set label of vm %s disk %s", vm.ID, disk)
	if len(envelope) > maxEnvelope || envelope != nil && len(envelope) == 0 {
		return permanentf(op, "an envelope of %d bytes, expected 1 to %d", len(envelope), maxEnvelope)
	}
	at := slices.IndexFunc(vm.Disks, func(k fleet.Disk) bool { return k.ID == disk })
	if at < 0 {
		return permanentf(op, "the disk: %w", fleet.ErrNotFound)
	}
	e, err := d.findVM(ctx, op, vm)
	if err != nil {
		return err
	}
	if !e.persistent && envelope != nil {
		return permanentf(op, "it has no definition (transient domain): the label would be gone when it stops")
	}
	if vm.Power == fleet.Stopped && e.active && envelope == nil { // the label was to be in the image by now
		return retryf(op, "it was started meanwhile")
	}
	if e.guest.labels[string(disk)] != vm.Disks[at].Metadata {
		return retryf(op, "somebody else has changed it meanwhile")
	}
	labels := maps.Clone(e.guest.labels)
	delete(labels, string(disk))
	if envelope != nil {
		labels[string(disk)] = string(envelope)
	}
	var text golibvirt.OptString
	if len(labels) > 0 {
		text = golibvirt.OptString{labelsXML(labels)}
	}
	_, err = call(ctx, e.h, e.h.time.Call, func(l *golibvirt.Libvirt) (struct{}, error) {
		return struct{}{}, l.DomainSetMetadata(e.dom, int32(golibvirt.DomainMetadataElement), text,
			golibvirt.OptString{"berth"}, golibvirt.OptString{labelNS}, e.impact())
	})
	if err != nil {
		return wrap(op, err, true)
	}
	now, err := e.h.probe(ctx, vm.UUID, nil)
	if err != nil {
		return wrap(op+": read it back", err, true)
	}
	if !now.found || now.conf.labels[string(disk)] != string(envelope) && now.persistent || now.guest.labels[string(disk)] != string(envelope) {
		return retryf(op, "libvirt does not have it: somebody else changed the domain at the same time")
	}
	return nil
}

// impact is what a change of the domain has to reach: whatever there is of it.
func (e *end) impact() golibvirt.DomainModificationImpact {
	switch {
	case e.active && e.persistent:
		return golibvirt.DomainAffectLive | golibvirt.DomainAffectConfig
	case e.active:
		return golibvirt.DomainAffectLive
	default:
		return golibvirt.DomainAffectConfig
	}
}

// findVM asks every host for the VM. A host that does not answer is of no matter where another has it.
func (d *Driver) findVM(ctx context.Context, op string, vm fleet.VM) (*end, error) {
	var found *end
	var failed []error
	for _, h := range d.hosts {
		e, err := h.probe(ctx, vm.UUID, nil)
		if err != nil {
			failed = append(failed, fmt.Errorf("host %s: %w", h.cfg.URI, err))
			continue
		}
		if !e.found {
			continue
		}
		if found != nil {
			return nil, permanentf(op, "the vm is defined on %s and on %s: a move of it was broken off", found.h.cfg.URI, h.cfg.URI)
		}
		found = e
	}
	if found == nil && len(failed) > 0 {
		return nil, wrap(op, errors.Join(failed...), false)
	}
	if found == nil {
		return nil, permanentf(op, "the vm: %w", fleet.ErrNotFound)
	}
	return found, nil
}
