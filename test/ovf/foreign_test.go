package ovf_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto"
	_ "crypto/sha1" //nolint:gosec // what many packages have
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	vmware "github.com/vmware/govmomi/ovf"

	"github.com/berth-project/berth/internal/cli"
	"github.com/berth-project/berth/test/ovf"
)

// asBerth in the environment makes the test binary be berth.
const asBerth = "BERTH_TEST_AS_BERTH"

func TestMain(m *testing.M) {
	if os.Getenv(asBerth) != "" {
		runtime.LockOSThread() // strace counts the calls of each thread: those of a change are then one sequence
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Process()))
	}
	os.Exit(m.Run())
}

// program is a command that is there, or a skip that says which is not.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

// run runs a command in a folder and gives its output and exit code.
func run(t *testing.T, folder, name string, arg ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, arg...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), asBerth+"=1", "LIBGUESTFS_BACKEND=direct", "LC_ALL=C", "BERTH_TRUST=", "XDG_CONFIG_HOME="+folder)
	out, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatalf("%s %v: %v", name, arg, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// must is run for what has to succeed.
func must(t *testing.T, folder, name string, arg ...string) string {
	t.Helper()
	out, code := run(t, folder, name, arg...)
	if code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s", filepath.Base(name), strings.Join(arg, " "), code, out)
	}
	return out
}

func self() string { return os.Args[0] }

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// diskSize is the virtual size of the disks of realDisks, in bytes.
const diskSize = 8 << 20

// realDisks lets qemu-img write two streamOptimized VMDKs; disk N has the byte N in a part of it. guest.N is the same raw.
func realDisks(t *testing.T) (disks []ovf.Disk, folder string) {
	t.Helper()
	img, io := program(t, "qemu-img"), program(t, "qemu-io")
	folder = t.TempDir()
	for i, id := range []string{"vmdisk1", "vmdisk2"} {
		raw, name := "guest."+string(rune('1'+i)), "vm-web-disk"+string(rune('1'+i))+".vmdk"
		must(t, folder, img, "create", "-q", "-f", "raw", raw, "8M")
		must(t, folder, io, "-f", "raw", "-c", "write -P "+string(rune('1'+i))+" 1M 2M", raw)
		must(t, folder, img, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, name)
		disks = append(disks, ovf.Disk{ID: id, Href: name, Content: read(t, filepath.Join(folder, name)), Size: diskSize})
	}
	return disks, folder
}

// TestForeignTools labels appliances of every maker and shows them to tools that know nothing of labels.
func TestForeignTools(t *testing.T) {
	t.Parallel()
	disks, guests := realDisks(t)
	tarPath := program(t, "tar")
	for _, style := range ovf.Styles() {
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA512} {
			t.Run(string(style)+"/"+h.String(), func(t *testing.T) {
				t.Parallel()
				folder := t.TempDir()
				was, err := ovf.OVA(tar.FormatUSTAR, ovf.Package(style, h, disks))
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(folder, "web.ova"), was)
				if out, code := run(t, folder, self(), "label", "get", "web.ova"); code != 6 {
					t.Errorf("get: exit code %d, expected 6: %s", code, out)
				}
				listed := must(t, folder, tarPath, "tf", "web.ova")
				must(t, folder, self(), "label", "set", "--level", "gold", "web.ova")
				if now := must(t, folder, tarPath, "tf", "web.ova"); now != listed {
					t.Errorf("tar lists\n%s, it was\n%s", now, listed)
				}
				out := must(t, folder, self(), "label", "get", "web.ova")
				for _, want := range []string{"web.ova: vmdisk1 (vm-web-disk1.vmdk): gold serial=1", "web.ova: vmdisk2 (vm-web-disk2.vmdk): gold serial=1"} {
					if !strings.Contains(out, want) {
						t.Errorf("get prints %q, expected %q in it", out, want)
					}
				}
				extracted := filepath.Join(folder, "x")
				if err := os.Mkdir(extracted, 0o755); err != nil {
					t.Fatal(err)
				}
				must(t, extracted, tarPath, "xf", "../web.ova")
				checkFiles(t, extracted, guests, style)
				compareEnvelopes(t, ovf.Descriptor(style, disks), read(t, filepath.Join(extracted, "vm-web.ovf")))
				must(t, folder, self(), "label", "rm", "web.ova")
				if !bytes.Equal(read(t, filepath.Join(folder, "web.ova")), was) {
					t.Error("the archive without labels is not what it was")
				}
			})
		}
	}
}

// checkFiles holds the files of a labelled package against their manifest, and the disks against the guests' data.
func checkFiles(t *testing.T, folder, guests string, style ovf.Style) {
	t.Helper()
	checkSums(t, folder, style)
	img := program(t, "qemu-img")
	for _, n := range []string{"1", "2"} {
		disk := "vm-web-disk" + n + ".vmdk"
		must(t, folder, img, "check", "-q", disk)
		must(t, folder, img, "compare", "-q", "-f", "vmdk", "-F", "raw", disk, filepath.Join(guests, "guest."+n))
		if out := must(t, folder, self(), "label", "get", disk); !strings.Contains(out, "gold") {
			t.Errorf("%s alone: %s", disk, out)
		}
	}
}

// checkSums lets sha1sum and its kin check the manifest: two of its styles are what they read themselves.
func checkSums(t *testing.T, folder string, style ovf.Style) {
	t.Helper()
	if style == ovf.OVirt {
		return
	}
	sums := ""
	var tool string
	for line := range strings.Lines(string(read(t, filepath.Join(folder, "vm-web.mf")))) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), "=")
		algorithm, file, _ := strings.Cut(name, "(")
		tool = strings.ToLower(strings.TrimSpace(algorithm)) + "sum"
		file, _, _ = strings.Cut(file, ")")
		sums += strings.ToLower(strings.TrimSpace(digits)) + "  " + file + "\n"
	}
	write(t, filepath.Join(folder, "sums"), []byte(sums))
	if out := must(t, folder, program(t, tool), "-c", "sums"); strings.Count(out, ": OK") != 3 {
		t.Errorf("%s -c:\n%s", tool, out)
	}
}

// compareEnvelopes lets VMware's Go library read both descriptors: what it knows of is the same.
func compareEnvelopes(t *testing.T, was, is []byte) {
	t.Helper()
	a, err := vmware.Unmarshal(bytes.NewReader(was))
	if err != nil {
		t.Fatal(err)
	}
	b, err := vmware.Unmarshal(bytes.NewReader(is))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("govmomi reads another envelope:\n%s", diff)
	}
	if bytes.Equal(was, is) {
		t.Error("the descriptor has no label")
	}
}

// TestVirtV2V: virt-v2v's reader checks the manifest of an OVA before anything else. It takes the labelled one, and refuses
// one with a wrong digest, so that we know that it looks.
func TestVirtV2V(t *testing.T) {
	t.Parallel()
	v2v := program(t, "virt-v2v")
	disks, _ := realDisks(t)
	folder := t.TempDir()
	for _, style := range []ovf.Style{ovf.Ovftool, ovf.VirtualBox} {
		files := ovf.Package(style, crypto.SHA256, disks)
		ova, err := ovf.OVA(tar.FormatUSTAR, files)
		if err != nil {
			t.Fatal(err)
		}
		name := string(style) + ".ova"
		write(t, filepath.Join(folder, name), ova)
		before := must(t, folder, v2v, "-i", "ova", name, "-o", "null", "--print-source")
		must(t, folder, self(), "label", "set", "--level", "gold", name)
		after := must(t, folder, v2v, "-i", "ova", name, "-o", "null", "--print-source")
		const from = "Source guest information" // before it there are times, and warnings about spaces in VirtualBox's manifests
		_, a, _ := strings.Cut(after, from)
		if _, b, _ := strings.Cut(before, from); a != b || !strings.Contains(a, "vm-web") {
			t.Errorf("%s: virt-v2v reads\n%s\nit was\n%s", style, after, before)
		}
	}
	bad := read(t, filepath.Join(folder, "ovftool.ova"))
	i := bytes.Index(bad, []byte("disk1.vmdk)= ")) + len("disk1.vmdk)= ")
	if bad[i]++; bad[i] > '9' {
		bad[i] = '0'
	}
	write(t, filepath.Join(folder, "bad.ova"), bad)
	if out, code := run(t, folder, v2v, "-i", "ova", "bad.ova", "-o", "null", "--print-source"); code == 0 || !strings.Contains(out, "checksum") {
		t.Errorf("virt-v2v does not look at the manifest: %s", out)
	}
	if out, code := run(t, folder, self(), "label", "set", "--level", "silver", "bad.ova"); code != 3 || !strings.Contains(out, "manifest") {
		t.Errorf("set: exit code %d, expected 3: %s", code, out)
	}
	if !bytes.Equal(read(t, filepath.Join(folder, "bad.ova")), bad) {
		t.Error("a package that does not match its manifest was changed")
	}
}

// TestOpenSSL signs packages as ovftool does with openssl, and lets openssl verify what berth signed again.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := program(t, "openssl")
	disks, _ := realDisks(t)
	for name, arg := range map[string][]string{"rsa": {"rsa:2048"}, "ecdsa": {"ec", "-pkeyopt", "ec_paramgen_curve:P-256"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for _, who := range []string{"maker", "we"} {
				must(t, folder, openssl, append([]string{"req", "-x509", "-nodes", "-days", "3650", "-subj", "/CN=" + who,
					"-keyout", who + ".key", "-out", who + ".crt", "-newkey"}, arg...)...)
			}
			files := ovf.Package(ovf.Ovftool, crypto.SHA256, disks)
			write(t, filepath.Join(folder, "vm-web.mf"), files[1].Content)
			must(t, folder, openssl, "dgst", "-sha256", "-sign", "maker.key", "-out", "sig", "vm-web.mf")
			hex := must(t, folder, program(t, "od"), "-An", "-v", "-tx1", "sig")
			cert := "SHA256(vm-web.mf)= " + strings.Join(strings.Fields(hex), "") + "\n" + string(read(t, filepath.Join(folder, "maker.crt")))
			files = append(files[:2:2], append([]ovf.File{{Name: "vm-web.cert", Content: []byte(cert)}}, files[2:]...)...)
			was, err := ovf.OVA(tar.FormatUSTAR, files)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "web.ova")
			write(t, path, was)
			for _, tt := range []struct {
				arg  []string
				code int
				want string
			}{
				{nil, 4, "--ovf-key"},
				{[]string{"--ovf-key", "we.key"}, 2, "go together"},
				{[]string{"--ovf-key", "we.key", "--ovf-cert", "maker.crt"}, 3, "not the key's"},
			} {
				out, code := run(t, folder, self(), append([]string{"label", "set", "--level", "gold", "web.ova"}, tt.arg...)...)
				if code != tt.code || !strings.Contains(out, tt.want) || !bytes.Equal(read(t, path), was) {
					t.Errorf("%v: exit code %d, expected %d and the file as it was: %s", tt.arg, code, tt.code, out)
				}
			}
			must(t, folder, self(), "label", "set", "--level", "gold", "--ovf-key", "we.key", "--ovf-cert", "we.crt", "web.ova")
			verifyWithOpenSSL(t, folder, openssl)
		})
	}
}

func verifyWithOpenSSL(t *testing.T, folder, openssl string) {
	t.Helper()
	x := filepath.Join(folder, "x")
	if err := os.Mkdir(x, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, x, program(t, "tar"), "xf", "../web.ova")
	checkSums(t, x, ovf.Ovftool)
	first, certificate, _ := strings.Cut(string(read(t, filepath.Join(x, "vm-web.cert"))), "\n")
	_, digits, ok := strings.Cut(first, "SHA256(vm-web.mf)= ")
	if !ok {
		t.Fatalf("first line of the certificate file: %q", first)
	}
	var sig []byte
	for i := 0; i+1 < len(digits); i += 2 {
		sig = append(sig, unhex(digits[i])<<4|unhex(digits[i+1]))
	}
	write(t, filepath.Join(x, "sig"), sig)
	write(t, filepath.Join(x, "crt"), []byte(certificate))
	write(t, filepath.Join(x, "pub"), []byte(must(t, x, openssl, "x509", "-in", "crt", "-noout", "-pubkey")))
	if out := must(t, x, openssl, "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "vm-web.mf"); !strings.Contains(out, "Verified OK") {
		t.Errorf("openssl: %s", out)
	}
	if out := must(t, x, openssl, "x509", "-in", "crt", "-noout", "-subject"); !strings.Contains(out, "we") {
		t.Errorf("the certificate is %s", out)
	}
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}
