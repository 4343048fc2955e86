package ganeti

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Cluster is what the tools read: nodes, and instances with their places.
type Cluster struct {
	Groups    []string
	Nodes     []Node
	Instances []Instance
	// ExTags are the prefixes of tags of which no two instances on one node share a value.
	ExTags []string
	// Template of all disks: ext (storage that all nodes reach) or drbd (a copy on a second node).
	Template string
	// Ratio is how many virtual CPUs a node may have for each of its own.
	Ratio float64
}

// Node is one node.
type Node struct {
	Name         string
	Memory, Disk int64 // MiB
	CPUs         int64
	Group        int
}

// Instance is one VM.
type Instance struct {
	Name         string
	Memory, Disk int64 // MiB
	CPUs         int64
	Tags         string
	Primary      int
	// Secondary is the node of the copy with the template drbd, else -1.
	Secondary int
}

// Text is the cluster in the format of htools(1).
func (c *Cluster) Text() []byte {
	var b bytes.Buffer
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "%s|uuid-%s|preferred||\n", g, g)
	}
	b.WriteByte('\n')
	memory, disk := make([]int64, len(c.Nodes)), make([]int64, len(c.Nodes))
	for i := range c.Instances {
		x := &c.Instances[i]
		memory[x.Primary] += x.Memory
		if x.Secondary >= 0 {
			disk[x.Primary] += x.Disk
			disk[x.Secondary] += x.Disk
		}
	}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		role := 'N'
		if i == 0 {
			role = 'M'
		}
		fmt.Fprintf(&b, "%s|%d|0|%d|%d|%d|%d|%c|uuid-%s|1||N|0|0|1.0\n", n.Name, n.Memory, n.Memory-memory[i], n.Disk, n.Disk-disk[i], n.CPUs,
			role, c.Groups[n.Group])
	}
	b.WriteByte('\n')
	for i := range c.Instances {
		x := &c.Instances[i]
		second := ""
		if x.Secondary >= 0 {
			second = c.Nodes[x.Secondary].Name
		}
		fmt.Fprintf(&b, "%s|%d|%d|%d|running|Y|%s|%s|%s|%s|1|-\n", x.Name, x.Memory, x.Disk, x.CPUs, c.Nodes[x.Primary].Name, second, c.Template, x.Tags)
	}
	b.WriteByte('\n')
	for _, t := range c.ExTags {
		fmt.Fprintf(&b, "htools:iextags:%s\n", t)
	}
	b.WriteByte('\n')
	policy := fmt.Sprintf("1024,1,1024,1,1,1|1,1,1,1,0,1;1048576,1024,10485760,16,8,64|ext,drbd|%g|1000.0\n", c.Ratio)
	b.WriteString("|" + policy)
	for _, g := range c.Groups {
		b.WriteString(g + "|" + policy)
	}
	return b.Bytes()
}

// The tools' places on Debian.
const (
	hbalPath = "/usr/bin/hbal"
	hailPath = "/usr/lib/ganeti/iallocators/hail"
)

// Version is that of the installed tools; the error says which is missing.
func Version() (string, error) {
	for _, p := range []string{hbalPath, hailPath} {
		if _, err := os.Stat(p); err != nil {
			return "", fmt.Errorf("find Ganeti's tools (apt-get install ganeti-htools): %w", err)
		}
	}
	out, err := exec.CommandContext(context.Background(), hbalPath, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", hbalPath, err)
	}
	m := regexp.MustCompile(`version (\S+)`).FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("run %s --version: %q", hbalPath, strings.TrimSpace(string(out)))
	}
	return string(m[1]), nil
}

// used is what a run took: by the clock, and of the CPU alone.
type used struct{ wall, cpu time.Duration }

func run(ctx context.Context, path string, args ...string) ([]byte, used, error) {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // one of two constants
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	start := time.Now()
	err := cmd.Run()
	u := used{wall: time.Since(start)}
	if cmd.ProcessState != nil {
		u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		return out.Bytes(), u, fmt.Errorf("run %s: %w: %s", path, err, strings.TrimSpace(complaint.String()))
	}
	return out.Bytes(), u, nil
}
