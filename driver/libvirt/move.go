package libvirt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// move is one Relocation at work. It holds no state of the move: that is read from the libvirts in every
// round.
type move struct {
	d        *Driver
	r        fleet.Relocation
	op       string
	src, dst *host
	srcPools []poolInfo
	dstPools []poolInfo
	disks    []diskMove
	powerOn  bool
	meter    *meter

	copied   bool // this call made and verified the copy that the target's definition stands on
	stopped  bool // this call shut the guest down
	defining bool // this call may have defined it at the target
}

// diskMove is one disk of the VM: where it was when the move was planned, and where it goes.
type diskMove struct {
	disk     fleet.Disk
	from, to *poolInfo
	target   string // path at the target
	moves    bool   // the file changes its place
}

// prepare resolves the names in r. It asks the hypervisors for their pools and changes nothing.
func (d *Driver) prepare(ctx context.Context, verb string, r fleet.Relocation) (*move, error) {
	m, err := d.resolve(ctx, verb, r)
	if err != nil {
		return nil, err
	}
	taken := map[string]fleet.DiskID{}
	for _, dm := range m.disks {
		if other, ok := taken[dm.target]; ok {
			return nil, permanentf(m.op, "disks %s and %s would both become %s", other, dm.disk.ID, dm.target)
		}
		taken[dm.target] = dm.disk.ID
	}
	return m, nil
}

// resolve is prepare before names are chosen for the images: two disks may still have one.
func (d *Driver) resolve(ctx context.Context, verb string, r fleet.Relocation) (*move, error) {
	m := &move{d: d, r: r, op: verb + " vm " + string(r.VM.ID), meter: &meter{}}
	var err error
	if m.src, err = d.byRef(r.FromHost.Ref); err != nil {
		return nil, permanentf(m.op, "%w", err)
	}
	if m.dst, err = d.byRef(r.ToHost.Ref); err != nil {
		return nil, permanentf(m.op, "%w", err)
	}
	if m.srcPools, err = m.src.pools(ctx, r.From.Host); err != nil {
		return nil, wrap(m.op, fmt.Errorf("list pools of %s: %w", r.From.Host, err), false)
	}
	m.dstPools = m.srcPools
	if !m.sameHost() {
		if m.dstPools, err = m.dst.pools(ctx, r.To.Host); err != nil {
			return nil, wrap(m.op, fmt.Errorf("list pools of %s: %w", r.To.Host, err), false)
		}
	}
	if len(r.VM.Disks) != len(r.From.Disks) || len(r.VM.Disks) != len(r.To.Disks) {
		return nil, permanentf(m.op, "%d disks, %d places from, %d places to, expected as many", len(r.VM.Disks), len(r.From.Disks), len(r.To.Disks))
	}
	if err := m.findPaths(ctx); err != nil {
		return nil, err
	}
	for i := range r.VM.Disks {
		dm, err := m.prepareDisk(i)
		if err != nil {
			return nil, permanentf(m.op, "disk %s: %w", r.VM.Disks[i].ID, err)
		}
		m.disks = append(m.disks, dm)
	}
	return m, nil
}

// findPaths fills in the paths that the plan could not know, since an earlier step of it moves the disk. Where no name was
// chosen for a volume it keeps its own through the move, so that either end tells it at any time.
func (m *move) findPaths(ctx context.Context) error {
	m.r.VM.Disks = slices.Clone(m.r.VM.Disks)
	for i := range m.r.VM.Disks {
		if d := &m.r.VM.Disks[i]; d.Path == "" && m.r.File(d.ID) != nil {
			d.Path = m.r.File(d.ID).Path
		}
	}
	if !slices.ContainsFunc(m.r.VM.Disks, func(d fleet.Disk) bool { return d.Path == "" }) {
		return nil
	}
	s, t, err := m.look(ctx)
	if err != nil {
		return err
	}
	if !s.found {
		s = t
	}
	if !s.found {
		return permanentf(m.op, "on neither %s nor %s: %w", m.r.From.Host, m.r.To.Host, fleet.ErrNotFound)
	}
	for i := range m.r.VM.Disks {
		d := &m.r.VM.Disks[i]
		if d.Path != "" {
			continue
		}
		from, err := m.pool(m.src, m.srcPools, m.r.From.Disks[i].Pool)
		if err != nil {
			return permanentf(m.op, "disk %s: %w", d.ID, err)
		}
		now := s.guest.path(d.ID)
		if now == "" {
			return permanentf(m.op, "disk %s: %w", d.ID, fleet.ErrNotFound)
		}
		d.Path = path.Join(from.path, path.Base(now))
	}
	return nil
}

func (m *move) prepareDisk(i int) (diskMove, error) {
	disk := m.r.VM.Disks[i]
	dm := diskMove{disk: disk}
	if m.r.From.Disks[i].Disk != disk.ID || m.r.To.Disks[i].Disk != disk.ID {
		return dm, fmt.Errorf("the places name %s and %s", m.r.From.Disks[i].Disk, m.r.To.Disks[i].Disk)
	}
	var err error
	if dm.from, err = m.pool(m.src, m.srcPools, m.r.From.Disks[i].Pool); err != nil {
		return dm, err
	}
	if dm.to, err = m.pool(m.dst, m.dstPools, m.r.To.Disks[i].Pool); err != nil {
		return dm, err
	}
	if p := poolOf(m.srcPools, disk.Path); p == nil || p.name != dm.from.name {
		return dm, fmt.Errorf("%s is not in pool %s", disk.Path, dm.from.id)
	}
	// A volume lies directly in its pool: libvirt knows no folders.
	if path.Dir(path.Clean(disk.Path)) != dm.from.path {
		return dm, fmt.Errorf("%s is in a folder within pool %s", disk.Path, dm.from.id)
	}
	dm = dm.named(path.Base(disk.Path))
	if f := m.r.File(disk.ID); f != nil {
		if err := checkName(f.Name); err != nil {
			return dm, err
		}
		dm = dm.named(f.Name)
	}
	dm.moves = !m.sameHost() || dm.target != path.Clean(disk.Path)
	if dm.moves && (!dm.from.files() || !dm.to.files()) {
		return dm, fmt.Errorf("pools of type %s and %s: only dir and fs are supported yet", dm.from.kind, dm.to.kind)
	}
	if len(disk.Chain) > 0 {
		return dm, errors.New("has a backing chain, which is not moved yet")
	}
	return dm, nil
}

func (m *move) pool(h *host, pools []poolInfo, id fleet.PoolID) (*poolInfo, error) {
	for _, p := range m.r.Pools {
		if p.ID != id {
			continue
		}
		ph, name, err := m.d.poolRef(p)
		if err != nil {
			return nil, err
		}
		if ph != h {
			return nil, fmt.Errorf("pool %s is not on host %s", id, h.cfg.URI)
		}
		for i := range pools {
			if pools[i].name == name && !pools[i].active {
				return nil, fmt.Errorf("pool %s is not active", id)
			}
			if pools[i].name == name {
				return &pools[i], nil
			}
		}
	}
	return nil, fmt.Errorf("pool %s: %w", id, fleet.ErrNotFound)
}

func (m *move) sameHost() bool { return m.src == m.dst }

// look asks both ends. On one host both answers are the same.
func (m *move) look(ctx context.Context) (s, t *end, err error) {
	if s, err = m.src.probe(ctx, m.r.VM.UUID, m.srcPools); err != nil {
		return nil, nil, m.unanswered(m.r.From.Host, err)
	}
	if m.sameHost() {
		return s, s, nil
	}
	if t, err = m.dst.probe(ctx, m.r.VM.UUID, m.dstPools); err != nil {
		return nil, nil, m.unanswered(m.r.To.Host, err)
	}
	return s, t, nil
}

// unanswered is the error of a host that told its pools before, and does not tell of the VM.
func (m *move) unanswered(id fleet.HostID, err error) error {
	if errors.Is(err, errTimeout) {
		err = fmt.Errorf("%w: it answers, but not about this VM, whose QEMU may wait for a silent host", err)
	}
	return wrap(m.op, fmt.Errorf("ask host %s: %w", id, err), false)
}

// Locate asks the libvirts of both ends where the VM is now. It changes nothing. Files at the other end's
// path make the answer unsettled: they are what is left of a move, or in its way.
func (d *Driver) Locate(ctx context.Context, r fleet.Relocation) (fleet.Observed, error) {
	m, err := d.prepare(ctx, "locate", r)
	if err != nil {
		return fleet.Observed{}, err
	}
	s, t, err := m.look(ctx)
	if err != nil {
		return fleet.Observed{}, err
	}
	e, host, pools := s, r.From.Host, m.srcPools
	if !m.sameHost() && t.found && (!s.found || t.running() && !s.running()) {
		e, host, pools = t, r.To.Host, m.dstPools
	}
	if !e.found {
		return fleet.Observed{}, permanentf(m.op, "on neither %s nor %s: %w", r.From.Host, r.To.Host, fleet.ErrNotFound)
	}
	o := fleet.Observed{Power: e.power(), Settled: true, Placement: fleet.Placement{Host: host, Disks: []fleet.DiskPlace{}}}
	for _, dm := range m.disks {
		o.Placement.Disks = append(o.Placement.Disks, fleet.DiskPlace{Disk: dm.disk.ID, Pool: m.poolID(e.h, pools, e.guest.path(dm.disk.ID))})
	}
	o.Detail, err = m.unsettled(ctx, s, t, e)
	o.Settled = o.Detail == ""
	return o, err
}

// poolID is the fleet's name of the pool that holds file on h.
func (m *move) poolID(h *host, pools []poolInfo, file string) fleet.PoolID {
	p := poolOf(pools, file)
	if p == nil {
		return ""
	}
	for _, known := range m.r.Pools {
		if known.Ref == h.cfg.URI+"#"+p.name {
			return known.ID
		}
	}
	return p.id
}

// unsettled says what keeps the VM e between two places, or "".
func (m *move) unsettled(ctx context.Context, s, t, e *end) (string, error) {
	switch {
	case !m.sameHost() && s.found && t.found:
		return fmt.Sprintf("defined on %s and %s", m.r.From.Host, m.r.To.Host), nil
	case e.job:
		return "a job of libvirt runs on it", nil
	case len(e.guest.mirrors) > 0:
		return "a disk is being mirrored", nil
	case e.incoming(), e.arriving():
		return "has arrived, but the move is not finished", nil
	}
	for _, dm := range m.disks {
		if !dm.moves {
			continue
		}
		h, pool, name := m.dst, dm.to.name, path.Base(dm.target)
		if e.h == m.dst && e.guest.path(dm.disk.ID) == dm.target {
			h, pool, name = m.src, dm.from.name, path.Base(dm.disk.Path)
		}
		v, err := h.fresh(ctx, pool, name)
		if err == nil {
			return "a file at the other end: " + v.path, nil
		}
		if !fleetNotFound(err) {
			return "", wrap(m.op, err, false)
		}
	}
	return "", nil
}

// Precheck says whether the move would fail or overwrite something. It changes nothing (pools are refreshed).
func (d *Driver) Precheck(ctx context.Context, r fleet.Relocation) error {
	m, err := d.prepare(ctx, "check move of", r)
	if err != nil {
		return err
	}
	s, t, err := m.look(ctx)
	if err != nil {
		return err
	}
	if !s.found {
		return permanentf(m.op, "host %s: %w", r.From.Host, fleet.ErrNotFound)
	}
	if err := m.movable(s); err != nil {
		return err
	}
	if !m.sameHost() {
		if t.found {
			return permanentf(m.op, "host %s has it as well", r.To.Host)
		}
		if err := m.nameFree(ctx, s); err != nil {
			return err
		}
	}
	need := map[string]fleet.Bytes{}
	for _, dm := range m.disks {
		if !dm.moves {
			continue
		}
		if s.guest.path(dm.disk.ID) != path.Clean(dm.disk.Path) {
			return permanentf(m.op, "disk %s is at %s, expected %s", dm.disk.ID, s.guest.path(dm.disk.ID), dm.disk.Path)
		}
		set, err := m.precheckDisk(ctx, s, dm)
		if err != nil {
			return err
		}
		need[dm.to.name] += set.used()
	}
	for i := range m.dstPools {
		n, ok := need[m.dstPools[i].name]
		if !ok {
			continue
		}
		if err := m.room(ctx, &m.dstPools[i], n); err != nil {
			return err
		}
	}
	return nil
}

// precheckDisk looks for files in the way and for what a live copy cannot do.
func (m *move) precheckDisk(ctx context.Context, s *end, dm diskMove) (*fileSet, error) {
	set, err := m.files(ctx, dm, true)
	if err != nil {
		return nil, err
	}
	if dm.disk.Format == "qcow2" {
		q, err := m.src.qcow2(ctx, set.files[0])
		if err != nil {
			return nil, err
		}
		if why := q.whole(); why != "" {
			return nil, permanentf(m.op, "disk %s %s", dm.disk.ID, why)
		}
	}
	if others := paths(set.all()[1:]); len(others) > 0 { // else the move would take another VM's disk along, and delete it
		if err := m.unused(ctx, m.src, others...); err != nil {
			return nil, err
		}
	}
	if err := m.dst.refresh(ctx, dm.to.name); err != nil {
		return nil, wrap(m.op, err, false)
	}
	for _, name := range dm.names(set) {
		v, err := m.dst.volume(ctx, dm.to.name, name)
		if err == nil {
			return nil, permanentf(m.op, "%s exists already in pool %s", v.path, dm.to.id)
		}
		if !fleetNotFound(err) {
			return nil, wrap(m.op, err, false)
		}
	}
	if s.active && m.r.Mode == fleet.Live {
		if _, err := m.liveDisk(ctx, s, dm, set); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// liveDisk refuses a disk that no live move can take along whole, and says whether one has to carry a label that does not
// travel by itself.
func (m *move) liveDisk(ctx context.Context, e *end, dm diskMove, set *fileSet) (labelled bool, err error) {
	if set.vmdk == nil {
		return m.liveLabel(ctx, e, dm, set)
	}
	if !m.sameHost() {
		return false, permanentf(m.op, "disk %s is a VMDK: QEMU refuses live migration", dm.disk.ID)
	}
	if why := set.vmdk.liveCopy(); why != "" {
		return false, permanentf(m.op, "disk %s: %s", dm.disk.ID, why)
	}
	return false, nil
}

// movable refuses what the driver must leave alone.
func (m *move) movable(e *end) error {
	switch {
	case e.power() == fleet.Suspended:
		return permanentf(m.op, "it is suspended or has a saved memory image")
	case !e.persistent:
		return permanentf(m.op, "it has no definition (transient domain)")
	case e.snapshots > 0:
		return permanentf(m.op, "it has %d snapshots, which are not moved yet", e.snapshots)
	case e.guest.vm.Pinned != "":
		return permanentf(m.op, "it %s", e.guest.vm.Pinned)
	case e.job || len(e.guest.mirrors) > 0:
		return retryf(m.op, "a job of libvirt runs on it")
	case m.r.Mode == fleet.Live && !e.active:
		return permanentf(m.op, "it does not run, the plan says it does")
	case m.r.Mode == fleet.Live && !m.sameHost() && m.dst.cfg.Peer == "":
		return permanentf(m.op, "host %s has no peer address in the configuration", m.r.To.Host)
	}
	return nil
}

// nameFree refuses a target host that has another VM of that name.
func (m *move) nameFree(ctx context.Context, s *end) error {
	list, err := m.dst.domains(ctx)
	if err != nil {
		return wrap(m.op, err, false)
	}
	for _, dom := range list {
		if dom.Name == s.dom.Name {
			return permanentf(m.op, "host %s has another vm named %s (%s)", m.r.To.Host, dom.Name, uuidString(dom.UUID))
		}
	}
	return nil
}
