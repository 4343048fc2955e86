package replay

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/berth-project/berth/fleet"
)

// Made says what trace Generate makes.
type Made struct {
	// Hosts is the size of the fleet that the trace is meant for: it decides the rate where Rate is 0.
	Hosts int
	Days  int
	// Rate is the mean number of arrivals an hour; 0: PerHost for each host.
	Rate int
	Seed uint64
}

// The bounds of Made.
const (
	MaxMadeHosts = 10_000
	MaxMadeDays  = 366
	MaxMadeRate  = 100_000
	// PerHost is the mean number of arrivals an hour for each host, where no rate is given: with the mean life of about 22
	// hours it comes to some 21 live VMs a host, 130 GiB of memory.
	PerHost = 1
)

// hourly is how many of 1,000 arrivals of a day come in each hour, UTC: least at night, most in working hours.
var hourly = [24]int{
	18, 14, 12, 11, 12, 16, 24, 36, 52, 66, 72, 70, 62, 66, 72, 70, 64, 56, 48, 42, 37, 32, 27, 21,
}

// lives are quantiles of lifetimes: per thousand of VMs live at most so many seconds; between two points the
// distribution is even. Most are over within the hour, and a few per cent hold most of the capacity.
var lives = [...]struct{ share, seconds int }{
	{0, 30}, {100, 120}, {300, 600}, {500, 2_400}, {650, 7_200}, {800, 28_800}, {900, 86_400}, {960, 259_200},
	{985, 864_000}, {995, 2_592_000}, {1000, 7_776_000},
}

// sizes are the VMs that arrive, with how many of 1,000 are of each.
var sizes = [...]struct{ share, cpu, gib, disk int }{
	{220, 1, 1, 10}, {230, 1, 2, 20}, {180, 2, 4, 20}, {120, 2, 8, 40}, {110, 4, 8, 40}, {70, 4, 16, 60}, {40, 8, 16, 80},
	{20, 8, 32, 100}, {10, 16, 64, 200},
}

// Generate makes a trace: arrivals follow the hour of the day, sizes a mix, lifetimes a distribution with a heavy tail,
// levels are bronze for half, silver for 30 % and gold for 20 %, and every tenth VM begins a spread or affinity group.
// It computes in whole numbers alone, so that the same Made gives the same trace on every machine.
func Generate(m Made) (*Trace, error) {
	switch {
	case m.Hosts < 1 || m.Hosts > MaxMadeHosts:
		return nil, fmt.Errorf("generate trace: hosts: is %d, expected 1 to %d", m.Hosts, MaxMadeHosts)
	case m.Days < 1 || m.Days > MaxMadeDays:
		return nil, fmt.Errorf("generate trace: days: is %d, expected 1 to %d", m.Days, MaxMadeDays)
	case m.Rate < 0 || m.Rate > MaxMadeRate:
		return nil, fmt.Errorf("generate trace: rate: is %d, expected 0 to %d", m.Rate, MaxMadeRate)
	}
	n := cmp.Or(m.Rate, m.Hosts*PerHost) * 24 * m.Days
	if n > MaxArrivals {
		return nil, fmt.Errorf("generate trace: rate and days: come to %d arrivals, expected at most %d", n, MaxArrivals)
	}
	g := &maker{rng: rand.New(rand.NewPCG(m.Seed, 0x7472616365))} // a seeded trace, no secret
	if err := g.ready(); err != nil {
		return nil, err
	}
	at := make([]Second, n)
	for i := range at {
		at[i] = Second(g.rng.IntN(m.Days)*86_400 + g.hour()*3_600 + g.rng.IntN(3_600))
	}
	slices.Sort(at)
	t := &Trace{Arrivals: make([]Arrival, 0, n)}
	for len(t.Arrivals) < n {
		g.add(t, at)
	}
	return t, nil
}

type maker struct{ rng *rand.Rand }

// ready holds the tables to what is drawn from them.
func (g *maker) ready() error {
	hours, shares := 0, 0
	for _, h := range hourly {
		hours += h
	}
	for _, s := range sizes {
		shares += s.share
	}
	if hours != 1000 || shares != 1000 {
		return errors.New("generate trace: a table does not add up to 1000")
	}
	return nil
}

// hour is an hour of the day.
func (g *maker) hour() int {
	r := g.rng.IntN(1000)
	h := 0
	for r >= hourly[h] {
		r -= hourly[h]
		h++
	}
	return h
}

func (g *maker) life() Second {
	r := g.rng.IntN(1000)
	i := 1
	for r >= lives[i].share {
		i++
	}
	low, high := lives[i-1].seconds, lives[i].seconds
	return Second(low + g.rng.IntN(high-low))
}

// add adds one VM, or a group of two or three that arrive together.
func (g *maker) add(t *Trace, at []Second) {
	first := len(t.Arrivals)
	size, spread, affinity := 1, "", ""
	switch r := g.rng.IntN(100); {
	case first+3 > len(at):
	case r < 7:
		size, spread = 2+g.rng.IntN(2), fmt.Sprintf("app-%07d", first+1)
	case r < 10:
		size, affinity = 2, fmt.Sprintf("app-%07d", first+1)
	}
	level := "bronze"
	if r := g.rng.IntN(10); r < 2 {
		level = "gold"
	} else if r < 5 {
		level = "silver"
	}
	for len(t.Arrivals) < first+size {
		i := len(t.Arrivals)
		r, k := g.rng.IntN(1000), 0
		for r >= sizes[k].share {
			r -= sizes[k].share
			k++
		}
		s := sizes[k]
		t.Arrivals = append(t.Arrivals, Arrival{
			ID: fmt.Sprintf("vm-%07d", i+1), At: at[i], Life: g.life(), CPU: fleet.CPUs(s.cpu), Memory: fleet.Bytes(s.gib) * fleet.GiB,
			Disk: fleet.Bytes(s.disk) * fleet.GiB, Level: level, Spread: spread, Affinity: affinity,
		})
	}
}
