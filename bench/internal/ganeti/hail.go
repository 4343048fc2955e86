package ganeti

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/bench/internal/peer"
	"github.com/berth-project/berth/bench/internal/spec"
)

// hailNodes is the size of fleet above which hail is not asked.
const hailNodes = 100

// Kinds are hail, if it is installed; the error says what is missing.
func Kinds() ([]peer.Kind, error) {
	version, err := Version()
	if err != nil {
		return nil, err
	}
	return []peer.Kind{{
		Name: "Ganeti hail", Version: version, MaxNodes: hailNodes, Open: open,
		Note: "a process for each decision; tiers are node groups, tried from the least; pools and queues not expressible; no N+1 asked for",
	}}, nil
}

// quarter is the CPU of a virtual CPU: four of them share a thread.
const quarter = 250

type hail struct {
	f       *spec.Fleet
	c       Cluster
	nodes   map[string]int
	dir     string
	changed bool
}

func open(f *spec.Fleet, at []int) (peer.Scheduler, error) {
	dir, err := os.MkdirTemp("", "berth-hail-")
	if err != nil {
		return nil, fmt.Errorf("open hail: %w", err)
	}
	x := &hail{f: f, dir: dir, nodes: map[string]int{}, changed: true, c: Cluster{Template: "ext", ExTags: []string{"svc"}, Ratio: 1000.0 / quarter}}
	for t := range spec.Tiers {
		x.c.Groups = append(x.c.Groups, spec.Tier(t).String())
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		x.nodes[n.Name] = i
		x.c.Nodes = append(x.c.Nodes, Node{Name: n.Name, Memory: n.Memory, Disk: 1 << 30, CPUs: n.CPU / 1000, Group: int(n.Tier)})
	}
	if at == nil {
		return x, nil
	}
	for u := range f.Units {
		for _, v := range f.Units[u].VMs {
			if at[v] != spec.None {
				x.put(u, v, at[v])
			}
		}
	}
	return x, nil
}

func (x *hail) put(unit, v, node int) {
	vm := &x.f.VMs[v]
	x.c.Instances = append(x.c.Instances, Instance{
		Name: vm.Name, Memory: vm.Memory, Disk: 1024, CPUs: vm.CPU / quarter, Tags: x.tag(unit), Primary: node, Secondary: -1,
	})
	x.changed = true
}

func (x *hail) tag(unit int) string {
	if len(x.f.Units[unit].VMs) < 2 {
		return ""
	}
	return "svc:" + x.f.Units[unit].Name
}

// Place asks hail for one VM after another.
func (x *hail) Place(unit int) ([]int, error) {
	out := make([]int, len(x.f.Units[unit].VMs))
	for i, v := range x.f.Units[unit].VMs {
		out[i] = spec.None
		for t := x.f.VMs[v].Tier; int(t) < spec.Tiers && out[i] == spec.None; t++ {
			h, err := x.ask(unit, v, t)
			if err != nil {
				return nil, err
			}
			out[i] = h
		}
		if out[i] != spec.None {
			x.put(unit, v, out[i])
		}
	}
	return out, nil
}

func (x *hail) ask(unit, v int, t spec.Tier) (int, error) {
	cluster := filepath.Join(x.dir, "cluster")
	if x.changed {
		if err := os.WriteFile(cluster, x.c.Text(), 0o600); err != nil {
			return spec.None, fmt.Errorf("ask hail: %w", err)
		}
		x.changed = false
	}
	body, err := json.Marshal(x.request(unit, v, t))
	if err != nil {
		return spec.None, fmt.Errorf("ask hail: %w", err)
	}
	question := filepath.Join(x.dir, "request")
	if err := os.WriteFile(question, body, 0o600); err != nil {
		return spec.None, fmt.Errorf("ask hail: %w", err)
	}
	out, _, err := run(context.Background(), hailPath, "--no-capacity-checks", "-t", cluster, question)
	if err != nil {
		return spec.None, err
	}
	var answer struct {
		Success bool            `json:"success"`
		Info    string          `json:"info"`
		Result  json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return spec.None, fmt.Errorf("read hail's answer %q: %w", out, err)
	}
	if !answer.Success {
		if refused(answer.Info) {
			return spec.None, nil
		}
		return spec.None, errors.New("hail: " + answer.Info)
	}
	var names []string
	if err := json.Unmarshal(answer.Result, &names); err != nil || len(names) != 1 {
		return spec.None, fmt.Errorf("read hail's answer %q: not one node: %w", out, err)
	}
	h, ok := x.nodes[names[0]]
	if !ok {
		return spec.None, fmt.Errorf("read hail's answer: no node %s", names[0])
	}
	return h, nil
}

func (x *hail) request(unit, v int, t spec.Tier) map[string]any {
	vm := &x.f.VMs[v]
	tags := []string{}
	if tag := x.tag(unit); tag != "" {
		tags = append(tags, tag)
	}
	none := map[string]any{}
	return map[string]any{
		"version": 2, "cluster_name": "bench", "cluster_tags": []string{"htools:iextags:svc"}, "enabled_hypervisors": []string{"kvm"},
		"nodegroups": none, "nodes": none, "instances": none,
		"request": map[string]any{
			"type": "allocate", "name": vm.Name, "group_name": t.String(), "required_nodes": 1, "memory": vm.Memory, "vcpus": vm.CPU / quarter,
			"disk_space_total": 1024, "disks": []any{map[string]any{"size": 1024, "mode": "w"}}, "disk_template": "ext", "spindle_use": 1,
			"nics": []any{}, "tags": tags, "os": "any", "hypervisor": "kvm",
		},
	}
}

// Close deletes the files.
func (x *hail) Close() { _ = os.RemoveAll(x.dir) }

// refused says whether hail's complaint is that no node of the group has room.
func refused(info string) bool { return strings.Contains(info, "No valid allocation solutions") }
