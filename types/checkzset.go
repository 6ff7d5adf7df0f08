package types

import (
	"bytes"
	"cmp"
)

// leaveRanking returns what is wrong with a sorted set, or a hash with fields that die, as a whole: with its table, with its tree, or that they
// tell of different members.
func leaveRanking(tree *checkedTree, table *checkedTable) string {
	wrong := cmp.Or(table.leave(), tree.leave())
	if wrong == "" && table.rows != tree.rows {
		switch {
		case table.of == ZSet:
			wrong = "has other scores in its table than in its tree"
		case table.keys != nil:
			wrong = "has fields that die at other times than the tree of those says"
		}
	}
	return wrong
}

// timesInOrder tells whether rows of fields' times come in their order, each once.
func timesInOrder(rows []byte) bool {
	const size = fieldRowBytes + 1
	for ; len(rows) >= 2*size; rows = rows[size:] {
		if bytes.Compare(rows[:size], rows[size:2*size]) >= 0 {
			return false
		}
	}
	return len(rows) == size
}

// inOrder tells whether rows that are well-formed come in their order. Members that lie apart are not read for that.
func inOrder(rows []byte) bool {
	var z Ranking
	for last := (Element{}); len(rows) > 0; {
		el, rest, ok := takeElement(ZSet, rows)
		if !ok {
			return true // others will say so
		}
		if last.raw != nil {
			z.aim(el.score, el.name.bytes)
			if order := z.compareScores(&last); order > 0 || order == 0 && el.name.serial|last.name.serial == 0 && z.compareInline(&last) >= 0 {
				return false
			}
		}
		last, rows = el, rest
	}
	return true
}
