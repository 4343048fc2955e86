package cli

import (
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
)

// tone is how a cell is coloured when there is colour.
type tone int

const (
	plainTone tone = iota
	goodTone
	badTone
	warnTone
	dimTone
)

// cell is one cell of a grid.
type cell struct {
	text string
	tone tone
}

func text(s string) cell { return cell{text: s} }

func toned(t tone, s string) cell { return cell{text: s, tone: t} }

// grid is a table: a title, headings, rows of cells.
type grid struct {
	title    string
	headings []string
	rows     [][]cell
}

func (g *grid) add(cells ...cell) { g.rows = append(g.rows, cells) }

var tones = map[tone]lipgloss.Style{
	plainTone: lipgloss.NewStyle(),
	goodTone:  lipgloss.NewStyle().Foreground(lipgloss.Green),
	badTone:   lipgloss.NewStyle().Foreground(lipgloss.Red),
	warnTone:  lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	dimTone:   lipgloss.NewStyle().Faint(true),
}

// print writes g to standard output: as wide as its content where no person reads, else fitted into the
// terminal by wrapping cells.
func (a *app) printGrid(g *grid) {
	if g.title != "" {
		a.printf("%s\n", a.bold(g.title))
	}
	if len(g.rows) == 0 {
		a.printf("  (none)\n\n")
		return
	}
	fixed := map[int]int{} // 0: as wide as its content
	t := table.New().Headers(g.headings...).
		Border(lipgloss.NormalBorder()).
		BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderColumn(false).BorderRow(false).BorderHeader(true).
		StyleFunc(func(row, col int) lipgloss.Style { return a.cellStyle(g, row, col).Width(fixed[col]) })
	for _, r := range g.rows {
		row := make([]string, len(r))
		for i, c := range r {
			row[i] = cleanLine(c.text)
		}
		t.Row(row...)
	}
	out := t.Render()
	if a.width > 0 && lipgloss.Width(out) > a.width {
		fixed = g.fix(a.width)
		out = t.Width(a.width).Wrap(true).Render()
	}
	for line := range strings.Lines(out) {
		a.printf("%s\n", strings.TrimRight(line, " \n"))
	}
	a.printf("\n")
}

// fix gives every column but the widest, which is prose, its natural width, so that no name is broken. Where
// that leaves the prose less than a third of the terminal, the widest of the others are capped too.
func (g *grid) fix(width int) map[int]int {
	fixed, prose, others := map[int]int{}, 0, 0
	for col, h := range g.headings {
		fixed[col] = lipgloss.Width(h) + cellGap
		for _, r := range g.rows {
			fixed[col] = max(fixed[col], lipgloss.Width(cleanLine(r[col].text))+cellGap)
		}
		if fixed[col] > fixed[prose] {
			prose = col
		}
		others += fixed[col]
	}
	others -= fixed[prose]
	delete(fixed, prose)
	for limit := width; others > width-width/3 && limit > cellGap+1; limit-- {
		for col := range g.headings {
			if w, ok := fixed[col]; ok && w > limit {
				fixed[col] = limit
				others -= w - limit
			}
		}
	}
	return fixed
}

// cellGap is the space after each cell.
const cellGap = 2

func (a *app) cellStyle(g *grid, row, col int) lipgloss.Style {
	s := lipgloss.NewStyle()
	if a.colour {
		switch {
		case row == table.HeaderRow:
			s = s.Bold(true)
		case row >= 0 && row < len(g.rows) && col < len(g.rows[row]):
			s = tones[g.rows[row][col].tone]
		}
	}
	return s.PaddingRight(cellGap)
}

func (a *app) bold(s string) string {
	if !a.colour {
		return s
	}
	return lipgloss.NewStyle().Bold(true).Render(s)
}
