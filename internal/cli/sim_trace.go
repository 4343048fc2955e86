package cli

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/berth-project/berth/internal/replay"
	"github.com/spf13/cobra"
)

func (a *app) simTrace() *cobra.Command {
	m := replay.Made{}
	var output string
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Write a made-up trace of VMs that come and go (CSV), for berth sim replay",
		Long: `Trace writes the arrivals of VMs over some days: more by day than by night, of a mix of sizes and levels, with
lifetimes of which most end within hours and a few last for weeks, and a tenth in spread or affinity groups. The same flags
give the same bytes on every machine. The columns are explained in docs/cli.md.`,
		Example: "  berth sim trace --hosts 100 --days 7 -o week.csv\n  berth sim replay week.csv --hosts 100 --svg week.svg",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return usagef("--json: a trace is CSV, which has no other form")
			}
			t, err := replay.Generate(m)
			if err != nil {
				return &cliError{code: codeUsage, err: err, hint: "run 'berth sim trace --help'"}
			}
			var b bytes.Buffer
			if err := t.Write(&b); err != nil {
				return err
			}
			if output != "" && output != "-" {
				return writeFileAtomic(output, b.Bytes(), 0o644, false)
			}
			if _, err := a.out.Write(b.Bytes()); err != nil {
				return fmt.Errorf("write trace: %w", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&m.Hosts, "hosts", 12, "size of the fleet that the trace is for, 1 to 10000: it decides the rate when none is given")
	f.IntVar(&m.Days, "days", 7, "length in days, 1 to 366")
	f.IntVar(&m.Rate, "rate", 0, "mean number of arrivals an hour, at most 100000; 0: one for each host")
	f.Uint64Var(&m.Seed, "seed", 1, "seed of everything that is drawn")
	f.StringVarP(&output, "output", "o", "", "write the trace to `FILE`, whole or not at all; - is standard output")
	return cmd
}

// readTrace reads a trace from a file, or standard input.
func (a *app) readTrace(path string) (*replay.Trace, error) {
	data, err := a.readInput(path, maxTrace)
	if err != nil {
		return nil, inputError(fmt.Errorf("read trace: %w", err), "")
	}
	t, err := replay.Read(bytes.NewReader(data))
	if err != nil {
		return nil, inputError(fmt.Errorf("%s: %w", inputName(path), err), "'berth sim trace' writes such files; docs/cli.md has the columns")
	}
	if len(t.Arrivals) == 0 {
		return nil, inputError(errors.New(inputName(path)+": read trace: there is no arrival in it"), "")
	}
	return t, nil
}

// maxTrace bounds the file of a trace, packed or not.
const maxTrace = 256 << 20
