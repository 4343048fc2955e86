package solver_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-project/berth/driver/sim"
	"github.com/berth-project/berth/plan"
	"github.com/berth-project/berth/policy"
)

// leaf is one value within a step that can be changed alone.
type leaf struct {
	path string
	v    reflect.Value
}

// leaves lists every scalar within v, and every list, which can be cut short or have an element twice.
func leaves(path string, v reflect.Value, out []leaf) []leaf {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out = leaves(path+"."+v.Type().Field(i).Name, v.Field(i), out)
			}
		}
	case reflect.Slice:
		out = append(out, leaf{path, v})
		for i := range v.Len() {
			out = leaves(path+"[]", v.Index(i), out)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out = append(leaves(path, v.Elem(), out), leaf{path, v})
		}
	case reflect.Map, reflect.Interface:
	default:
		out = append(out, leaf{path, v})
	}
	return out
}

// mutate changes the value of l to another one.
func (l *leaf) mutate(rnd *rand.Rand) {
	switch v := l.v; v.Kind() {
	case reflect.String:
		v.SetString([]string{"", "x", v.String() + "x", "live", "offline"}[rnd.IntN(5)])
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Pointer:
		v.SetZero()
	case reflect.Float64:
		v.SetFloat(v.Float() + float64(1+rnd.IntN(50))/100)
	case reflect.Slice:
		if v.Len() == 0 || rnd.IntN(2) == 0 {
			v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
		} else {
			v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v.Slice(1, v.Len())))
		}
	default:
		if v.CanInt() {
			v.SetInt(v.Int() + int64(1-2*rnd.IntN(2))*(1+rnd.Int64N(5)))
		}
		if v.CanUint() {
			v.SetUint(v.Uint() + 1 + rnd.Uint64N(3))
		}
	}
}

// copyValue copies deeply, so that a changed copy leaves the problem alone.
func copyValue(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() { //nolint:exhaustive // the others are copied by value
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(copyValue(v.Field(i)))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(copyValue(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(copyValue(v.Index(i)))
			}
		}
	}
	return out
}

// movedModule takes io-7 to gold-1 for vm-db.
const movedModule = `
	pool nas tier=nvme
	host gold-1 tier=gold pools=nas nics=1:0
	host bronze-1 tier=bronze pools=nas nics=2:4
	host bronze-2 tier=bronze pools=nas nics=1:0
	module io-7 nics=3:8:25000 on=gold-1,bronze-1,bronze-2 host=bronze-2
	vm vm-db host=bronze-1 needs=gold nic=3 queues=4 rate=10000 disks=nas:50:nvme`

// TestCheckRefusesEveryChange changes one value in one step of a legal plan, makes summary and seal true
// again, and expects that Check refuses it. The reason is for people, and alone may be another one.
func TestCheckRefusesEveryChange(t *testing.T) {
	t.Parallel()
	accepted, changed := map[string]int{}, map[string]int{}
	try := func(t interface{ Fatal(...any) }, p *policy.Problem, pl *plan.Plan, rnd *rand.Rand) {
		bad := *pl
		bad.Steps = copyValue(reflect.ValueOf(pl.Steps)).Interface().([]plan.Step) // it is one
		all := leaves("", reflect.ValueOf(&bad.Steps[rnd.IntN(len(bad.Steps))]).Elem(), nil)
		l := all[rnd.IntN(len(all))]
		l.mutate(rnd)
		if reflect.DeepEqual(bad.Steps, pl.Steps) {
			return
		}
		if s, err := plan.Summarize(p, &bad); err == nil {
			bad.Summary = s
		}
		if err := bad.Seal(); err != nil {
			t.Fatal(err)
		}
		changed[strings.SplitN(l.path, ".", 3)[1]]++
		if len(plan.Check(p, &bad)) == 0 && l.path != ".Reason" && l.path != ".Wave" { // a step may be as good in another wave: see wave_test.go
			accepted[l.path]++
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for range 20 {
			if len(pl.Steps) > 0 {
				try(t, p, pl, rnd)
			}
		}
	})
	for seed := range uint64(3) {
		p, err := policy.Resolve(policy.Default(), sim.Generate(sim.Options{Hosts: 8, VMs: 80, Seed: seed}))
		if err != nil {
			t.Fatal(err)
		}
		pl := mustSolve(t, p)
		rnd := rand.New(rand.NewPCG(seed, 2))
		for range 400 {
			try(t, p, pl, rnd)
		}
	}
	p := parseFleet(t, movedModule)
	pl := mustSolve(t, p)
	rnd := rand.New(rand.NewPCG(1, 3))
	for range 1000 {
		try(t, p, pl, rnd)
	}
	for k, n := range accepted {
		t.Errorf("accepted %d changes of %s", n, k)
	}
	if changed["Attach"] == 0 || changed["Move"] == 0 {
		t.Errorf("changed %v, expected moves of VMs and of modules among them", changed)
	}
}

// believed are what Check takes the plan's word for: a better bound, why a VM has no place, and where it would be better off are known to
// the solver alone.
var believed = []string{".Summary.Bound", ".Summary.GapPercent", ".Unplaced[].Reason", ".Unplaced[].Refused", ".Unplaced[].Refused[]", ".Unplaced[].Nearest", ".Unordered[].Reason", ".Summary.Reserve.Untried"}

// TestCheckRefusesEveryChangeOfTheLists changes one value beside the steps of a legal plan.
func TestCheckRefusesEveryChangeOfTheLists(t *testing.T) {
	t.Parallel()
	accepted, changed := map[string]int{}, map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		pl := mustSolve(t, p)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		for range 20 {
			bad := copyValue(reflect.ValueOf(*pl)).Interface().(plan.Plan) // it is one
			bad.Steps = nil
			all := leaves("", reflect.ValueOf(&bad).Elem(), nil)
			bad.Steps = pl.Steps
			l := all[rnd.IntN(len(all))]
			if l.path == ".ID" || l.path == ".Steps" {
				continue
			}
			l.mutate(rnd)
			if reflect.DeepEqual(bad, *pl) {
				continue
			}
			if err := bad.Seal(); err != nil {
				t.Fatal(err)
			}
			changed[l.path]++
			if len(plan.Check(p, &bad)) == 0 {
				accepted[l.path]++
			}
		}
	})
	for k, n := range accepted {
		if !slices.ContainsFunc(believed, func(b string) bool { return k == b || strings.HasPrefix(k, b+".") }) {
			t.Errorf("accepted %d of %d changes of %s", n, changed[k], k)
		}
	}
}
