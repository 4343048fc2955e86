package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-project/berth/fleet"
	"github.com/berth-project/berth/policy"
)

// keepReserve starts to watch over the failures that are survived now.
func (c *checker) keepReserve() {
	if !Protects(c.w.p) {
		return
	}
	var err error
	if c.res, err = newReserve(c.w); err != nil {
		c.say(ConstraintProblem, "%v", err)
	}
}

// held is a step as the reserve knows it.
type held struct {
	vm, from, to int
	at           fleet.Placement // of the VM's disks afterwards
	n            int             // number of the step
	mends        bool            // the VM had no legal place before
	helpless     losses          // the kinds of failures that nothing could help it in before
}

// reserve checks that no step of the wave breaks a failure that was survived before the plan, with all steps of the wave
// under way; one that mends a VM may. It gives what settled needs when they are done.
func (c *checker) reserve(wave []Step) []held {
	if c.res == nil {
		return nil
	}
	var moves []held
	for i := range wave {
		st := &wave[i]
		v := c.w.vms[st.Move.VM.ID]
		if st.Attach != nil || v == nil || c.w.unknown(v, st.Move.To) != "" {
			continue
		}
		m := held{vm: c.res.VM(v.vm.ID), from: c.res.Host(v.at.Host), to: c.res.Host(st.Move.To.Host), at: st.Move.To, n: st.N}
		m.mends = v.need.Protect && c.w.wrong(v) // asked for as the world is before the step, and dear: settled finds no fault with others
		m.helpless = c.res.helpless(m.vm)
		c.res.Enter(m.vm, m.to, m.at)
		moves = append(moves, m)
		c.at, c.vm = st.N, v.vm.ID
		if c.res.Broke() && !m.mends && !c.w.wrong(v) {
			c.say(ConstraintReserve, "%s", c.res.Faults())
		}
		c.res.Mark()
	}
	c.at, c.vm = 0, ""
	return moves
}

// settled ends the steps of a wave. A VM that a step brought where no reserve can help it, as one could before, is a fault of the step:
// while its disks are under way that does not count, as they are still at either end.
func (c *checker) settled(moves []held) {
	for _, m := range moves {
		from := m.from
		if m.from == m.to {
			from = -1 // its disks alone are elsewhere now
		}
		c.res.Leave(m.vm, from, m.at)
		c.at, c.vm = m.n, c.res.vms[m.vm].at.vm.ID
		if c.res.Broke() && !m.mends {
			c.say(ConstraintReserve, "%s", c.res.Faults())
		}
		c.res.Mark()
		if over := c.res.helpless(m.vm) &^ m.helpless; over != 0 && !m.mends {
			c.say(ConstraintReserve, "%s", c.res.whyHelpless(m.vm, over))
		}
	}
	c.at, c.vm = 0, ""
}

// wrong says whether v has no legal place where it is: by itself, as its host has promised too much, or as it shares a failure domain.
func (w *world) wrong(v *vmAt) bool {
	h := w.hosts[v.at.Host]
	if w.brokenAlone(v) || h.cpu > h.facts.CPU || h.memory > h.facts.Memory || !h.packs() {
		return true
	}
	if g := v.need.AffinityGroup; g != "" && w.parts(w.affine[g]) > 1 {
		return true
	}
	return w.tooNear(v)
}

// VM and Host are the indexes by which the reserve knows a VM and a host, -1 for none.
func (r *Reserve) VM(id fleet.VMID) int {
	s := r.w.p.Snapshot
	i, ok := slices.BinarySearchFunc(s.VMs, id, func(v fleet.VM, id fleet.VMID) int { return cmp.Compare(v.ID, id) })
	if !ok {
		return -1
	}
	return i
}

// Host is the index of a host, as VM of a VM.
func (r *Reserve) Host(id fleet.HostID) int {
	s := r.w.p.Snapshot
	i, ok := slices.BinarySearchFunc(s.Hosts, id, func(h fleet.Host, id fleet.HostID) int { return cmp.Compare(h.ID, id) })
	if !ok {
		return -1
	}
	return i
}

// Faults names the failures that broke since the last Mark and whom they would leave without a place.
func (r *Reserve) Faults() string {
	var out []string
	for _, k := range r.failed {
		if f := &r.cases[k]; !f.survived {
			out = append(out, fmt.Sprintf("the loss of %s would leave %s without a place", f.text(), r.names(f.unsaved)))
		}
	}
	const most = 3
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("%d more", len(out)-most))
	}
	return strings.Join(out, "; ")
}

func (f *failure) text() string { return string(f.Loss) + " " + f.name }

func (r *Reserve) names(vms []int32) string {
	ids := r.ids(vms)
	const most = 3
	if len(ids) > most {
		return fmt.Sprintf("%s and %d more", join(ids[:most]), len(ids)-most)
	}
	return join(ids)
}

func (r *Reserve) ids(vms []int32) []fleet.VMID {
	out := make([]fleet.VMID, len(vms))
	for i, v := range vms {
		out[i] = r.vms[v].at.vm.ID
	}
	slices.Sort(out)
	return out
}

func join(ids []fleet.VMID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(id))
	}
	return b.String()
}

// ReserveSummary counts the failures that the policy's reserve names.
type ReserveSummary struct {
	Failures       int `json:"failures"`
	SurvivedBefore int `json:"survivedBefore"`
	SurvivedAfter  int `json:"survivedAfter"`
	// Unprotected VMs, after the plan, have no host to go to in some failure however empty the others are: a disk is on a
	// local pool, say.
	Unprotected int `json:"unprotected"`
	// Untried failures are not survived, and the search for moves that mend that was stopped before it came to them.
	Untried int `json:"untried,omitempty"`
}

// Failure is one case of what the policy's reserve names.
type Failure struct {
	Loss     policy.Loss `json:"loss"`
	Name     string      `json:"name"` // of the host, the chassis or the module
	Survived bool        `json:"survived"`
	// Unsaved VMs find no room elsewhere. Unprotected ones could go nowhere were every host empty, with the reason.
	Unsaved     []fleet.VMID  `json:"unsaved"`
	Unprotected []Unprotected `json:"unprotected"`
}

// Unprotected is a VM that no reserve can help, and why.
type Unprotected struct {
	VM     fleet.VMID `json:"vm"`
	Reason string     `json:"reason"`
}

// Survival tells for p's snapshot, as it is, which failures are survived: by host, chassis and module. Nothing protected
// gives nothing. The error says what is wrong with p.
func Survival(p *policy.Problem) ([]Failure, error) {
	r, err := NewReserve(p)
	if r == nil || err != nil {
		return nil, err
	}
	return r.Failures(), nil
}

// Failures tells which failures are survived in the present state.
func (r *Reserve) Failures() []Failure {
	out := make([]Failure, len(r.cases))
	for k := range r.cases {
		f := &r.cases[k]
		out[k] = Failure{Loss: f.Loss, Name: f.name, Survived: f.survived, Unsaved: r.ids(f.unsaved), Unprotected: []Unprotected{}}
		stuck := slices.Clone(f.stuck)
		slices.Sort(stuck)
		for _, v := range stuck {
			out[k].Unprotected = append(out[k].Unprotected, Unprotected{r.vms[v].at.vm.ID, r.whyStuck(f, v)})
		}
	}
	return out
}

// whyStuck says why no other host could take v in the failure f were it empty.
func (r *Reserve) whyStuck(f *failure, v int32) string {
	vm := &r.vms[v]
	if i := r.beyond(f, v); i >= 0 {
		return fmt.Sprintf("not protected: its disk %s is on %s, which no other host reaches", vm.at.vm.Disks[i].ID, vm.at.at.Disks[i].Pool)
	}
	return "not protected: no other host that reaches its disks meets its needs"
}

// reserveCount counts the failures that are survived, and the VMs that no reserve can help.
func (w *world) reserveCount() (all, survived, unprotected int) {
	r, err := newReserve(w)
	if err != nil {
		return 0, 0, 0
	}
	stuck := map[int32]bool{}
	for k := range r.cases {
		if r.cases[k].survived {
			survived++
		}
		for _, v := range r.cases[k].stuck {
			stuck[v] = true
		}
	}
	return len(r.cases), survived, len(stuck)
}

// ReserveFaults gives the indexes of the steps that would break a failure which was survived before them all, as Check finds
// them; steps that are not legal otherwise are for Check alone.
func ReserveFaults(p *policy.Problem, steps []Step) []int {
	w, err := newWorld(p)
	if err != nil {
		return nil
	}
	c := &checker{w: w}
	c.keepReserve()
	var out []int
	n := 0
	for _, wave := range Waves(steps) {
		before := len(c.out)
		moves := c.reserve(wave)
		for i := range wave {
			if a := wave[i].Attach; a != nil {
				if m := p.Snapshot.Module(a.Module.ID); m != nil && w.hosts[a.To] != nil && w.on[m.ID] != a.To {
					out = append(out, c.lostBy(m, a.To, n+i)...)
				}
				continue
			}
			if v := w.vms[wave[i].Move.VM.ID]; v != nil && w.unknown(v, wave[i].Move.To) == "" {
				w.move(v, wave[i].Move.To)
			}
		}
		c.settled(moves)
		for _, v := range c.out[before:] {
			i := slices.IndexFunc(wave, func(st Step) bool { return st.N == v.Step })
			out = append(out, n+i)
		}
		c.out = c.out[:before]
		n += len(wave)
	}
	return out
}

// lostBy attaches m, and gives n when that breaks a failure.
func (c *checker) lostBy(m *fleet.IOModule, to fleet.HostID, n int) []int {
	if c.res == nil {
		c.w.attach(m, to)
		return nil
	}
	c.res.Attach(m, to)
	defer c.res.Mark()
	if c.res.Broke() {
		return []int{n}
	}
	return nil
}

// Unsurvived lists the failures that were not survived when they were looked at last, by their number.
func (r *Reserve) Unsurvived() []int {
	var out []int
	for k := range r.cases {
		if !r.cases[k].survived {
			out = append(out, k)
		}
	}
	return out
}

// Recheck looks anew whether the failure k is survived.
func (r *Reserve) Recheck(k int) bool {
	if !r.cases[k].survived {
		r.settle(int32(k)) // counted by newReserve
	}
	return r.cases[k].survived
}

// Unsaved lists the VMs that the failure k leaves without a place, by their index.
func (r *Reserve) Unsaved(k int) []int {
	out := make([]int, 0, len(r.cases[k].unsaved))
	for _, v := range r.cases[k].unsaved {
		out = append(out, int(v))
	}
	return out
}

// Survives says whether every failure that hits the host h is survived.
func (r *Reserve) Survives(h int) bool {
	return !slices.ContainsFunc(r.hosts[h].cases, func(k int32) bool { return !r.cases[k].survived })
}

// FailureName names the failure k: "host host-a".
func (r *Reserve) FailureName(k int) string { return r.cases[k].text() }

// Refuges lists up to limit hosts that could take the VM v after the failure k if they had room.
func (r *Reserve) Refuges(k, v, limit int) []int {
	var out []int
	for _, h := range r.open {
		if len(out) < limit && r.takes(&r.cases[k], int32(v), h) { // counted by newReserve
			out = append(out, int(h))
		}
	}
	return out
}
