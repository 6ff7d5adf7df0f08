package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"sett/replication"
	"sett/replication/wal"
	"sett/storage"
	"sett/types"
)

// examiner looks at the outcomes of one kill.
type examiner struct {
	*scene
	states []*model       // that were met: the first is what the life found
	met    map[string]int // what was read
}

// examine makes a cut and opens what is left, twice. It returns what the store holds.
func (x *examiner) examine(seed uint64) (left *model, err error) {
	disk := filepath.Join(x.Folder, fmt.Sprintf("cut-%d", seed))
	if err := os.MkdirAll(disk, 0o750); err != nil {
		return nil, err
	}
	if err := x.cut(seed, disk); err != nil {
		return nil, err
	}
	found := check(disk)
	if left, err = x.open(disk, nil); err != nil {
		return nil, err
	}
	if found != nil {
		return nil, found
	}
	if err := check(disk); err != nil {
		return nil, fmt.Errorf("after a clean stop: %w", err)
	}
	if _, err = x.open(disk, left); err != nil {
		return nil, fmt.Errorf("after a clean stop: %w", err)
	}
	return left, os.RemoveAll(disk)
}

// check has sett check look at a disk: a power cut is no damage.
func check(disk string) error {
	data := filepath.Join(disk, dataDir)
	if _, err := os.Stat(filepath.Join(data, "FORMAT")); err != nil {
		return nil // an unfinished first start
	}
	report, err := storage.Check(storage.OSFS{}, data, storage.Checks{
		Log:     replication.Check,
		Records: func(seed *[16]byte) storage.RecordChecker { return types.NewChecker(seed) },
	})
	if err != nil {
		return fmt.Errorf("sett check: %w", err)
	}
	for _, f := range report.Findings {
		if f.Damage {
			return fmt.Errorf("sett check: %v", f)
		}
	}
	return nil
}

// open opens a disk, compares all there is, and closes it cleanly. want is nil after a cut: then any ticket will do that the level allows.
func (x *examiner) open(disk string, want *model) (*model, error) {
	n, err := start(&recorder{root: disk}, disk, replication.No, nil, nil, nil, func(err error) { panic(err) })
	if err != nil {
		return nil, fmt.Errorf("the store does not start: %w", err)
	}
	ticket, err := ticketIn(n.store)
	if err == nil && want == nil {
		if want, err = x.expect(ticket); err != nil {
			return nil, errors.Join(err, n.stop())
		}
	}
	if err == nil && ticket != want.ticket {
		err = fmt.Errorf("the last batch is %d, not %d", ticket, want.ticket)
	}
	if err == nil {
		err = want.compare(n.store, x.met)
	}
	return want, errors.Join(err, n.stop())
}

// expect returns what a store must hold that ends with a ticket.
func (x *examiner) expect(ticket uint64) (*model, error) {
	switch had, most := x.states[0].ticket, max(x.lastAck(), x.states[0].ticket)+writers; {
	case ticket < had:
		return nil, fmt.Errorf("the last batch is %d; the life had begun with %d", ticket, had)
	case ticket < x.promised():
		return nil, fmt.Errorf("the last batch is %d; up to %d they were promised to be durable", ticket, x.promised())
	case ticket > most:
		return nil, fmt.Errorf("the last batch is %d; there were never more than %d", ticket, most)
	}
	near := x.states[0]
	for _, m := range x.states {
		if m.ticket <= ticket && m.ticket > near.ticket {
			near = m
		}
	}
	if near.ticket < ticket {
		near = near.clone()
		near.advance(x.Seed, x.Life, ticket)
		x.states = append(x.states, near)
	}
	return near, nil
}

// damage makes a cut and flips a bit of an entry that was fsynced, as a later record in the log knows. The start must refuse it. If that entry
// was trimmed away meanwhile, the bit is in nobody's way, and nothing may be lost.
func (x *examiner) damage(seed uint64) (refused bool, err error) {
	random := rand.New(rand.NewPCG(seed, 1))
	ticket, ok := x.marked(random)
	if !ok {
		return false, nil
	}
	disk := filepath.Join(x.Folder, "damaged")
	if err := errors.Join(os.MkdirAll(disk, 0o750), x.cut(seed, disk)); err != nil {
		return false, err
	}
	if found, err := flip(disk, ticketValue(x.Life, ticket), random); err != nil || !found {
		return false, errors.Join(err, os.RemoveAll(disk))
	}
	_, err = x.open(disk, nil)
	var damaged *wal.DamageError
	var unfit *storage.RefusedError
	if errors.As(err, &damaged) || errors.As(err, &unfit) {
		refused, err = true, nil
	}
	return refused, errors.Join(err, os.RemoveAll(disk))
}

// flip flips a bit of something that is in the log.
func flip(disk string, what []byte, random *rand.Rand) (found bool, err error) {
	segments, err := filepath.Glob(filepath.Join(disk, dataDir, "log", "*.seg"))
	if err != nil {
		return false, err
	}
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		if at := bytes.Index(b, what); at >= 0 {
			b[at+random.IntN(len(what))] ^= 1 << random.IntN(8)
			return true, os.WriteFile(path, b, 0o640)
		}
	}
	return false, nil
}
