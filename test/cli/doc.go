// Package cli holds the tests of the command line: scripts in testdata, one per command or guarded case, run
// against the real program, with real images where qemu-img is installed.
//
// Set BERTH_BIN to the absolute path of a built binary to run the same scripts against that.
package cli
