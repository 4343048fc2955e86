// Package lab is the project's laboratory: scripts that start several real libvirt and QEMU hosts on one machine
// (lvlab), a small site with labelled VMs in wrong places (scenario), and the way from labels to moved VMs on it
// (run). The tests that drive it are in driver/libvirt and test/kill.
package lab
