package model

import (
	"errors"
	"fmt"
	"slices"
)

// Validate refuses what is no problem: a length, an index or a sign that is wrong, a size beyond the limits, and
// amounts or prices whose sums and products could overflow in Evaluate. The error names the element, "vms[3].disks[0]:
// ...", and the first one found. What is a problem without a solution passes: see Contradictions.
func (p *Problem) Validate() error {
	if p == nil {
		return errors.New("validate problem: none given")
	}
	for _, check := range []func() error{p.sizes, p.resources, p.tables, p.hosts, p.pools, p.vms, p.groups, p.amounts, p.costs} {
		if err := check(); err != nil {
			return fmt.Errorf("validate problem: %w", err)
		}
	}
	return nil
}

func (p *Problem) sizes() error {
	for _, s := range []struct {
		name     string
		n, limit int
	}{
		{"resources", len(p.Resources), MaxResources},
		{"pool resources", len(p.PoolResources), MaxResources},
		{"balances", len(p.Balances), MaxBalances},
		{"hosts", len(p.Hosts), MaxHosts},
		{"pools", len(p.Pools), MaxPools},
		{"VMs", len(p.VMs), MaxVMs},
		{"groups", len(p.Groups), MaxVMs},
		{"classes of VMs", len(p.Fit), MaxClasses},
		{"classes of disks", len(p.PoolFit), MaxClasses},
		{"places", len(p.Hop), MaxHosts},
	} {
		if s.n > s.limit {
			return fmt.Errorf("%d %s: at most %d", s.n, s.name, s.limit)
		}
	}
	return nil
}

func (p *Problem) resources() error {
	for r := range p.Resources {
		if p.Resources[r].Load < 0 {
			return fmt.Errorf("resources[%d] (%s): load %d is negative", r, p.Resources[r].Name, p.Resources[r].Load)
		}
	}
	for r := range p.PoolResources {
		if p.PoolResources[r].Load != 0 {
			return fmt.Errorf("pool resources[%d] (%s): load %d, but pools have no load", r, p.PoolResources[r].Name, p.PoolResources[r].Load)
		}
	}
	for b, w := range p.Balances {
		switch n := len(p.Resources); {
		case w.A < 0 || w.A >= n || w.B < 0 || w.B >= n:
			return fmt.Errorf("balances[%d]: resources %d and %d of %d", b, w.A, w.B, n)
		case w.Target < 0 || w.Weight < 0:
			return fmt.Errorf("balances[%d]: target %d or weight %d is negative", b, w.Target, w.Weight)
		}
	}
	return nil
}

func (p *Problem) tables() error {
	for k, t := range [...][][]Points{p.Fit, p.PoolFit} {
		name := [...]string{"fit", "pool fit"}[k]
		for i, row := range t {
			if len(row) != len(t[0]) || len(row) > MaxClasses {
				return fmt.Errorf("%s[%d]: %d columns, the first row has %d (at most %d)", name, i, len(row), len(t[0]), MaxClasses)
			}
			for j, x := range row {
				if x < Forbidden {
					return fmt.Errorf("%s[%d][%d]: %d is negative", name, i, j, x)
				}
			}
		}
	}
	for i, row := range p.Hop {
		if len(row) != len(p.Hop) {
			return fmt.Errorf("hop[%d]: %d columns for %d places", i, len(row), len(p.Hop))
		}
		for j, x := range row {
			if x < 0 {
				return fmt.Errorf("hop[%d][%d]: %d is negative", i, j, x)
			}
		}
	}
	if p.HopWeight < 0 || p.GroupMove < 0 {
		return fmt.Errorf("hop weight %d or group move %d is negative", p.HopWeight, p.GroupMove)
	}
	return nil
}

// amountsOf checks one slice of amounts.
func amountsOf(name string, x []int64, n int) error {
	if len(x) != n {
		return fmt.Errorf("%s: %d amounts for %d resources", name, len(x), n)
	}
	for r, v := range x {
		if v < 0 {
			return fmt.Errorf("%s[%d]: %d is negative", name, r, v)
		}
	}
	return nil
}

func (p *Problem) hosts() error {
	for h := range p.Hosts {
		if err := p.host(&p.Hosts[h]); err != nil {
			return fmt.Errorf("hosts[%d]: %w", h, err)
		}
	}
	return nil
}

func (p *Problem) host(x *Host) error {
	if err := errors.Join(amountsOf("capacity", x.Capacity, len(p.Resources)), amountsOf("soft", x.Soft, len(p.Resources))); err != nil {
		return err
	}
	levels := len(p.Hosts[0].Domain)
	switch {
	case len(x.Domain) != levels || levels > MaxLevels:
		return fmt.Errorf("domain on %d levels, hosts[0] on %d (at most %d)", len(x.Domain), levels, MaxLevels)
	case x.Zone < 0:
		return fmt.Errorf("zone %d is negative", x.Zone)
	case len(p.VMs) > 0 && !column(x.Class, p.Fit):
		return fmt.Errorf("class %d is no column of fit", x.Class)
	case p.Hop != nil && (x.Place < 0 || int(x.Place) >= len(p.Hop)):
		return fmt.Errorf("place %d of %d", x.Place, len(p.Hop))
	case x.On < 0:
		return fmt.Errorf("price %d of being in use is negative", x.On)
	case len(x.NICs) > MaxNICs:
		return fmt.Errorf("%d NICs: at most %d", len(x.NICs), MaxNICs)
	}
	for l, d := range x.Domain {
		if d < 0 {
			return fmt.Errorf("domain %d of level %d is negative", d, l)
		}
	}
	for i, n := range x.NICs {
		if n.Queues < 0 || n.Rate < 0 {
			return fmt.Errorf("nics[%d]: queues %d or rate %d is negative", i, n.Queues, n.Rate)
		}
	}
	for i, s := range x.Pools {
		if s < 0 || int(s) >= len(p.Pools) {
			return fmt.Errorf("pools[%d]: pool %d of %d", i, s, len(p.Pools))
		}
		if i > 0 && s <= x.Pools[i-1] {
			return fmt.Errorf("pools[%d]: pool %d after %d, not sorted", i, s, x.Pools[i-1])
		}
	}
	return nil
}

func column(c int32, t [][]Points) bool {
	return c >= 0 && len(t) > 0 && int(c) < len(t[0])
}

func (p *Problem) pools() error {
	for s := range p.Pools {
		x, n := &p.Pools[s], len(p.PoolResources)
		if err := errors.Join(amountsOf("capacity", x.Capacity, n), amountsOf("base", x.Base, n)); err != nil {
			return fmt.Errorf("pools[%d]: %w", s, err)
		}
		if len(p.PoolFit) > 0 && !column(x.Class, p.PoolFit) {
			return fmt.Errorf("pools[%d]: class %d is no column of pool fit", s, x.Class)
		}
	}
	return nil
}

func (p *Problem) vms() error {
	for i := range p.VMs {
		if err := p.vm(&p.VMs[i]); err != nil {
			return fmt.Errorf("vms[%d]: %w", i, err)
		}
	}
	return nil
}

func (p *Problem) vm(v *VM) error {
	if err := amountsOf("demand", v.Demand, len(p.Resources)); err != nil {
		return err
	}
	levels := 0
	if len(p.Hosts) > 0 {
		levels = len(p.Hosts[0].Domain)
	}
	switch {
	case v.Group < None || int(v.Group) >= len(p.Groups):
		return fmt.Errorf("group %d of %d", v.Group, len(p.Groups))
	case v.Apart < None || len(p.Hosts) > 0 && int(v.Apart) >= levels || int(v.Apart) >= MaxLevels:
		return fmt.Errorf("apart on level %d of %d", v.Apart, levels)
	case v.Class < 0 || int(v.Class) >= len(p.Fit):
		return fmt.Errorf("class %d is no row of fit", v.Class)
	case v.Initial < None || int(v.Initial) >= len(p.Hosts):
		return fmt.Errorf("initial host %d of %d", v.Initial, len(p.Hosts))
	case v.Fixed && v.Initial == None:
		return errors.New("fixed, but without an initial host to stay on")
	case v.Drop < 0:
		return fmt.Errorf("drop price %d is negative", v.Drop)
	case v.Move[0] != 0:
		return fmt.Errorf("move[0] is %d: staying costs nothing", v.Move[0])
	case len(v.Disks) > MaxDisks || len(v.NICs) > MaxNeeds:
		return fmt.Errorf("%d disks, %d NIC needs: at most %d and %d", len(v.Disks), len(v.NICs), MaxDisks, MaxNeeds)
	}
	for k, x := range v.Move {
		if x < Forbidden {
			return fmt.Errorf("move[%d]: %d is negative", k, x)
		}
	}
	for k, n := range v.NICs {
		if n.Class < 0 || n.Queues < 0 || n.Rate < 0 {
			return fmt.Errorf("nics[%d]: class %d, queues %d or rate %d is negative", k, n.Class, n.Queues, n.Rate)
		}
	}
	for j := range v.Disks {
		if err := p.disk(&v.Disks[j]); err != nil {
			return fmt.Errorf("disks[%d]: %w", j, err)
		}
	}
	return nil
}

func (p *Problem) disk(d *Disk) error {
	if err := amountsOf("demand", d.Demand, len(p.PoolResources)); err != nil {
		return err
	}
	switch {
	case d.Class < 0 || int(d.Class) >= len(p.PoolFit):
		return fmt.Errorf("class %d is no row of pool fit", d.Class)
	case d.Initial < None || int(d.Initial) >= len(p.Pools):
		return fmt.Errorf("initial pool %d of %d", d.Initial, len(p.Pools))
	case d.Fixed && d.Initial == None:
		return errors.New("fixed, but without an initial pool to stay in")
	case d.Weight < 0 || d.Copy < 0:
		return fmt.Errorf("weight %d or copy price %d is negative", d.Weight, d.Copy)
	}
	return nil
}

func (p *Problem) groups() error {
	levels := 0
	if len(p.Hosts) > 0 {
		levels = len(p.Hosts[0].Domain)
	}
	total := 0
	for g := range p.Groups {
		x := &p.Groups[g]
		if x.Min < 0 {
			return fmt.Errorf("groups[%d]: min %d is negative", g, x.Min)
		}
		if x.Min > 1 && len(p.Hosts) > 0 && (x.Level < 0 || int(x.Level) >= levels) {
			return fmt.Errorf("groups[%d]: spread over level %d of %d", g, x.Level, levels)
		}
		for k, n := range x.Needs {
			if n < 0 || int(n) >= len(p.Groups) {
				return fmt.Errorf("groups[%d].needs[%d]: group %d of %d", g, k, n, len(p.Groups))
			}
			if slices.Contains(x.Needs[:k], n) {
				return fmt.Errorf("groups[%d].needs[%d]: group %d twice", g, k, n)
			}
		}
		if total += len(x.Needs); len(x.Needs) > MaxGroupNeeds || total > MaxVMs {
			return fmt.Errorf("groups[%d]: %d needs, %d so far: at most %d and %d", g, len(x.Needs), total, MaxGroupNeeds, MaxVMs)
		}
	}
	return nil
}
