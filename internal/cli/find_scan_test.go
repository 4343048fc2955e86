package cli

import (
	"runtime"
	"testing"
	"time"
)

// TestScannerWidens: only when a good part of the images had to wait does a scan take more processors, and it gives them back.
func TestScannerWidens(t *testing.T) { // not parallel: GOMAXPROCS is the process's
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	var warm scanner
	for i := range 10_000 {
		took := time.Microsecond
		if i%10 == 0 {
			took = time.Millisecond
		}
		warm.judge(took)
	}
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d processors for a warm cache", n)
	}
	warm.finish()
	var cold scanner
	for range slowFirst {
		cold.judge(time.Millisecond)
	}
	if n := runtime.GOMAXPROCS(0); n != scanWaits {
		t.Errorf("%d processors for a cold cache, expected %d", n, scanWaits)
	}
	cold.finish()
	if n := runtime.GOMAXPROCS(0); n != 2 {
		t.Errorf("%d processors are left", n)
	}
}

// TestMaybeAppliance: nothing that is an appliance by its content is ruled out.
func TestMaybeAppliance(t *testing.T) {
	t.Parallel()
	tar := make([]byte, 512)
	copy(tar[257:], "ustar\x0000")
	for name, c := range map[string]struct {
		head []byte
		want bool
	}{
		"tar": {tar, true}, "xml": {[]byte("<?xml"), true}, "space": {[]byte("\n <Envelope"), true}, "mark": {[]byte("\xef\xbb\xbf<"), true},
		"zeros": {make([]byte, 12<<10), false}, "boot": {[]byte("\xeb\x63\x90"), false}, "nothing": {nil, false}, "text": {[]byte("notes"), false},
	} {
		if got := maybeAppliance(c.head); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
