package solver

import "github.com/berth-project/berth/policy"

// Redirected is what another end of the moves of a repaired fleet comes to.
type Redirected struct {
	Done            bool
	Before, After   int64 // cost, moves included, in parts of a point
	Broken, Left    int   // faults before and after
	Lost, LostNow   int   // failures that protected VMs do not survive, before and after
	Moves, MovesNow int
	Legal           bool // the log that was made is legal from the start
}

// Redirect repairs a fleet and looks once for other targets of the VMs that moved.
func Redirect(p *policy.Problem) (Redirected, error) {
	s, err := newState(p)
	if err != nil {
		return Redirected{}, err
	}
	x := newSearch(s, Options{Effort: -1})
	x.run()
	x.opts.Effort = 0
	out := Redirected{Before: x.parts(), Broken: x.faults(), Moves: len(x.log)}
	out.Lost = x.unsurvived()
	out.Done = x.redirect()
	out.LostNow = x.unsurvived()
	out.After, out.Left, out.MovesNow = x.parts(), x.faults(), len(x.log)
	all := append([]move(nil), x.log...)
	out.Legal = x.replay(0, all)
	return out, nil
}
