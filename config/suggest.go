package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest returns "; did you mean …?" for a name that is not in the table, or "".
func (c *Config) suggest(name string) string {
	name = tomlName(strings.ToLower(name))
	if c.byFile[name] != nil {
		return fmt.Sprintf("; did you mean %s?", name)
	}
	leaf := name[strings.LastIndexByte(name, '.')+1:]
	best, bestDistance := "", 2
	if len(leaf) > 3 {
		bestDistance = 3
	}
	for _, k := range c.keys {
		for _, candidate := range k.names() {
			candidate = tomlName(candidate)
			d := distance(name, candidate)
			if candidateLeaf := candidate[strings.LastIndexByte(candidate, '.')+1:]; candidateLeaf == leaf {
				d = 0 // the right key in the wrong table
			} else if candidateLeaf != candidate {
				d = min(d, distance(leaf, candidateLeaf))
			}
			if d < bestDistance && !k.Hidden {
				best, bestDistance = candidate, d
			}
		}
	}
	switch {
	case best == "":
		return ""
	case strings.Contains(name, ".") && !strings.Contains(best, "."):
		return fmt.Sprintf("; did you mean %s at the top level, before the first [table]?", best)
	default:
		return fmt.Sprintf("; did you mean %s?", best)
	}
}

// distance is the number of letters to insert, remove or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + slices.Min([]int{diagonal, row[j], row[j+1]})
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
