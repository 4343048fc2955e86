package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/berth-project/berth/driver/libvirt"
	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/carry"
	"github.com/berth-project/berth/internal/executor"
	"github.com/berth-project/berth/internal/inventory"
	"github.com/berth-project/berth/label"
)

// connection is one open source: it observes and it moves.
type connection interface {
	inventory.Source
	executor.Mover
	io.Closer
}

// world is the sources of a configuration, open.
type world struct {
	conns []connection
}

// openWorld opens the sources of c that want selects (nil: all). A source that cannot be reached is no error
// here: it becomes a gap of the inventory.
func (a *app) openWorld(ctx context.Context, c *config, want func(fleet.SourceID) bool) (*world, error) {
	w := &world{}
	for _, s := range c.sources {
		if want != nil && !want(s.id) {
			continue
		}
		conn, err := a.openSource(ctx, s)
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		w.conns = append(w.conns, conn)
	}
	return w, nil
}

func (a *app) openSource(ctx context.Context, s sourceConfig) (connection, error) {
	if s.kind == "libvirt" {
		cfg := libvirt.Config{ID: s.id, Labels: carry.Labels{}}
		for _, h := range s.hosts {
			cfg.Hosts = append(cfg.Hosts, libvirt.HostConfig{
				URI: h.uri, Peer: h.peer, Cluster: h.cluster, Chassis: h.chassis, Rack: h.rack, Site: h.site, Tags: h.tags,
			})
		}
		d, err := libvirt.Open(cfg)
		if err != nil {
			return nil, inputError(err, "the keys of berth.yaml are in docs/cli.md")
		}
		return d, nil
	}
	cred, err := a.credentials(s)
	if err != nil {
		return nil, err
	}
	d, err := vsphere.Open(ctx, vsphere.Config{
		ID: s.id, URL: s.url, Insecure: s.insecure, Thumbprint: s.thumbprint, Credentials: cred,
	})
	if err != nil {
		return unreachable{id: s.id, err: err}, nil //nolint:nilerr // the error becomes a gap of the inventory
	}
	return d, nil
}

// credentials are those of the source's file, or of the environment.
func (a *app) credentials(s sourceConfig) (vsphere.Credentials, error) {
	if s.credentials != "" {
		return readCredentials(s.credentials)
	}
	for _, v := range [][2]string{{"BERTH_VSPHERE_USER", "BERTH_VSPHERE_PASSWORD"}, {"GOVC_USERNAME", "GOVC_PASSWORD"}} {
		if u := a.env.Getenv(v[0]); u != "" {
			return vsphere.Credentials{User: u, Password: a.env.Getenv(v[1])}, nil
		}
	}
	return vsphere.Credentials{}, inputError(fmt.Errorf("open source %s: there are no credentials", s.id),
		"set BERTH_VSPHERE_USER and BERTH_VSPHERE_PASSWORD, or name a file with user and password under credentials: in berth.yaml")
}

func readCredentials(path string) (vsphere.Credentials, error) {
	var c vsphere.Credentials
	data, err := readSecret(path, maxYAML)
	if err != nil {
		return c, err
	}
	f := yamlFile{name: path}
	root, err := f.parse(data)
	if err == nil {
		err = f.mapping(root, "credentials", map[string]field{
			"user": f.str(&c.User, "user"), "password": f.str(&c.Password, "password"),
		}, "user", "password")
	}
	if err != nil { // its text could repeat a part of the password
		return vsphere.Credentials{}, inputError(fmt.Errorf("read credentials: %s: not as expected", path), "two lines: user: NAME and password: \"WORD\"")
	}
	return c, nil
}

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, inputError(fmt.Errorf("read secret %s: %w", path, bare(err)), "")
	}
	if loose := st.Mode().Perm() & 0o077; loose != 0 {
		return nil, &cliError{code: codeRefused,
			err:  fmt.Errorf("read secret %s: mode is %04o: others than its owner may use it", path, st.Mode().Perm()),
			hint: "chmod 600 " + path}
	}
	data, err := readFile(path, limit)
	if err != nil {
		return nil, inputError(fmt.Errorf("read secret: %w", err), "")
	}
	return data, nil
}

// observe takes the inventory of all sources.
func (w *world) observe(ctx context.Context, a *app, trust *label.TrustFile) (*fleet.Snapshot, error) {
	sources := make([]inventory.Source, len(w.conns))
	for i, c := range w.conns {
		sources[i] = c
	}
	s, err := inventory.Take(ctx, sources, inventory.Options{Trust: trust, Now: a.env.Now().UTC()})
	if err != nil {
		return nil, fmt.Errorf("take inventory: %w", err)
	}
	return s, nil
}

// mover is the source of that name as the executor sees it; nil when there is none.
func (w *world) mover(id fleet.SourceID) executor.Mover {
	for _, c := range w.conns {
		if c.ID() == id {
			return c
		}
	}
	return nil
}

// Close closes every connection.
func (w *world) Close() error {
	var errs []error
	for _, c := range w.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// unreachable stands for a source that could not be opened: everything about it is unknown.
type unreachable struct {
	id  fleet.SourceID
	err error
}

func (u unreachable) ID() fleet.SourceID { return u.id }

func (u unreachable) Close() error { return nil }

func (u unreachable) Observe(context.Context) (*fleet.Snapshot, error) { return nil, u.err }

func (u unreachable) OpenImage(context.Context, fleet.Pool, string) (fleet.ImageFile, error) {
	return nil, u.err
}

func (u unreachable) Locate(context.Context, fleet.Relocation) (fleet.Observed, error) {
	return fleet.Observed{}, u.fail("locate vm")
}

func (u unreachable) Precheck(context.Context, fleet.Relocation) error { return u.fail("check move") }

func (u unreachable) Relocate(context.Context, fleet.Relocation, bool, func(done, total fleet.Bytes)) error {
	return u.fail("move vm")
}

func (u unreachable) fail(op string) error {
	return &fleet.DriverError{Kind: fleet.Retry, Op: op, Err: u.err}
}
