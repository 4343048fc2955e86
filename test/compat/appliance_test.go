package compat_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tools that start a VM of their own to look at an image get all images at once: it takes them a quarter of a minute.

const (
	guestfishRow = "guestfish, checksum of the disk"
	virtV2VRow   = "virt-v2v, its reader"
)

func applianceRows() []operation { return []operation{{name: guestfishRow}, {name: virtV2VRow}} }

func appliances(t *testing.T, pairs []pair, rows map[string][]string) {
	t.Helper()
	if testing.Short() {
		t.Log("short: guestfish and virt-v2v are left out")
		return
	}
	for tool, row := range map[string]string{"guestfish": guestfishRow, "virt-v2v": virtV2VRow} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool, row)
			continue
		}
		rows[row] = map[string]func(*testing.T, []pair) []string{guestfishRow: guestfish, virtV2VRow: virtV2V}[row](t, pairs)
	}
}

// guestfish reads every disk from within its appliance: labelled ones first, then the twins.
func guestfish(t *testing.T, pairs []pair) []string {
	t.Helper()
	var args []string
	commands := "run\n"
	for i, path := range paths(pairs) {
		args = append(args, "--format="+pairs[i%len(pairs)].format, "-a", path)
		commands += fmt.Sprintf("checksum-device sha256 /dev/sd%c\n", 'a'+i)
	}
	cmd := exec.CommandContext(t.Context(), "guestfish", append([]string{"--ro"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	cmd.Stdin = strings.NewReader(commands)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("guestfish: %v\n%s", err, out)
	}
	sums := strings.Fields(string(out))
	if len(sums) != 2*len(pairs) {
		t.Fatalf("guestfish: %d checksums of %d disks\n%s", len(sums), 2*len(pairs), out)
	}
	return verdicts(t, pairs, func(i int) bool { return sums[i] == sums[i+len(pairs)] })
}

func paths(pairs []pair) []string {
	var all []string
	for _, p := range pairs {
		all = append(all, p.labelled)
	}
	for _, p := range pairs {
		all = append(all, p.twin)
	}
	return all
}

// verdicts says "reads" of every image that was read as its twin was, and still has its label.
func verdicts(t *testing.T, pairs []pair, same func(i int) bool) []string {
	t.Helper()
	var row []string
	for i, p := range pairs {
		switch {
		case !same(i):
			row = append(row, refuses)
		case serial(t, p.labelled, p.options) == 0:
			row = append(row, loses)
		default:
			row = append(row, reads)
		}
	}
	return row
}

// virtV2V lets it open a VM with all disks. None has an operating system, and so it ends there; before that it has read
// them all.
func virtV2V(t *testing.T, pairs []pair) []string {
	t.Helper()
	said := func(paths []string) string {
		var disks strings.Builder
		for i, path := range paths {
			fmt.Fprintf(&disks, "<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/><target dev='sd%c' bus='scsi'/></disk>",
				pairs[i].format, path, 'a'+i)
		}
		xml := filepath.Join(t.TempDir(), "vm-db.xml")
		text := "<domain type='kvm'><name>vm-db</name><memory unit='MiB'>512</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>" +
			disks.String() + "</devices></domain>"
		if err := os.WriteFile(xml, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := program(t, "virt-v2v", "-i", "libvirtxml", xml, "-o", "null")
		if err == nil || !strings.Contains(out, "no root device found") && !strings.Contains(out, "inspection could not detect") {
			t.Fatalf("virt-v2v did not get as far as looking for an operating system: %v\n%s", err, out)
		}
		out = regexp.MustCompile(`\[ *[0-9.]+\]|nbdkit\S*|/\S+`).ReplaceAllString(out, "")
		return out
	}
	all := paths(pairs)
	same := said(all[:len(pairs)]) == said(all[len(pairs):])
	return verdicts(t, pairs, func(int) bool { return same })
}
