package server

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sett/e2e/process"
)

// crowd is a slot full of keys: half of them stay, the other half are replaced again and again.
type crowd struct {
	*testing.T
	n    *process.Node
	keys int
	next int // churn's place; it goes on there after a kill
}

func stableName(i int) string         { return fmt.Sprintf("{slot}stays:%d", i) }
func fleetingName(i, turn int) string { return fmt.Sprintf("{slot}goes:%d:%d", i, turn) }

// fill writes all keys.
func (c *crowd) fill() {
	client := c.n.Dial()
	const pipeline = 500
	for from := 0; from < c.keys; from += pipeline {
		to := min(c.keys, from+pipeline)
		for i := from; i < to; i++ {
			if i%2 == 0 {
				client.Send("SET", stableName(i), "v")
			} else {
				client.Send("SET", fleetingName(i, 0), "v")
			}
		}
		if err := client.Flush(); err != nil {
			c.Fatal(err)
		}
		for range to - from {
			if reply, err := client.Receive(); err != nil || reply != "OK" {
				c.Fatal(reply, err)
			}
		}
	}
}

// churn replaces the fleeting keys, one after the other and again and again, until the connection ends.
func (c *crowd) churn(client *process.Client) {
	const pipeline = 50
	for {
		for range pipeline {
			i, turn := c.next%(c.keys/2)*2+1, c.next/(c.keys/2)
			client.Send("DEL", fleetingName(i, turn))
			client.Send("SET", fleetingName(i, turn+1), "v")
			c.next++
		}
		if client.Flush() != nil {
			return
		}
		for range 2 * pipeline {
			if _, err := client.Receive(); err != nil {
				return
			}
		}
	}
}

// TestScan: one slot with many keys, half of which are replaced meanwhile, and the server is killed in the middle. SCAN ends after a number of
// calls that fits the number of keys, and shows every key that was there all the time.
func TestScan(t *testing.T) {
	t.Parallel()
	c := &crowd{T: t, n: process.New(t, filepath.Join(t.TempDir(), "data")), keys: process.Size(50_000, 1_000_000)}
	c.n.Start()
	c.fill()
	const count = 10
	seen := make(map[string]bool, c.keys)
	var took []time.Duration
	cursor, shown := "0", 0
	var ended chan struct{}
	for half := range 2 {
		churner, scanner := c.n.Dial(), c.n.Dial()
		ended = make(chan struct{})
		go func() {
			defer close(ended)
			c.churn(churner)
		}()
		for {
			begin := time.Now()
			next, err := scanner.ScanOnce(cursor, count, func(name string) {
				shown++
				if strings.HasPrefix(name, "{slot}stays") {
					seen[name] = true
				}
			})
			if err != nil {
				t.Fatalf("call %d: %v", len(took), err)
			}
			took = append(took, time.Since(begin))
			cursor = next
			if cursor == "0" || half == 0 && len(seen) > c.keys/4 {
				break
			}
			// Replacements make new names, which lie anywhere: some are met, as many as were left behind.
			if len(took) > c.keys/count*2 {
				t.Fatalf("SCAN COUNT %d has not ended after %d calls over %d keys", count, len(took), c.keys)
			}
		}
		if half == 0 {
			c.n.Kill()
			<-ended
			c.n.Start()
			t.Logf("killed and started again after %d calls at cursor %s", len(took), cursor)
		}
	}
	if cursor != "0" {
		t.Fatal("SCAN has not ended")
	}
	c.n.Kill()
	<-ended
	for i := 0; i < c.keys; i += 2 {
		if !seen[stableName(i)] {
			t.Fatalf("SCAN has not shown %s", stableName(i))
		}
	}
	t.Logf("%d keys, %d names shown in %d calls, %d keys replaced meanwhile", c.keys, shown, len(took), c.next)
	for i, part := range []string{"first", "last"} {
		tenth := slices.Clone(took[i*(len(took)-len(took)/10):][:len(took)/10])
		slices.Sort(tenth)
		at := func(q float64) time.Duration { return tenth[int(q*float64(len(tenth)-1))].Round(time.Microsecond) }
		t.Logf("time of a call, %s tenth: p50 %v, p99 %v, max %v", part, at(0.5), at(0.99), at(1))
	}
}
