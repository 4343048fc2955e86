package cli

import (
	"runtime/debug"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/spf13/cobra"
)

// finder is one run of berth label find.
type finder struct {
	sel    selection
	filter findFilter
	chain  chainRoots
	print0 bool
	exec   string // for the help alone: what follows --exec is cut out before
}

func (a *app) labelFind() *cobra.Command {
	var fi finder
	cmd := &cobra.Command{
		Use:   "find [--level LEVEL] [--expired] ... PATH... [--exec COMMAND {} ;]",
		Short: "Find labelled disk images under folders, one path a line",
		Long: `Find goes through files and folders and prints the path of each disk image that has a label and is what the flags ask
for; with --unlabelled of each that has none. All that is asked for has to hold. What is no disk image is passed over,
symbolic links below the given paths are not followed. It exits with 6 when nothing is found.

A file in a folder that only could be a raw disk is passed over unless it has a label or --format raw asks for it. An
overlay without a label of its own has that of its nearest labelled ancestor; see --chain-root.

--exec runs COMMAND for each image found in place of printing it: all words up to a single ; (or the end) are the command,
and {} in them is the path, at the end when there is no {}. With {} + at its end it is run for many paths at once. No shell
is involved. One runs at a time, or -j N.`,
		Example: "  berth label find --level gold -0 /srv/images | xargs -0 ls -l\n" +
			"  berth label find --expires-within 30d --key-id none /srv/images\n" +
			"  berth label find --unlabelled /srv/images --exec berth label set --level bronze {} +",
		RunE: func(cmd *cobra.Command, args []string) error { return a.find(cmd, &fi, args) },
	}
	fi.filter.flags(cmd)
	fi.chain.flags(cmd)
	f := cmd.Flags()
	f.BoolVarP(&fi.print0, "print0", "0", false, "end each path with NUL instead of a newline")
	f.StringVar(&fi.exec, "exec", "", "run `COMMAND` ... ; for each path instead of printing it; as the last flag")
	f.StringVar(&fi.sel.filesFrom, "files-from", "", "read more paths from `FILE`, one a line; - is standard input")
	f.BoolVar(&fi.sel.zero, "null", false, "paths from --files-from end with NUL instead of a newline")
	f.IntVarP(&fi.sel.jobs, "jobs", "j", scanJobs(), "files read at a time, 1 to 256; with --exec commands too")
	return cmd
}

func (a *app) find(cmd *cobra.Command, fi *finder, args []string) error {
	fi.sel.recursive = true
	if err := fi.sel.check(args); err != nil {
		return err
	}
	if err := fi.chain.check(); err != nil {
		return err
	}
	if err := fi.filter.prepare(cmd, a.env.Now()); err != nil {
		return err
	}
	if err := a.checkFindOutput(cmd, fi); err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(scanGC))
	ctx := cmd.Context()
	matched := 0
	show := func(l *imageLine) { a.printFound(l, fi.print0) }
	var children *childRunner
	if a.child != nil {
		jobs := 1
		if cmd.Flags().Changed("jobs") {
			jobs = fi.sel.jobs
		}
		children = a.newChildRunner(a.child, jobs, fi.sel.filesFrom != "-")
		show = func(l *imageLine) { children.add(ctx, l.Path) }
	}
	s := scanner{raw: fi.filter.raw(), chain: &fi.chain}
	defer s.finish()
	look := func(e entry) outcome {
		o := s.look(e)
		if o.line.Damaged && !fi.filter.damaged {
			return outcome{err: diskimage.ErrDamaged}
		}
		return o
	}
	appliance := "" // shown already: its disks follow each other
	t, err := a.eachImage(ctx, &fi.sel, "find label", look, func(o *outcome) {
		if !fi.filter.match(&o.line) {
			return
		}
		matched++
		if o.line.Disk == "" || a.json || o.line.Path != appliance {
			show(&o.line)
		}
		if o.line.Disk != "" {
			appliance = o.line.Path
		}
	})
	if children != nil {
		t.ok = 0 // the commands are what went well or did not
		children.finish(ctx, &t)
	}
	if err != nil {
		return err
	}
	if code := t.code(); code != codeOK || matched > 0 {
		return reported(code)
	}
	return reported(codeNothing)
}

func (a *app) checkFindOutput(cmd *cobra.Command, fi *finder) error {
	switch {
	case a.child != nil && a.child.err != nil:
		return a.child.err
	case cmd.Flags().Changed("exec"):
		return usagef("--exec: the command follows in words of its own, as in --exec ls -l {}")
	case a.child == nil:
		if fi.print0 && a.json {
			return usagef("--print0 and --json exclude each other")
		}
		return nil
	case fi.print0 || a.json:
		return usagef("--exec excludes --print0 and --json: the paths go to the command")
	}
	return nil
}

func (a *app) printFound(l *imageLine, print0 bool) {
	switch {
	case a.json:
		_ = a.jsonLine(l)
	case print0:
		a.printf("%s\x00", l.Path)
	default:
		a.printf("%s\n", a.fileName(l.Path))
	}
}
