package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/audit"
	"github.com/berth-project/berth/label"
)

// fleetScope is the fleet of the configuration, or of a snapshot; of it one pool, if that is asked for. The record is
// that of the sources together.
func (a *app) fleetScope(ctx context.Context, au *auditor, v *verification) (*scope, error) {
	in := fleetInput{config: v.config, from: au.from, trust: v.trust}
	if au.from == "" && a.findConfig(v.config) == "" {
		return nil, &cliError{code: codeUsage, err: fmt.Errorf("audit: no folder is named, and there is no configuration of a fleet"),
			hint: "berth label verify --all FOLDER..., or --config FILE"}
	}
	s, _, err := a.loadSnapshot(ctx, &in)
	if err != nil {
		return nil, err
	}
	if au.pool != "" && !slices.ContainsFunc(s.Pools, func(p fleet.Pool) bool { return string(p.ID) == au.pool }) {
		return nil, &cliError{code: codeNothing, err: fmt.Errorf("audit: there is no pool %q", au.pool), hint: "'berth fleet show' lists the pools"}
	}
	ids := make([]string, len(s.Sources))
	for i := range s.Sources {
		ids[i] = url.PathEscape(string(s.Sources[i].ID))
	}
	f := &fleetAudit{snapshot: s, pool: fleet.PoolID(au.pool)}
	return &scope{id: "fleet " + strings.Join(ids, " "), name: "fleet", disks: f.disks}, nil
}

// fleetAudit goes through the disks of a snapshot.
type fleetAudit struct {
	snapshot *fleet.Snapshot
	pool     fleet.PoolID // empty: all
}

// fleetName is the place of a disk in the record: source, pool and path. Both names are escaped, since they may hold a slash.
func fleetName(source fleet.SourceID, pool fleet.PoolID, path string) string {
	return url.PathEscape(string(source)) + "/" + url.PathEscape(string(pool)) + "/" + path
}

// fleetDisk is one disk with its name.
type fleetDisk struct {
	name string
	vm   *fleet.VM
	disk *fleet.Disk
}

// disks hands the disks to the merge. A disk that several VMs have is one.
func (f *fleetAudit) disks(ctx context.Context, m *audit.Merge, sp *spool) error {
	var list []fleetDisk
	for i := range f.snapshot.VMs {
		vm := &f.snapshot.VMs[i]
		for j := range vm.Disks {
			d := &vm.Disks[j]
			if (f.pool == "" || d.Pool == f.pool) && d.Path != "" {
				list = append(list, fleetDisk{fleetName(f.source(vm, d), d.Pool, d.Path), vm, d})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b fleetDisk) int { return audit.Compare(a.name, b.name) })
	list = slices.CompactFunc(list, func(a, b fleetDisk) bool { return a.name == b.name })
	m.Unseen = f.unseen()
	sp.gone = goneFromFleet
	if err := f.blind(m, sp); err != nil {
		return err
	}
	for i := 0; i < len(list) && ctx.Err() == nil; i++ { // the caller looks at an interruption
		d := &list[i]
		var p audit.Present
		sp.current, p = f.look(d)
		if err := m.Disk(d.name, p); err != nil {
			return err
		}
	}
	return nil
}

// source is that of the disk's pool, which several sources may see; the VM's where the pool is not known.
func (f *fleetAudit) source(vm *fleet.VM, d *fleet.Disk) fleet.SourceID {
	if p := f.snapshot.Pool(d.Pool); p != nil {
		return p.Source
	}
	return vm.Source
}

// look is what the snapshot says of a disk's label, as it was verified when the snapshot was taken.
func (f *fleetAudit) look(d *fleetDisk) (auditLine, audit.Present) {
	l := &d.disk.Label
	line := auditLine{
		imageLine: imageLine{
			Path: d.disk.Path, Format: d.disk.Format, Serial: l.Serial, KeyID: l.KeyID, Document: l.Document, Place: string(l.Place), From: l.From,
			Signer: l.Issuer, Ceiling: l.Ceiling, Reason: l.Reason,
		},
		Source: string(f.source(d.vm, d.disk)), Pool: string(d.disk.Pool), VM: string(d.vm.ID), Disk: string(d.disk.ID),
	}
	switch l.Trust {
	case fleet.TrustNone, "":
		return line, audit.Present{Kind: audit.NoLabel}
	case fleet.TrustUnknown:
		return line, audit.Present{Kind: audit.NotRead, Reason: f.gap(d)}
	default:
	}
	line.Labelled, line.Trust = true, string(l.Trust)
	cause := label.CauseOf(line.Trust, l.Reason)
	line.Cause = string(cause)
	p := audit.Present{Kind: audit.Label, Trust: line.Trust, Cause: cause, Reason: l.Reason, Serial: l.Serial}
	if l.Document == nil {
		p.Trust, p.Cause = label.TrustInvalid, label.CauseMalformed
		return line, p
	}
	p.Level = l.Document.Level
	id, err := label.ParseKeyID(l.KeyID)
	payload, bad := l.Document.Canonical()
	if bad != nil || err != nil && l.KeyID != "" {
		p.Trust, p.Cause = label.TrustInvalid, label.CauseMalformed
		return line, p
	}
	p.Digest = audit.Digest(id, payload)
	return line, p
}

// gap is why a label could not be read.
func (f *fleetAudit) gap(d *fleetDisk) string {
	return f.causeOf(fmt.Sprintf("vm %s disk %s", d.vm.ID, d.disk.ID))
}

// blind reports the sources and hosts that were not seen: what they have may be anything.
func (f *fleetAudit) blind(m *audit.Merge, sp *spool) error {
	report := func(source fleet.SourceID, what string) error {
		sp.current = auditLine{imageLine: imageLine{Path: what}, Source: string(source)}
		return m.Emit(audit.Result{Status: audit.Unreadable, Reason: "could not be seen: " + f.causeOf(what)})
	}
	for i := range f.snapshot.Sources {
		if s := &f.snapshot.Sources[i]; !s.Reachable {
			if err := report(s.ID, "source "+string(s.ID)); err != nil {
				return err
			}
		}
	}
	for i := range f.snapshot.Hosts {
		if h := &f.snapshot.Hosts[i]; h.Unreachable {
			if err := report(h.Source, "host "+string(h.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// causeOf is why an object was not seen.
func (f *fleetAudit) causeOf(object string) string {
	for _, g := range f.snapshot.Gaps {
		if g.Object == object {
			return g.Cause
		}
	}
	return "no cause is known"
}

// unseen says of a recorded disk that did not come whether it could not have been: it is in another pool than asked for, or
// its source was not seen whole.
func (f *fleetAudit) unseen() func(name string) bool {
	blind := map[fleet.SourceID]bool{}
	for i := range f.snapshot.Sources {
		s := &f.snapshot.Sources[i]
		blind[s.ID] = !s.Reachable
	}
	for i := range f.snapshot.Hosts {
		h := &f.snapshot.Hosts[i]
		blind[h.Source] = blind[h.Source] || h.Unreachable
	}
	return func(name string) bool {
		source, pool, _ := splitFleetName(name)
		return blind[fleet.SourceID(source)] || f.pool != "" && fleet.PoolID(pool) != f.pool
	}
}

func splitFleetName(name string) (source, pool, path string) {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) != 3 {
		return "", "", name
	}
	source, errS := url.PathUnescape(parts[0])
	pool, errP := url.PathUnescape(parts[1])
	if errS != nil || errP != nil {
		return "", "", name
	}
	return source, pool, parts[2]
}

func goneFromFleet(name string) auditLine {
	source, pool, path := splitFleetName(name)
	return auditLine{imageLine: imageLine{Path: path}, Source: source, Pool: pool}
}
