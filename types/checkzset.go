package types

import "cmp"

// leaveRanking returns what is wrong with a sorted set as a whole: with its table, with its tree, or that they tell of different members.
func leaveRanking(tree *checkedTree, table *checkedTable) string {
	wrong := cmp.Or(table.leave(), tree.leave())
	if wrong == "" && table.rows != tree.rows {
		wrong = "has other scores in its table than in its tree"
	}
	return wrong
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
