package storage

import (
	"bytes"
	"testing"
)

// TestTableThatEndsInZeros opens what is left of tables that were cut at a bad place, or whose end never reached the disk.
func TestTableThatEndsInZeros(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4, 7, 8, 9, 24, 25, 5000} {
		for _, text := range []string{"", "a table"} {
			b := append([]byte(text), make([]byte, size)...)
			if _, err := openTable(bytes.NewReader(b), int64(len(b))); err == nil {
				t.Errorf("%q and %d zeros are a table", text, size)
			}
		}
	}
}
