package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/label"
	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

// otherMakes are overlays of the formats that QEMU does not stack, with their base, in a folder.
func otherMakes(t *testing.T) map[string][]byte {
	t.Helper()
	vdi := crash.VDI(1<<20, 2<<20, "")
	vdiChild := crash.VDI(1<<20, 2<<20, "")
	vdiChild[76] = 4                      // differencing
	copy(vdiChild[424:440], vdi[392:408]) // made for that one
	vdiChild[392]++
	vhd := crash.VHDDynamic("", "")
	for _, footer := range [][]byte{vhd[:512], vhd} {
		copy(footer[len(footer)-512+68:], "\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x00")
		crash.VHDSum(footer)
	}
	const base, child = "6f1b1c2e-6a0f-4c1c-9f5b-0a6f6d1f6b11", "3b0a7f0e-0b0c-4f5e-8a57-7f1f5f2a9c10"
	vhdx := crash.VHDX{Size: 3 << 20, UUID: base}
	vhdxChild := crash.VHDX{Size: 3 << 20, UUID: child, Parameters: 2, Locator: crash.VHDXLocator(
		"parent_linkage", "{"+child+"}", "relative_path", `.\sub\base.vhdx`, "absolute_win32_path", `C:\vms\sub\base.vhdx`)}
	return map[string][]byte{
		"base.vdi": vdi, "child.vdi": vdiChild,
		"base.vhd": vhd, "child.vhd": crash.VHDDynamic(`.\base.vhd`, `C:\vms\base.vhd`),
		"other.vhd": crash.VHDDynamic("", ""), "wrong.vhd": crash.VHDDynamic(`.\other.vhd`, ""),
		"far.vhd":       crash.VHDDynamic("", `C:\vms\base.vhd`),
		"sub/base.vhdx": vhdx.Image(), "child.vhdx": vhdxChild.Image(),
	}
}

func TestInheritOtherFormats(t *testing.T) {
	t.Parallel()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range otherMakes(t) {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(name, "base.") && name != "other.vhd" {
			continue
		}
		f, err := dir.OpenWrite(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := diskimage.Inspect(f)
		if err == nil {
			err = crash.Set(f, crash.Small(t, info.Binding(), 7))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var chain chainRoots
	for child, base := range map[string]string{"child.vdi": "base.vdi", "child.vhd": "base.vhd", "child.vhdx": "sub/base.vhdx"} {
		img, o := chain.readInherited(entry{path: filepath.Join(folder, child)})
		if o.err != nil || img.frame == nil || img.frame.Serial != 7 || o.line.From != filepath.Join(folder, base) {
			t.Errorf("%s: from %q, %v", child, o.line.From, o.err)
			continue
		}
		var trust *label.TrustFile
		if v := trust.Verify(*img.frame, img.info.Binding(), time.Unix(1_800_000_000, 0)); v.Trust == label.TrustInvalid {
			t.Errorf("%s: not judged against its own image: %+v", child, v)
		}
		if string(img.info.Format) != o.line.Format {
			t.Errorf("%s: %s, %s", child, img.info.Format, o.line.Format)
		}
	}
	for child, says := range map[string]string{"wrong.vhd": "its child was made for", "far.vhd": "local folders only"} {
		img, o := chain.readInherited(entry{path: filepath.Join(folder, child)})
		if img != nil || !errors.Is(o.err, diskimage.ErrChain) || !strings.Contains(o.err.Error(), says) || codeOf(o.err) != codeInput {
			t.Errorf("%s: %v", child, o.err)
		}
	}
}
