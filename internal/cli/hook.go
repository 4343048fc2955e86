package cli

import (
	"errors"
	"fmt"
	"log/syslog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/internal/hook"
)

// hookLimit bounds one run of the hook: libvirt waits for it, and the guest's lock with it. What is cut off by it leaves the
// old label or the new one.
const hookLimit = 30 * time.Second

func (a *app) hookCommand() *cobra.Command {
	return a.noun("hook", "Let libvirt put the labels of running VMs into their images when they stop",
		a.hookInstall(), a.hookShow(), a.hookLibvirt())
}

func (a *app) hookInstall() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "install libvirt",
		Short: "Install the hook on this host",
		Long: `Install writes the script that libvirt runs, /` + hook.Path + `, with the path of this program in it.
A file there that is not berth's is left alone (4). libvirt looks for scripts when it starts: restart libvirtd or virtqemud
afterwards. Its guests run on.`,
		Args: cobra.MatchAll(cobra.ExactArgs(1), onlyLibvirt),
		RunE: func(*cobra.Command, []string) error {
			script, err := hookScript()
			if err != nil {
				return err
			}
			path, changed, err := hook.Install(root, script)
			if errors.Is(err, hook.ErrForeign) {
				return refusedf("move that file away, or call '"+hookCall+"' from it", "%v", err)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.jsonDocument(struct {
					Path    string `json:"path"`
					Changed bool   `json:"changed"`
				}{path, changed})
			}
			a.printf("%s\n", path)
			if changed {
				a.note("restart libvirtd (or virtqemud) once: it looks for hooks when it starts; its guests run on")
			}
			if self, err := selfPath(); err == nil && !slices.Contains(confinedMayRun(), filepath.Dir(self)) {
				a.note("hint: where AppArmor confines libvirtd (Debian, Ubuntu) it may not run %s: install berth in /usr/bin", self)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&root, "root", "/", "install below `DIR`, such as an image of a host that is being made")
	return cmd
}

// hookCall is what a script of somebody else's has to run.
const hookCall = `berth hook libvirt -- "$@"`

func (a *app) hookShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the script that install would write",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			script, err := hookScript()
			if err == nil {
				a.printf("%s", script)
			}
			return err
		},
	}
}

func (a *app) hookLibvirt() *cobra.Command {
	return &cobra.Command{
		Use:   "libvirt GUEST OPERATION SUB-OPERATION EXTRA",
		Short: "What libvirt runs: write the labels of a guest that has stopped into its images",
		Long: `Libvirt reads the domain's XML from standard input, as libvirt gives it to its hook for QEMU guests. At "release end" the
labels in its metadata go into the images of its disks, where their serial is higher. Other operations do nothing. It ends with
0 whatever happens: a hook must not stand in a guest's way. What happened is said on standard error and to syslog.`,
		Args: cobra.MinimumNArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			args = append(args, "-")
			if !hook.Wanted(args[1], args[2], args[3]) {
				return nil
			}
			a.release()
			return nil
		},
	}
}

// release runs the hook's work for as long as libvirt should have to wait.
func (a *app) release() {
	lines := make(chan string)
	go func() {
		defer close(lines)
		if err := hook.Release(a.env.In, func(line string) { lines <- line }); err != nil {
			lines <- err.Error()
		}
	}()
	logger, err := syslog.New(syslog.LOG_NOTICE|syslog.LOG_DAEMON, "berth")
	if err == nil {
		defer closeQuietly(logger)
	}
	say := func(line string) {
		line = "hook: " + cleanLine(line)
		a.note("berth: %s", line)
		if logger != nil {
			_ = logger.Notice(line) // it was said on standard error
		}
	}
	limit := time.After(hookLimit)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			say(line)
		case <-limit:
			say(fmt.Sprintf("given up after %v: libvirt is waiting", hookLimit))
			return
		}
	}
}

// confinedMayRun are the folders whose programs AppArmor's profile of libvirtd lets it run. Source:
// /etc/apparmor.d/usr.sbin.libvirtd of Debian 12.
func confinedMayRun() []string { return []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin"} }

func selfPath() (string, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("find the path of berth: %w", err)
	}
	return self, nil
}

func hookScript() (string, error) {
	self, err := selfPath()
	if err != nil {
		return "", err
	}
	return hook.Script(self)
}

func onlyLibvirt(_ *cobra.Command, args []string) error {
	if args[0] != "libvirt" {
		return fmt.Errorf("no hook for %q, expected libvirt", args[0])
	}
	return nil
}
