// Package demo builds the embedded world of "berth demo": a simulated vCenter with hosts and datastores of
// three tiers, and a dozen VMs whose labelled VMDK descriptors really lie in those datastores.
//
// The labels are written as an operator would write them: through the datastores' file access, with keys of which
// one is in the trust file and one is not. Nothing in here knows what the plan will be; fleet.go says what each
// VM is there to show.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-project/berth/driver/vsphere"
	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/internal/vcsim"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// source is the vCenter's name in the written berth.yaml.
const source = "demo"

// World is a running demonstration fleet.
type World struct {
	// URL of the vCenter, on 127.0.0.1.
	URL string
	// Credentials to log in with; they are in no file.
	Credentials vsphere.Credentials
	// Config is the path of the berth.yaml that names the vCenter, and Trust that of the trust file.
	Config string
	Trust  string

	server *vcsim.Server
}

// Start builds the world under dir, which must be an empty or a new folder, and serves it until Close.
func Start(ctx context.Context, dir string) (*World, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("start demo: %w", err)
	}
	if err := newFolder(dir); err != nil {
		return nil, fmt.Errorf("start demo: %w", err)
	}
	password := make([]byte, 16)
	if _, err := rand.Read(password); err != nil {
		return nil, fmt.Errorf("start demo: %w", err)
	}
	w := &World{
		Credentials: vsphere.Credentials{User: "berth@vsphere.local", Password: hex.EncodeToString(password)},
		Config:      filepath.Join(dir, "berth.yaml"), Trust: filepath.Join(dir, "trust.yaml"),
	}
	spec := vcenter(filepath.Join(dir, "datastores"))
	spec.User, spec.Password = w.Credentials.User, w.Credentials.Password
	if w.server, err = vcsim.Start(ctx, spec); err != nil {
		return nil, fmt.Errorf("start demo: %w", err)
	}
	w.URL = w.server.URL()
	if err := w.furnish(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start demo: %w", err), w.Close())
	}
	return w, nil
}

func newFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("folder %s is not empty", dir)
	}
	return os.Mkdir(filepath.Join(dir, "datastores"), 0o755)
}

// Close stops the vCenter. The files under dir stay.
func (w *World) Close() error {
	w.server.Close()
	return nil
}

// keys are the signers of the demo.
type keys struct{ platform, apps, foreign *label.PrivateKey }

// furnish writes the labels, the trust file and berth.yaml.
func (w *World) furnish(ctx context.Context) error {
	var k keys
	var err error
	for _, key := range []**label.PrivateKey{&k.platform, &k.apps, &k.foreign} {
		if *key, err = label.GenerateKey(rand.Reader); err != nil {
			return err
		}
	}
	d, err := vsphere.Open(ctx, vsphere.Config{ID: source, URL: w.URL, Credentials: w.Credentials, Insecure: true})
	if err != nil {
		return err
	}
	err = writeLabels(ctx, d, k)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	trust := fmt.Sprintf("# Whose labels count, and up to which level.\nversion: 1\nkeys:\n"+
		"  - public_key: %s\n    issuer: platform team\n"+
		"  - public_key: %s\n    issuer: application teams\n    ceiling: silver\n", k.platform.Public(), k.apps.Public())
	if _, err := label.ParseTrust(w.Trust, []byte(trust)); err != nil {
		return err
	}
	config := fmt.Sprintf("# The demo's fleet: one vCenter, simulated in the same process.\nversion: 1\ntrust: trust.yaml\n"+
		"sources:\n  - id: %s\n    kind: vsphere\n    url: %s\n    insecure: true\n", source, w.URL)
	if err := os.WriteFile(w.Trust, []byte(trust), 0o644); err != nil {
		return err
	}
	return os.WriteFile(w.Config, []byte(config), 0o644)
}

// writeLabels labels the disks that guests() gives a label.
func writeLabels(ctx context.Context, d *vsphere.Driver, k keys) error {
	snap, err := d.Observe(ctx)
	if err != nil {
		return err
	}
	issued := time.Now().UTC().Truncate(time.Second)
	for _, g := range guests() {
		if g.level == "" {
			continue
		}
		vm := snap.VM(fleet.VMID(g.vm.Name))
		if vm == nil || len(vm.Disks) == 0 {
			return fmt.Errorf("label vm %s: the vCenter does not show it", g.vm.Name)
		}
		doc := label.Document{Level: g.level, Overrides: g.overrides, Serial: 1, Issuer: g.issuer, Issued: issued}
		disk := vm.Disks[0]
		f, err := d.OpenImage(ctx, *snap.Pool(disk.Pool), disk.Path)
		if err == nil {
			err = errors.Join(setLabel(f, doc, k.of(g.signer)), f.Close())
		}
		if err != nil {
			return fmt.Errorf("label vm %s: %w", g.vm.Name, err)
		}
	}
	return nil
}

func (k keys) of(s signer) *label.PrivateKey {
	switch s {
	case platformKey:
		return k.platform
	case appsKey:
		return k.apps
	case foreignKey:
		return k.foreign
	default:
		return nil
	}
}

// setLabel binds doc to the image, seals it and writes it.
func setLabel(f diskimage.File, doc label.Document, key *label.PrivateKey) error {
	info, err := diskimage.Inspect(f)
	if err != nil {
		return err
	}
	doc.Disk = info.Binding()
	frame, err := label.Seal(doc, key)
	if err != nil {
		return err
	}
	edit, err := diskimage.PlanSet(f, frame)
	if err != nil {
		return err
	}
	return diskimage.Apply(f, edit)
}
