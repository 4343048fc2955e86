package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages of all commands into a folder",
		Long: `Man writes a page of section 1 for each command into the folder, which it makes where there is none: berth.1,
berth-label-set.1 and so on. The same program writes the same pages; $SOURCE_DATE_EPOCH overrides their date, which is that of
the source.`,
		Example: "  berth man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := a.manDate()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write manual: %w", err)
			}
			return a.writeMan(args[0], cmd.Root(), date)
		},
	}
}

// manDate is the date of the pages: nothing that changes between two runs of the same program.
func (a *app) manDate() (string, error) {
	if s := a.env.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n >= 1<<37 {
			return "", usagef("SOURCE_DATE_EPOCH is %q, expected seconds since 1970", s)
		}
		return time.Unix(n, 0).UTC().Format(time.DateOnly), nil
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return at.UTC().Format(time.DateOnly), nil
			}
		}
	}
	return time.Unix(0, 0).UTC().Format(time.DateOnly), nil
}

func (a *app) writeMan(folder string, cmd *cobra.Command, date string) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	cmd.InitDefaultHelpFlag()
	path := filepath.Join(folder, pageName(cmd)+".1")
	if err := writeFileAtomic(path, manPage(cmd, date), 0o644, false); err != nil {
		return fmt.Errorf("write manual: %w", err)
	}
	a.detail("%s", path)
	for _, c := range cmd.Commands() {
		if err := a.writeMan(folder, c, date); err != nil {
			return err
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage is the page of one command in the man(7) macros.
func manPage(cmd *cobra.Command, date string) []byte {
	p := manWriter{}
	p.line(".TH %s 1 %s Berth %s", quoteRoff(strings.ToUpper(pageName(cmd))), quoteRoff(date), quoteRoff("Berth Manual"))
	p.line(".SH NAME")
	p.line("%s \\- %s", roff(pageName(cmd)), roff(cmd.Short))
	p.line(".SH SYNOPSIS")
	p.line(".B %s", roff(cmd.CommandPath()))
	if _, rest, ok := strings.Cut(cmd.Use, " "); ok {
		p.line("%s", roff(rest))
	} else if cmd.HasAvailableSubCommands() {
		p.line("%s", roff("COMMAND"))
	}
	p.line(".SH DESCRIPTION")
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	p.text(text)
	p.flags("OPTIONS", cmd.NonInheritedFlags())
	p.flags("OPTIONS OF ALL COMMANDS", cmd.InheritedFlags())
	if cmd.Example != "" {
		p.line(".SH EXAMPLES")
		p.verbatim(strings.Split(cmd.Example, "\n"))
	}
	p.exitCodes(cmd)
	p.seeAlso(cmd)
	return p.out.Bytes()
}

type manWriter struct{ out bytes.Buffer }

func (p *manWriter) line(format string, args ...any) { fmt.Fprintf(&p.out, format+"\n", args...) }

// text writes paragraphs; lines that are indented stay as they are.
func (p *manWriter) text(s string) {
	for i, para := range strings.Split(strings.TrimSpace(s), "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		var kept []string
		for line := range strings.SplitSeq(para, "\n") {
			if strings.HasPrefix(line, " ") {
				kept = append(kept, line)
				continue
			}
			p.verbatim(kept)
			kept = nil
			p.line("%s", roff(line))
		}
		p.verbatim(kept)
	}
}

func (p *manWriter) verbatim(lines []string) {
	if len(lines) == 0 {
		return
	}
	p.line(".PP\n.RS 2\n.nf")
	for _, l := range lines {
		p.line("%s", roff(strings.TrimSpace(l)))
	}
	p.line(".fi\n.RE")
}

func (p *manWriter) flags(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.line(".SH %s", quoteRoff(title))
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		names := "\\fB" + roff("--"+f.Name) + "\\fR"
		if f.Shorthand != "" {
			names = "\\fB" + roff("-"+f.Shorthand) + "\\fR, " + names
		}
		if value != "" {
			names += " \\fI" + roff(value) + "\\fR"
		}
		if d := f.DefValue; d != "" && d != "[]" && d != "false" && d != "0" && f.Value.Type() != "bool" && f.Name != "jobs" { // it depends on the machine
			usage += " (default " + d + ")"
		}
		p.line(".TP\n%s\n%s", names, roff(usage))
	})
}

// exitCodes are the same for all commands that do something (docs/cli.md).
func (p *manWriter) exitCodes(cmd *cobra.Command) {
	if cmd.HasAvailableSubCommands() && cmd.HasParent() {
		return
	}
	p.line(".SH \"EXIT STATUS\"")
	for code, meaning := range []string{
		"done", "something failed; nothing of it was done", "the command line is wrong; nothing was touched", "an input file is bad",
		"refused: image in use, key file open to others, plan stale, and the like", "partly done: some of many files or steps failed",
		"nothing found", "unknown outcome: what became of a move could not be established",
	} {
		p.line(".TP\n.B %d\n%s", code, roff(meaning))
	}
}

func (p *manWriter) seeAlso(cmd *cobra.Command) {
	var names []string
	if cmd.HasParent() {
		names = append(names, pageName(cmd.Parent()))
	}
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" {
			names = append(names, pageName(c))
		}
	}
	if len(names) == 0 {
		return
	}
	p.line(".SH \"SEE ALSO\"")
	for i, n := range names {
		end := ","
		if i == len(names)-1 {
			end = ""
		}
		p.line(".BR %s (1)%s", roff(n), end)
	}
}

// roff makes text harmless for roff: no macro at the begin of a line, every character itself.
func roff(s string) string {
	s = strings.NewReplacer("\\", "\\e", "-", "\\-", "'", "\\(aq", "`", "\\(ga", "^", "\\(ha", "~", "\\(ti", "\t", " ", "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") {
		s = "\\&" + s
	}
	return s
}

// quoteRoff is roff for an argument of a macro.
func quoteRoff(s string) string { return `"` + strings.ReplaceAll(roff(s), `"`, `\(dq`) + `"` }
