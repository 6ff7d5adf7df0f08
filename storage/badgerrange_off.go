//go:build sett_nolink

package storage

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
)

// reached is nothing in this build: it was made with the tag sett_nolink, and uses only what Badger exports. See badgerrange.go.
type reached struct{}

func reach(*badger.DB) (*reached, error) {
	return nil, reachable()
}

func (*reached) newLevel0Loader(uint64, int64, []plainRecord, *tableWriter, func([]uint64)) recordLoader {
	panic("never")
}

type tableWriter struct{}

func reachable() error { return errors.New("built with the tag sett_nolink") }

func (*reached) rewrite(int, int, []uint64, terms) (made, error) { return made{}, errGone }
func (*reached) pushDown(int, int, uint64, terms) (made, error)  { return made{}, errGone }
func (*reached) mergeLevel0(int, terms) (made, error)            { return made{}, errGone }
func (*reached) compact(int, bool, terms) error                  { return nil }
func (*reached) hold() (release func())                          { return func() {} }

func (*reached) find([]byte, uint64, bool) ([]byte, bool, error) { return nil, false, nil }
