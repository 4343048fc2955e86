package ganeti

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Balanced is what hbal made of a cluster.
type Balanced struct {
	Before, After float64 // Ganeti's score: lower is better, 0 is perfect balance
	Moves         int
	// Copies are the disks that are copied to another node, of instances with a second node.
	Copies    int
	Wall, CPU time.Duration
	Done      bool // false: it was stopped at the limit of time
}

var (
	scoreLine = regexp.MustCompile(`(?m)^(?:Initial score: |Cluster is already well balanced \(initial score )([0-9.]+)`)
	stepLine  = regexp.MustCompile(`(?m)^\s*(\d+)\. \S+ .*=>\s+\S+\s+([0-9.]+) a=`)
	endLine   = regexp.MustCompile(`(?m)^Solution length=(\d+)`)
)

// Balance runs hbal until it ends or the limit of time is over.
func Balance(c *Cluster, limit time.Duration) (*Balanced, error) {
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	out, u, err := onFile(ctx, c)
	late := errors.Is(ctx.Err(), context.DeadlineExceeded)
	if err != nil && !late {
		return nil, err
	}
	b, err := read(out)
	if err != nil {
		return nil, err
	}
	b.Wall, b.CPU, b.Done = u.wall, u.cpu, !late
	return b, nil
}

// Score is Ganeti's score of a cluster, and what it finds wrong with it: nodes and instances that would not survive the
// loss of a node.
func Score(c *Cluster) (score float64, badNodes, badInstances int, err error) {
	out, _, err := onFile(context.Background(), c, "-e", "1e9")
	if err != nil {
		return 0, 0, 0, err
	}
	m := scoreLine.FindSubmatch(out)
	if m == nil {
		return 0, 0, 0, fmt.Errorf("read hbal's score: %q", out)
	}
	if score, err = strconv.ParseFloat(string(m[1]), 64); err != nil {
		return 0, 0, 0, fmt.Errorf("read hbal's score: %w", err)
	}
	if i := strings.Index(string(out), "Initial check done: "); i >= 0 {
		if _, err := fmt.Sscanf(string(out[i:]), "Initial check done: %d bad nodes, %d bad instances.", &badNodes, &badInstances); err != nil {
			return 0, 0, 0, fmt.Errorf("read hbal's check: %w", err)
		}
	}
	return score, badNodes, badInstances, nil
}

func onFile(ctx context.Context, c *Cluster, args ...string) ([]byte, used, error) {
	f, err := os.CreateTemp("", "berth-hbal-")
	if err != nil {
		return nil, used{}, fmt.Errorf("run hbal: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(c.Text()); err != nil {
		return nil, used{}, fmt.Errorf("run hbal: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, used{}, fmt.Errorf("run hbal: %w", err)
	}
	return run(ctx, hbalPath, append([]string{"-t", f.Name()}, args...)...)
}

// read takes the scores and the number of steps from hbal's report, which may have been cut off.
func read(out []byte) (*Balanced, error) {
	m := scoreLine.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("read hbal's report: no score in %q", out)
	}
	b := &Balanced{}
	var err error
	if b.Before, err = strconv.ParseFloat(string(m[1]), 64); err != nil {
		return nil, fmt.Errorf("read hbal's report: %w", err)
	}
	b.After = b.Before
	b.Copies = bytes.Count(out, []byte("r:"))
	steps := stepLine.FindAllSubmatch(out, -1)
	if n := len(steps); n > 0 {
		b.Moves = n
		if b.After, err = strconv.ParseFloat(string(steps[n-1][2]), 64); err != nil {
			return nil, fmt.Errorf("read hbal's report: %w", err)
		}
	}
	if m := endLine.FindSubmatch(out); m != nil && string(m[1]) != strconv.Itoa(b.Moves) {
		return nil, fmt.Errorf("read hbal's report: %d steps read of %s", b.Moves, m[1])
	}
	return b, nil
}
