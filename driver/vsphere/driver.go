package vsphere

import (
	"context"
	"errors"
	"time"

	"github.com/berth-project/berth/fleet"
)

// Credentials are a user and a password of the vCenter. They print as "[redacted]" whatever the verb.
type Credentials struct {
	User     string
	Password string
}

// Config says which vCenter to speak to and how.
type Config struct {
	// ID names this source in the fleet.
	ID fleet.SourceID
	// URL of the vCenter: "https://vc.example/sdk", a bare host name too. User information in it is refused:
	// credentials do not belong into a configuration file.
	URL string
	// Credentials to log in with.
	Credentials Credentials
	// Insecure accepts any certificate.
	Insecure bool
	// Thumbprint, when set, is the SHA-1 or SHA-256 of the server's certificate in hex with colons; a certificate with
	// another one is refused, one with this is accepted whoever signed it.
	Thumbprint string
	// CallTimeout bounds one request; 0: 60 s.
	CallTimeout time.Duration
	// MoveTimeout bounds one relocation; 0: 6 h.
	MoveTimeout time.Duration
	// ShutdownTimeout bounds the guest's own shutdown before it is powered off; 0: 90 s.
	ShutdownTimeout time.Duration
}

// Driver is an open session with one vCenter. Its methods may be called at once from several goroutines.
type Driver struct {
	cfg Config
}

// Open logs in. The error never holds the password.
func Open(_ context.Context, cfg Config) (*Driver, error) {
	return &Driver{cfg: cfg}, errors.New("open vsphere: not built yet")
}

// ID is the source's name.
func (d *Driver) ID() fleet.SourceID { return d.cfg.ID }

// Close logs out and drops the connections.
func (d *Driver) Close() error { return nil }

// Observe reads the inventory of the vCenter: one Source, its hosts, pools, VMs and gaps, sorted.
func (d *Driver) Observe(_ context.Context) (*fleet.Snapshot, error) {
	return nil, errors.New("observe vsphere: not built yet")
}

// OpenImage opens the image at path ("[nvme-1] vm-db/vm-db.vmdk") for reading and, small text descriptors
// only, for writing.
func (d *Driver) OpenImage(_ context.Context, _ fleet.Pool, _ string) (fleet.ImageFile, error) {
	return nil, errors.New("open image: not built yet")
}

// Locate asks where the VM of r is now.
func (d *Driver) Locate(_ context.Context, _ fleet.Relocation) (fleet.Observed, error) {
	return fleet.Observed{}, errors.New("locate vm: not built yet")
}

// Precheck says why r would fail or overwrite something, before anything is touched.
func (d *Driver) Precheck(_ context.Context, _ fleet.Relocation) error {
	return errors.New("precheck: not built yet")
}

// Relocate brings the VM of r to r.To from wherever it is on its way.
func (d *Driver) Relocate(_ context.Context, _ fleet.Relocation, _ bool, _ func(done, total fleet.Bytes)) error {
	return errors.New("relocate: not built yet")
}
