package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Env is what the command line has of its process.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
}

// Process is the environment of the running process.
func Process() Env {
	return Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Now: time.Now}
}

// app is one run of the command line.
type app struct {
	env     Env
	out     *bufio.Writer
	json    bool
	verbose bool
	// commandLine is what was typed after "berth", quoted for a shell.
	commandLine string
	// child is what label find --exec runs; nil: nothing.
	child *childCommand
	// outTTY and errTTY say whether a person reads the stream; colour also wants no NO_COLOR.
	outTTY, errTTY bool
	colour         bool
	width          int // of the terminal that standard output is; 0: unlimited
}

// Main runs the command line args (without the program's name) and returns the exit code.
func Main(ctx context.Context, args []string, env Env) int {
	a := newApp(env)
	a.commandLine = shellQuote(args)
	args, a.child = cutExec(args)
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(a.out)
	root.SetErr(env.Err)
	log.SetOutput(io.Discard) // what libraries log on their own is no diagnosis of ours
	ending := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		ending = append(ending, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, ending...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once: everything is journalled
	err := root.ExecuteContext(ctx)
	if ferr := a.out.Flush(); ferr != nil {
		ferr = errors.New("write standard output: " + ferr.Error())
		if err != nil {
			a.report(ferr) // of its own: joined to an error that was reported already nobody would hear of it
		} else {
			err = ferr
		}
	}
	if err == nil {
		return codeOK
	}
	a.report(err)
	return codeOf(err)
}

// shellQuote joins args so that a shell reads them as they are.
func shellQuote(args []string) string {
	const safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=./,:@%+"
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; a == "" || strings.Trim(a, safe) != "" {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

func newApp(env Env) *app {
	a := &app{env: env, out: bufio.NewWriterSize(env.Out, 64<<10)}
	if f, ok := env.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.outTTY = true
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			a.width = w
		}
	}
	if f, ok := env.Err.(*os.File); ok {
		a.errTTY = term.IsTerminal(int(f.Fd()))
	}
	if n, err := strconv.Atoi(env.Getenv("COLUMNS")); err == nil && n >= 40 && n <= 1000 {
		a.width = n
	}
	a.colour = a.outTTY && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb"
	return a
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "berth",
		Short: "Keep VMs on the hosts and the storage that the labels in their disks ask for",
		Long: `Berth reads service labels from disk images, looks at the fleet, plans the moves that put every
VM on a host and on storage of the tier that its label asks for, and makes them.

  berth demo                                   the whole way, on a small fleet inside this program
  berth label set --level gold web.vmdk        label a disk
  berth plan make --config berth.yaml -o p.json; berth plan apply p.json`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &cliError{code: codeUsage, err: err, hint: "run '" + cmd.CommandPath() + " --help'"}
	})
	pf := root.PersistentFlags()
	pf.BoolVar(&a.json, "json", false, "print JSON (shapes: docs/cli.md)")
	pf.BoolVarP(&a.verbose, "verbose", "v", false, "say more on standard error")
	root.AddCommand(a.nouns()...)
	wrapArgs(root)
	a.completeFlags(root)
	return root
}

func (a *app) nouns() []*cobra.Command {
	return []*cobra.Command{
		a.noun("key", "Make and show the keys that sign labels", a.keyNew(), a.keyShow()),
		a.noun("label", "Set, read, check, remove and find the labels of disk images",
			a.labelSet(), a.labelGet(), a.labelVerify(), a.labelRm(), a.labelStrip(), a.labelSettle(), a.labelFind(),
			a.labelExport(), a.labelImport(), a.labelDiff()),
		a.noun("image", "Convert, copy and look at disk images", a.imageConvert(), a.imageCopy(), a.imageInfo()),
		a.noun("fleet", "Show or export the fleet as it is", a.fleetShow(), a.fleetExport()),
		a.noun("policy", "Check and show service levels", a.policyCheck(), a.policyShow()),
		a.noun("plan", "Make, show, explain, check and apply plans",
			a.planMake(), a.planShow(), a.planExplain(), a.planWhatIf(), a.planCheck(), a.planApply()),
		a.hookCommand(),
		a.noun("sim", "Make up fleets and traces to try things on, and replay them", a.simGenerate(), a.simTrace(), a.simReplay()),
		a.noun("bench", "Measure the planner", a.benchRoadef(), a.benchHuawei(), a.benchVBP(), a.benchScale()),
		a.demoCommand(),
		a.manCommand(),
		a.versionCommand(),
	}
}

// noun is a command that only holds verbs.
func (a *app) noun(name, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, v := range cmd.Commands() {
				names = append(names, v.Name())
			}
			hint := "verbs: " + strings.Join(names, ", ")
			if len(args) == 0 {
				return &cliError{code: codeUsage, err: errors.New(cmd.Name() + ": a verb is missing"), hint: hint}
			}
			return &cliError{code: codeUsage, err: errors.New(cmd.Name() + ": no verb " + strconv.Quote(args[0])), hint: hint}
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// wrapArgs gives the complaints of cobra's argument checks the exit code for usage.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &cliError{code: codeUsage, err: err, hint: "run '" + cmd.CommandPath() + " --help'"}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		wrapArgs(c)
	}
}
