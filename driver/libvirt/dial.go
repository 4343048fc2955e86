package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultSocket = "/var/run/libvirt/libvirt-sock"
	defaultPort   = "16509"
)

// address is where a libvirtd listens, and what it is asked for.
type address struct {
	network string // "unix" or "tcp"
	addr    string
	open    string // the URI that libvirtd itself opens: qemu:///system
}

// parseURI understands the part of libvirt's URIs that the driver can dial.
// Source: https://libvirt.org/uri.html
func parseURI(uri string) (address, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return address{}, errors.New("not a URI") // the cause would repeat the whole URI
	}
	scheme, transport, _ := strings.Cut(u.Scheme, "+")
	if scheme != "qemu" && scheme != "xen" && scheme != "test" {
		return address{}, fmt.Errorf("scheme %q, expected qemu, qemu+unix or qemu+tcp", u.Scheme)
	}
	if u.User != nil {
		return address{}, errors.New("a user in the URI is not supported: credentials never come from an argument")
	}
	a := address{open: scheme + "://" + u.Path}
	switch {
	case transport == "unix" || transport == "" && u.Host == "":
		if u.Host != "" {
			return address{}, fmt.Errorf("host %q with a unix socket", u.Host)
		}
		a.network, a.addr = "unix", defaultSocket
		if s := u.Query().Get("socket"); s != "" {
			a.addr = s
		}
		if !filepath.IsAbs(a.addr) {
			return address{}, fmt.Errorf("socket %q, expected an absolute path", a.addr)
		}
	case transport == "tcp":
		if u.Hostname() == "" {
			return address{}, errors.New("no host name")
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		a.network, a.addr = "tcp", net.JoinHostPort(u.Hostname(), port)
	case transport == "" || transport == "tls":
		return address{}, errors.New("TLS is not supported yet; use a unix socket or qemu+tcp in a protected network")
	case transport == "ssh", transport == "libssh", transport == "libssh2":
		return address{}, errors.New("ssh is not supported yet; forward the unix socket (ssh -L) and use qemu+unix")
	default:
		return address{}, fmt.Errorf("transport %q, expected unix or tcp", transport)
	}
	return a, nil
}

// dialer is the socket.Dialer that go-libvirt asks for. It keeps the connection, so that a call that hangs
// can be ended from outside.
type dialer struct {
	address
	timeout time.Duration

	mu   sync.Mutex
	conn net.Conn
	shut bool
}

func (d *dialer) Dial() (net.Conn, error) {
	nd := net.Dialer{
		Timeout: d.timeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
		},
	}
	conn, err := nd.DialContext(context.Background(), d.network, d.addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := setUserTimeout(tcp, 30*time.Second); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	d.conn = conn
	return conn, nil
}

// close ends the connection under whatever waits on it.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	if d.conn != nil {
		_ = d.conn.Close() // nothing can be done, and nothing depends on it
	}
}

// setUserTimeout bounds how long sent data may stay unacknowledged: keepalive alone does not act then.
func setUserTimeout(c *net.TCPConn, d time.Duration) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
	return errors.Join(err, serr)
}
