package replication

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCluster is three nodes in one process with 60 bytes in each write, from 50 and from 500 clients.
func BenchmarkCluster(b *testing.B) {
	for _, fsync := range []Fsync{Everysec, Always} {
		for _, clients := range []int{50, 500} {
			b.Run(fmt.Sprintf("%v/%d", fsync, clients), func(b *testing.B) {
				tr := newTrio(b, 3, ClusterOptions{Fsync: fsync, Heartbeat: time.Second})
				lead := tr.leader()
				var n atomic.Int64
				var group sync.WaitGroup
				b.ResetTimer()
				for range clients {
					group.Go(func() {
						for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
							if err := lead.set(fmt.Sprint("key", i%100_000), "0123456789012345678901234567890123456789"); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
				b.ReportMetric(float64(b.N)/float64(lead.c.metrics.Proposals.Load()), "writes/entry")
			})
		}
	}
}
