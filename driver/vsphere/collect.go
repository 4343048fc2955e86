package vsphere

import (
	"context"
	"strings"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/berth-project/berth/fleet"
)

// retrieve reads properties of everything below view (or of one object) in one round trip. Properties that
// may not be read become gaps, never an error.
func (d *Driver) retrieve(ctx context.Context, set types.ObjectSpec, props []types.PropertySpec) ([]types.ObjectContent, []fleet.Gap, error) {
	res, err := property.DefaultCollector(d.vim).RetrieveProperties(ctx, types.RetrieveProperties{
		SpecSet: []types.PropertyFilterSpec{{ObjectSet: []types.ObjectSpec{set}, PropSet: props}},
	})
	if err != nil {
		return nil, nil, err
	}
	return res.Returnval, d.takeMissing(res.Returnval), nil
}

// takeMissing makes gaps of the properties that could not be read, and takes them out of content, which
// would not load with them.
func (d *Driver) takeMissing(content []types.ObjectContent) []fleet.Gap {
	var gaps []fleet.Gap
	for i := range content {
		c := &content[i]
		for _, m := range c.MissingSet {
			gaps = append(gaps, d.gap(c.Obj.String(), m.Path, typeName(m.Fault.Fault)))
		}
		c.MissingSet = nil
	}
	return gaps
}

// inView is the object set of all that a container view lists.
func inView(v *view.ContainerView) types.ObjectSpec {
	return types.ObjectSpec{
		Obj: v.Reference(), Skip: types.NewBool(true),
		SelectSet: []types.BaseSelectionSpec{&types.TraversalSpec{Type: v.Reference().Type, Path: "view"}},
	}
}

// load reads all objects of one type into dst, a pointer to a slice of its mo type.
func (d *Driver) load(ctx context.Context, v *view.ContainerView, kind string, dst any, props ...string) ([]fleet.Gap, error) {
	content, gaps, err := d.retrieve(ctx, inView(v), []types.PropertySpec{{Type: kind, PathSet: props}})
	if err != nil {
		return nil, err
	}
	return gaps, mo.LoadObjectContent(content, dst)
}

// view lists the whole inventory. The returned function removes it.
func (d *Driver) view(ctx context.Context) (*view.ContainerView, func(), error) {
	v, err := view.NewManager(d.vim).CreateContainerView(ctx, d.vim.ServiceContent.RootFolder, nil, true)
	if err != nil {
		return nil, nil, err
	}
	return v, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = v.Destroy(ctx) // it goes with the session at the latest
	}, nil
}

// entity is a named thing in the inventory tree.
type entity struct {
	name   string
	parent types.ManagedObjectReference
}

type tree map[types.ManagedObjectReference]entity

// treeKinds are what names and paths are made of, in one round trip.
var treeKinds = []string{
	"Folder", "Datacenter", "ComputeResource", "ClusterComputeResource", "StoragePod",
	"Network", "DistributedVirtualPortgroup", "OpaqueNetwork",
}

func (d *Driver) tree(ctx context.Context, v *view.ContainerView) (tree, []fleet.Gap, error) {
	specs := make([]types.PropertySpec, len(treeKinds))
	for i, k := range treeKinds {
		specs[i] = types.PropertySpec{Type: k, PathSet: []string{"name", "parent"}}
	}
	content, gaps, err := d.retrieve(ctx, inView(v), specs)
	if err != nil {
		return nil, nil, err
	}
	t := tree{}
	for _, c := range content {
		t[c.Obj] = entityOf(c.PropSet)
	}
	return t, gaps, nil
}

func entityOf(props []types.DynamicProperty) entity {
	var e entity
	for _, p := range props {
		switch v := p.Val.(type) {
		case string:
			e.name = clean(v)
		case types.ManagedObjectReference:
			e.parent = v
		}
	}
	return e
}

// maxDepth bounds a walk up the tree.
const maxDepth = 64

// path is the inventory path of a thing with this name and parent: "/dc-1/vm/vm-db".
func (t tree) path(name string, parent *types.ManagedObjectReference) string {
	parts := []string{name}
	for ref, n := deref(parent), 0; n < maxDepth; n++ {
		e, ok := t[ref]
		if !ok {
			break
		}
		parts = append(parts, e.name)
		ref = e.parent
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString("/" + parts[i])
	}
	return b.String()
}

// datacenter is the inventory path of the datacenter above parent; empty when there is none (an ESXi host).
func (t tree) datacenter(parent *types.ManagedObjectReference) string {
	for ref, n := deref(parent), 0; n < maxDepth; n++ {
		e, ok := t[ref]
		if !ok {
			break
		}
		if ref.Type == "Datacenter" {
			return t.path(e.name, &e.parent)
		}
		ref = e.parent
	}
	return ""
}

func deref(r *types.ManagedObjectReference) types.ManagedObjectReference {
	if r == nil {
		return types.ManagedObjectReference{}
	}
	return *r
}

// clean takes control characters out of a name, which an identifier must not have.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// named is an object on its way to an identifier.
type named struct {
	ref    types.ManagedObjectReference
	name   string
	parent *types.ManagedObjectReference
}

// identify gives each object its name as identifier, the inventory path with it where a name comes twice, and
// the vCenter's own key with that where even the path does.
func identify(t tree, list []named) map[types.ManagedObjectReference]string {
	forms := []func(named) string{
		func(n named) string { return clean(n.name) },
		func(n named) string { return clean(n.name) + " (" + t.path(clean(n.name), n.parent) + ")" },
		func(n named) string {
			return clean(n.name) + " (" + t.path(clean(n.name), n.parent) + ", " + n.ref.Value + ")"
		},
	}
	ids := make(map[types.ManagedObjectReference]string, len(list))
	for _, form := range forms {
		count := map[string]int{}
		for _, n := range list {
			count[form(n)]++
		}
		for _, n := range list {
			if _, done := ids[n.ref]; !done && count[form(n)] == 1 {
				ids[n.ref] = form(n)
			}
		}
	}
	return ids
}

func (d *Driver) gap(object, what, cause string) fleet.Gap {
	return fleet.Gap{Source: d.cfg.ID, Object: object, What: what, Cause: cause}
}
