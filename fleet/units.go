package fleet

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/berth-project/berth/label"
)

// Bytes is an amount of storage or memory in bytes; never negative in a valid snapshot.
// It is the label package's unit, so that a disk's size in a label and in the fleet are one type.
type Bytes = label.Bytes

// Powers of 1024.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

// MilliCPU is processing power in thousandths of one host thread; 1000 is one thread.
type MilliCPU int64

// CPUs is n whole host threads.
func CPUs(n int) MilliCPU { return MilliCPU(n) * 1000 }

// String prints whole threads, with up to three decimals: "2", "0.5".
func (c MilliCPU) String() string {
	return strconv.FormatFloat(float64(c)/1000, 'f', -1, 64)
}

// Mbps is a bandwidth in 10^6 bits a second.
type Mbps int64

// String prints "25 Gb/s" or "100 Mb/s".
func (m Mbps) String() string {
	if m >= 1000 && m%1000 == 0 {
		return fmt.Sprintf("%d Gb/s", int64(m)/1000)
	}
	return fmt.Sprintf("%d Mb/s", int64(m))
}

// IOPS is a number of storage operations a second.
type IOPS int64

// MBps is a storage bandwidth in 10^6 bytes a second.
type MBps int64

// Queues counts NIC queue pairs (or the hardware functions that bring them) reserved for one VM.
type Queues int

// NICClass is the capability class of a NIC, 0 to 3:
// 0 one queue; 1 several queues, not bindable to one VM; 2 queues bindable to one VM with the host in the
// path; 3 a hardware function per VM (SR-IOV, vDPA).
type NICClass int

// MaxNICClass is the highest class there is.
const MaxNICClass NICClass = 3

// FormatBytes prints b with a binary unit and at most one decimal: "512 B", "1.5 GiB".
func FormatBytes(b Bytes) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(b), 0
	for math.Abs(v) >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + " " + units[i]
}
