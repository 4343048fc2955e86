package convert_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/internal/convert"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
)

// overlays makes base <- mid <- top of one format, each with data of its own, and a raw file of what top shows.
func overlays(t *testing.T, folder, format string) (base, mid, top string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(folder, name+"."+format) }
	base, mid, top = in("base"), in("mid"), in("top")
	run(t, convert.Request{Source: disk(t, filepath.Join(folder, "disk.raw"), diskSize), Destination: base, Format: diskimage.Format(format)})
	command(t, "sh", "-c", `cd "$1" && qemu-img create -q -f $2 -b base.$2 -F $2 mid.$2 && qemu-io -f $2 -c "write -P 17 5M 64k" mid.$2 &&
		qemu-img create -q -f $2 -b mid.$2 -F $2 top.$2 && qemu-io -f $2 -c "write -P 18 6M 64k" top.$2`, "sh", folder, format)
	return base, mid, top
}

// TestFlatten: one image of the whole chain, with the label of the nearest ancestor that has one.
func TestFlatten(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img", "qemu-io")
	k, _ := key(t)
	for _, format := range []string{"qcow2", "vmdk"} {
		folder, other := t.TempDir(), t.TempDir()
		base, mid, top := overlays(t, folder, format)
		for _, owner := range []string{"", base, mid, top} {
			var want *label.Frame
			if owner != "" {
				frame := give(t, owner, diskimage.Format(format), k, someUUID)
				want = &frame
			}
			for _, to := range formats() {
				dst := filepath.Join(other, filepath.Base(owner)+"-flat."+string(to))
				res := run(t, convert.Request{Source: top, Destination: dst, Format: to, Verify: true})
				got, info := read(t, dst)
				if info.Parent.Exists() {
					t.Errorf("%s: it has the parent %q", dst, info.Parent.Ref)
				}
				if owner == "" {
					if got != nil || res.Fate != convert.FateNone {
						t.Errorf("%s: it has a label from nowhere: %s", dst, res.Fate)
					}
					continue
				}
				same(t, got, want)
				if res.From != owner {
					t.Errorf("%s: the label is %s's, expected %s's", dst, res.From, owner)
				}
			}
		}
	}
}

// TestKeep: the destination is an overlay on the same image, wherever it lies, and has the top's own label only.
func TestKeep(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img", "qemu-io")
	k, _ := key(t)
	for _, format := range []string{"qcow2", "vmdk"} {
		folder := t.TempDir()
		base, mid, top := overlays(t, folder, format)
		give(t, base, diskimage.Format(format), k, someUUID)
		command(t, "mkdir", filepath.Join(folder, "deeper"))
		for _, name := range []string{"copy", "deeper/copy"} {
			for _, to := range []diskimage.Format{diskimage.FormatQcow2, diskimage.FormatVMDK} {
				dst := filepath.Join(folder, name+"-"+format+"."+string(to))
				r := convert.Request{Source: top, Destination: dst, Format: to, Keep: true, Verify: true}
				if to == diskimage.FormatVMDK && format == "qcow2" {
					_ = fails(t.Context(), t, r, convert.ErrKeep)
					continue
				}
				if res := run(t, r); res.Fate != convert.FateNone {
					t.Errorf("%s: the label of an ancestor was made its own: %s", dst, res.Fate)
				}
				_, info := read(t, dst)
				ref := info.Parent.Ref
				if !info.Parent.Exists() || to == diskimage.FormatQcow2 && filepath.IsAbs(ref) {
					t.Errorf("%s: parent %q", dst, ref)
				}
				if !filepath.IsAbs(ref) {
					ref = filepath.Join(filepath.Dir(dst), ref)
				}
				if is, err := os.Stat(ref); err != nil {
					t.Errorf("%s: parent %q: %v", dst, info.Parent.Ref, err)
				} else if want, err := os.Stat(mid); err != nil || !os.SameFile(is, want) {
					t.Errorf("%s: parent %q, expected %s", dst, info.Parent.Ref, mid)
				}
				sound(t, dst, to, top, diskimage.Format(format))
				if st, err := os.Stat(dst); err != nil || st.Size() > 3<<20 {
					t.Errorf("%s: %d bytes: it has what its parent has", dst, st.Size())
				}
			}
		}
		want := give(t, top, diskimage.Format(format), k, someUUID)
		dst := filepath.Join(folder, "labelled.qcow2")
		run(t, convert.Request{Source: top, Destination: dst, Format: diskimage.FormatQcow2, Keep: true})
		got, _ := read(t, dst)
		same(t, got, &want)
		_ = fails(t.Context(), t, convert.Request{Source: top, Destination: filepath.Join(folder, "x.vdi"), Format: diskimage.FormatVDI, Keep: true}, convert.ErrKeep)
		_ = fails(t.Context(), t, convert.Request{Source: base, Destination: filepath.Join(folder, "x.qcow2"), Format: diskimage.FormatQcow2, Keep: true}, convert.ErrKeep)
	}
}

// TestChainOutside: nothing outside the allowed folders is read, by QEMU neither.
func TestChainOutside(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img", "qemu-io")
	folder, other := t.TempDir(), t.TempDir()
	secret := disk(t, filepath.Join(other, "secret.raw"), 1<<20)
	top := filepath.Join(folder, "top.qcow2")
	dst := filepath.Join(folder, "dst.raw")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", top)
	r := convert.Request{Source: top, Destination: dst, Format: diskimage.FormatRaw}
	_ = fails(t.Context(), t, r, dir.ErrOutside)
	r.Roots = []string{other}
	run(t, r)
	sound(t, dst, diskimage.FormatRaw, secret, diskimage.FormatRaw)

	for name, ref := range map[string]string{
		"protocol": "nbd:localhost:1", "json": `json:{"driver":"file","filename":"` + secret + `"}`, "device": "/dev/zero", "nothing": "nothing.raw",
	} {
		r.Source, r.Destination = filepath.Join(folder, name+".qcow2"), filepath.Join(folder, name+".raw")
		command(t, "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", ref, "-F", "raw", r.Source, "1M")
		_ = fails(t.Context(), t, r, diskimage.ErrChain)
	}
	// Data in another file, parts elsewhere: QEMU would read both.
	r.Source, r.Destination = filepath.Join(folder, "data.qcow2"), filepath.Join(folder, "data.raw")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(folder, "data.bin"), r.Source, "1M")
	_ = fails(t.Context(), t, r, diskimage.ErrUnsupported)
	r.Source = filepath.Join(folder, "flat.vmdk")
	run(t, convert.Request{Source: secret, Destination: r.Source, Format: diskimage.FormatVMDK, Options: []string{"subformat=monolithicFlat"}})
	text, err := os.ReadFile(r.Source)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{secret, "../" + filepath.Base(other) + "/secret.raw", "link.raw"} {
		evil := strings.Replace(string(text), "flat-flat.vmdk", name, 1)
		_ = os.Remove(filepath.Join(folder, "link.raw"))
		if err := errors.Join(os.Symlink(secret, filepath.Join(folder, "link.raw")), os.WriteFile(r.Source, []byte(evil), 0o600)); err != nil {
			t.Fatal(err)
		}
		_ = fails(t.Context(), t, r, nil)
	}
}

// TestChainLoop: an image that is its own ancestor is refused, not followed for ever.
func TestChainLoop(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	folder := t.TempDir()
	command(t, "sh", "-c", `cd "$1" && qemu-img create -q -u -f qcow2 -b b.qcow2 -F qcow2 a.qcow2 1M && qemu-img create -q -u -f qcow2 -b a.qcow2 -F qcow2 b.qcow2 1M`, "sh", folder)
	_ = fails(t.Context(), t, convert.Request{Source: filepath.Join(folder, "a.qcow2"), Destination: filepath.Join(folder, "x.raw"), Format: diskimage.FormatRaw}, diskimage.ErrChain)
}

// TestLargerOverlay: a disk that grew in its overlay is not the one that its ancestor's label was signed for.
func TestLargerOverlay(t *testing.T) {
	t.Parallel()
	need(t, "qemu-img")
	k, trust := key(t)
	folder := t.TempDir()
	base, top := filepath.Join(folder, "base.qcow2"), filepath.Join(folder, "top.qcow2")
	run(t, convert.Request{Source: disk(t, filepath.Join(folder, "disk.raw"), diskSize), Destination: base, Format: diskimage.FormatQcow2})
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top, "16M")
	unsigned := give(t, base, diskimage.FormatQcow2, nil, someUUID)
	r := convert.Request{Source: top, Destination: filepath.Join(folder, "unsigned.vmdk"), Format: diskimage.FormatVMDK}
	res := run(t, r)
	if res.Fate != convert.FateRebound || res.Label.Serial != unsigned.Serial+1 || res.From != base {
		t.Errorf("unsigned: %s of %s, serial %d", res.Fate, res.From, res.Label.Serial)
	}
	got, info := read(t, r.Destination)
	if v := trust.Verify(*got, info.Binding(), now()); v.Trust != label.TrustUnsigned || info.VirtualSize != 16<<20 {
		t.Errorf("rebound: %s: %s", v.Trust, v.Reason)
	}
	signed := give(t, base, diskimage.FormatQcow2, k, someUUID)
	copied := false
	r.Destination = filepath.Join(folder, "signed.vmdk")
	r.Progress = func(_, _ label.Bytes) { copied = true }
	var size *convert.SizeError
	if err := fails(t.Context(), t, r, nil); !errors.As(err, &size) || copied {
		t.Errorf("signed: error %v, copied %v", err, copied)
	}
	r.Signer, r.Vouch = k, func(f label.Frame, b label.Binding) error {
		if v := trust.Verify(f, b, now()); v.Trust != label.TrustSigned {
			return errors.New(v.Reason)
		}
		return nil
	}
	res = run(t, r)
	got, info = read(t, r.Destination)
	if v := trust.Verify(*got, info.Binding(), now()); v.Trust != label.TrustSigned || res.Fate != convert.FateSigned || got.Serial != signed.Serial+1 {
		t.Errorf("signed anew: %s %s, serial %d", v.Trust, v.Reason, got.Serial)
	}
	refused := errors.New("not by me")
	r.Destination, r.Vouch = filepath.Join(folder, "refused.vmdk"), func(label.Frame, label.Binding) error { return refused }
	_ = fails(t.Context(), t, r, refused)
}
