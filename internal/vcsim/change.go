package vcsim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// own is a context to hold the registry's locks with, apart from any request's.
func (s *Server) own() *simulator.Context {
	return &simulator.Context{Context: context.Background(), Map: s.model.Map()}
}

// change runs f with the object of ref under its lock.
func (s *Server) change(ref types.ManagedObjectReference, f func(mo.Reference)) {
	reg := s.model.Map()
	obj := reg.Get(ref)
	reg.WithLock(s.own(), obj, func() { f(obj) })
}

func (s *Server) byName(kind, name string) (types.ManagedObjectReference, error) {
	for _, e := range s.model.Map().All(kind) {
		if e.Entity().Name == name {
			return e.Reference(), nil
		}
	}
	return types.ManagedObjectReference{}, fmt.Errorf("no %s %s", kind, name)
}

// Maintenance puts a host into maintenance mode, or takes it out.
func (s *Server) Maintenance(host string, on bool) error {
	ref, err := s.byName("HostSystem", host)
	if err != nil {
		return err
	}
	s.change(ref, func(obj mo.Reference) { obj.(*simulator.HostSystem).Runtime.InMaintenanceMode = on })
	return nil
}

// Connection sets a host's connection state.
func (s *Server) Connection(host string, state types.HostSystemConnectionState) error {
	ref, err := s.byName("HostSystem", host)
	if err != nil {
		return err
	}
	s.change(ref, func(obj mo.Reference) { obj.(*simulator.HostSystem).Runtime.ConnectionState = state })
	return nil
}

// Fill leaves free bytes in a datastore.
func (s *Server) Fill(datastore string, free int64) error {
	ref, err := s.byName("Datastore", datastore)
	if err != nil {
		return err
	}
	s.change(ref, func(obj mo.Reference) { setFree(obj.(*simulator.Datastore), free) })
	return nil
}

// Edit runs f with the simulator's own VM under its lock, to give it what Spec cannot say.
func (s *Server) Edit(vm string, f func(*simulator.VirtualMachine)) error {
	ref, err := s.byName("VirtualMachine", vm)
	if err != nil {
		return err
	}
	s.change(ref, func(obj mo.Reference) { f(obj.(*simulator.VirtualMachine)) })
	return nil
}

// setFree is called with the datastore's lock held.
func setFree(ds *simulator.Datastore, free int64) {
	ds.Summary.FreeSpace = free
	ds.Info.GetDatastoreInfo().FreeSpace = free
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// diskUUID is a stable identity in VMware's notation: "60 00 C2 9a ... -..".
func diskUUID(dir, name string) string {
	sum := sha256.Sum256([]byte(filepath.Base(dir) + "/" + name))
	b := append([]byte{0x60, 0x00, 0xc2, 0x9a}, sum[:12]...)
	half := func(p []byte) string {
		parts := make([]string, len(p))
		for i, v := range p {
			parts[i] = fmt.Sprintf("%02x", v)
		}
		return strings.Join(parts, " ")
	}
	return half(b[:8]) + "-" + half(b[8:])
}
