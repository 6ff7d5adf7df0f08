package storage

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestBudgetFits: all shares of a budget together leave something for Go itself, whatever the budget is.
func TestBudgetFits(t *testing.T) {
	const (
		memTables = 4 // the active one, two that wait, one that is being written
		builders  = 6 // tables that compactions build at a time, usually
	)
	for m := int64(MinMemoryBudget); m <= 1<<40; m = m * 5 / 4 {
		b := BudgetFor(m)
		badger := memTables*b.MemTable*13/10 + builders*2*b.BaseTable
		sum := b.Recent + b.Cache + b.Filter + b.Clients + b.Access + badger
		if sum > m*15/16 || sum+b.Raft > m*31/32 {
			t.Errorf("%d MiB: the shares add up to %d MiB", m>>20, sum>>20)
		}
		if n := int64(b.Level0) * min(b.MemTable, b.Generation) / 2; n < level0Bytes && b.Level0 < mostLevel0 || b.Level0 > mostLevel0 {
			t.Errorf("%d MiB: %d tables, %d MiB in level 0", m>>20, b.Level0, n>>20)
		}
	}
}

// TestBudgetTable: the table in docs/operations.md is what BudgetFor says.
func TestBudgetTable(t *testing.T) {
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []int64{128 << 20, 256 << 20, 1 << 30, 4 << 30} {
		b := BudgetFor(m)
		row := fmt.Sprintf("| %s |", mebi(m))
		for _, share := range []int64{b.Recent, b.Generation, b.BatchMax, b.Cache, b.Filter, b.Clients, b.Access, b.Raft, b.MemTable, b.BaseTable} {
			row += fmt.Sprintf(" %s |", mebi(share))
		}
		row += fmt.Sprintf(" %d | %s |", b.Level0, mebi(b.BaseLevel))
		if !strings.Contains(string(page), row+"\n") {
			t.Errorf("docs/operations.md has no row\n%s", row)
		}
	}
}

func mebi(bytes int64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/(1<<20)), ".0")
}
