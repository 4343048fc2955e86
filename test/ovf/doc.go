// Package ovf builds appliances (OVF, OVA) as VirtualBox, VMware's ovftool, oVirt and others write them, for the tests of
// every package that reads or changes them. Its own tests hold labelled appliances against foreign tools: tar, sha256sum,
// openssl, qemu-img, virt-v2v's reader, govmomi; and kill berth at each system call of a change.
package ovf
