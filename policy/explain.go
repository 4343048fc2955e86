package policy

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Explain writes the catalogue as text for a reader: levels, rules, defaults, prices. The error is that of w.
func (c *Catalogue) Explain(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)\n\n", c.name, c.ID())
	fmt.Fprintf(&b, "Server tiers     %s\n", strings.Join(c.server, " < "))
	fmt.Fprintf(&b, "Storage tiers    %s\n", strings.Join(c.storage, " < "))
	fmt.Fprintf(&b, "Security classes %s\n", strings.Join(c.security, " < "))
	b.WriteString("\nLevels, low to high: what a VM of the level needs at least\n")
	c.explainLevels(&b)
	c.explainFit(&b)
	c.explainGiveWay(&b)
	c.explainRules(&b)
	c.explainDefaults(&b)
	c.explainMoves(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// table is a tabwriter over b, which cannot fail; flush it at the end.
func table(b *strings.Builder) *tabwriter.Writer { return tabwriter.NewWriter(b, 0, 0, 2, ' ', 0) }

// row writes one row, indented, without blanks at its end.
func row(w io.Writer, cells ...string) {
	fmt.Fprintln(w, "  "+strings.Join(cells, "\t")) //nolint:errcheck // a strings.Builder does not fail
}

func (c *Catalogue) explainLevels(b *strings.Builder) {
	t := table(b)
	row(t, "LEVEL", "SERVER", "STORAGE", "NIC", "QUEUES", "SECURITY", "PRIORITY", "SPREAD OVER")
	for i := range c.levels {
		l := &c.levels[i]
		row(t, l.Name, c.server[l.Server], c.storage[l.Storage], fmt.Sprintf("class %d", l.NICClass), fmt.Sprint(l.Queues),
			c.security[l.Security], fmt.Sprint(l.Priority), string(l.Spread))
	}
	_ = t.Flush() // into a strings.Builder
}

// explainGiveWay names the levels whose VMs may be displaced; nothing when there is none.
func (c *Catalogue) explainGiveWay(b *strings.Builder) {
	var names []string
	for i := range c.levels {
		if c.levels[i].GiveWay {
			names = append(names, c.levels[i].Name)
		}
	}
	if names != nil {
		fmt.Fprintf(b, "\nLevels that give way: for a higher priority their VMs may be moved below their tiers\n  %s\n", strings.Join(names, ", "))
	}
}

// ruleLists are the lists of rules with what they are about.
func (c *Catalogue) ruleLists() []struct {
	key, title, none string
	rules            []Rule
} {
	return []struct {
		key, title, none string
		rules            []Rule
	}{
		{"match.servers", "Hosts: the first rule that is true gives the server tier", "no tier: nothing is placed there", c.serverRules},
		{"match.security", "Hosts: the first rule that is true gives the security class", c.security[0], c.securityRules},
		{"match.pools", "Pools: the first rule that is true gives the storage tier", "no tier: nothing is placed there", c.poolRules},
		{"match.nics", "NICs: the first rule that is true gives the class", "as detected", c.nicRules},
	}
}

func (c *Catalogue) explainRules(b *strings.Builder) {
	for _, list := range c.ruleLists() {
		fmt.Fprintf(b, "\n%s\n", list.title)
		t := table(b)
		for i := range list.rules {
			r := &list.rules[i]
			row(t, fmt.Sprintf("line %d", r.Line), r.Gives, "when "+r.oneLine())
		}
		row(t, "", list.none, "when none is")
		_ = t.Flush() // into a strings.Builder
	}
}

func (c *Catalogue) explainDefaults(b *strings.Builder) {
	d := &c.defaults
	b.WriteString("\nDefaults\n")
	t := table(b)
	row(t, "a VM without any label that counts", c.Unlabelled().Name)
	row(t, "the most that an unsigned label can give", c.UnsignedCeiling().Name)
	row(t, "overcommit", fmt.Sprintf("cpu %s, memory %s", d.CPU.factor(), d.Memory.factor()))
	for i, name := range c.server {
		if o, ok := d.ByTier[Rank(i)]; ok {
			row(t, "overcommit of tier "+name, fmt.Sprintf("cpu %s, memory %s", o.CPU.factor(), o.Memory.factor()))
		}
	}
	row(t, "kept free in each pool", fmt.Sprintf("%d %%", d.PoolReserve))
	_ = t.Flush() // into a strings.Builder
	b.WriteString("\nPrices, in points\n")
	t = table(b)
	for _, w := range weightTable {
		row(t, fmt.Sprint(*w.field(&c.weights)), w.what)
	}
	_ = t.Flush() // into a strings.Builder
	for _, example := range c.weights.Examples() {
		fmt.Fprintf(b, "  %s\n", example)
	}
}
