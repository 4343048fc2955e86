package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) labelFind() *cobra.Command {
	var sel selection
	var levels []string
	var unlabelled, print0 bool
	cmd := &cobra.Command{
		Use:   "find [--level LEVEL] [--unlabelled] PATH...",
		Short: "Find labelled disk images under folders, one path a line",
		Long: `Find goes through files and folders and prints the path of each disk image that has a label, or one of the
levels asked for, or none at all with --unlabelled. What is no disk image is passed over, symbolic links below the
given paths are not followed. It exits with 6 when there is nothing to print.`,
		Example: "  berth label find --level gold -0 /srv/images | xargs -0 ls -l",
		RunE: func(cmd *cobra.Command, args []string) error {
			sel.recursive = true
			if err := sel.check(args); err != nil {
				return err
			}
			if unlabelled && len(levels) > 0 {
				return usagef("--level and --unlabelled exclude each other")
			}
			matched := 0
			want := func(l *imageLine) bool {
				switch {
				case unlabelled:
					return !l.Labelled
				case len(levels) > 0:
					return l.Document != nil && slices.Contains(levels, l.Document.Level)
				default:
					return l.Labelled
				}
			}
			t, err := a.eachImage(cmd.Context(), &sel, "find label", findLabel, func(o *outcome) {
				if !want(&o.line) {
					return
				}
				matched++
				a.printFound(&o.line, print0)
			})
			if err != nil {
				return err
			}
			if code := t.code(); code != codeOK || matched > 0 {
				return reported(code)
			}
			return reported(codeNothing)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&levels, "level", nil, "only labels of this `LEVEL`; may be given several times")
	f.BoolVar(&unlabelled, "unlabelled", false, "only images without a label")
	f.BoolVarP(&print0, "print0", "0", false, "end each path with NUL instead of a newline")
	f.StringVar(&sel.filesFrom, "files-from", "", "read more paths from `FILE`, one a line; - is standard input")
	f.BoolVar(&sel.zero, "null", false, "paths from --files-from end with NUL instead of a newline")
	f.IntVarP(&sel.jobs, "jobs", "j", defaultJobs(), "files read at a time, 1 to 256")
	return cmd
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

func findLabel(e entry) outcome {
	_, o := readImage(e)
	return o
}
