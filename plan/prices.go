package plan

import (
	"math/bits"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// Prices counts what hosts cost by what they have promised: overload, stranded capacity, energy. It counts in whole
// parts of a point, Scale of them, so that the same sums come out wherever they are formed.
type Prices struct {
	w     policy.Weights
	scale int64
	share fleet.Bytes // memory that goes with a thousandth of a thread, in the fleet as a whole
	// of a thousandth of a thread and of a MiB above the mark, of a thousandth of a thread stranded
	cpu, mib, stranded int64
	most               int64 // parts that one term of a host counts as at most
}

// Load is what is promised on one host, or offered by it.
type Load struct {
	CPU fleet.MilliCPU
	// MiB is memory, of each VM rounded up; of a host down.
	MiB int64
	// Shares is memory in the shares that go with a thousandth of a thread, rounded down.
	Shares int64
	VMs    int
}

// Add adds n times what o has, n being 1 or -1.
func (l *Load) Add(o Load, n int) {
	l.CPU += o.CPU * fleet.MilliCPU(n)
	l.MiB += o.MiB * int64(n)
	l.Shares += o.Shares * int64(n)
	l.VMs += o.VMs * n
}

// NewPrices reads the weights of p and the fleet's ratio of memory to CPU.
func NewPrices(p *policy.Problem) Prices {
	m := Prices{w: p.Weights, scale: 1, share: 1, most: max(maxParts/4/int64(len(p.Snapshot.Hosts)+1), minParts)}
	var cpu, memory uint64 // of at most 2^17 hosts, each counted up to 2^46 threads and 2^46 MiB
	for i := range p.Snapshot.Hosts {
		f := p.Hosts[p.Snapshot.Hosts[i].ID]
		cpu += uint64(min(max(f.CPU, 0), 1<<46))
		memory += uint64(min(max(f.Memory>>20, 0), 1<<46))
	}
	if hi, lo := bits.Mul64(memory, 1<<20); cpu > 0 && hi < cpu {
		q, _ := bits.Div64(hi, lo, cpu)
		m.share = fleet.Bytes(min(max(q, 1), 1<<60))
	}
	const mibs = int64(policy.OverloadMemory / fleet.MiB)
	if o := clampWeight(p.Weights.Overload); o > 0 {
		m.scale = lcm(1000/gcd(o, 1000), mibs/gcd(o, mibs))
	}
	if s := clampWeight(p.Weights.Stranded); s > 0 {
		m.scale = lcm(m.scale, 1000/gcd(s, 1000))
	}
	m.cpu, m.mib = clampWeight(p.Weights.Overload)*m.scale/1000, clampWeight(p.Weights.Overload)*m.scale/mibs
	m.stranded = clampWeight(p.Weights.Stranded) * m.scale / 1000
	return m
}

func clampWeight(w int64) int64 { return min(max(w, 0), 1<<24) }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func lcm(a, b int64) int64 { return a / gcd(a, b) * b }

// Scale is how many parts a point has: 1 unless overload or stranded capacity has a price, at most 512,000.
func (m Prices) Scale() int64 { return m.scale }

// Rates are the parts of a point for a thousandth of a thread and for a MiB above a host's mark, and for a thousandth of
// a thread, or its share of memory, that is stranded.
func (m Prices) Rates() (cpu, mib, stranded int64) { return m.cpu, m.mib, m.stranded }

// Of is what v takes of its host.
func (m Prices) Of(v *fleet.VM) Load {
	return Load{CPU: v.CPU, MiB: int64((v.Memory + fleet.MiB - 1) / fleet.MiB), Shares: int64(v.Memory / m.share), VMs: 1}
}

// Offer is what a host with these facts has.
func (m Prices) Offer(f policy.HostFacts) Load {
	return Load{CPU: f.CPU, MiB: int64(f.Memory / fleet.MiB), Shares: int64(f.Memory / m.share)}
}

// Mark is what the host may promise before overload costs: all but its headroom.
func (m Prices) Mark(f policy.HostFacts) (fleet.MilliCPU, int64) {
	share := policy.Percent(100 - min(max(m.w.HeadroomPercent, 0), 100))
	o := m.Offer(f)
	return fleet.MilliCPU(share.Of(int64(o.CPU))), share.Of(o.MiB)
}

// HostParts is what a host costs with l promised on it, in parts of a point: overload, stranded capacity, energy. Each
// is bounded, so that the sum over a fleet does not overflow.
func (m Prices) HostParts(f policy.HostFacts, l Load) (overload, stranded, energy int64) {
	if m.cpu > 0 {
		cpu, mib := m.Mark(f)
		overload = m.product(int64(l.CPU-cpu), m.cpu) + m.product(l.MiB-mib, m.mib)
	}
	if m.stranded > 0 {
		o := m.Offer(f)
		threads, memory := max(int64(o.CPU-l.CPU), 0), max(o.Shares-l.Shares, 0)
		stranded = m.product(threads-memory, m.stranded) + m.product(memory-threads, m.stranded)
	}
	if l.VMs > 0 {
		energy = m.product(clampWeight(m.w.HostOn), m.scale)
	}
	return overload, stranded, energy
}

// maxParts bounds the terms of all hosts together, of which each has at most four; minParts is what one may have at least: 2^17 hosts
// with as much do not overflow.
const (
	maxParts = 1 << 60
	minParts = 1 << 43
)

func (m Prices) product(n, rate int64) int64 {
	if n <= 0 || rate <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(rate))
	if hi > 0 || lo > uint64(m.most) {
		return m.most
	}
	return int64(lo)
}

// Points turns parts into points, each begun.
func (m Prices) Points(parts int64) int64 {
	q := parts / m.scale
	if parts%m.scale > 0 {
		q++
	}
	return q
}
