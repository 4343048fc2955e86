package policy

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/berth-project/berth/fleet"
)

// notePatches remembers the patches that a rule asks for by name, host.patch["XSA-450"], so that a host that says nothing of
// one gives "unknown" and no error: what unknown counts as is then the rule's own word.
func (r *reader) notePatches(rule *cel.Ast) {
	isPatch := func(e ast.Expr) bool { return e.Kind() == ast.SelectKind && e.AsSelect().FieldName() == "patch" }
	ast.PreOrderVisit(rule.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		name := ""
		switch {
		case e.Kind() == ast.SelectKind && isPatch(e.AsSelect().Operand()):
			name = e.AsSelect().FieldName()
		case e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index && isPatch(e.AsCall().Args()[0]):
			if key := e.AsCall().Args()[1]; key.Kind() == ast.LiteralKind {
				name, _ = key.AsLiteral().Value().(string)
			}
		}
		if name != "" && !slices.Contains(r.patches, name) {
			r.patches = append(r.patches, name)
		}
	}))
}

// viewPatches is what rules see as host.patch; nil when no rule and no host speaks of one.
func (c *Catalogue) viewPatches(h *fleet.Host) map[string]string {
	if len(h.Patch) == 0 && len(c.patches) == 0 {
		return nil
	}
	view := make(map[string]string, len(h.Patch)+len(c.patches))
	for _, id := range c.patches {
		view[id] = string(fleet.PatchUnknown)
	}
	for id, state := range h.Patch {
		view[id] = string(state)
	}
	return view
}
