package vsphere

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// tagBatch bounds the objects of one request to the tagging API.
const tagBatch = 1000

// readFields reads the names of the custom attributes.
func (s *scan) readFields(ctx context.Context) {
	s.fields = map[int32]string{}
	m, err := object.GetCustomFieldsManager(s.d.vim)
	if err != nil { // an ESXi host has none
		return
	}
	defs, err := m.Field(ctx)
	if err != nil {
		s.miss("vcenter", "custom attributes", err.Error())
		return
	}
	for _, f := range defs {
		s.fields[f.Key] = clean(f.Name)
	}
}

// readTags reads the tags of all hosts, datastores and VMs as "category:tag". Where the tagging API is
// missing or refuses, that is a gap, and custom attributes count as tags ("name:value").
func (s *scan) readTags(ctx context.Context) {
	tagged, err := s.d.allTags(ctx, s.refs())
	if err != nil {
		s.miss("vcenter", "tags", "tagging API: "+err.Error())
		return
	}
	s.tags = tagged
}

func (s *scan) refs() []mo.Reference {
	var refs []mo.Reference
	for i := range s.hosts {
		refs = append(refs, s.hosts[i].Self)
	}
	for i := range s.stores {
		refs = append(refs, s.stores[i].Self)
	}
	for i := range s.vms {
		refs = append(refs, s.vms[i].Self)
	}
	return refs
}

func (d *Driver) allTags(ctx context.Context, refs []mo.Reference) (map[types.ManagedObjectReference][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	rc := rest.NewClient(d.vim)
	err := rc.Login(ctx, url.UserPassword(d.cfg.Credentials.User, d.cfg.Credentials.Password))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rc.Logout(context.WithoutCancel(ctx)) }()
	m := tags.NewManager(rc)
	out := make(map[types.ManagedObjectReference][]string, len(refs))
	names := map[string]string{} // tag's id: "category:tag"
	categories := map[string]string{}
	for batch := range slices.Chunk(refs, tagBatch) {
		attached, err := m.ListAttachedTagsOnObjects(ctx, batch)
		if err != nil {
			return nil, err
		}
		for _, a := range attached {
			for _, id := range a.TagIDs {
				if names[id] == "" {
					if names[id], err = tagName(ctx, m, id, categories); err != nil {
						return nil, err
					}
				}
				out[a.ObjectID.Reference()] = append(out[a.ObjectID.Reference()], names[id])
			}
		}
	}
	return out, nil
}

func tagName(ctx context.Context, m *tags.Manager, id string, categories map[string]string) (string, error) {
	t, err := m.GetTag(ctx, id)
	if err != nil {
		return "", fmt.Errorf("get tag %s: %w", id, err)
	}
	if categories[t.CategoryID] == "" {
		c, err := m.GetCategory(ctx, t.CategoryID)
		if err != nil {
			return "", fmt.Errorf("get category of tag %s: %w", t.Name, err)
		}
		categories[t.CategoryID] = clean(c.Name)
	}
	return categories[t.CategoryID] + ":" + clean(t.Name), nil
}

// tagsOf is the tags of an object, or its custom attributes where there is no tagging API.
func (s *scan) tagsOf(ref types.ManagedObjectReference, values []types.BaseCustomFieldValue) []string {
	if s.tags != nil {
		return slices.Clone(s.tags[ref])
	}
	var out []string
	for name, value := range s.attributes(values) {
		out = append(out, name+":"+value)
	}
	slices.Sort(out)
	return out
}

// attributes is the custom attributes of an object; nil when it has none.
func (s *scan) attributes(values []types.BaseCustomFieldValue) map[string]string {
	var out map[string]string
	for _, v := range values {
		f, ok := v.(*types.CustomFieldStringValue)
		if !ok || s.fields[f.Key] == "" || f.Value == "" {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[s.fields[f.Key]] = clean(f.Value)
	}
	return out
}
