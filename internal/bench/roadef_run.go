package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-project/berth/plan/model"
	"github.com/berth-project/berth/solver/search"
)

// RoadefOptions are those of RunRoadef.
type RoadefOptions struct {
	Dir     string // with roadef2012/, or the files themselves
	Set     string // "A", "B" or "all"
	Seconds float64
	Seed    uint64
	Stop    func() bool
	Say     func(string)
}

// roadefWorkers is how many searches run side by side: the challenge's machine had two cores.
const roadefWorkers = 2

// writeShare is what of the time is kept for reading, checking and writing.
const writeShare = 0.01

// SolveRoadef improves the initial assignment for as long as it is told from start on, two searches side by side, and
// gives the better answer. What it gives has been judged by the model's referee, which shares no code with the search.
func SolveRoadef(r *Roadef, start time.Time, seconds float64, seed uint64, stop func() bool) (*model.Assignment, model.Cost, error) {
	p := r.Problem()
	if err := p.Validate(); err != nil {
		return nil, model.Cost{}, fmt.Errorf("check instance: %w", err)
	}
	if bad := model.Verify(p, p.Start()); len(bad) > 0 {
		return nil, model.Cost{}, fmt.Errorf("check instance: the initial assignment breaks %q on host %d", bad[0].Constraint, bad[0].Host)
	}
	limit := seconds*(1-writeShare) - min(1, seconds*0.02)
	progress := func() float64 {
		if stop != nil && stop() {
			return 1
		}
		return time.Since(start).Seconds() / limit
	}
	var runs [roadefWorkers]*search.Search
	var errs [roadefWorkers]error
	var shared meeting
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() {
			if runs[i], errs[i] = search.New(p, nil, seed*roadefWorkers+uint64(i)); errs[i] == nil { //nolint:gosec // 0 or 1
				runs[i].Meet(func(x *search.Search) *model.Assignment { return shared.join(x, progress() >= apart) })
				runs[i].Anneal(stepsWithin(runs[i], limit), progress)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, model.Cost{}, fmt.Errorf("improve assignment: %w", err)
	}
	best := slices.MinFunc(runs[:], func(a, b *search.Search) int { return int(a.BestCost()/2 - b.BestCost()/2) })
	a := best.Best()
	if bad := model.Verify(p, a); len(bad) > 0 {
		return nil, model.Cost{}, fmt.Errorf("check answer: it breaks %d constraints, the first %q on host %d: %s",
			len(bad), bad[0].Constraint, bad[0].Host, bad[0].Detail)
	}
	c, err := model.Evaluate(p, a)
	if err == nil && c.Total() != best.BestCost() {
		err = fmt.Errorf("check answer: the search says that it costs %d, the referee %d", best.BestCost(), c.Total())
	}
	return a, c, err
}

// apart is the share of the time in which the searches keep to themselves; then the worse goes on from the better's best.
const apart = 0.6

// meeting holds the best of several searches.
type meeting struct {
	mu   sync.Mutex
	best *model.Assignment
	cost model.Points
}

// join leaves the best of x, or gives a better one to go on from once that is allowed, or nil.
func (m *meeting) join(x *search.Search, take bool) *model.Assignment {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.best == nil || x.BestCost() < m.cost:
		m.best, m.cost = x.Best(), x.BestCost()
	case take && x.BestCost() > m.cost:
		return m.best
	}
	return nil
}

// stepsWithin is how many steps of x fit into the seconds, by a trial.
func stepsWithin(x *search.Search, seconds float64) int64 {
	const trial = 1 << 16
	from := time.Now()
	x.Run(trial, nil)
	return int64(trial * seconds / max(time.Since(from).Seconds(), 1e-6))
}

// RoadefRow is one instance of a report.
type RoadefRow struct {
	Instance string       `json:"instance"`
	Machines int          `json:"machines"`
	VMs      int          `json:"processes"`
	Initial  model.Points `json:"initial"`
	Cost     model.Points `json:"cost"`
	Bound    model.Points `json:"bound"`
	// Challenge is the best of all finalists at 300 s, BestKnown of anybody; 0: not published.
	Challenge model.Points `json:"challengeBest,omitempty"`
	BestKnown model.Points `json:"bestKnown,omitempty"`
	// Score is 100 * (Cost - Challenge) / Initial, the challenge's measure, and S38 and S41 those of the two best teams.
	Score     float64 `json:"score"`
	S38       float64 `json:"scoreS38,omitempty"`
	S41       float64 `json:"scoreS41,omitempty"`
	OverKnown float64 `json:"overBestKnownPercent"`
	Seconds   float64 `json:"seconds"`
}

// RoadefReport is what RunRoadef found.
type RoadefReport struct {
	Seconds float64     `json:"secondsEach"`
	Rows    []RoadefRow `json:"instances"`
	// The sums of the scores of the rows that the challenge ranked.
	Score float64 `json:"score"`
	S38   float64 `json:"scoreS38"`
	S41   float64 `json:"scoreS41"`
}

// RunRoadef solves the instances of a directory one after another.
func RunRoadef(o RoadefOptions) (*RoadefReport, error) {
	dir := o.Dir
	if sub := filepath.Join(dir, "roadef2012"); isDir(sub) {
		dir = sub
	}
	published, err := readRoadefPublished(dir)
	if err != nil {
		return nil, err
	}
	names, err := roadefInstances(dir, o.Set)
	if err != nil {
		return nil, err
	}
	out := &RoadefReport{Seconds: o.Seconds}
	for _, name := range names {
		if o.Stop != nil && o.Stop() {
			break
		}
		row, err := runRoadefOne(dir, name, published[name], o)
		if err != nil {
			return nil, fmt.Errorf("instance %s: %w", name, err)
		}
		out.Rows = append(out.Rows, row)
		if row.Challenge > 0 {
			out.Score, out.S38, out.S41 = out.Score+row.Score, out.S38+row.S38, out.S41+row.S41
		}
		if o.Say != nil {
			o.Say(fmt.Sprintf("%s: %d in %.1f s, score %.4f", name, row.Cost, row.Seconds, row.Score))
		}
	}
	return out, nil
}

func isDir(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.IsDir()
}

// roadefInstances are the instances whose two files a directory has.
func roadefInstances(dir, set string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "model_*.txt*"))
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	var names []string
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "model_"), ".gz"), ".txt")
		if set == "all" || strings.HasPrefix(name, strings.ToLower(set)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil, fmt.Errorf("list instances: no model_*.txt or model_*.txt.gz of set %s in %s", set, dir)
	}
	return names, nil
}

func runRoadefOne(dir, name string, pub roadefPublished, o RoadefOptions) (RoadefRow, error) {
	start := time.Now()
	r, err := OpenRoadef(filepath.Join(dir, "model_"+name+".txt"), filepath.Join(dir, "assignment_"+name+".txt"))
	if err != nil {
		return RoadefRow{}, err
	}
	_, c, err := SolveRoadef(r, start, o.Seconds, o.Seed, o.Stop)
	if err != nil {
		return RoadefRow{}, err
	}
	took := time.Since(start).Seconds()
	p := r.Problem()
	first, err := model.Evaluate(p, p.Start())
	if err != nil {
		return RoadefRow{}, fmt.Errorf("evaluate start: %w", err)
	}
	row := RoadefRow{
		Instance: name, Machines: len(r.Machines), VMs: len(r.Processes), Initial: first.Total(), Cost: c.Total(),
		Bound: pub.bound, Challenge: pub.challenge, BestKnown: pub.known, Seconds: took,
	}
	if pub.challenge > 0 && row.Initial > 0 {
		score := func(x model.Points) float64 { return 100 * float64(x-pub.challenge) / float64(row.Initial) }
		row.Score, row.S38, row.S41 = score(row.Cost), score(pub.s38), score(pub.s41)
	}
	if pub.known > 0 {
		row.OverKnown = 100 * float64(row.Cost-pub.known) / float64(pub.known)
	}
	return row, nil
}

// OpenRoadef reads an instance from its files; one that is not there is looked for with .gz at the end.
func OpenRoadef(modelPath, assignmentPath string) (*Roadef, error) {
	m, err := openPlainOrGzip(modelPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.Close() }() // only read, as the other
	a, err := openPlainOrGzip(assignmentPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Close() }()
	r, err := ReadRoadef(m, a)
	if err != nil {
		return nil, fmt.Errorf("instance of %s and %s: %w", modelPath, assignmentPath, err)
	}
	return r, nil
}

func openPlainOrGzip(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		if z, zerr := os.Open(path + ".gz"); zerr == nil {
			return z, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open instance: %w", err)
	}
	return f, nil
}
