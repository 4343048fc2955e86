package vsphere

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// Labels of a running VM, whose images ESXi keeps locked, are kept in the VM's extraConfig under labelsKey: a JSON object, a
// disk's device key to the text of its label's envelope. It is no guestinfo key: those the guest can write. It moves with the
// .vmx file, and out of one vCenter into the next.
const (
	labelsKey    = "berth.labels"
	labelsPath   = `config.extraConfig["` + labelsKey + `"]`
	maxKept      = 256 << 10 // bytes of the value
	maxKeptDisks = 256
)

// readKept reads the labels that the vCenter itself keeps, of all VMs in one round trip. A value that makes no sense is a
// gap of its VM.
func (s *scan) readKept(ctx context.Context, v *view.ContainerView) error {
	content, gaps, err := s.d.retrieve(ctx, inView(v), []types.PropertySpec{{Type: "VirtualMachine", PathSet: []string{labelsPath}}})
	if err != nil {
		return fmt.Errorf("read labels kept by the vCenter: %w", err)
	}
	s.snap.Gaps = append(s.snap.Gaps, gaps...)
	s.kept, s.badKept = map[types.ManagedObjectReference]map[string]string{}, map[types.ManagedObjectReference]error{}
	for _, c := range content {
		if text, ok := keptValue(c.PropSet); ok {
			kept, err := parseKept(text)
			if err != nil {
				s.badKept[c.Obj] = err
				continue
			}
			s.kept[c.Obj] = kept
		}
	}
	return nil
}

func keptValue(props []types.DynamicProperty) (string, bool) {
	for _, p := range props {
		if o, ok := p.Val.(types.OptionValue); ok && o.Key == labelsKey {
			text, ok := o.Value.(string)
			return text, ok && text != ""
		}
	}
	return "", false
}

func parseKept(text string) (map[string]string, error) {
	kept := map[string]string{}
	if text == "" {
		return kept, nil
	}
	if len(text) > maxKept {
		return nil, fmt.Errorf("%d bytes, expected at most %d", len(text), maxKept)
	}
	if err := json.Unmarshal([]byte(text), &kept); err != nil {
		return nil, fmt.Errorf("no JSON object of texts: %w", err)
	}
	if kept == nil { // JSON's null
		return nil, errors.New("null, expected a JSON object of texts")
	}
	if len(kept) > maxKeptDisks {
		return nil, fmt.Errorf("%d disks, expected at most %d", len(kept), maxKeptDisks)
	}
	return kept, nil
}

// SetLabelMetadata keeps envelope as the label of one disk of vm in the VM's extraConfig; nil removes it. Labels of disks
// that the VM no longer has go with it. The change is refused, and can be tried again after another Observe, when the disk's
// label there is no longer that of vm, and by the vCenter when the VM is being changed.
func (d *Driver) SetLabelMetadata(ctx context.Context, vm fleet.VM, disk fleet.DiskID, envelope []byte) error {
	op := fmt.Sprintf("keep label of vm %s disk %s", vm.ID, disk)
	var ref types.ManagedObjectReference
	if !ref.FromString(vm.Ref) || ref.Type != "VirtualMachine" {
		return permanent(op, fmt.Errorf("reference %q is no VM: %w", vm.Ref, fleet.ErrNotFound))
	}
	var now mo.VirtualMachine
	if err := d.properties(ctx, ref, []string{"config.changeVersion", "config.extraConfig", "config.hardware.device"}, &now); err != nil {
		return readError(op, err)
	}
	if now.Config == nil {
		return permanent(op, errors.New("the vCenter has no configuration of it"))
	}
	value, err := changeKept(now.Config, &vm, disk, envelope)
	if errors.Is(err, errChanged) {
		return &fleet.DriverError{Kind: fleet.Retry, Op: op, Err: err}
	}
	if err != nil {
		return permanent(op, err)
	}
	spec := types.VirtualMachineConfigSpec{
		ChangeVersion: now.Config.ChangeVersion,
		ExtraConfig:   []types.BaseOptionValue{&types.OptionValue{Key: labelsKey, Value: value}},
	}
	res, err := methods.ReconfigVM_Task(ctx, d.vim, &types.ReconfigVM_Task{This: ref, Spec: spec})
	if err != nil {
		return changeError(op, err)
	}
	if err := d.wait(ctx, res.Returnval, func(int32) {}); err != nil && !errors.Is(err, errTaskGone) {
		return changeError(op, err)
	}
	return nil
}

var errChanged = errors.New("somebody else has changed it meanwhile")

// changeKept is the new value of labelsKey; empty removes the key. errChanged: the disk's label is no longer that of vm.
func changeKept(c *types.VirtualMachineConfigInfo, vm *fleet.VM, disk fleet.DiskID, envelope []byte) (string, error) {
	text := ""
	for _, o := range c.ExtraConfig {
		if v := o.GetOptionValue(); v.Key == labelsKey {
			text, _ = v.Value.(string)
		}
	}
	kept, err := parseKept(text)
	if err != nil {
		return "", fmt.Errorf("present value of %s: %w", labelsKey, err)
	}
	for _, d := range vm.Disks {
		if d.ID == disk && d.Metadata != kept[string(disk)] {
			return "", errChanged
		}
	}
	disks := diskPlaces(c.Hardware.Device)
	maps.DeleteFunc(kept, func(key, _ string) bool { return disks[fleet.DiskID(key)] == types.ManagedObjectReference{} })
	if envelope == nil {
		delete(kept, string(disk))
	} else {
		if _, ok := disks[disk]; !ok {
			return "", fmt.Errorf("no such disk: %w", fleet.ErrNotFound)
		}
		kept[string(disk)] = string(envelope)
	}
	if len(kept) == 0 {
		return "", nil
	}
	b, err := json.Marshal(kept) // keys are sorted
	if err == nil && len(b) > maxKept {
		err = fmt.Errorf("%d bytes of labels, expected at most %d", len(b), maxKept)
	}
	return string(b), err
}
