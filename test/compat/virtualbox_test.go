package compat_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// VirtualBox's tools are not in Debian 12. They are run where vbox-img is installed, or from another root file system that
// BERTH_VBOX_ROOT names (one of Debian unstable with its contrib archive has them); else their rows are not checked.

// vbox is one place from which VirtualBox's tools can be run.
type vbox struct{ root string }

func findVBox(t *testing.T) (vbox, bool) {
	t.Helper()
	if _, err := exec.LookPath("vbox-img"); err == nil {
		return vbox{}, true
	}
	root := os.Getenv("BERTH_VBOX_ROOT")
	if root == "" {
		t.Log("vbox-img is not installed and BERTH_VBOX_ROOT not set: the rows of VirtualBox are not checked")
		return vbox{}, false
	}
	if _, err := os.Stat(filepath.Join(root, "usr/bin/vbox-img")); err != nil {
		t.Fatalf("BERTH_VBOX_ROOT: %v", err)
	}
	return vbox{root}, true
}

// with runs a tool on a copy of the image's folder that the tool can see, and brings the folder back.
func (v vbox) with(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	folder, err := os.MkdirTemp(filepath.Join(v.root, "tmp"), "compat-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	inside := strings.TrimPrefix(folder, strings.TrimSuffix(v.root, "/"))
	work := filepath.Join(folder, "work")
	if _, err := program(t, "cp", "-r", "--preserve=mode,xattr", filepath.Dir(path), work); err != nil {
		return "", err
	}
	for i := range args {
		args[i] = strings.NewReplacer(filepath.Dir(path), filepath.Join(inside, "work")).Replace(args[i])
	}
	// A home and a socket of its own: VirtualBox's service remembers media, and a twin has the same identity.
	env := []string{"env", "VBOX_USER_HOME=" + filepath.Join(inside, "home"), "VBOX_IPC_SOCKETID=" + filepath.Base(folder)}
	if v.root != "" {
		env = append([]string{"chroot", v.root}, env...)
	}
	args = append(env, args...)
	out, err := program(t, args[0], args[1:]...)
	if err != nil {
		return out, err
	}
	return strings.ReplaceAll(out, inside, "FOLDER"), errors.Join(os.RemoveAll(filepath.Dir(path)), os.Rename(work, filepath.Dir(path)))
}

func virtualBoxRows() []operation {
	return []operation{
		{name: "vbox-img info"}, {name: "vbox-img repair --dry-run"}, {name: "vbox-img setuuid"}, {name: "vbox-img compact"},
		{name: "vbox-img convert, same format"}, {name: "VBoxManage showmediuminfo"}, {name: "VBoxManage modifymedium --resize 16"},
		{name: "VBoxManage modifymedium --compact"}, {name: "VBoxManage clonemedium"},
	}
}

func virtualBox(t *testing.T) []operation {
	t.Helper()
	v, ok := findVBox(t)
	if !ok {
		return nil
	}
	all := virtualBoxRows()
	kinds := map[string]string{"vmdk": "VMDK", "vdi": "VDI", "vpc": "VHD", "vhdx": "VHDX"}
	in := func(reads bool, args ...string) func(*testing.T, pair, string) (result, error) {
		return func(t *testing.T, p pair, path string) (result, error) {
			t.Helper()
			r := strings.NewReplacer("KIND", kinds[p.format])
			words := fill(args, p, path)
			for i := range words {
				words[i] = r.Replace(words[i])
			}
			res := result{reads: reads}
			if strings.Contains(strings.Join(args, " "), "OUTPUT") {
				if err := os.Mkdir(filepath.Join(filepath.Dir(path), "out"), 0o700); err != nil {
					return res, err
				}
				res.path, res.options = output(path), p.options
			}
			var err error
			res.said, err = v.with(t, path, words...)
			return res, err
		}
	}
	does := []func(*testing.T, pair, string) (result, error){
		in(false, "vbox-img", "info", "--filename", "IMAGE"), // what it says of a VDI's comment differs, rightly
		in(true, "vbox-img", "repair", "--dry-run", "--filename", "IMAGE", "--format", "KIND"),
		in(false, "vbox-img", "setuuid", "--filename", "IMAGE", "--format", "KIND"),
		in(false, "vbox-img", "compact", "--filename", "IMAGE"),
		in(false, "vbox-img", "convert", "--srcfilename", "IMAGE", "--srcformat", "KIND", "--dstfilename", "OUTPUT", "--dstformat", "KIND"),
		in(true, "VBoxManage", "showmediuminfo", "IMAGE"),
		in(false, "VBoxManage", "modifymedium", "disk", "IMAGE", "--resize", "16"),
		in(false, "VBoxManage", "modifymedium", "disk", "IMAGE", "--compact"),
		in(false, "VBoxManage", "clonemedium", "disk", "IMAGE", "OUTPUT", "--format", "KIND"),
	}
	for i := range all {
		all[i].needs, all[i].formats, all[i].do = "true", []string{"vmdk", "vdi", "vpc", "vhdx"}, does[i]
	}
	return all
}
