package policy

import (
	"fmt"
	"path"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"go.yaml.in/yaml/v3"

	"github.com/berth-project/berth/fleet"
)

// Rule is one match rule: the first of its list whose expression is true decides.
type Rule struct {
	Gives string `json:"gives"` // the tier or class that it gives
	When  string `json:"when"`  // CEL
	Line  int    `json:"line"`

	rank    int
	at      position
	program cel.Program
}

// String is the rule as HostFacts.Rule shows it: "line 12: ...".
func (r *Rule) String() string { return fmt.Sprintf("line %d: %s", r.Line, clip(r.oneLine())) }

func (r *Rule) oneLine() string { return strings.Join(strings.Fields(r.When), " ") }

// costLimit bounds the evaluation of one rule on one object, in CEL's own units of cost: a comparison is about
// one, so this is several hundred tags looked at a few times, and under a millisecond.
const costLimit = 20_000

// The objects that a rule sees. The names of the fields are part of the format (docs/policy.md).
type (
	ruleHost struct {
		ID         string            `cel:"id"`
		Name       string            `cel:"name"`
		Source     string            `cel:"source"`
		Cluster    string            `cel:"cluster"`
		Chassis    string            `cel:"chassis"`
		Rack       string            `cel:"rack"`
		Site       string            `cel:"site"`
		Hypervisor string            `cel:"hypervisor"`
		Version    string            `cel:"version"`
		Tags       []string          `cel:"tags"`
		Attributes map[string]string `cel:"attributes"`
		CPUs       int64             `cel:"cpus"`
		MemoryGiB  int64             `cel:"memory_gib"`
		NICs       []ruleNIC         `cel:"nics"`
		CPUModel   string            `cel:"cpu_model"`
		Patch      map[string]string `cel:"patch"`
	}
	ruleNIC struct {
		ID       string   `cel:"id"`
		Class    int64    `cel:"class"`
		Speed    int64    `cel:"speed_mbps"`
		Queues   int64    `cel:"queues"`
		Driver   string   `cel:"driver"`
		Features []string `cel:"features"`
		NUMANode int64    `cel:"numa_node"`
		Rate     int64    `cel:"guarantee_mbps"`
		Module   string   `cel:"module"`
	}
	rulePool struct {
		ID       string   `cel:"id"`
		Name     string   `cel:"name"`
		Source   string   `cel:"source"`
		Type     string   `cel:"type"`
		Tags     []string `cel:"tags"`
		Shared   bool     `cel:"shared"`
		Capacity int64    `cel:"capacity_gib"`
		IOPS     int64    `cel:"iops"`
		Rate     int64    `cel:"throughput_mb"`
	}
)

// ruleEnv is the environment of one kind of rule.
type ruleEnv struct {
	env  *cel.Env
	vars []string // names of what the rule can speak of
}

// newRuleEnv declares the variables of one kind of rule: names among host, nic and pool.
func newRuleEnv(vars ...string) (*ruleEnv, error) {
	objects := map[string]string{"host": "policy.ruleHost", "nic": "policy.ruleNIC", "pool": "policy.rulePool"}
	options := []cel.EnvOption{
		nativeTypes(reflect.TypeFor[ruleHost](), reflect.TypeFor[ruleNIC](), reflect.TypeFor[rulePool](), types.ParseStructTags(true)),
		cel.ASTValidators(cel.ValidateRegexLiterals()),
		cel.ParserExpressionSizeLimit(maxExpr),
		cel.ParserRecursionLimit(64),
	}
	for _, v := range vars {
		options = append(options, cel.Variable(v, cel.ObjectType(objects[v])))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("declare rule variables %s: %w", strings.Join(vars, ", "), err)
	}
	return &ruleEnv{env: env, vars: vars}, nil
}

// nativeTypes is ext.NativeTypes of CEL without the rest of package ext, which brings dependencies of its own.
func nativeTypes(args ...any) cel.EnvOption {
	return func(env *cel.Env) (*cel.Env, error) {
		provider, adapter, err := types.ComposeTypes(env.CELTypeProvider(), env.CELTypeAdapter(), args...)
		if err != nil {
			return nil, err
		}
		if env, err = cel.CustomTypeAdapter(adapter)(env); err != nil {
			return nil, err
		}
		return cel.CustomTypeProvider(provider)(env)
	}
}

// compile turns the scalar n into a program; nil after a fault, which has the place within the expression.
func (r *reader) compile(n *yaml.Node, env *ruleEnv) cel.Program {
	if len(n.Value) > maxExpr {
		r.fault(n, fmt.Sprintf("an expression of %d bytes", len(n.Value)), fmt.Sprintf("at most %d", maxExpr))
		return nil
	}
	ast, issues := env.env.Compile(strings.TrimRight(n.Value, " \n"))
	if issues.Err() != nil {
		places := positions(r.lines, n)
		for _, e := range issues.Errors() {
			i := min(max(offset(n.Value, e.Location.Line(), e.Location.Column()), 0), len(places)-1)
			call := i < len(places)-1 && []rune(n.Value)[i] == '('
			what, expected, hint := explainCEL(e.Message, env.vars, call)
			r.add(places[i], what, expected, hint)
		}
		return nil
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		r.fault(n, fmt.Sprintf("the expression gives %s", ast.OutputType()), "bool")
		return nil
	}
	r.notePatches(ast)
	program, err := env.env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
	if err != nil {
		r.fault(n, "in the expression: "+clip(err.Error()), "")
		return nil
	}
	return program
}

// offset is the index of the character at a line (from 1) and column (from 0) of text.
func offset(text string, line, column int) int {
	i := 0
	for _, c := range text {
		if line <= 1 {
			break
		}
		if c == '\n' {
			line--
		}
		i++
	}
	return i + column
}

// celFunctions are those that a rule has most use for, in the order that a message lists them.
var celFunctions = []string{"contains", "startsWith", "endsWith", "matches", "size", "exists", "all"}

// explainCEL puts a message of the CEL compiler in our words where a reader would not understand it. call says that
// it is about a function.
func explainCEL(msg string, vars []string, call bool) (what, expected, hint string) {
	if rest, ok := strings.CutPrefix(msg, "undefined field '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		return fmt.Sprintf("in the expression: unknown field %q", clip(name)), "", nearest(name, fieldNames())
	}
	if rest, ok := strings.CutPrefix(msg, "undeclared reference to '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		if call {
			return fmt.Sprintf("in the expression: unknown function %q", clip(name)),
				"a function of CEL such as " + strings.Join(celFunctions, ", "), nearest(name, celFunctions)
		}
		return fmt.Sprintf("in the expression: unknown name %q", clip(name)), strings.Join(vars, " or "), nearest(name, vars)
	}
	if rest, ok := strings.CutPrefix(msg, "Syntax error: "); ok {
		rest, _, _ = strings.Cut(rest, " expecting ")
		return "in the expression: " + clip(strings.ReplaceAll(rest, "'<EOF>'", "at its end")), "a CEL expression", ""
	}
	if msg == "invalid matches argument" {
		return "in the expression: the argument of matches is no regular expression", "RE2 syntax", ""
	}
	msg = strings.NewReplacer("policy.ruleHost", "host", "policy.ruleNIC", "nic", "policy.rulePool", "pool").Replace(msg)
	return "in the expression: " + msg, "", ""
}

// fieldNames are all fields of all objects, for hints.
func fieldNames() []string {
	var names []string
	for _, t := range []reflect.Type{reflect.TypeFor[ruleHost](), reflect.TypeFor[ruleNIC](), reflect.TypeFor[rulePool]()} {
		for i := range t.NumField() {
			names = append(names, t.Field(i).Tag.Get("cel"))
		}
	}
	return names
}

// first is the first of rules that is true for the objects in vars, nil when none is. object names what is being
// looked at in an error.
func (c *Catalogue) first(rules []Rule, vars map[string]any, object string) (*Rule, error) {
	for i := range rules {
		r := &rules[i]
		v, _, err := r.program.Eval(vars)
		if err != nil && strings.HasSuffix(err.Error(), "cost limit exceeded") {
			err = fmt.Errorf("it costs more than %d units, expected a rule that looks at less", costLimit)
		}
		if err != nil {
			return nil, fmt.Errorf("evaluate rule %s:%d:%d (%s) on %s: %w", c.name, r.at.line, r.at.column, clip(r.oneLine()), object, err)
		}
		if v == types.True {
			return r, nil
		}
	}
	return nil, nil // no rule is an answer, not a fault
}

func (c *Catalogue) viewHost(h *fleet.Host) *ruleHost {
	v := &ruleHost{
		ID: string(h.ID), Name: path.Base(string(h.ID)), Source: string(h.Source), Cluster: h.Cluster, Chassis: h.Chassis,
		Hypervisor: string(h.Hypervisor), Version: h.Version, Tags: h.Tags, Attributes: h.Attributes,
		Rack: h.Rack, Site: h.Site, CPUModel: h.CPUModel, Patch: c.viewPatches(h),
		CPUs: int64(h.CPU / 1000), MemoryGiB: int64(h.Memory / fleet.GiB), NICs: make([]ruleNIC, len(h.NICs)),
	}
	for i := range h.NICs {
		v.NICs[i] = viewNIC(&h.NICs[i])
	}
	return v
}

func viewNIC(n *fleet.NIC) ruleNIC {
	return ruleNIC{
		ID: string(n.ID), Class: int64(n.Class), Speed: int64(n.Speed), Queues: int64(n.Queues), Driver: n.Driver,
		Features: n.Features, NUMANode: int64(n.NUMANode), Rate: int64(n.Guarantee), Module: string(n.Module),
	}
}

func viewPool(p *fleet.Pool) *rulePool {
	return &rulePool{
		ID: string(p.ID), Name: path.Base(string(p.ID)), Source: string(p.Source), Type: p.Type, Tags: p.Tags,
		Shared: p.Shared, Capacity: int64(p.Capacity / fleet.GiB), IOPS: int64(p.IOPS), Rate: int64(p.Throughput),
	}
}
