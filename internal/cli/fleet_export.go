package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-project/berth/fleet"
	"github.com/spf13/cobra"
)

func (a *app) fleetExport() *cobra.Command {
	var in fleetInput
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the fleet as it is now as a snapshot (JSON), to plan from it anywhere",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, err := a.loadSnapshot(cmd.Context(), &in)
			if err != nil {
				return err
			}
			return writeSnapshot(a.out, s)
		},
	}
	in.flags(cmd)
	return cmd
}

// writeSnapshot writes s as JSON with each source, host, pool, VM and gap on a line of its own.
func writeSnapshot(w *bufio.Writer, s *fleet.Snapshot) error {
	head, err := json.Marshal(s.Taken)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	_, err = fmt.Fprintf(w, "{\n  \"version\": %d,\n  \"taken\": %s", s.Version, head)
	err = errors.Join(err,
		writeList(w, "sources", s.Sources), writeList(w, "hosts", s.Hosts), writeList(w, "pools", s.Pools),
		writeList(w, "vms", s.VMs), writeList(w, "gaps", s.Gaps))
	if len(s.Modules) > 0 {
		err = errors.Join(err, writeList(w, "modules", s.Modules))
	}
	if err == nil {
		_, err = w.WriteString("\n}\n")
	}
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func writeList[T any](w *bufio.Writer, name string, list []T) error {
	if list == nil { // null and [] give different digests
		_, err := fmt.Fprintf(w, ",\n  %q: null", name)
		return err
	}
	if _, err := fmt.Fprintf(w, ",\n  %q: [", name); err != nil {
		return err
	}
	for i := range list {
		b, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		sep := ",\n    "
		if i == 0 {
			sep = "\n    "
		}
		if _, err := w.WriteString(sep + string(escapeControls(b))); err != nil {
			return err
		}
	}
	_, err := w.WriteString("]")
	return err
}
