package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// put is a Runner as commands have: it reads what it overwrites.
type put struct {
	tx         Txn
	key, value []byte
}

func (p *put) Run() error {
	old, err := p.tx.Get(p.key)
	if err != nil {
		return err
	}
	p.tx.Put(p.key, p.value)
	if old == nil {
		p.tx.Count(0, Tally{Keys: 1, Bytes: int64(len(p.value))})
	}
	return nil
}

// BenchmarkUpdate writes random keys of 1 M, 16 batches for each commit, with everything behind it but a log on disk.
func BenchmarkUpdate(b *testing.B) {
	o := small()
	o.GenerationRecords, o.FlushInterval, o.EntryBytes, o.MemoryBudget = 50_000, 1e9, 256<<10, 1<<30
	l := &memLog{forgetful: true}
	s := openStore(b, b.TempDir(), o, l)
	p := &put{key: []byte(metaKey(0, 0, "key:000000000000")), value: make([]byte, 100)}
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := rng.Uint32N(1_000_000)
		binary.BigEndian.PutUint16(p.key[5:], uint16(n)&16383)
		binary.BigEndian.PutUint32(p.key[len(p.key)-4:], n)
		if err := s.Admit(false); err != nil {
			b.Fatal(err)
		}
		if err := s.Update(&p.tx, p); err != nil {
			b.Fatal(err)
		}
		if i%16 == 15 {
			s.Wait(p.tx.Seen())
		}
	}
}
