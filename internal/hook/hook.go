// Package hook writes the labels that libvirt kept for a running virtual machine into its images, when libvirt says that
// it has let go of them ("release end" of the hook for QEMU guests), and installs the script by which libvirt asks for that.
// Source: https://libvirt.org/hooks.html.
//
// A hook must not call back into libvirt, and nothing that goes wrong in it may be of consequence for the guest's stop. So it
// works on the domain's XML alone, which libvirt gives it, and on the files that the XML names as the disks' sources: no
// backing file, no other path. A label goes into an image only when nothing has the image open (its locks are probed and
// held), when it was made for that disk, and when its serial is higher than that of the label that is there. What is declared
// raw is never looked into: the label goes beside it.
package hook

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berth-project/berth/driver/dir"
	"github.com/berth-project/berth/driver/libvirt"
	"github.com/berth-project/berth/internal/carry"
	"github.com/berth-project/berth/label/diskimage"
)

// maxXML bounds the domain's XML; libvirt's own limit of a string is 4 MiB.
const maxXML = 4 << 20

// The image is tried again when somebody has it open for a moment, such as a program that looks at it under a lock.
const (
	tries     = 6
	tryAgain  = 250 * time.Millisecond
	migrated  = "migrated" // libvirt's word for a shutoff by migration: the disk is in use elsewhere
	operation = "release"
	suboper   = "end"
)

// Wanted says whether libvirt's call asks for anything: operation, sub-operation and extra argument of the hook. Where
// libvirt tells why the guest stopped, one that has migrated is left alone; where it does not, the image's lock tells.
func Wanted(op, sub, extra string) bool {
	return op == operation && sub == suboper && extra != migrated
}

// Release stores the labels in the domain's XML. Each line says what became of one of them; nothing is said where there are
// none. The error is for an XML that cannot be read.
func Release(xml io.Reader, say func(line string)) error {
	doc, err := io.ReadAll(io.LimitReader(xml, maxXML+1))
	if err != nil {
		return fmt.Errorf("read domain XML: %w", err)
	}
	name, kept, err := libvirt.KeptLabels(doc)
	if err != nil {
		return err
	}
	for _, k := range kept {
		say(fmt.Sprintf("vm %q disk %q: %s", name, k.Disk, store(&k)))
	}
	return nil
}

// store says what became of one label.
func store(k *libvirt.KeptLabel) string {
	format, ok := diskimage.FormatNamed(k.Format)
	switch {
	case k.Fault != "":
		return "not written: label in the metadata: " + k.Fault
	case k.File == "" || !filepath.IsAbs(k.File):
		return "not written: the disk is no file"
	case !ok:
		return fmt.Sprintf("not written: images of format %q have no place for a label", k.Format)
	}
	f, err := open(k.File)
	if err != nil {
		return "not written: " + err.Error()
	}
	changed, err := carry.Store(f, format, k.Envelope)
	err = errors.Join(err, f.Close())
	switch {
	case err != nil:
		return fmt.Sprintf("not written: %s: %v", k.File, err)
	case !changed:
		return fmt.Sprintf("%s has as new a label", k.File)
	default:
		return fmt.Sprintf("written into %s", k.File)
	}
}

// maxLinks is Linux's own bound of the links in a path.
const maxLinks = 40

// resolve follows the symbolic links in an absolute path that root made, or whom the hook runs as. Anybody else's is refused:
// whoever may write into an image's folder would send the hook, which is root, to another file.
func resolve(path string) (string, error) {
	at, links := "/", 0
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		next := rest[0]
		rest = rest[1:]
		step := filepath.Join(at, next) // also of "", "." and ".."
		st, err := os.Lstat(step)
		if err != nil {
			return "", err
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			at = step
			continue
		}
		owner, ok := st.Sys().(*syscall.Stat_t)
		if !ok || owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
			return "", fmt.Errorf("%s is a link that neither root nor the hook's user made", step)
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: more than %d links", path, maxLinks)
		}
		target, err := os.Readlink(step)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// open locks the image. It waits for a moment where somebody else has it.
func open(path string) (*dir.File, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		f, err := dir.OpenWrite(path)
		if err == nil && f.Path() != path {
			return nil, errors.Join(fmt.Errorf("%s turned into a link to %s", path, f.Path()), f.Close())
		}
		var locked *dir.LockedError
		if err == nil || !errors.As(err, &locked) || try == tries {
			return f, err
		}
		time.Sleep(tryAgain)
	}
}
