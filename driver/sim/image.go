package sim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/label"
)

// content is a copy of what was written to the volume's files.
func (v *volume) content() map[int][]byte {
	out := make(map[int][]byte, len(v.files))
	for k, b := range v.files {
		out[k] = slices.Clone(b)
	}
	return out
}

// OpenImage opens an image: the top one of a disk or one of its chain. Its content is a VMDK text descriptor
// (or the header of a qcow2 image), with the label that the snapshot has for it.
func (f *Fleet) OpenImage(ctx context.Context, pool fleet.Pool, path string) (fleet.ImageFile, error) {
	var out fleet.ImageFile
	err := f.operate(ctx, OpOpen, "", func() error {
		v, layer := f.find(handle(pool.Ref, string(pool.ID)), path)
		if v == nil {
			return &fleet.DriverError{Kind: fleet.Permanent, Op: "open image " + path, Err: fleet.ErrNotFound}
		}
		if v.files[layer] == nil {
			b, err := describe(v.owner.vm, v.disk, layer)
			if err != nil {
				return &fleet.DriverError{Kind: fleet.Permanent, Op: "open image " + path, Err: err}
			}
			if v.files == nil {
				v.files = map[int][]byte{}
			}
			v.files[layer] = b
		}
		out = &image{fleet: f, volume: v, layer: layer}
		return nil
	})
	return out, err
}

// find is the volume with the image at path, and the image's number in it: 0 the top, then down the chain.
func (f *Fleet) find(pool, path string) (*volume, int) {
	if v := f.volumes[place{pool, path}]; v != nil {
		return v, 0
	}
	for _, handle := range f.order {
		g := f.guests[handle]
		if g == nil {
			continue
		}
		vm := f.seen(g)
		for i, d := range vm.Disks {
			for k, link := range d.Chain {
				if link.Path == path && f.poolHandle(link.Pool) == pool {
					_, def := g.main("")
					return f.volumes[def.disks[i]], k + 1
				}
			}
		}
	}
	return nil, 0
}

// image is an open image of a volume.
type image struct {
	fleet  *Fleet
	volume *volume
	layer  int
}

func (i *image) ReadAt(p []byte, off int64) (int, error) {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	b := i.volume.files[i.layer]
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (i *image) WriteAt(p []byte, off int64) (int, error) {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	b := i.volume.files[i.layer]
	if off < 0 || off > maxImage-int64(len(p)) {
		return 0, fmt.Errorf("write image at %d: beyond %d bytes", off, maxImage)
	}
	if grow := off + int64(len(p)) - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	copy(b[off:], p)
	i.volume.files[i.layer] = b
	return len(p), nil
}

// maxImage bounds an image file in memory.
const maxImage = 1 << 20

func (i *image) Sync() error  { return nil }
func (i *image) Close() error { return nil }

func (i *image) Size() int64 {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	return int64(len(i.volume.files[i.layer]))
}

// describe makes the content of one image from the snapshot.
func describe(vm fleet.VM, disk, layer int) ([]byte, error) {
	d := vm.Disks[disk]
	path, format := d.Path, d.Format
	labelled := d.Label.From == ""
	if layer > 0 {
		path, format = d.Chain[layer-1].Path, d.Chain[layer-1].Format
		labelled = d.Label.From == path
	}
	if d.Label.Trust == fleet.TrustUnknown {
		return nil, errors.New("the image cannot be read")
	}
	switch format {
	case "qcow2":
		return qcow2Header(d.Size), nil
	case "raw":
		return make([]byte, 512), nil
	}
	uuid := ""
	if d.Label.Document != nil {
		uuid = d.Label.Document.Disk.UUID
	}
	text := descriptor(path, d.Size, uuid)
	if !labelled || d.Label.Document == nil {
		return []byte(text), nil
	}
	frame, err := seal(d.Label)
	if err != nil {
		return nil, err
	}
	return []byte(text + slots(frame)), nil
}

// qcow2Header is the head of an empty image of version 3 with clusters of 64 KiB and no header extension.
// Source: QEMU, docs/interop/qcow2.txt, "Header".
func qcow2Header(size fleet.Bytes) []byte {
	b := make([]byte, 512)
	copy(b, "QFI\xfb")
	binary.BigEndian.PutUint32(b[4:], 3)
	binary.BigEndian.PutUint32(b[20:], 16) // cluster_bits
	binary.BigEndian.PutUint64(b[24:], uint64(size))
	binary.BigEndian.PutUint32(b[96:], 4)    // refcount_order
	binary.BigEndian.PutUint32(b[100:], 104) // header_length
	return b
}

// descriptor is the text of a VMDK whose data lie on a VMFS datastore.
// Source: VMware, Virtual Disk Format 5.0, "The Descriptor File".
func descriptor(path string, size fleet.Bytes, uuid string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	name = strings.NewReplacer(`"`, "_", "\n", "_").Replace(strings.TrimSuffix(name, ".vmdk"))
	var b strings.Builder
	b.WriteString("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"vmfs\"\n\n")
	fmt.Fprintf(&b, "# Extent description\nRW %d VMFS \"%s-flat.vmdk\"\n\n", (size+511)/512, name)
	b.WriteString("# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"13\"\n")
	if digits := strings.ReplaceAll(uuid, "-", ""); len(digits) == 32 {
		var pairs []string
		for i := 0; i < 32; i += 2 {
			pairs = append(pairs, digits[i:i+2])
		}
		fmt.Fprintf(&b, "ddb.uuid = \"%s-%s\"\n", strings.Join(pairs[:8], " "), strings.Join(pairs[8:], " "))
	}
	return b.String()
}

// slots is a label in slot A of a VMDK's disk database, and slot B, empty. Each line has 285 bytes of its slot in
// lower-case base32; the format is in docs/formats/label.md.
func slots(frame []byte) string {
	const line = 285
	lines := max((len(frame)+line-1)/line, 2)
	content := make([]byte, lines*line)
	copy(content, frame)
	var b strings.Builder
	for n := range lines {
		text := base32.StdEncoding.EncodeToString(content[n*line : (n+1)*line])
		fmt.Fprintf(&b, "ddb.berth.a.%02d = \"%s\"\n", n, strings.ToLower(text))
	}
	for n := range lines {
		fmt.Fprintf(&b, "ddb.berth.b.%02d = \"%s\"\n", n, strings.Repeat("a", line/5*8))
	}
	return b.String()
}

// seal makes a frame that is verified, with the keys of TrustText, as the snapshot's label was.
func seal(l fleet.Label) ([]byte, error) {
	var key *label.PrivateKey
	if l.Trust == fleet.TrustSigned || l.Trust == fleet.TrustInvalid {
		var err error
		if key, err = issuerKey(l.Issuer, l.Ceiling); err != nil {
			return nil, err
		}
	}
	frame, err := label.Seal(*l.Document, key)
	if err != nil {
		return nil, err
	}
	if l.Trust == fleet.TrustInvalid {
		frame.Signature[0] ^= 1
	}
	return frame.Encode()
}

// issuerKey is the signing key of a simulated issuer. It is no secret: it signs simulated labels alone.
func issuerKey(issuer, ceiling string) (*label.PrivateKey, error) {
	seed := fmt.Sprintf("berth simulated issuer %s/%s", issuer, ceiling)
	sum := sha256.Sum256([]byte(seed))
	return label.GenerateKey(bytes.NewReader(sum[:]))
}

// TrustText is the trust file that knows the keys of the fleet's signed labels.
func (f *Fleet) TrustText() ([]byte, error) {
	known := map[string]bool{}
	var keys []byte
	for _, vm := range f.base.VMs {
		for _, d := range vm.Disks {
			l := d.Label
			if l.Trust != fleet.TrustSigned && l.Trust != fleet.TrustInvalid || known[l.Issuer+"/"+l.Ceiling] {
				continue
			}
			known[l.Issuer+"/"+l.Ceiling] = true
			key, err := issuerKey(l.Issuer, l.Ceiling)
			if err != nil {
				return nil, err
			}
			keys = fmt.Appendf(keys, "  - public_key: %s\n    issuer: %q\n", key.Public(), cmp.Or(l.Issuer, "nobody"))
			if l.Ceiling != "" {
				keys = fmt.Appendf(keys, "    ceiling: %q\n", l.Ceiling)
			}
		}
	}
	if keys == nil {
		return []byte("version: 1\nkeys: []\n"), nil
	}
	return append([]byte("version: 1\nkeys:\n"), keys...), nil
}
