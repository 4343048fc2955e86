package libvirt

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/berth-project/berth/fleet"
)

// maxDomains bounds the domains of one host.
const maxDomains = 20000

// end is what one libvirtd says of one VM now.
type end struct {
	h          *host
	dom        golibvirt.Domain
	found      bool
	active     bool
	persistent bool
	autostart  bool
	saved      bool
	snapshots  int
	job        bool // a migration, save or dump runs
	state      golibvirt.DomainState
	reason     int32
	live       string // XML of the running domain; empty when it does not run
	config     string // XML of the definition
	guest      *guest // from live when it runs, else from config
	conf       *guest // from config
}

// running says that the guest executes: a domain that is paused, or is coming in by a migration, does not.
func (e *end) running() bool {
	return e.active && (e.state == golibvirt.DomainRunning || e.state == golibvirt.DomainBlocked || e.state == golibvirt.DomainShutdown)
}

// incoming says that the definition does not count yet.
func (e *end) incoming() bool {
	return e.found && e.conf.marker != nil && e.conf.marker.State == stateIncoming
}

// arriving says that the domain waits for a live migration's data, or was left so.
func (e *end) arriving() bool {
	return e.active && e.state == golibvirt.DomainPaused && (e.reason == int32(golibvirt.DomainPausedMigration) ||
		e.reason == int32(golibvirt.DomainPausedStartingUp))
}

func (e *end) power() fleet.PowerState {
	switch {
	case e.saved:
		return fleet.Suspended
	case !e.active:
		return fleet.Stopped
	case e.running(), e.job:
		return fleet.Running
	default: // paused, pmsuspended, crashed with its memory kept: left alone
		return fleet.Suspended
	}
}

// path is where a disk of the VM lies, or "".
func (g *guest) path(id fleet.DiskID) string {
	for _, d := range g.vm.Disks {
		if d.ID == id {
			return d.Path
		}
	}
	return ""
}

func parseUUID(s string) (golibvirt.UUID, error) {
	var u golibvirt.UUID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("uuid %q, expected 32 hex digits", s)
	}
	copy(u[:], b)
	return u, nil
}

// probe asks h for the VM with that UUID. found is false when h has none.
func (h *host) probe(ctx context.Context, uuid string, pools []poolInfo) (*end, error) {
	u, err := parseUUID(uuid)
	if err != nil {
		return nil, err
	}
	return call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (*end, error) {
		dom, err := l.DomainLookupByUUID(u)
		if hasCode(err, golibvirt.ErrNoDomain) {
			return &end{h: h}, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := readDomain(l, h, dom, pools)
		if hasCode(err, golibvirt.ErrNoDomain) { // went away under our eyes
			return &end{h: h}, nil
		}
		return e, err
	})
}

// readDomain reads all that is known of one domain.
func readDomain(l *golibvirt.Libvirt, h *host, dom golibvirt.Domain, pools []poolInfo) (*end, error) {
	e := &end{h: h, dom: dom, found: true}
	state, reason, err := l.DomainGetState(dom, 0)
	if err != nil {
		return nil, err
	}
	e.state, e.reason = golibvirt.DomainState(state), reason
	e.active = e.state != golibvirt.DomainShutoff
	yes, err := l.DomainIsPersistent(dom)
	if err != nil {
		return nil, err
	}
	if e.persistent = yes == 1; e.persistent {
		if err := e.readPersistent(l, dom); err != nil {
			return nil, err
		}
	}
	doc := e.config
	if e.active {
		if e.live, err = l.DomainGetXMLDesc(dom, golibvirt.DomainXMLSecure); err != nil {
			return nil, err
		}
		doc = e.live
		kind, _, _, _, _, _, _, _, _, _, _, _, err := l.DomainGetJobInfo(dom) // the library's signature
		if err != nil && !hasCode(err, golibvirt.ErrNoSupport, golibvirt.ErrOperationInvalid, golibvirt.ErrOperationUnsupported) {
			return nil, err
		}
		k := golibvirt.DomainJobType(kind)
		e.job = err == nil && (k == golibvirt.DomainJobBounded || k == golibvirt.DomainJobUnbounded)
	}
	if e.config == "" {
		e.config = e.live
	}
	// The host is known to the caller; the guest's own view needs none.
	if e.guest, err = translate(doc, "", pools); err != nil {
		return nil, err
	}
	if e.conf, err = translate(e.config, "", pools); err != nil {
		return nil, err
	}
	e.guest.addLabels(e.conf.labels, h.labels)
	return e, nil
}

func (e *end) readPersistent(l *golibvirt.Libvirt, dom golibvirt.Domain) error {
	var err error
	if e.config, err = l.DomainGetXMLDesc(dom, golibvirt.DomainXMLSecure|golibvirt.DomainXMLInactive); err != nil {
		return err
	}
	auto, err := l.DomainGetAutostart(dom)
	if err != nil {
		return err
	}
	e.autostart = auto == 1
	saved, err := l.DomainHasManagedSaveImage(dom, 0)
	if err != nil && !hasCode(err, golibvirt.ErrNoSupport) {
		return err
	}
	e.saved = saved == 1
	n, err := l.DomainSnapshotNum(dom, 0)
	if err != nil && !hasCode(err, golibvirt.ErrNoSupport) {
		return err
	}
	e.snapshots = int(n)
	return nil
}

// domains lists every domain of h.
func (h *host) domains(ctx context.Context) ([]golibvirt.Domain, error) {
	return call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) ([]golibvirt.Domain, error) {
		list, _, err := l.ConnectListAllDomains(1, 0)
		if err == nil && len(list) > maxDomains {
			return nil, fmt.Errorf("%d domains, expected at most %d", len(list), maxDomains)
		}
		return list, err
	})
}

// user is a domain that names a file.
type user struct {
	file   string
	name   string
	uuid   string
	active bool
}

// users lists the domains of h that have one of the files as a disk, a backing image or the target of a block copy, in
// their definition or while they run. A VMDK's extents are found by their descriptor's name only.
func (h *host) users(ctx context.Context, files ...string) ([]user, error) {
	list, err := h.domains(ctx)
	if err != nil {
		return nil, err
	}
	var users []user
	for _, dom := range list {
		u, err := call(ctx, h, h.time.Call, func(l *golibvirt.Libvirt) (*user, error) { return userOf(l, dom, files) })
		if err != nil {
			return nil, fmt.Errorf("domain %s: %w", dom.Name, err)
		}
		if u != nil {
			users = append(users, *u)
		}
	}
	return users, nil
}

func userOf(l *golibvirt.Libvirt, dom golibvirt.Domain, files []string) (*user, error) {
	for _, flags := range []golibvirt.DomainXMLFlags{0, golibvirt.DomainXMLInactive} {
		doc, err := l.DomainGetXMLDesc(dom, flags)
		if hasCode(err, golibvirt.ErrNoDomain) {
			return nil, nil // gone: uses nothing
		}
		if err != nil {
			return nil, err
		}
		names, err := fileNames(doc)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if names[path.Clean(file)] {
				return &user{file: file, name: dom.Name, uuid: uuidString(dom.UUID), active: dom.ID >= 0}, nil
			}
		}
	}
	return nil, nil // no use found is an answer
}

func uuidString(u golibvirt.UUID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
