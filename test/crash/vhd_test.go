package crash_test

import (
	"testing"

	"github.com/berth-project/berth/label/diskimage"
	"github.com/berth-project/berth/test/crash"
)

func TestCrashVHD(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]func(t *testing.T) []byte{
		"hyper-v, fixed, constructed":   func(*testing.T) []byte { return crash.VHDFixed() },
		"hyper-v, dynamic, constructed": func(*testing.T) []byte { return crash.VHDDynamic("", "") },
		"qemu, dynamic":                 func(t *testing.T) []byte { t.Helper(); return read(t, qemuImage(t, "vpc")) },
		"qemu, fixed":                   func(t *testing.T) []byte { t.Helper(); return read(t, qemuImage(t, "vpc", "subformat=fixed")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			life{format: "vpc", data: data(t), options: diskimage.Options{VHDFooter: true}}.run(t)
		})
	}
}
