package solver

import (
	"fmt"
	"strings"

	"github.com/berth-project/berth/fleet"
)

// String renders e as text for people, several lines, each ending in a newline.
func (e *Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, level %s (%s), priority %d\n", e.VM, e.Fate, e.Level, e.Label, e.Need.Priority)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s"+format+"\n", append([]any{name}, args...)...)
	}
	row("is on", "%s", e.From.text())
	if e.To != nil {
		row("goes to", "%s", e.To.text())
	}
	for i, r := range e.Reasons {
		name := "because"
		if i < len(e.Steps) {
			name = fmt.Sprintf("step %d", e.Steps[i])
		}
		row(name, "%s", r)
	}
	for _, g := range e.GaveWay {
		row("way by", "%s, which step %d displaces for it", g.VM, g.Step)
	}
	row("needs", "%s", e.Need.text())
	for _, d := range e.Disks {
		text := fmt.Sprintf("%s needs %s (level %s): on %s (%s)", d.Disk, d.Need, d.Level, d.From, d.FromTier)
		if d.To != d.From {
			text += fmt.Sprintf(" -> %s (%s)", d.To, d.ToTier)
		}
		row("disk", "%s", text)
	}
	for _, n := range e.Notes {
		row("note", "%s", n)
	}
	for _, r := range e.Refused {
		row("not on", "%s: refused by %s", hostsText(r.Hosts, r.Count), r.Constraint)
	}
	for _, o := range e.Others {
		row("not on", "%s: legal, %s", o.Host, costText(o.More))
	}
	if more := e.LegalOthers - len(e.Others); more > 0 {
		row("not on", "%d more that are legal", more)
	}
	for _, c := range costTable(e.Costs) {
		row("costs", "%s", c)
	}
	for i := range e.Help {
		row("helps", "%s", e.Help[i].Text)
	}
	return b.String()
}

func (h ExplainHost) text() string {
	if h.Rule == "" {
		return fmt.Sprintf("%s (%s)", h.Host, h.Tier)
	}
	return fmt.Sprintf("%s (%s, by %s)", h.Host, h.Tier, h.Rule)
}

func (n ExplainNeed) text() string {
	parts := []string{"server tier " + n.Server, "security class " + n.Security, fmt.Sprintf("NIC class %d", n.NICClass)}
	if n.Queues > 0 {
		parts = append(parts, fmt.Sprintf("%d queues of one NIC", n.Queues))
	}
	if n.Rate > 0 {
		parts = append(parts, n.Rate.String()+" of one NIC")
	}
	if len(n.Hypervisors) > 0 {
		parts = append(parts, fmt.Sprintf("a hypervisor of %v", n.Hypervisors))
	}
	if n.Baseline != "" {
		parts = append(parts, "processor "+n.Baseline)
	}
	if n.Spread != "" {
		parts = append(parts, "spread "+n.Spread)
	}
	if n.Affinity != "" {
		parts = append(parts, "together with "+n.Affinity)
	}
	return strings.Join(parts, ", ")
}

func hostsText(hosts []fleet.HostID, count int) string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = string(h)
	}
	text := strings.Join(names, ", ")
	if count > len(hosts) {
		text += fmt.Sprintf(" and %d more", count-len(hosts))
	}
	return text
}

func costText(more int64) string {
	switch {
	case more > 0:
		return fmt.Sprintf("costs %d points more", more)
	case more < 0:
		return fmt.Sprintf("costs %d points less by itself", -more)
	default:
		return "costs the same"
	}
}
