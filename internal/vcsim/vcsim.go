// Package vcsim is govmomi's vCenter simulator made true where it is false, for Berth's tests and its
// embedded demonstration. Nothing leaves the machine: it listens on 127.0.0.1, on a free port.
//
// # What it adds to govmomi/simulator
//
//   - RelocateVM_Task really moves the VM: its home and disk files go from one datastore's folder to another's
//     (by rename), each disk obeys its own locator, the backings, the layout, the datastore, host and resource
//     pool references and the datastores' free space follow. The simulator only changes references.
//   - It refuses what a vCenter refuses: a target in maintenance or not connected, a datastore that the target host
//     does not see, too little room, a resource pool of another compute resource, a second task on the VM, a
//     disk of a kind that it cannot copy.
//   - The task takes Spec.CopyTime, with progress, without holding the VM's lock: properties can be read
//     meanwhile, and CancelTask stops it with the VM where it was.
//   - The datastores' file access (/folder) asks for a session cookie, as a vCenter does.
//   - Faults for tests: FailRelocate, LoseLines, DropRequests, Delay, IgnoreRange, ExpireSessions, Fill; and the simulator's own
//     fault rules through Service.AddFaultRule.
//
// Everything else is the simulator's own, with its limits: there is no MigrateVM_Task, no NetIOC, and
// WaitForUpdates is quadratic in the number of VMs. A VM's vmware.log stays in a folder beside the
// datastores, since the simulator goes on writing where it began.
//
// # Files
//
// A datastore is a folder of Spec.Dir with its name. A disk is a "vmfs" text descriptor and a sparse
// "-flat" extent of the disk's size in the VM's folder there.
package vcsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	_ "github.com/vmware/govmomi/vapi/simulator" // serves the tagging API, when Spec.Tagging is set
)

// Spec describes a vCenter to build.
type Spec struct {
	Dir            string // an existing folder: one folder for each datastore goes there
	User, Password string
	TLS            bool          // serve https with a self-signed certificate
	Tagging        bool          // serve the tagging API; without it, hosts and datastores have no tags
	CopyTime       time.Duration // how long one relocation takes; 0: 20 ms
	Clusters       []Cluster
	Hosts          []Host
	Datastores     []Datastore
	VMs            []VM
}

// Cluster is one cluster. DRS is off unless Behaviour is set.
type Cluster struct {
	Name      string
	Behaviour types.DrsBehavior // "": DRS is off
}

// Host is one host with what it reports.
type Host struct {
	Name       string
	Cluster    string // empty: a stand-alone host
	Threads    int
	Memory     int64 // bytes
	NICs       []NIC
	Datastores []string
	Tags       map[string]string // category: tag
	Attributes map[string]string // custom attributes
}

// NIC is one physical NIC. Functions is the number of SR-IOV virtual functions that are configured.
type NIC struct {
	Device    string
	Driver    string
	Mbps      int
	Functions int
}

// Datastore is one datastore, a folder of Spec.Dir.
type Datastore struct {
	Name     string
	Type     string // "VMFS", "NFS"
	Capacity int64  // bytes
	Tags     map[string]string
}

// VM is one VM; its files lie in the folder of its name on the datastore of its first disk.
type VM struct {
	Name    string
	Host    string
	CPUs    int
	Memory  int64 // bytes
	Running bool
	// Suspended: it was running and its memory is on disk.
	Suspended bool
	Disks     []Disk // at least one
}

// Disk is one disk of a VM.
type Disk struct {
	Datastore string
	Size      int64 // bytes, of whole sectors
}

// Server is a running vCenter.
type Server struct {
	// Service is the simulator's own, for its fault rules.
	Service *simulator.Service
	// Client speaks to the vCenter in this process, past the network.
	Client *vim25.Client

	spec   Spec
	model  *simulator.Model
	http   *simulator.Server
	gate   gate
	closed chan struct{}
	once   sync.Once
	tasks  sync.WaitGroup

	world sync.Mutex // taken before the simulator's locks

	mu   sync.Mutex
	busy map[types.ManagedObjectReference]bool
	fail []failure
	hook func(*simulator.VirtualMachine)
	lose string
}

// Start builds the vCenter of spec and serves it until Close.
func Start(ctx context.Context, spec Spec) (*Server, error) {
	if spec.User == "" || spec.Password == "" {
		return nil, errors.New("start vcsim: no user or password")
	}
	if spec.CopyTime == 0 {
		spec.CopyTime = 20 * time.Millisecond
	}
	dir, err := filepath.Abs(spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("start vcsim: %w", err)
	}
	spec.Dir = dir
	model := simulator.VPX()
	model.Datacenter, model.Datastore, model.Machine, model.Host, model.Cluster, model.Portgroup = 0, 0, 0, 0, 0, 0
	if err := model.Create(); err != nil {
		return nil, fmt.Errorf("start vcsim: %w", err)
	}
	s := &Server{
		Service: model.Service, spec: spec, model: model, closed: make(chan struct{}),
		busy: map[types.ManagedObjectReference]bool{},
	}
	s.gate.sessions = map[string]bool{}
	model.Map().Handler = s.handle
	s.Service.RegisterEndpoints = spec.Tagging
	s.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(spec.User, spec.Password)}
	if spec.TLS {
		s.Service.TLS = new(tls.Config)
	}
	s.http = s.Service.NewServer()
	s.gate.next = s.http.Config.Handler
	s.http.Config.Handler = &s.gate // before the first connection
	s.Client, err = vim25.NewClient(ctx, s.Service)
	if err == nil {
		err = s.build(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("start vcsim: %w", err)
	}
	return s, nil
}

// URL is where the vCenter listens, without credentials: "http://127.0.0.1:34567/sdk".
func (s *Server) URL() string {
	u := *s.http.URL
	u.User = nil
	return u.String()
}

// Thumbprint is the SHA-1 of the server's certificate, in hex with colons; empty without TLS.
func (s *Server) Thumbprint() string {
	if !s.spec.TLS {
		return ""
	}
	return s.http.CertificateInfo().ThumbprintSHA1
}

// Folder is the local folder of a datastore.
func (s *Server) Folder(datastore string) string { return filepath.Join(s.spec.Dir, datastore) }

// Close stops the server and waits for its tasks. The datastores' files stay.
func (s *Server) Close() { s.once.Do(s.close) }

func (s *Server) close() {
	close(s.closed)
	s.gate.open()
	s.http.CloseClientConnections()
	s.http.Close()
	s.tasks.Wait()
	s.model.Remove()
	_ = os.RemoveAll(filepath.Join(s.spec.Dir, logFolder))
}
