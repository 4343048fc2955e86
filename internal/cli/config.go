package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/berth-project/berth/fleet"
	yaml "go.yaml.in/yaml/v3"
)

// config is berth.yaml. Paths in it are relative to its folder and absolute here.
type config struct {
	file    string
	trust   string
	policy  string
	sources []sourceConfig
}

// sourceConfig is one hypervisor connection.
type sourceConfig struct {
	id    fleet.SourceID
	kind  string // "libvirt" or "vsphere"
	hosts []hostConfig
	// vSphere only.
	url         string
	insecure    bool
	thumbprint  string
	credentials string
}

// hostConfig is one libvirt daemon: the way to it from here, and from the other hosts.
type hostConfig struct {
	uri, peer        string
	cluster, chassis string
	rack, site       string
	tags             []string
}

// The bounds of a configuration.
const (
	maxSources = 256
	maxHosts   = 4096
	maxTags    = 64
)

func keyList(fields map[string]field) string {
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return strings.Join(keys, ", ")
}

// parseConfig reads the text of berth.yaml strictly.
func parseConfig(name string, data []byte) (*config, error) {
	f := yamlFile{name: name}
	root, err := f.parse(data)
	if err != nil {
		return nil, err
	}
	c := &config{file: name}
	err = f.mapping(root, "config", map[string]field{
		"version": f.version,
		"trust":   f.path(&c.trust, "trust"),
		"policy":  f.path(&c.policy, "policy"),
		"sources": f.list("sources", maxSources, func(i int, n *yaml.Node) error {
			s, err := f.source(fmt.Sprintf("sources[%d]", i), n)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(c.sources, func(o sourceConfig) bool { return o.id == s.id }) {
				return f.errorf(n, "sources[%d]: id %q is given twice", i, s.id)
			}
			c.sources = append(c.sources, s)
			return nil
		}),
	}, "version", "sources")
	if err != nil {
		return nil, err
	}
	if len(c.sources) == 0 {
		return nil, f.errorf(root, "sources: is empty, expected at least one source")
	}
	return c, nil
}

func (f yamlFile) version(n *yaml.Node) error {
	if n.Value != "1" {
		return f.errorf(n, "version: is %q, expected 1", n.Value)
	}
	return nil
}

// path reads a path relative to the folder of the file.
func (f yamlFile) path(dst *string, what string) field {
	return func(n *yaml.Node) error {
		if err := f.str(dst, what)(n); err != nil {
			return err
		}
		if !filepath.IsAbs(*dst) {
			*dst = filepath.Join(filepath.Dir(f.name), *dst)
		}
		return nil
	}
}

func (f yamlFile) source(what string, n *yaml.Node) (sourceConfig, error) {
	var s sourceConfig
	var id string
	err := f.mapping(n, what, map[string]field{
		"id":   f.str(&id, what+".id"),
		"kind": f.str(&s.kind, what+".kind"),
		"hosts": f.list(what+".hosts", maxHosts, func(i int, n *yaml.Node) error {
			h, err := f.host(fmt.Sprintf("%s.hosts[%d]", what, i), n)
			s.hosts = append(s.hosts, h)
			return err
		}),
		"url":         f.str(&s.url, what+".url"),
		"insecure":    f.boolean(&s.insecure, what+".insecure"),
		"thumbprint":  f.str(&s.thumbprint, what+".thumbprint"),
		"credentials": f.path(&s.credentials, what+".credentials"),
	}, "id", "kind")
	if err != nil {
		return s, err
	}
	s.id = fleet.SourceID(id)
	vsphere := s.url != "" || s.insecure || s.thumbprint != "" || s.credentials != ""
	switch {
	case s.kind != "libvirt" && s.kind != "vsphere":
		return s, f.errorf(n, "%s.kind: is %q, expected libvirt or vsphere", what, s.kind)
	case s.kind == "libvirt" && vsphere:
		return s, f.errorf(n, "%s: url, insecure, thumbprint and credentials are for kind vsphere", what)
	case s.kind == "libvirt" && len(s.hosts) == 0:
		return s, f.errorf(n, "%s: key \"hosts\" is missing", what)
	case s.kind == "vsphere" && s.url == "":
		return s, f.errorf(n, "%s: key \"url\" is missing", what)
	case s.kind == "vsphere" && len(s.hosts) > 0:
		return s, f.errorf(n, "%s: hosts is for kind libvirt; vCenter knows its hosts", what)
	}
	return s, nil
}

func (f yamlFile) host(what string, n *yaml.Node) (hostConfig, error) {
	var h hostConfig
	err := f.mapping(n, what, map[string]field{
		"uri":     f.str(&h.uri, what+".uri"),
		"peer":    f.str(&h.peer, what+".peer"),
		"cluster": f.str(&h.cluster, what+".cluster"),
		"chassis": f.str(&h.chassis, what+".chassis"),
		"rack":    f.str(&h.rack, what+".rack"),
		"site":    f.str(&h.site, what+".site"),
		"tags": f.list(what+".tags", maxTags, func(i int, n *yaml.Node) error {
			var tag string
			err := f.str(&tag, fmt.Sprintf("%s.tags[%d]", what, i))(n)
			h.tags = append(h.tags, tag)
			return err
		}),
	}, "uri")
	return h, err
}

// configPaths are the places of berth.yaml, in the order in which they are tried.
func (a *app) configPaths() []string {
	paths := []string{"berth.yaml"}
	if dir := a.configDir(); dir != "" {
		paths = append(paths, filepath.Join(dir, "berth.yaml"))
	}
	return append(paths, "/etc/berth/berth.yaml")
}

// configDir is where the user's own files of Berth lie; empty when there is no home.
func (a *app) configDir() string {
	if d := a.env.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "berth")
	}
	if d := a.env.Getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".config", "berth")
	}
	return ""
}

// findConfig is the path of the configuration: the flag, $BERTH_CONFIG, or the first of configPaths that is
// there; empty when there is none.
func (a *app) findConfig(flag string) string {
	if flag != "" {
		return flag
	}
	if p := a.env.Getenv("BERTH_CONFIG"); p != "" {
		return p
	}
	for _, p := range a.configPaths() {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// loadConfig reads the configuration; it is an error when there is none.
func (a *app) loadConfig(flag string) (*config, error) {
	p := a.findConfig(flag)
	if p == "" {
		return nil, inputError(errors.New("read configuration: there is no berth.yaml"),
			"looked for "+strings.Join(a.configPaths(), ", ")+"; name one with --config, or plan from a file with --from")
	}
	data, err := readFile(p, maxYAML)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, inputError(fmt.Errorf("read configuration: %w", err), "name a file with --config")
		}
		return nil, inputError(fmt.Errorf("read configuration: %w", err), "")
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, err := parseConfig(abs, data)
	if err != nil {
		return nil, inputError(fmt.Errorf("read configuration: %w", err), "the keys of berth.yaml are in docs/cli.md")
	}
	return c, nil
}
