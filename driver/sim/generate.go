package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berth-project/berth/fleet"
)

// Options says what fleet Generate makes. Negative numbers count as 0; without a host there are no VMs.
type Options struct {
	Hosts int
	VMs   int
	Seed  uint64
	// Shape is what is usual of the fleet; nil is DefaultShape. Generate panics on one that Validate refuses.
	Shape *Shape
}

// taken is when every generated snapshot was taken: its labels are verified as of that time.
var taken = time.Date(2026, time.January, 15, 6, 0, 0, 0, time.UTC)

// tier is a level of quality of hosts and pools, low to high.
type tier int

const (
	bronze tier = iota
	silver
	gold
	tiers
)

var (
	serverTiers = [tiers]string{"bronze", "silver", "gold"}
	poolTiers   = [tiers]string{"hdd", "ssd", "nvme"}
	// clusterPattern is the tiers of the hosts of one cluster: about 20 % gold, 30 % silver, 50 % bronze, and
	// gold first, so that in the smallest fleet too there is a host for each VM.
	clusterPattern = [...]tier{
		gold, silver, bronze, bronze, silver, bronze, gold, bronze,
		bronze, silver, bronze, bronze, gold, silver, bronze, silver,
	}
)

const (
	clusterSize = len(clusterPattern) // hosts
	chassisSize = 8
	sourceSize  = 64 * clusterSize // hosts of one source
)

// generator holds the fleet while it grows. Hosts, pools and VMs are indices into the slices of snap until the
// end, when everything is sorted; after that poolIDs tells which pool an index meant.
type generator struct {
	rng   *rand.Rand
	snap  *fleet.Snapshot
	shape Shape

	hostTier  []tier
	hostCount [tiers]int
	byTier    [tiers][]int // hosts that take VMs
	clusters  []cluster
	localPool []int      // of each host
	cabled    [tiers]int // hosts of the tier or a higher one that take VMs and are cabled to the DMZ
	poolIDs   []fleet.PoolID
	load      []load       // of each host, in the right places
	cards     [][]cardLoad // of each host and card, in the right places
	now       []load       // of each host, as misplaced
	poolLoad  []fleet.Bytes
	poolNow   []fleet.Bytes
	poolRate  []fleet.IOPS // reserved, in the right places
	plans     []vmPlan
}

// cluster is the hosts and shared pools of one cluster.
type cluster struct {
	source fleet.SourceID
	hosts  []int
	pools  [tiers][]int
	hot    []int // hosts that heat overloads
}

// load is what VMs take of one host.
type load struct {
	cpu    fleet.MilliCPU
	memory fleet.Bytes
	queues fleet.Queues
}

func (l *load) add(o load) {
	l.cpu, l.memory, l.queues = l.cpu+o.cpu, l.memory+o.memory, l.queues+o.queues
}

func (l *load) sub(o load) {
	l.cpu, l.memory, l.queues = l.cpu-o.cpu, l.memory-o.memory, l.queues-o.queues
}

// Generate makes a fleet. See the package comment for what holds of it.
func Generate(o Options) *fleet.Snapshot { return generate(o).snap }

func generate(o Options) *generator {
	o.Hosts, o.VMs = max(o.Hosts, 0), max(o.VMs, 0)
	if o.Hosts == 0 {
		o.VMs = 0
	}
	g := &generator{
		rng:   rand.New(rand.NewPCG(o.Seed, 0x6265727468)), // a seeded fleet, no secret
		snap:  &fleet.Snapshot{Version: fleet.SnapshotVersion, Taken: taken},
		shape: DefaultShape(),
	}
	if o.Shape != nil {
		g.shape = *o.Shape
	}
	if err := g.shape.Validate(); err != nil {
		panic("generate fleet: " + err.Error())
	}
	g.makeHosts(o.Hosts)
	g.makeVMs(o.VMs)
	g.sizeHosts()
	g.misplace()
	g.makeModules()
	g.finish()
	return g
}

// chance is true p times of a hundred.
func (g *generator) chance(p int) bool { return g.rng.IntN(100) < p }

// pick is one of list.
func pick[T any](g *generator, list ...T) T { return list[g.rng.IntN(len(list))] }

// number is a name's number with leading zeros, so that names sort as numbers do.
func number(i, count, width int) string {
	return fmt.Sprintf("%0*d", max(width, len(fmt.Sprint(count))), i+1)
}

// finish writes what was decided into the snapshot: places, pool sizes, gaps; and sorts it.
func (g *generator) finish() {
	s := g.snap
	g.poolIDs = make([]fleet.PoolID, len(s.Pools))
	for i := range s.Pools {
		p := &s.Pools[i]
		g.poolIDs[i] = p.ID
		step := 256 * fleet.GiB
		if p.Shared {
			step = fleet.TiB
		}
		p.Capacity = roundUp(max(g.poolLoad[i]*100/65, g.poolNow[i]*100/85, g.roomy(p), 1), step)
		p.Free = p.Capacity - g.poolNow[i]
		p.IOPS = g.poolIOPS(i)
	}
	for i := range g.plans {
		g.place(i)
	}
	for i := range s.Hosts {
		if s.Hosts[i].Unreachable {
			s.Gaps = append(s.Gaps, fleet.Gap{
				Source: s.Hosts[i].Source, Object: "host " + string(s.Hosts[i].ID), What: "everything",
				Cause: "dial tcp: i/o timeout",
			})
		}
	}
	if s.VMs == nil {
		s.VMs = []fleet.VM{}
	}
	slices.SortFunc(s.Gaps, func(a, b fleet.Gap) int { return cmp.Compare(a.Object, b.Object) })
	s.Sort()
}

func roundUp(n, step fleet.Bytes) fleet.Bytes { return (n + step - 1) / step * step }
