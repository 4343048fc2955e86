// Package kill holds the test that ends "berth plan apply" with SIGKILL at every record of its journal and
// somewhere within every step, and goes on with the same command: on the embedded vSphere, and on real
// libvirt and QEMU (root). Afterwards every VM is there once, runs where it ran, and is where the plan says.
package kill
