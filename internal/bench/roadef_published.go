package bench

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/berth-project/berth/plan/model"
)

// roadefPublished is what others have reached on an instance; 0: not published.
type roadefPublished struct {
	bound, challenge, known, s38, s41 model.Points
}

// readRoadefPublished reads best_known.csv and challenge_scores_setB.csv, where they are there.
func readRoadefPublished(dir string) (map[string]roadefPublished, error) {
	out := map[string]roadefPublished{}
	best, err := readTable(filepath.Join(dir, "best_known.csv"))
	if err != nil {
		return nil, err
	}
	for _, row := range best {
		out[row["instance"]] = roadefPublished{
			bound:     max(points(row["lower_bound_aggregate"]), points(row["lower_bound_mip"])),
			challenge: points(row["challenge_best_5min"]), known: points(row["best_known"]),
		}
	}
	teams, err := readTable(filepath.Join(dir, "challenge_scores_setB.csv"))
	if err != nil {
		return nil, err
	}
	for _, row := range teams {
		for name, p := range out {
			switch row["team"] {
			case "S38":
				p.s38 = points(row[name])
			case "S41":
				p.s41 = points(row[name])
			}
			out[name] = p
		}
	}
	return out, nil
}

// points reads a number, or 0 where there is none.
func points(s string) model.Points {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// readTable reads a small CSV file with headings; nil if there is none.
func readTable(path string) ([]map[string]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read published figures: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read published figures: %s: %w", path, err)
	}
	var out []map[string]string
	for i := 1; i < len(rows); i++ {
		row := map[string]string{}
		for j, cell := range rows[i] {
			row[rows[0][j]] = cell
		}
		out = append(out, row)
	}
	return out, nil
}
