package storage

import (
	"testing"
	"time"
)

// BenchmarkLookOverBlobs measures what the keeper's looks cost for each chunk: the walk of each survey, and the search for forgotten files.
func BenchmarkLookOverBlobs(b *testing.B) {
	o := smallFiles()
	o.ValueThreshold, o.ValueLogBytes, o.GenerationRecords, o.FlushInterval = 64, 64<<20, 50_000, time.Second
	s := openStore(b, b.TempDir(), o, &memLog{forgetful: true})
	const blobs, chunks = 4000, 100
	for id := range uint64(blobs) {
		var tx Txn
		if err := s.Update(&tx, step(func() error {
			tx.Put([]byte(headerKey(id+1)), []byte("header"))
			for n := range chunks {
				tx.Put([]byte(chunkKey(id+1, uint32(n))), make([]byte, 100))
			}
			return nil
		})); err != nil {
			b.Fatal(err)
		}
	}
	flushAndSync(b, s)
	settleValues(b, s)
	perChunk := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(blobs*chunks), "ns/chunk")
	}
	b.Run("walk", func(b *testing.B) {
		for b.Loop() {
			r := Range{[]byte("b"), []byte("c")}
			scan := s.Scan(r, s.FlushedIndex())
			for ok := scan.Seek(r.Lower); ok; ok = scan.Next() {
				scan.Size()
			}
			scan.Close()
		}
		perChunk(b)
	})
	b.Run("search", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.ForgottenValueLogs(0.5); err != nil {
				b.Fatal(err)
			}
		}
		perChunk(b)
	})
}
