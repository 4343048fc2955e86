package compat_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-project/berth/label/diskimage"
)

// operation is a row of the table: something that a tool does with an image.
type operation struct {
	needs   string   // the program
	name    string   // as the table has it
	formats []string // QEMU's names of the formats that it is for; none: all
	do      func(t *testing.T, p pair, path string) (result, error)
}

// inChroot says that the tool is looked for elsewhere.
func (o operation) inChroot() bool { return o.needs == "true" }

// result is what an operation left: the image to look at, and what the tool said.
type result struct {
	path    string // empty: the same image
	format  string // empty: the same
	options diskimage.Options
	said    string
	reads   bool // it only looked
}

// program runs a tool of the system; nothing of the environment makes its output differ.
func program(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := program(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// changes is an operation that changes the image in place; ARGS have IMAGE where the path goes.
func changes(args ...string) func(*testing.T, pair, string) (result, error) {
	return func(t *testing.T, p pair, path string) (result, error) {
		t.Helper()
		out, err := program(t, args[0], fill(args[1:], p, path)...)
		if err == nil && strings.Contains(out, "failed: ") { // qemu-io succeeds with that
			err = fmt.Errorf("%s", out)
		}
		return result{said: anonymous(out, path)}, err
	}
}

// looks is an operation that reads the image.
func looks(args ...string) func(*testing.T, pair, string) (result, error) {
	do := changes(args...)
	return func(t *testing.T, p pair, path string) (result, error) {
		t.Helper()
		r, err := do(t, p, path)
		r.reads = true
		return r, err
	}
}

// makes is an operation that writes another image, OUTPUT, of the same format.
func makes(args ...string) func(*testing.T, pair, string) (result, error) {
	do := changes(args...)
	return func(t *testing.T, p pair, path string) (result, error) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(filepath.Dir(path), "out"), 0o700); err != nil {
			return result{}, err
		}
		r, err := do(t, p, path)
		r.path, r.options = output(path), p.options
		return r, err
	}
}

func output(path string) string { return filepath.Join(filepath.Dir(path), "out", filepath.Base(path)) }

func fill(args []string, p pair, path string) []string {
	r := strings.NewReplacer("IMAGE", path, "FORMAT", p.format, "OUTPUT", output(path), "FOLDER", filepath.Dir(path))
	var out []string
	for _, a := range args {
		out = append(out, r.Replace(a))
	}
	return out
}

// overlay makes a child of the image, labels it when the image is labelled, and runs more on it.
func overlay(then ...string) func(*testing.T, pair, string) (result, error) {
	return func(t *testing.T, p pair, path string) (result, error) {
		t.Helper()
		child := filepath.Join(filepath.Dir(path), "child."+p.format)
		if _, err := program(t, "qemu-img", "create", "-q", "-f", p.format, "-b", path, "-F", p.format, child); err != nil {
			return result{}, err
		}
		base := filepath.Join(filepath.Dir(path), "base."+p.format)
		if _, err := program(t, "cp", path, base); err != nil {
			return result{}, err
		}
		if path == p.labelled {
			setLabel(t, child, p.options, 1)
		}
		args := slices.Clone(then)
		for i := range args {
			args[i] = strings.NewReplacer("CHILD", child, "BASE", base).Replace(args[i])
		}
		out, err := program(t, args[0], fill(args[1:], p, path)...)
		return result{path: child, options: p.options, said: anonymous(out, path)}, err
	}
}

func operations() []operation {
	qcow2 := []string{"qcow2"}
	backed := []string{"qcow2", "vmdk"}
	return []operation{
		{"qemu-img", "qemu-img info", nil, looks("qemu-img", "info", "-f", "FORMAT", "IMAGE")},
		{"qemu-img", "qemu-img check", []string{"vmdk", "qcow2", "vhdx", "vdi"}, looks("qemu-img", "check", "-f", "FORMAT", "IMAGE")},
		{"qemu-img", "qemu-img map", nil, looks("qemu-img", "map", "-f", "FORMAT", "--output=json", "IMAGE")},
		{"qemu-img", "qemu-img measure", nil, looks("qemu-img", "measure", "-f", "FORMAT", "-O", "qcow2", "IMAGE")},
		{"qemu-io", "guest writes (qemu-io)", nil, changes("qemu-io", "-f", "FORMAT", "-c", "write -P 0x5a 6M 64k", "-c", "flush", "IMAGE")},
		{"qemu-io", "guest writes much, discards (qemu-io)", nil, changes("qemu-io", "-f", "FORMAT", "-d", "unmap",
			"-c", "write -P 0x11 0 8M", "-c", "discard 1M 1M", "-c", "flush", "IMAGE")},
		{"qemu-img", "qemu-img resize +8M", nil, changes("qemu-img", "resize", "-f", "FORMAT", "IMAGE", "+8M")},
		{"qemu-img", "qemu-img check -r all", []string{"qcow2", "vhdx", "vdi"}, changes("qemu-img", "check", "-r", "all", "-f", "FORMAT", "IMAGE")},
		{"qemu-img", "qemu-img snapshot -c", qcow2, changes("qemu-img", "snapshot", "-c", "before", "IMAGE")},
		{"qemu-img", "qemu-img bitmap --add", qcow2, changes("qemu-img", "bitmap", "--add", "IMAGE", "b0")},
		{"qemu-img", "qemu-img amend (lazy refcounts)", qcow2, changes("qemu-img", "amend", "-o", "lazy_refcounts=on", "IMAGE")},
		{"qemu-img", "qemu-img amend (compat=0.10)", qcow2, changes("qemu-img", "amend", "-o", "compat=0.10", "IMAGE")},
		{"qemu-img", "qemu-img commit into it", backed, func(t *testing.T, p pair, path string) (result, error) {
			t.Helper()
			child := filepath.Join(filepath.Dir(path), "child."+p.format)
			if _, err := program(t, "qemu-img", "create", "-q", "-f", p.format, "-b", path, "-F", p.format, child); err != nil {
				return result{}, err
			}
			run(t, "qemu-io", "-f", p.format, "-c", "write -P 0x77 2M 64k", "-c", "flush", child)
			_, err := program(t, "qemu-img", "commit", "-q", "-f", p.format, child)
			return result{}, err
		}},
		{"qemu-img", "qemu-img rebase of a labelled overlay", qcow2, overlay("qemu-img", "rebase", "-f", "FORMAT", "-F", "FORMAT", "-b", "BASE", "CHILD")},
		{"qemu-img", "qemu-img rebase -u of a labelled overlay", backed, overlay("qemu-img", "rebase", "-u", "-f", "FORMAT", "-F", "FORMAT", "-b", "BASE", "CHILD")},
		{"qemu-img", "qemu-img convert, same format", nil, makes("qemu-img", "convert", "-f", "FORMAT", "-O", "FORMAT", "IMAGE", "OUTPUT")},
		{"cp", "cp, the image alone", nil, alone("cp")},
		{"cp", "cp --preserve=xattr, the image alone", nil, alone("cp", "--preserve=xattr")},
		{"mv", "mv, the image alone", nil, alone("mv")},
		{"tar", "tar, the whole folder", nil, func(t *testing.T, p pair, path string) (result, error) {
			t.Helper()
			archive := filepath.Join(t.TempDir(), "a.tar")
			run(t, "tar", "-cf", archive, "-C", filepath.Dir(path), ".")
			to := t.TempDir()
			out, err := program(t, "tar", "-xf", archive, "-C", to)
			return result{path: filepath.Join(to, p.file), options: p.options, said: out}, err
		}},
		{"vmdkinfo", "vmdkinfo (libvmdk)", []string{"vmdk"}, looks("vmdkinfo", "IMAGE")},
		{"qcowinfo", "qcowinfo (libqcow)", qcow2, looks("qcowinfo", "IMAGE")},
		{"vhdiinfo", "vhdiinfo (libvhdi)", []string{"vpc", "vhdx"}, looks("vhdiinfo", "IMAGE")},
		{"nbdcopy", "qemu-nbd, nbdcopy", nil, func(t *testing.T, p pair, path string) (result, error) {
			t.Helper()
			out := filepath.Join(t.TempDir(), "copy.raw")
			said, err := program(t, "nbdcopy", "--", "[", "qemu-nbd", "-r", "-f", p.format, path, "]", out)
			if err == nil {
				said += run(t, "sha256sum", out)[:64]
			}
			return result{said: anonymous(said, path), reads: true}, err
		}},
		{"nbdkit", "nbdkit file", []string{"raw"}, func(t *testing.T, _ pair, path string) (result, error) {
			t.Helper()
			out := filepath.Join(t.TempDir(), "copy.raw")
			said, err := program(t, "nbdkit", "-U", "-", "-r", "file", path, "--run", `nbdcopy "$uri" `+out)
			if err == nil {
				said += run(t, "sha256sum", out)[:64]
			}
			return result{said: anonymous(said, path), reads: true}, err
		}},
	}
}

// alone copies or moves the files of the image, not what Berth keeps beside it, into another folder.
func alone(command ...string) func(*testing.T, pair, string) (result, error) {
	return func(t *testing.T, p pair, path string) (result, error) {
		t.Helper()
		to := t.TempDir()
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			return result{}, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), diskimage.SidecarSuffix) {
				continue
			}
			args := slices.Concat(command[1:], []string{filepath.Join(filepath.Dir(path), e.Name()), to + "/"})
			if _, err := program(t, command[0], args...); err != nil {
				return result{}, err
			}
		}
		return result{path: filepath.Join(to, p.file), options: p.options}, nil
	}
}
