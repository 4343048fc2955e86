package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/demo"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
	"github.com/spf13/cobra"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole way on a small fleet inside this program: read labels, plan, move, look again",
		Long: `Demo starts a simulated vCenter in this process, with labelled disk images in its datastores, and does with it what
Berth does with a real one: it reads the labels through the datastores, plans, makes the moves, and looks again. It needs
no network, no root and no set-up, and exits with 0 only when every VM is, as the vCenter reports it, where it should be.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDemo(cmd.Context()) },
	}
}

func (a *app) runDemo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "berth-demo-")
	if err != nil {
		return fmt.Errorf("start demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := demo.Start(ctx, filepath.Join(dir, "world"))
	if err != nil {
		return fmt.Errorf("start demo: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	a.useCredentials(w)
	c, err := a.loadConfig(w.Config)
	if err != nil {
		return err
	}
	trust, err := a.loadTrust(w.Trust, c)
	if err != nil {
		return err
	}
	conns, err := a.openWorld(ctx, c, nil)
	if err != nil {
		return err
	}
	defer closeQuietly(conns)
	d := &demoRun{app: a, world: conns, trust: trust, journal: filepath.Join(dir, "journal")}
	return d.run(ctx)
}

// useCredentials gives the demo's vCenter its credentials as the environment would; they are in no file.
func (a *app) useCredentials(w *demo.World) {
	outer := a.env.Getenv
	a.env.Getenv = func(name string) string {
		switch name {
		case "BERTH_VSPHERE_USER":
			return w.Credentials.User
		case "BERTH_VSPHERE_PASSWORD":
			return w.Credentials.Password
		default:
			return outer(name)
		}
	}
}

// demoRun is one run of the demo over an open world.
type demoRun struct {
	app     *app
	world   *world
	trust   *label.TrustFile
	journal string
}

// demoView is the JSON of berth demo.
type demoView struct {
	Before  *fleetView   `json:"before"`
	Plan    *plan.Plan   `json:"plan"`
	Applied *appliedView `json:"applied"`
	After   *fleetView   `json:"after"`
	Wrong   []fleet.VMID `json:"wrong"` // VMs that are not where they should be although there is a place
}

func (d *demoRun) run(ctx context.Context) error {
	a := d.app
	before, err := d.see(ctx)
	if err != nil {
		return err
	}
	v := demoView{Before: newFleetView(before.problem), Wrong: []fleet.VMID{}}
	a.section("1. The fleet as it is: labels were read from the disk images through the datastores")
	d.text(func() { a.printFleet(v.Before) })
	file, err := before.plan()
	if err != nil {
		return err
	}
	v.Plan = &file.Plan
	a.section("2. The plan")
	d.text(func() { a.printPlan(file) })

	a.section("3. The moves, those of one wave at once, each journalled before it is made")
	_ = a.out.Flush() // before the bars; a write error is kept for the end
	ap := &applier{
		app: a, world: d.world, trust: d.trust, path: d.journal, again: "berth demo",
		plan:     &loadedPlan{File: file, catalogue: before.catalogue, problem: before.problem},
		accepted: []plan.Risk{plan.RiskDowntime},
	}
	if err := ap.openJournal(); err != nil {
		return err
	}
	defer ap.closeJournal()
	result, err := ap.execute(ctx)
	if err != nil {
		return err
	}
	if v.Applied, err = ap.look(ctx, result); err != nil {
		return err
	}
	after, err := d.see(ctx)
	if err != nil {
		return err
	}
	v.After = newFleetView(after.problem)
	v.Wrong = append(v.Wrong, wrongVMs(after.problem, &file.Plan, v.Applied)...)
	a.section("4. The fleet afterwards, observed anew")
	d.text(func() {
		a.printFleet(v.After)
		_ = a.printApplied(v.Applied) // fails only as JSON
	})
	if a.json {
		if err := a.jsonDocument(&v); err != nil {
			return err
		}
	}
	return d.conclude(ap, &v)
}

// see observes the world and resolves the built-in policy.
func (d *demoRun) see(ctx context.Context) (*situation, error) {
	s, err := d.world.observe(ctx, d.app, d.trust)
	if err != nil {
		return nil, err
	}
	cat := policy.Default()
	p, err := policy.Resolve(cat, s)
	if err != nil {
		return nil, fmt.Errorf("apply policy: %w", err)
	}
	return &situation{snapshot: s, catalogue: cat, problem: p}, nil
}

func (d *demoRun) conclude(ap *applier, v *demoView) error {
	stopped := ap.powerLost(v.Applied)
	switch {
	case len(v.Applied.VMs) == 0:
		return errors.New("run demo: the plan moved nothing, and the demo's fleet is made wrong")
	case len(v.Wrong) > 0:
		return fmt.Errorf("run demo: not where they should be: %v", v.Wrong)
	case stopped != "":
		return fmt.Errorf("run demo: ran before and do not run now: %s", stopped)
	}
	d.text(func() {
		d.app.printf("\nEvery VM for which there is a place is on a host and on storage of the tier that its label asks for.\n")
	})
	return nil
}

// wrongVMs are the VMs that, as observed, are neither where the plan puts them nor right, and for which the
// plan does not say why.
func wrongVMs(p *policy.Problem, pl *plan.Plan, applied *appliedView) []fleet.VMID {
	excused := map[fleet.VMID]bool{}
	for _, u := range pl.Unplaced {
		excused[u.VM] = true
	}
	for _, h := range pl.Held {
		excused[h.VM] = true
	}
	bad := map[fleet.VMID]bool{}
	for _, o := range applied.VMs {
		bad[o.VM] = !o.AsPlanned
	}
	var out []fleet.VMID
	j := newJudge(p)
	for i := range p.Snapshot.VMs {
		vm := &p.Snapshot.VMs[i]
		if bad[vm.ID] || len(j.wrong(vm)) > 0 && !excused[vm.ID] {
			out = append(out, vm.ID)
		}
	}
	return out
}

func (a *app) section(title string) {
	if !a.json {
		a.printf("\n%s\n%s\n\n", a.bold(title), strings.Repeat("=", len(title)))
	}
}

// text runs show unless the output is JSON.
func (d *demoRun) text(show func()) {
	if !d.app.json {
		show()
	}
}
