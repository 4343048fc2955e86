package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vmlabel"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// vmSelection names disks by the VM that has them instead of by a file.
type vmSelection struct {
	vms    []string // names or patterns
	all    bool     // every VM, whatever its name
	disks  []string // of each VM; none: all
	config string
	trust  string
}

// flags adds --vm and what goes with it to a verb that works on images too.
func (s *vmSelection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&s.vms, "vm", nil, "instead of files the disks of the VM `NAME` or pattern, wherever the configured sources have it")
	f.StringSliceVar(&s.disks, "disk", nil, "only the `DISK` of that name: of a VM (vda, 2000) or of an OVF or OVA (vmdisk1)")
	f.StringVar(&s.config, "config", "", "with --vm: look at the sources in `FILE` (default: berth.yaml, see docs/cli.md)")
}

// given says whether VMs are meant, after checking that files are not meant as well.
func (s *vmSelection) given(args []string) (bool, error) {
	if len(s.vms) > 0 && len(args) > 0 {
		return false, usagef("--vm and image files exclude each other")
	}
	for _, p := range s.vms {
		if _, err := path.Match(p, ""); err != nil {
			return false, usagef("--vm %q: bad pattern", p)
		}
	}
	return len(s.vms) > 0, nil
}

// vmLabelLine is the JSON of one disk of a VM.
type vmLabelLine struct {
	VM     fleet.VMID       `json:"vm"`
	Disk   fleet.DiskID     `json:"disk"`
	Format string           `json:"format"`
	Counts fleet.LabelPlace `json:"counts,omitempty"` // image, sidecar or metadata; absent: there is no label
	Image  *imageLine       `json:"image,omitempty"`
	Kept   *imageLine       `json:"metadata,omitempty"`
	Note   string           `json:"note,omitempty"`
	Error  string           `json:"error,omitempty"`
}

// vmWork does something to one disk and says what became of it: a line, and an exit code.
type vmWork func(ctx context.Context, d *vmlabel.Disk) (*vmLabelLine, int, error)

// eachVMDisk runs work on every selected disk, one after another: each is a few calls to its hypervisor.
func (a *app) eachVMDisk(ctx context.Context, s *vmSelection, op string, work vmWork, show func(*vmLabelLine)) (tally, error) {
	var t tally
	c, err := a.loadConfig(s.config)
	if err != nil {
		return t, err
	}
	trust, err := a.loadTrust(s.trust, c)
	if err != nil {
		return t, err
	}
	w, err := a.openWorld(ctx, c, nil)
	if err != nil {
		return t, err
	}
	defer closeQuietly(w)
	snapshot, err := w.observe(ctx, a, trust)
	if err != nil {
		return t, err
	}
	disks, err := s.match(snapshot, w)
	s.unseen(a, &t, op, snapshot)
	if err != nil {
		return t, err
	}
	for i := range disks {
		if err := ctx.Err(); err != nil {
			return t, &cliError{code: codePartly, err: fmt.Errorf("%s: interrupted: the disks after this were not touched", op)}
		}
		d := &disks[i]
		line, code, err := work(ctx, d)
		if line == nil {
			line = &vmLabelLine{}
		}
		line.VM, line.Disk, line.Format = d.VM.ID, d.Disk.ID, d.Disk.Format
		if err != nil {
			a.reportVM(op, line, err)
			t.add(codeOf(err))
			continue
		}
		if line.Note != "" {
			a.detail("%s", cleanLine(fmt.Sprintf("%s disk %s: %s", line.VM, line.Disk, line.Note)))
		}
		t.add(code)
		show(line)
	}
	return t, nil
}

func (a *app) reportVM(op string, line *vmLabelLine, err error) {
	if a.json {
		line.Error = err.Error()
		_ = a.jsonLine(line) // kept by the buffer
	}
	_ = a.out.Flush()
	a.note("berth: %s: vm %s disk %s: %s", op, cleanLine(string(line.VM)), cleanLine(string(line.Disk)), err)
	if h := hintOf(err); h != "" {
		a.note("hint: %s", h)
	}
}

// unseen says what was not looked at since it could not be seen, and counts it where it may have been meant.
func (s *vmSelection) unseen(a *app, t *tally, op string, snapshot *fleet.Snapshot) {
	for _, g := range snapshot.Gaps {
		vm, disk, ok := strings.Cut(strings.TrimPrefix(g.Object, "vm "), " disk ")
		v := snapshot.VM(fleet.VMID(vm))
		switch {
		case g.What == "everything" || g.What == "vms":
			a.note("berth: %s: %s was not seen: %s", op, cleanLine(g.Object), cleanLine(g.Cause))
			if s.all || slices.ContainsFunc(s.vms, func(p string) bool { return strings.ContainsAny(p, "*?[") }) {
				t.add(codeFailed)
			}
		case ok && v != nil && s.selects(v.ID) && s.takes(fleet.DiskID(disk)) && !slices.ContainsFunc(v.Disks, func(d fleet.Disk) bool { return string(d.ID) == disk }):
			a.note("berth: %s: vm %s disk %s was not seen: %s", op, cleanLine(vm), cleanLine(disk), cleanLine(g.Cause))
			t.add(codeFailed)
		}
	}
}

// selects says whether the VM is one of those meant.
func (s *vmSelection) selects(id fleet.VMID) bool {
	return s.all || slices.ContainsFunc(s.vms, func(p string) bool { return matchesVM(p, id) })
}

func matchesVM(p string, id fleet.VMID) bool {
	ok, _ := path.Match(p, string(id)) // checked by given
	return ok || p == string(id)
}

func (s *vmSelection) takes(id fleet.DiskID) bool {
	return len(s.disks) == 0 || slices.Contains(s.disks, string(id))
}

// match lists the selected disks in the order of the snapshot. A name or a disk that is nowhere is an error before anything is
// done.
func (s *vmSelection) match(snapshot *fleet.Snapshot, w *world) ([]vmlabel.Disk, error) {
	var out []vmlabel.Disk
	met := map[string]bool{}
	for i := range snapshot.VMs {
		v := &snapshot.VMs[i]
		for _, p := range s.vms {
			met[p] = met[p] || matchesVM(p, v.ID)
		}
		if !s.selects(v.ID) {
			continue
		}
		keeper, ok := w.keeper(v.Source)
		if !ok {
			return nil, fmt.Errorf("vm %s: source %s keeps no labels", v.ID, v.Source)
		}
		for _, d := range v.Disks {
			if pool := snapshot.Pool(d.Pool); pool != nil && s.takes(d.ID) {
				out = append(out, vmlabel.Disk{Source: keeper, VM: *v, Pool: *pool, Disk: d})
				met["disk "+string(d.ID)] = true
			}
		}
	}
	for _, p := range s.vms {
		if !met[p] {
			return nil, &cliError{code: codeNothing, err: fmt.Errorf("no VM %q was seen", p), hint: "'berth fleet show' lists them"}
		}
	}
	for _, d := range s.disks {
		if !met["disk "+d] {
			return nil, &cliError{code: codeNothing, err: fmt.Errorf("no disk %q on that VM", d), hint: "'berth label get --vm NAME' lists them"}
		}
	}
	if len(out) == 0 && !s.all {
		return nil, &cliError{code: codeNothing, err: errors.New("no disk of that VM is in a pool that was seen"), hint: "'berth fleet show' lists what was not seen"}
	}
	return out, nil
}

// keeper is the source of that name, when it keeps labels of running VMs.
func (w *world) keeper(id fleet.SourceID) (vmlabel.Source, bool) {
	for _, c := range w.conns {
		if c.ID() == id {
			k, ok := c.(vmlabel.Source)
			return k, ok
		}
	}
	return nil, false
}

// getVMs prints both labels of each disk and which one counts.
func (a *app) getVMs(ctx context.Context, s *vmSelection) error {
	t, err := a.eachVMDisk(ctx, s, "get label", func(ctx context.Context, d *vmlabel.Disk) (*vmLabelLine, int, error) {
		st, err := d.Read(ctx)
		if err != nil {
			return nil, 0, err
		}
		line := newVMLine(st)
		if line.Counts == "" {
			return line, codeNothing, nil
		}
		return line, codeOK, nil
	}, func(l *vmLabelLine) {
		if a.json {
			_ = a.jsonLine(l)
			return
		}
		a.printVMLabels(l)
	})
	if err != nil {
		return err
	}
	if t.ok > 0 {
		delete(t.codes, codeNothing)
	}
	return reported(t.code())
}

func newVMLine(st *vmlabel.State) *vmLabelLine {
	l := &vmLabelLine{Counts: st.Place(), Note: st.Reason}
	view := func(f *label.Frame) *imageLine {
		if f == nil {
			return nil
		}
		v := &imageLine{}
		v.describe(f, nil)
		return v
	}
	l.Image, l.Kept = view(st.Image), view(st.Metadata)
	return l
}

func (a *app) printVMLabels(l *vmLabelLine) {
	name := cleanLine(fmt.Sprintf("%s disk %s", l.VM, l.Disk))
	if l.Counts == "" {
		a.printf("%s: no label\n", name)
		return
	}
	for _, v := range []struct {
		line  *imageLine
		place fleet.LabelPlace
	}{{l.Image, fleet.LabelInImage}, {l.Kept, fleet.LabelInMetadata}} {
		if v.line == nil {
			continue
		}
		place := v.place
		if place == fleet.LabelInImage && l.Counts == fleet.LabelInSidecar {
			place = fleet.LabelInSidecar
		}
		counts := ""
		if l.Image != nil && l.Kept != nil {
			counts = ", does not count: its serial is not the higher one"
			if place == l.Counts {
				counts = ", counts"
			}
		}
		a.printf("%s: %s (%s%s)\n", name, v.line.summary(), place, counts)
	}
}

// setVMs labels the disks of VMs: in the image of a VM that is off, in the hypervisor's metadata while it runs.
func (a *app) setVMs(ctx context.Context, s *vmSelection, seal func(disk label.Binding, serial uint32) (label.Frame, error)) error {
	t, err := a.eachVMDisk(ctx, s, "set label", func(ctx context.Context, d *vmlabel.Disk) (*vmLabelLine, int, error) {
		place, frame, err := d.Set(ctx, func(st *vmlabel.State, serial uint32) (label.Frame, error) {
			disk, err := bindingOf(&st.Info, st.Frame())
			if err != nil {
				return label.Frame{}, err
			}
			return seal(disk, serial)
		})
		if errors.Is(err, vmlabel.ErrSerial) {
			err = refusedf("'berth label rm --vm' removes it; then set it again", "%w", err)
		}
		if err != nil {
			return nil, 0, err
		}
		line := &vmLabelLine{Counts: place}
		view := &imageLine{}
		view.describe(frame, nil)
		line.Note = "labelled in the " + string(place) + ": " + view.summary()
		if line.Image = view; place == fleet.LabelInMetadata {
			line.Image, line.Kept = nil, view
		}
		return line, codeOK, nil
	}, func(l *vmLabelLine) {
		if a.json {
			_ = a.jsonLine(l)
		}
	})
	if err != nil {
		return err
	}
	return reported(t.code())
}

// removeVMs removes the labels of VMs' disks from images and metadata.
func (a *app) removeVMs(ctx context.Context, s *vmSelection, strip bool) error {
	t, err := a.eachVMDisk(ctx, s, "remove label", func(ctx context.Context, d *vmlabel.Disk) (*vmLabelLine, int, error) {
		switch err := d.Remove(ctx, strip); {
		case errors.Is(err, diskimage.ErrNoLabel) && strip:
			return &vmLabelLine{Note: "no label"}, codeOK, nil
		case errors.Is(err, vmlabel.ErrRunning):
			return nil, 0, refusedf("shut the VM down first; until then 'berth label set --vm' can give it another level", "%w", err)
		case err != nil:
			return nil, 0, err
		}
		return &vmLabelLine{Note: "label removed"}, codeOK, nil
	}, func(l *vmLabelLine) {
		if a.json {
			_ = a.jsonLine(l)
		}
	})
	if err != nil {
		return err
	}
	return reported(t.code())
}

func (a *app) labelSettle() *cobra.Command {
	s := vmSelection{}
	cmd := &cobra.Command{
		Use:   "settle [--vm NAME]",
		Short: "Bring labels that a hypervisor keeps of a running VM into the images of VMs that are off",
		Long: `Settle writes each label that is in a hypervisor's metadata into the disk's image, when its VM is off, and then takes it out
of the metadata. A VM that runs is left for later. On libvirt hosts the hook does this by itself when a VM stops ('berth hook
install libvirt'). It prints a line for each label that it settled.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.all = len(s.vms) == 0
			if _, err := s.given(nil); err != nil {
				return err
			}
			return a.settleVMs(cmd.Context(), &s)
		},
	}
	s.flags(cmd)
	return cmd
}

func (a *app) settleVMs(ctx context.Context, s *vmSelection) error {
	t, err := a.eachVMDisk(ctx, s, "settle label", func(ctx context.Context, d *vmlabel.Disk) (*vmLabelLine, int, error) {
		place, frame, err := d.Settle(ctx)
		if err != nil || frame == nil {
			return nil, codeOK, err
		}
		view := &imageLine{}
		view.describe(frame, nil)
		return &vmLabelLine{Counts: place, Image: view}, codeOK, nil
	}, func(l *vmLabelLine) {
		switch {
		case l.Image == nil:
		case a.json:
			_ = a.jsonLine(l)
		default:
			a.printf("%s: %s\n", cleanLine(fmt.Sprintf("%s disk %s", l.VM, l.Disk)), l.Image.summary())
		}
	})
	if err != nil {
		return err
	}
	return reported(t.code())
}

// bindingOf is the identity that a new label of an image is bound to. Where the format has no identity of its own and never
// gets one, the label brings a random one along, the present label's where it has one: two disks of a size are then told
// apart, and a copy of a label from a disk of its own. (A VMDK can get one from VMware later, and is bound by size until then.)
func bindingOf(info *diskimage.Info, present *label.Frame) (label.Binding, error) {
	disk := info.Binding()
	if disk.Size == 0 {
		return disk, fmt.Errorf("%w: the disk has 0 bytes", diskimage.ErrCorrupt)
	}
	if info.Format != diskimage.FormatQcow2 && info.Format != diskimage.FormatRaw || disk.UUID != "" {
		return disk, nil
	}
	if present != nil {
		if doc, err := present.Document(); err == nil && doc.Disk.UUID != "" {
			disk.UUID = doc.Disk.UUID
			return disk, nil
		}
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return disk, fmt.Errorf("make identity: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, 5.4
	disk.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	return disk, nil
}
