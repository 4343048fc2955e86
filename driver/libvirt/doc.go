// Package libvirt drives KVM hosts through libvirt's remote protocol, without any agent on the hosts: one
// libvirtd a host, reached by unix socket or TCP.
//
// It is a source (Observe, OpenImage) and a mover (Locate, Precheck, Relocate). Every call has a deadline:
// go-libvirt knows neither contexts nor timeouts, and a frozen libvirtd accepts a connection and never
// answers. A connection serves one call at a time, so that a slow stream blocks nobody; on a timeout it is
// closed and never used again.
//
// Identifiers: a host is the name that libvirt reports; a pool is "host/pool"; a VM is its domain name
// ("host/name" where two hosts have different VMs of one name); a disk is its target ("vda"). Host.Ref is
// the configured URI and Pool.Ref is URI#pool, so that a Relocation or a Pool alone finds its libvirtd.
//
// Invariants of a move (Relocate): the VM is defined on at least one host at every moment; it is started
// only where the other host has no definition of it; its source volumes are deleted last, after the copy has
// been read back and the VM is where it should be. Where a move stands is derived from the libvirts alone:
//
//   - a target definition that carries <berth:move state="incoming"> in its metadata does not count yet:
//     the source does, until it is undefined;
//   - files at the target path belong to the move that the caller has journalled, and are replaced, as long
//     as no domain of that host uses them;
//   - jobs that a killed berth left behind are found on the domain and waited for.
package libvirt
