package libvirt

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-project/berth/fleet"
)

// HostConfig is how one libvirtd is reached.
type HostConfig struct {
	// URI is the client's way: qemu:///system, qemu+unix:///system?socket=PATH or qemu+tcp://HOST[:PORT]/system.
	URI string
	// Peer is the way that the other hosts' libvirtd take, for peer-to-peer migration:
	// qemu+tcp://10.77.0.1/system. Empty: no VM can move live to this host.
	Peer string
	// Cluster, Chassis, Rack, Site and Tags are what libvirt has no word for and policies want to know of a host.
	Cluster, Chassis, Rack, Site string
	Tags                         []string
}

// Timeouts bound what the driver waits for. A zero value is replaced by the default.
type Timeouts struct {
	Dial     time.Duration // connect and log in; default 5 s
	Call     time.Duration // one short call; default 20 s
	Stall    time.Duration // a stream or job without any progress; default 60 s
	Migrate  time.Duration // one live migration or mirror, as a whole; default 6 h
	Shutdown time.Duration // for the guest to obey an ACPI shutdown before it is powered off; default 60 s
}

// Labels carries the labels of images whose formats the driver does not understand, when a copy is not made of the file's
// bytes: a live move writes into a new image. format is the domain's driver type ("qcow2", "raw"). An envelope is what the
// domain's metadata has for the disk, nil for nothing: it counts when its serial is higher than that of the image's label,
// and it was made for this disk.
type Labels interface {
	// Labelled reports whether from has a label, or envelope is one for it. An error: it has one that cannot be carried.
	Labelled(from fleet.ImageFile, format string, envelope []byte) (bool, error)
	// Carry gives to, a new image of the same format and size, the label that counts of from and envelope. Nothing uses to.
	Carry(from, to fleet.ImageFile, format string, envelope []byte) error
	// Later is the one of two envelopes of one disk that counts: the one with the higher serial, a when they are equal.
	Later(a, b string) string
	// Carried says why to has neither from's label nor a later one, or nil. It is asked before from is deleted.
	Carried(from, to fleet.ImageFile, format string) error
}

// Config is one source: a group of libvirt hosts.
type Config struct {
	ID       fleet.SourceID
	Hosts    []HostConfig
	Timeouts Timeouts
	// Labels is how labels travel in live moves; nil: a labelled disk that is no VMDK moves offline only.
	Labels Labels
}

// MaxHosts bounds the hosts of one source.
const MaxHosts = 1024

// Driver is a source and mover of libvirt hosts. It is safe for concurrent use.
type Driver struct {
	id     fleet.SourceID
	hosts  []*host
	time   Timeouts
	labels Labels
	claims claims

	// checkpoint is called between the phases of a move; tests cut the move there with an error.
	checkpoint func(name string) error
	// slow, when not 0, limits live copies to so many MiB a second; tests make them last with it.
	slow uint64
}

// Open checks cfg and makes the driver. It does not connect yet: a host that is down is no error here, but a
// Gap in Observe.
func Open(cfg Config) (*Driver, error) {
	if cfg.ID == "" {
		return nil, errors.New("open libvirt source: no id")
	}
	if len(cfg.Hosts) == 0 || len(cfg.Hosts) > MaxHosts {
		return nil, fmt.Errorf("open libvirt source %s: %d hosts, expected 1 to %d", cfg.ID, len(cfg.Hosts), MaxHosts)
	}
	d := &Driver{id: cfg.ID, time: cfg.Timeouts.withDefaults(), labels: cfg.Labels, checkpoint: func(string) error { return nil }}
	seen := map[string]bool{}
	for _, hc := range cfg.Hosts {
		if seen[hc.URI] {
			return nil, fmt.Errorf("open libvirt source %s: host %s: listed twice", cfg.ID, hc.URI)
		}
		seen[hc.URI] = true
		h, err := newHost(hc, d.time)
		if err != nil {
			return nil, fmt.Errorf("open libvirt source %s: host %s: %w", cfg.ID, hc.URI, err)
		}
		h.labels = cfg.Labels
		d.hosts = append(d.hosts, h)
	}
	return d, nil
}

// ID is the source's id.
func (d *Driver) ID() fleet.SourceID { return d.id }

// Close closes every idle connection. Jobs that run on the hosts go on.
func (d *Driver) Close() error {
	for _, h := range d.hosts {
		h.close()
	}
	return nil
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&t.Dial, 5*time.Second)
	set(&t.Call, 20*time.Second)
	set(&t.Stall, time.Minute)
	set(&t.Migrate, 6*time.Hour)
	set(&t.Shutdown, time.Minute)
	return t
}

// byRef finds the host with that URI.
func (d *Driver) byRef(uri string) (*host, error) {
	for _, h := range d.hosts {
		if h.cfg.URI == uri {
			return h, nil
		}
	}
	return nil, fmt.Errorf("source %s has no host %s", d.id, uri)
}
