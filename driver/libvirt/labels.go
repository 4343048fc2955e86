package libvirt

import (
	"bytes"
	"context"
	"fmt"
	"path"

	"github.com/berth-project/berth/fleet"
)

// hasFrame looks for the magic of a label frame in the head of an image that is no VMDK.
func hasFrame(head []byte) bool { return bytes.Contains(head, []byte("BLB1")) }

// liveLabel says whether a live copy of the disk has to carry a label, of the image or of the domain's metadata. A copy
// onto a new file would lose it, and so would one whose format the driver cannot make beforehand: that is refused.
func (m *move) liveLabel(ctx context.Context, e *end, dm diskMove, set *fileSet) (bool, error) {
	envelope := e.guest.labels[string(dm.disk.ID)]
	if m.d.labels == nil {
		head, err := m.src.download(ctx, set.files[0].vol, 0, headSize)
		if err != nil {
			return false, wrap(m.op, err, false)
		}
		if hasFrame(head) || set.sidecar != nil {
			return false, m.losesLabel(dm)
		}
		return false, nil
	}
	from, err := openVolume(ctx, m.src, set.files[0])
	if err != nil {
		return false, wrap(m.op, err, false)
	}
	labelled, err := m.d.labels.Labelled(from, dm.disk.Format, []byte(envelope))
	if err != nil {
		return false, wrap(fmt.Sprintf("%s: disk %s: a live copy cannot carry its label", m.op, dm.disk.ID), err, false)
	}
	if labelled && dm.disk.Format != "raw" && dm.disk.Format != "qcow2" {
		return false, m.losesLabel(dm)
	}
	return labelled, nil
}

func (m *move) losesLabel(dm diskMove) error {
	return permanentf(m.op, "disk %s has a label, which a live copy of its %s image would lose: move it offline", dm.disk.ID, dm.disk.Format)
}

// prepareLabelled makes an empty image of the source's kind at the target and gives it the label that counts, before QEMU
// opens it: QEMU keeps what it does not know in the header of an image that it opens, and puts nothing of the kind into one
// that it makes. A label of the metadata goes in as well: nothing uses the new image yet.
func (m *move) prepareLabelled(ctx context.Context, e *end, dm diskMove, set *fileSet) error {
	from, name := set.files[0], path.Base(dm.target)
	var made *volume
	var err error
	if dm.disk.Format == "qcow2" {
		var like *qcow2Info
		if like, err = m.src.qcow2(ctx, from); err != nil {
			return err
		}
		made, err = m.dst.createQcow2(ctx, dm.to.name, name, from.mode, like)
	} else {
		made, err = m.dst.create(ctx, dm.to.name, name, "raw", from.mode, from.physical)
	}
	if err != nil {
		return err
	}
	src, err := openVolume(ctx, m.src, from)
	if err != nil {
		return wrap(m.op, err, false)
	}
	dst, err := openVolume(ctx, m.dst, made)
	if err != nil {
		return wrap(m.op, err, false)
	}
	err = m.d.labels.Carry(src, dst, dm.disk.Format, []byte(e.guest.labels[string(dm.disk.ID)]))
	if err != nil && fleet.KindOf(wrap(m.op, err, false)) == fleet.Unknown { // nothing stands on the new image yet
		return retryf(m.op, "carry the label of disk %s: %w", dm.disk.ID, err)
	}
	return wrap(fmt.Sprintf("%s: carry the label of disk %s", m.op, dm.disk.ID), err, false)
}

// prepareLive clears the target of what a broken copy left, and prepares it where a copy onto a new file would lose
// something. made says that there is now an image for QEMU to write into.
func (m *move) prepareLive(ctx context.Context, e *end, dm diskMove) (set *fileSet, made bool, err error) {
	if set, err = m.files(ctx, dm, true); err != nil {
		return nil, false, err
	}
	labelled, err := m.liveDisk(ctx, e, dm, set)
	if err != nil {
		return nil, false, err
	}
	if err := m.clearTarget(ctx, dm, set); err != nil {
		return nil, false, err
	}
	if made = set.vmdk != nil || labelled; made {
		err = m.at("prepare-target " + string(dm.disk.ID))
	}
	switch {
	case err != nil:
	case set.vmdk != nil:
		err = m.prepareVMDK(ctx, dm, set)
	case labelled:
		err = m.prepareLabelled(ctx, e, dm, set)
	}
	if err == nil {
		err = m.takeSidecar(ctx, dm, set)
	}
	return set, made, m.clearAfter(ctx, dm, set, err)
}

// takeSidecar copies what lies beside the image, when carrying the label has not made another.
func (m *move) takeSidecar(ctx context.Context, dm diskMove, set *fileSet) error {
	if set.sidecar == nil {
		return nil
	}
	_, err := m.dst.volume(ctx, dm.to.name, sidecarName(dm.target))
	if !fleetNotFound(err) {
		return wrap(m.op, err, false)
	}
	v, err := m.dst.create(ctx, dm.to.name, sidecarName(dm.target), "raw", set.sidecar.mode, set.sidecar.physical)
	if err != nil {
		return err
	}
	return m.copyFile(ctx, set.sidecar, v)
}

// checkLabel says why the copy of a disk lacks the label of its source, or nil. It is the last gate before a mirror takes
// over, and before a source is deleted.
func (m *move) checkLabel(ctx context.Context, dm diskMove, set *fileSet) error {
	if err := m.checkDescriptor(ctx, dm, set); err != nil {
		return err
	}
	if m.d.labels == nil {
		return nil
	}
	target, err := m.dst.lookup(ctx, dm.to.name, path.Base(dm.target))
	if err != nil {
		return wrap(m.op, err, false)
	}
	src, err := openVolume(ctx, m.src, set.files[0])
	if err != nil {
		return wrap(m.op, err, false)
	}
	dst, err := openVolume(ctx, m.dst, target)
	if err != nil {
		return wrap(m.op, err, false)
	}
	err = m.d.labels.Carried(src, dst, dm.disk.Format)
	return wrap(fmt.Sprintf("%s: check the label of disk %s at %s", m.op, dm.disk.ID, dm.target), err, false)
}

// labelLine begins the lines of a VMDK that are a label's, where the driver has somebody to ask about labels.
const labelLine = "ddb.berth."

// checkDescriptor compares the disk databases of a source VMDK and its copy: the label is a part of them, among other things.
func (m *move) checkDescriptor(ctx context.Context, dm diskMove, source *fileSet) error {
	if source.vmdk == nil {
		return nil
	}
	copied, err := m.dst.fileSet(ctx, dm.to.name, dm.target, dm.disk.Format)
	if err != nil {
		return wrap(m.op, err, false)
	}
	have := map[string]bool{}
	for _, line := range copied.vmdk.ddb() {
		have[line] = true
	}
	for _, line := range source.vmdk.ddb() {
		if m.d.labels != nil && len(line) > len(labelLine) && line[:len(labelLine)] == labelLine {
			continue // the copy may have a later label by now: Labels.Carried judges that
		}
		if !have[line] {
			return permanentf(m.op, "disk %s: the copy at %s lacks the descriptor's line %.60q", dm.disk.ID, dm.target, line)
		}
	}
	return nil
}
