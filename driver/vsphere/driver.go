package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"sync"
	"time"

	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// Credentials are a user and a password of the vCenter. They print as "[redacted]" whatever the verb.
type Credentials struct {
	User     string
	Password string
}

// Format prints no credential, under any verb.
func (Credentials) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[redacted]") }

// MarshalText keeps credentials out of JSON and logs.
func (Credentials) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

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
	// Thumbprint, when set, is the SHA-1 or SHA-256 of the server's certificate in hex with colons: a
	// certificate that no known authority signed is accepted when it has this one.
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
	vim *vim25.Client // logs in again by itself
	raw *vim25.Client // does not

	mu     sync.Mutex
	logins int                                           // guards against logging in twice for one expiry
	stores map[types.ManagedObjectReference]storeAddress // file access of each datastore, filled by need
}

// Open logs in. The error never holds the password.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	cfg.CallTimeout = orDefault(cfg.CallTimeout, time.Minute)
	cfg.MoveTimeout = orDefault(cfg.MoveTimeout, 6*time.Hour)
	cfg.ShutdownTimeout = orDefault(cfg.ShutdownTimeout, 90*time.Second)
	op := "open vcenter " + string(cfg.ID)
	u, err := soap.ParseURL(cfg.URL)
	if err != nil || u == nil || u.Host == "" {
		return nil, permanent(op, errors.New("no valid URL, expected https://HOST/sdk")) // the URL's own error would print it
	}
	if u.User != nil && u.User.String() != ":" { // ParseURL sets an empty one
		return nil, permanent(op, errors.New("the URL holds a user name: credentials belong in the environment or a file"))
	}
	u.User = nil
	sc := soap.NewClient(u, cfg.Insecure)
	sc.UserAgent = "berth"
	if cfg.Thumbprint != "" {
		sc.SetThumbprint(u.Host, cfg.Thumbprint)
	}
	cctx, cancel := context.WithTimeout(ctx, cfg.CallTimeout)
	defer cancel()
	vc, err := vim25.NewClient(cctx, sc)
	if err != nil {
		sc.CloseIdleConnections()
		return nil, readError(op, err)
	}
	raw := *vc
	d := &Driver{cfg: cfg, vim: vc, raw: &raw, stores: map[types.ManagedObjectReference]storeAddress{}}
	vc.RoundTripper = &relogin{d: d, next: sc}
	if err := d.login(cctx, 0); err != nil {
		sc.CloseIdleConnections()
		return nil, readError(op, err)
	}
	return d, nil
}

func orDefault(v, def time.Duration) time.Duration {
	if v <= 0 {
		return def
	}
	return v
}

// login opens a session, unless somebody did since the caller saw the count of logins.
func (d *Driver) login(ctx context.Context, seen int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.logins != seen {
		return nil
	}
	err := session.NewManager(d.raw).Login(ctx, url.UserPassword(d.cfg.Credentials.User, d.cfg.Credentials.Password))
	if err != nil {
		return err
	}
	d.logins++
	return nil
}

func (d *Driver) loginCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logins
}

// relogin bounds every call, and repeats one that found the session expired after logging in again. A call
// that was not authenticated did nothing, so that repeating it is safe.
type relogin struct {
	d    *Driver
	next soap.RoundTripper
}

func (r *relogin) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	ctx, cancel := context.WithTimeout(ctx, r.d.cfg.CallTimeout)
	defer cancel()
	seen := r.d.loginCount()
	err := r.next.RoundTrip(ctx, req, res)
	if err == nil && !unauthenticated(res) || err != nil && faultName(err) != "NotAuthenticated" {
		return err
	}
	if lerr := r.d.login(ctx, seen); lerr != nil {
		return lerr
	}
	reflect.ValueOf(res).Elem().SetZero() // the decoder would leave the fault of the first answer in it
	return r.next.RoundTrip(ctx, req, res)
}

// unauthenticated says whether a property read was answered to nobody: without a session a vCenter gives the
// objects with every property missing, and no fault.
func unauthenticated(res soap.HasFault) bool {
	var content []types.ObjectContent
	switch b := res.(type) {
	case *methods.RetrievePropertiesBody:
		if b.Res != nil {
			content = b.Res.Returnval
		}
	case *methods.RetrievePropertiesExBody:
		if b.Res != nil && b.Res.Returnval != nil {
			content = b.Res.Returnval.Objects
		}
	}
	for _, c := range content {
		for _, m := range c.MissingSet {
			if typeName(m.Fault.Fault) == "NotAuthenticated" {
				return true
			}
		}
	}
	return false
}

// ID is the source's name.
func (d *Driver) ID() fleet.SourceID { return d.cfg.ID }

// Close logs out and drops the connections.
func (d *Driver) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := session.NewManager(d.raw).Logout(ctx)
	d.vim.CloseIdleConnections()
	if err != nil && faultName(err) != "NotAuthenticated" {
		return readError("close vcenter "+string(d.cfg.ID), err)
	}
	return nil
}
