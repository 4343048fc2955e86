package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// childCommand is what follows --exec: a command that is run for what was found, without a shell.
type childCommand struct {
	argv []string
	many bool  // it ended with +: one call for many paths
	err  error // what is wrong with it
}

const (
	childPath = "{}"
	// Bounds of one call for many paths; the kernel's own limit is 2 MiB with the environment.
	maxChildPaths = 4096
	maxChildBytes = 128 << 10
)

// cutExec takes what follows --exec out of the arguments of label find, up to ";" or "+" behind "{}" or the end: the
// flags in it are not ours.
func cutExec(args []string) ([]string, *childCommand) {
	from := slices.Index(args, "--exec")
	if end := slices.Index(args, "--"); from < 0 || end >= 0 && end < from {
		return args, nil
	}
	words := slices.DeleteFunc(slices.Clone(args[:from]), func(s string) bool { return strings.HasPrefix(s, "-") })
	if len(words) < 2 || words[0] != "label" || words[1] != "find" {
		return args, nil
	}
	c := &childCommand{}
	to := from + 1
	for ; to < len(args); to++ {
		last := len(c.argv) > 0 && (c.argv[len(c.argv)-1] == childPath || to == len(args)-1)
		if c.many = args[to] == "+" && last; c.many || args[to] == ";" {
			break
		}
		c.argv = append(c.argv, args[to])
	}
	rest := slices.Clone(args[:from])
	if to < len(args) {
		rest = append(rest, args[to+1:]...)
	}
	c.check(rest)
	return rest, c
}

func (c *childCommand) check(rest []string) {
	switch {
	case len(c.argv) == 0:
		c.err = usagef("--exec: a command is missing")
	case slices.Contains(rest, "--exec"):
		c.err = usagef("--exec: is given twice")
	case c.many && slices.ContainsFunc(c.argv, func(s string) bool { return s != childPath && strings.Contains(s, childPath) }):
		c.err = usagef("--exec ... +: {} has to be a word of its own")
	case strings.Contains(c.argv[0], childPath):
	default:
		if _, err := exec.LookPath(c.argv[0]); err != nil {
			c.err = usagef("--exec %s: %w", c.argv[0], errors.Unwrap(err))
		}
	}
	if c.err == nil && !slices.ContainsFunc(c.argv, func(s string) bool { return strings.Contains(s, childPath) }) {
		c.argv = append(c.argv, childPath)
	}
}

// args is the command line for paths.
func (c *childCommand) args(paths []string) []string {
	var out []string
	for _, word := range c.argv {
		if word == childPath {
			out = append(out, paths...)
		} else {
			out = append(out, strings.ReplaceAll(word, childPath, paths[0])) // no {} in it, or one path
		}
	}
	return out
}

// childRunner runs a childCommand for path after path, jobs at a time.
type childRunner struct {
	a       *app
	command *childCommand
	stdin   *os.File // nil: none
	slots   chan struct{}
	running sync.WaitGroup

	paths []string // collected for a call with many
	size  int

	mu sync.Mutex
	t  tally
}

func (a *app) newChildRunner(c *childCommand, jobs int, stdin bool) *childRunner {
	r := &childRunner{a: a, command: c, slots: make(chan struct{}, jobs)}
	if f, ok := a.env.In.(*os.File); ok && stdin && jobs == 1 {
		r.stdin = f
	}
	return r
}

// add runs the command for path, or keeps it for a call with more.
func (r *childRunner) add(ctx context.Context, path string) {
	r.paths = append(r.paths, path)
	r.size += len(path) + 1
	if !r.command.many || len(r.paths) == maxChildPaths || r.size > maxChildBytes {
		r.run(ctx)
	}
}

// finish runs what is left, waits for all, and adds the outcomes to t.
func (r *childRunner) finish(ctx context.Context, t *tally) {
	if len(r.paths) > 0 && ctx.Err() == nil {
		r.run(ctx)
	}
	r.running.Wait()
	t.ok += r.t.ok
	for code, n := range r.t.codes {
		for range n {
			t.add(code)
		}
	}
}

// run waits for a free slot and starts the command; with one slot it waits for its end too.
func (r *childRunner) run(ctx context.Context) {
	paths := r.paths
	r.paths, r.size = nil, 0
	if ctx.Err() != nil {
		return
	}
	_ = r.a.out.Flush() // what came before goes before; a write error is kept for the end
	r.slots <- struct{}{}
	child := func() {
		err := r.call(ctx, paths)
		<-r.slots
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			name := paths[0]
			if len(paths) > 1 {
				name = fmt.Sprintf("%s and %d more", name, len(paths)-1)
			}
			r.a.note("berth: find label: %s: %s: %v", cleanLine(name), cleanLine(r.command.argv[0]), err)
		}
		r.t.add(codeOf(err))
	}
	if cap(r.slots) == 1 {
		child()
		return
	}
	r.running.Go(child)
}

func (r *childRunner) call(ctx context.Context, paths []string) error {
	args := r.command.args(paths)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = r.a.env.Out, r.a.env.Err
	if r.stdin != nil {
		cmd.Stdin = r.stdin
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second // then it is killed
	return cmd.Run()
}
