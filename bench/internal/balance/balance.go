// Package balance puts the question that hbal answers, how to spread a cluster's load evenly with few moves, into Berth's
// model, for Berth's search to answer: resources whose use above the mean costs, and moves that have a price.
package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/berth-project/berth/bench/internal/ganeti"
	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/search"
)

// Generate is a cluster of equal nodes that has grown lopsided, by seed. The template is ext, or drbd with a second node
// for each instance.
func Generate(nodes, instances int, template string, seed uint64) *ganeti.Cluster {
	// Nodes grow with the instances on each, or there is no room for them all.
	scale := max(int64(instances/(10*nodes)), 1)
	memory, disk, cpus := scale*256<<10, scale*4<<20, scale*32
	sizes := []ganeti.Instance{
		{Memory: 2 << 10, CPUs: 1, Disk: 20 << 10}, {Memory: 4 << 10, CPUs: 2, Disk: 40 << 10}, {Memory: 8 << 10, CPUs: 2, Disk: 80 << 10},
		{Memory: 8 << 10, CPUs: 4, Disk: 80 << 10}, {Memory: 16 << 10, CPUs: 4, Disk: 160 << 10}, {Memory: 32 << 10, CPUs: 8, Disk: 160 << 10},
	}
	r := rand.New(rand.NewPCG(seed, uint64(nodes))) //nolint:gosec // a cluster to measure with, no secret
	c := &ganeti.Cluster{Groups: []string{"default"}, Template: template, Ratio: 8}
	freeM, freeD := make([]int64, nodes), make([]int64, nodes)
	for i := range nodes {
		c.Nodes = append(c.Nodes, ganeti.Node{Name: fmt.Sprintf("node-%04d", i), Memory: memory, Disk: disk, CPUs: cpus})
		freeM[i], freeD[i] = memory*7/10, disk
	}
	for len(c.Instances) < instances {
		x := sizes[r.IntN(len(sizes))]
		x.Name, x.Primary, x.Secondary = fmt.Sprintf("vm-%05d", len(c.Instances)), int(float64(nodes)*math.Pow(r.Float64(), 1.5)), -1
		if freeM[x.Primary] < x.Memory {
			continue
		}
		if template == "drbd" {
			x.Secondary = (x.Primary + 1 + r.IntN(nodes-1)) % nodes
			if freeD[x.Primary] < x.Disk || freeD[x.Secondary] < x.Disk {
				continue
			}
			freeD[x.Primary] -= x.Disk
			freeD[x.Secondary] -= x.Disk
		}
		freeM[x.Primary] -= x.Memory
		c.Instances = append(c.Instances, x)
	}
	return c
}

// unit is how many points Ganeti's score of 1 is worth.
const unit = 1e9

// metric is one of the quantities that Ganeti's score wants even, and its weight there.
type metric struct {
	name   string
	weight float64
	node   func(*ganeti.Node) float64 // what a node has: the score counts shares of it
	first  func(*ganeti.Instance) int64
	second func(*ganeti.Instance) int64
	count  bool // it counts instances
}

func one(*ganeti.Instance) int64      { return 1 }
func none(*ganeti.Instance) int64     { return 0 }
func memory(x *ganeti.Instance) int64 { return x.Memory }
func cpus(x *ganeti.Instance) int64   { return x.CPUs }
func disk(x *ganeti.Instance) int64   { return x.Disk }

// metrics are those of Ganeti.HTools.Cluster.Metrics with their weights; where two are equal in a cluster without
// instances that are still to come, their weights are added. What instances on other nodes reserve
// here, the greatest sum of one node's, is no sum over VMs and left out.
func metrics(template string) []metric {
	whole := func(*ganeti.Node) float64 { return 1 }
	m := []metric{
		{"memory", 1, func(n *ganeti.Node) float64 { return float64(n.Memory) }, memory, none, false},
		{"cpu", 1, func(n *ganeti.Node) float64 { return float64(n.CPUs) }, cpus, none, false},
	}
	if template != "drbd" {
		return append(m, metric{"count", 4, whole, one, none, true})
	}
	return append(m,
		metric{"disk", 1, func(n *ganeti.Node) float64 { return float64(n.Disk) }, disk, disk, false},
		metric{"firsts", 3, whole, one, none, true},
		metric{"copies", 1, whole, one, one, true},
	)
}

// Problem is the cluster in Berth's model: an instance is a VM and, with a second node, another one apart from it. Use
// above the mean of all nodes costs what it adds to the sum of the deviations; a move costs gain, the least that hbal
// wants of a move (--min-gain). Under Even of gain it still pays to make the counts of instances quite even.
func Problem(c *ganeti.Cluster, gain float64) *model.Problem {
	p := &model.Problem{}
	ms := metrics(c.Template)
	n := len(c.Nodes)
	for i := range n {
		p.Hosts = append(p.Hosts, model.Host{Domain: []int32{int32(i)}, Open: true}) //nolint:gosec // at most MaxHosts
	}
	for i := range c.Instances {
		x := &c.Instances[i]
		p.VMs = append(p.VMs, vm(x.Primary))
		if x.Secondary >= 0 {
			g := model.GroupIx(len(p.Groups)) //nolint:gosec // at most MaxVMs
			p.Groups = append(p.Groups, model.Group{})
			p.VMs = append(p.VMs, vm(x.Secondary))
			for k := range 2 {
				p.VMs[len(p.VMs)-1-k].Group, p.VMs[len(p.VMs)-1-k].Apart = g, 0
			}
		}
	}
	price(p, model.Points(gain*unit))
	for _, m := range ms {
		addMetric(p, c, m)
	}
	return p
}

func vm(at int) model.VM {
	v := model.VM{Group: model.None, Apart: model.None, Initial: model.HostIx(at)} //nolint:gosec // at most MaxHosts
	v.Move[model.DiskChange], v.Move[model.HostChange|model.DiskChange] = model.Forbidden, model.Forbidden
	return v
}

// price says what moves cost: gain. With second nodes it depends on the VM and the host, so that each has a class of its own in
// Fit: of the two VMs of an instance the one that goes where the other was copies nothing, and hbal counts one move where the two
// change places, or one of them goes there and the other one elsewhere. In a sum over VMs one of the two has to pay for the change of
// places, and then pays too where the other one goes elsewhere: the one of which that is less to be expected.
func price(p *model.Problem, gain model.Points) {
	if len(p.Groups) == 0 {
		p.Fit = [][]model.Points{{0}}
		for i := range p.VMs {
			p.VMs[i].Move[model.HostChange] = gain
		}
		return
	}
	for i := range p.Hosts {
		p.Hosts[i].Class = int32(i) //nolint:gosec // at most MaxHosts
	}
	for i := range p.VMs {
		v := &p.VMs[i]
		v.Class = int32(i) //nolint:gosec // at most MaxVMs
		row := make([]model.Points, len(p.Hosts))
		for h := range row {
			row[h] = gain
		}
		row[v.Initial] = 0
		p.Fit = append(p.Fit, row)
	}
	stays := firstStays(p)
	for i := 1; i < len(p.VMs); i++ {
		if p.VMs[i].Group != p.VMs[i-1].Group {
			continue
		}
		first, second := p.VMs[i-1].Initial, p.VMs[i].Initial
		if stays(first, second) {
			p.Fit[i][first] = 0
		} else {
			p.Fit[i-1][second] = 0
		}
	}
}

// firstStays says for an instance whose first VM leaves its node, which of the nodes is likely to keep a copy: the first node, if the second
// one has copies too many, and the first one more first VMs too many than copies, so that it has to lose roles rather than disks.
func firstStays(p *model.Problem) func(first, second model.HostIx) bool {
	copies, firsts := make([]int, len(p.Hosts)), make([]int, len(p.Hosts))
	for i := range p.VMs {
		copies[p.VMs[i].Initial]++
		if i+1 < len(p.VMs) && p.VMs[i].Group == p.VMs[i+1].Group {
			firsts[p.VMs[i].Initial]++
		}
	}
	n, all := len(p.Hosts), len(p.VMs)
	return func(first, second model.HostIx) bool {
		return n*copies[second] >= all+n && firsts[first]-copies[first] > (len(p.Groups)-all)/n
	}
}

// Even is what the score falls by, for a weight of 1, when of n nodes one has one too many and another one too few, and that is
// mended, all others being even.
func Even(n int) float64 { return math.Sqrt(2 / float64(n)) }

// spread of a normal quantity over its mean absolute deviation.
var spread = math.Sqrt(math.Pi / 2)

func addMetric(p *model.Problem, c *ganeti.Cluster, m metric) {
	var all, has float64
	v := 0
	for i := range c.Instances {
		x := &c.Instances[i]
		d := m.first(x)
		all += float64(d)
		p.VMs[v].Demand = append(p.VMs[v].Demand, d)
		v++
		if x.Secondary >= 0 {
			d = m.second(x)
			all += float64(d)
			p.VMs[v].Demand = append(p.VMs[v].Demand, d)
			v++
		}
	}
	for i := range c.Nodes {
		has += m.node(&c.Nodes[i])
	}
	// The deviations above the mean are half of all; a unit on one of n nodes is 1/node of its share.
	node := has / float64(len(c.Nodes))
	load := m.weight * spread * 2 / float64(len(c.Nodes)) / node
	if m.count { // which can be quite even: one too many here and one too few there is then what there is to even
		load = m.weight * Even(len(c.Nodes))
	}
	p.Resources = append(p.Resources, model.Resource{Name: m.name, Load: model.Points(math.Round(unit * load))})
	for i := range c.Nodes {
		h := &p.Hosts[i]
		h.Capacity = append(h.Capacity, m.limit(&c.Nodes[i], c.Ratio))
		h.Soft = append(h.Soft, int64(math.Ceil(all*m.node(&c.Nodes[i])/has)))
	}
}

// limit is what a node may have of it.
func (m *metric) limit(n *ganeti.Node, ratio float64) int64 {
	switch m.name {
	case "memory":
		return n.Memory
	case "disk":
		return n.Disk
	case "cpu":
		return int64(ratio * float64(n.CPUs))
	}
	return math.MaxInt32
}

// Answer is what Berth's search made of a cluster.
type Answer struct {
	Cluster *ganeti.Cluster
	Moves   int // as hbal counts them: instances of which one node or both changed places, twice where none stayed
	Copies  int // disks that are copied to another node, of instances with a second node
	Wall    time.Duration
	CPU     time.Duration
	Broken  int // constraints of the model
}

// Solve searches.
func Solve(c *ganeti.Cluster, gain float64, seed uint64, steps int64) (*Answer, error) {
	start, busy := time.Now(), cpuTime()
	p := Problem(c, gain)
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	a, err := search.Improve(p, nil, search.Options{Seed: seed, Steps: steps})
	if err != nil {
		return nil, fmt.Errorf("balance: %w", err)
	}
	out := &Answer{Wall: time.Since(start), CPU: cpuTime() - busy, Broken: len(model.Verify(p, a))}
	out.apply(c, a)
	return out, nil
}

func (x *Answer) apply(c *ganeti.Cluster, a *model.Assignment) {
	out := *c
	out.Instances = append([]ganeti.Instance(nil), c.Instances...)
	v := 0
	for i := range out.Instances {
		is, was := &out.Instances[i], &c.Instances[i]
		is.Primary = int(a.Host[v])
		v++
		if is.Secondary < 0 {
			if is.Primary != was.Primary {
				x.Moves++
			}
			continue
		}
		is.Secondary = int(a.Host[v])
		v++
		copies := 0
		for _, n := range []int{is.Primary, is.Secondary} {
			if n != was.Primary && n != was.Secondary {
				copies++
			}
		}
		x.Copies += copies
		if *is != *was {
			x.Moves += max(copies, 1)
		}
	}
	x.Cluster = &out
}
