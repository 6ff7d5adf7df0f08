package server

import (
	"strings"
	"testing"
	"time"

	"sett/storage"
)

// TestSettSpace: sums, and what is not known yet.
func TestSettSpace(t *testing.T) {
	ts := startServer(t, setup{loading: true})
	engine := ts.newEngine(ts.data)
	space := Space{BlobBytes: -1, ValueLogBytes: 70, TableBytes: 200, MemtableBytes: 30}
	engine.Space = func() Space { return space }
	ts.Begin(engine)
	ask := func() string {
		var b buffers
		settSpace(&session{server: ts.Server, engine: engine}, &b, nil)
		return strings.NewReplacer("\r\n", " ").Replace(string(b.out.Bytes()))
	}
	want := func(parts ...string) {
		t.Helper()
		got := ask()
		for _, p := range parts {
			if !strings.Contains(got, " "+p+" ") {
				t.Errorf("no %q in %s", p, got)
			}
		}
	}
	want("disk_bytes :300", "live_bytes :-1", "tombstones :-1", "value_log :-1", "sampled :-1", "backlog_bytes :0", "drain_ms :0", "jobs *0")

	space.BlobBytes, space.SampledMs = 20, 12345
	space.Tables = [storage.Causes]int64{storage.Live: 100, storage.Tombstone: 1, storage.Shadowed: 2, storage.Expired: 3, storage.DeadCollection: 4, storage.FlushedKeyspace: 5}
	space.DeadWaiting, space.ExpiredWaiting = 8, 9
	space.Jobs = []SpaceJob{
		{Name: "one", LastRunMs: 777, Did: "something", Before: 50, After: 40, Runs: 2, Moved: 90, Backlog: 1000, Drain: 2 * time.Second},
		{Name: "two", Backlog: 500, Drain: time.Second},
	}
	want("live_bytes :120", "tombstones :1", "shadowed :2", "expired :3", "dead_collections :4", "flushed_keyspaces :5", "value_log :50", "sampled :12345",
		"expired :9 $4 dead :8", "backlog_bytes :1500 $8 drain_ms :3000", "last_run :777", "did $9 something", "last_run :-1",
		"before_bytes :50", "after_bytes :40", "runs :2", "moved_bytes :90")
	metrics := ts.scrape()
	for _, line := range []string{`sett_space_backlog_bytes{job="one"} 1000`, `sett_space_backlog_bytes{job="two"} 500`, "sett_space_drain_seconds 3",
		`sett_table_content_bytes{kind="live"} 100`, `sett_table_content_bytes{kind="dead_collections"} 4`} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
}
