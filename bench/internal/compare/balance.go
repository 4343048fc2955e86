package compare

import (
	"fmt"
	"time"

	"github.com/berth-project/berth/bench/internal/balance"
	"github.com/berth-project/berth/bench/internal/ganeti"
)

// BalanceRow is one lopsided cluster spread by one balancer; the scores are Ganeti's own, computed by hbal for both.
type BalanceRow struct {
	Balancer  string  `json:"balancer"`
	Template  string  `json:"template"`
	Nodes     int     `json:"nodes"`
	Instances int     `json:"instances"`
	Before    float64 `json:"scoreBefore"`
	After     float64 `json:"scoreAfter"`
	Moves     int     `json:"moves"`
	Copies    int     `json:"diskCopies"`
	Wall      float64 `json:"seconds"`
	CPU       float64 `json:"cpuSeconds"`
	// Unsafe are the instances that would not survive the loss of a node, by Ganeti's check.
	Unsafe   int  `json:"notN1"`
	TimedOut bool `json:"timedOut"`
	// Faster is how many times less CPU time than hbal's it took; where hbal was stopped, at least that many.
	Faster float64 `json:"faster"`
	// No answer with fewer moves than Fewest has a score under Floor.
	Fewest int     `json:"fewestMoves"`
	Floor  float64 `json:"scoreWithFewer"`
}

// Size of a cluster to balance.
type Size struct{ Nodes, Instances int }

// Gains are what a move has to improve Ganeti's score by, for Berth's rows, as shares of what the score falls by when the last instance
// that is too many somewhere leaves: about hbal's own least gain first, then for fewer moves, then for as few as make the counts even.
var Gains = []float64{0.03, 0.3, 0.9}

// balanceSteps is what the search may try for each instance and node: with second nodes a try is longer, since half of them are of several VMs.
var balanceSteps = map[string]int64{"ext": 1000, "drbd": 750}

// Balance measures.
func Balance(sizes []Size, o *Options) ([]BalanceRow, error) {
	var out []BalanceRow
	for _, template := range []string{"ext", "drbd"} {
		for _, s := range sizes {
			o.Say("balance %d nodes, %d instances, %s", s.Nodes, s.Instances, template)
			rows, err := balanceOne(s, template, o)
			if err != nil {
				return nil, fmt.Errorf("balance %d nodes, %d instances, %s: %w", s.Nodes, s.Instances, template, err)
			}
			out = append(out, rows...)
		}
	}
	return out, nil
}

func balanceOne(s Size, template string, o *Options) ([]BalanceRow, error) {
	c := balance.Generate(s.Nodes, s.Instances, template, o.Seed)
	h, err := ganeti.Balance(c, o.Budget)
	if err != nil {
		return nil, err
	}
	base := BalanceRow{Template: template, Nodes: s.Nodes, Instances: s.Instances, Before: h.Before}
	base.Fewest, base.Floor = balance.Fewest(c)
	row := base
	row.Balancer, row.After, row.Moves, row.Copies, row.TimedOut = "Ganeti hbal", h.After, h.Moves, h.Copies, !h.Done
	row.Wall, row.CPU = h.Wall.Seconds(), h.CPU.Seconds()
	row.Faster = 1
	out := []BalanceRow{row}
	for _, share := range Gains {
		gain := share * balance.Even(s.Nodes)
		a, err := balance.Solve(c, gain, o.Seed, balanceSteps[template]*int64(s.Instances+s.Nodes))
		if err != nil {
			return nil, err
		}
		if a.Broken > 0 {
			return nil, fmt.Errorf("the search broke %d constraints", a.Broken)
		}
		row := base
		row.Balancer, row.Moves, row.Copies = fmt.Sprintf("Berth search, gain %.3f", gain), a.Moves, a.Copies
		row.Wall, row.CPU = a.Wall.Seconds(), a.CPU.Seconds()
		if row.After, _, row.Unsafe, err = ganeti.Score(a.Cluster); err != nil {
			return nil, err
		}
		row.Faster = h.CPU.Seconds() / max(row.CPU, time.Microsecond.Seconds())
		out = append(out, row)
	}
	return out, nil
}
