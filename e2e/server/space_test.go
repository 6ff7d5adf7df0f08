package server

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sett/e2e/process"
)

// TestSpaceComesBack overwrites large values again and again, deletes most of them, and wants the value log back at what lives in it.
func TestSpaceComesBack(t *testing.T) {
	t.Parallel()
	const keys, fileBytes = 100, 64 << 20
	rounds := process.Size(15, 150) // 20 MB each
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "storage.barrier_interval=1s")
	n.Start()
	c := n.Dial()
	highest := n.WatchMemory()
	var written [keys]int // the round that wrote each
	for round := range rounds {
		for key := range keys {
			c.Want(t, "OK", "SET", spaceKey(key), spaceValue(key, round))
			written[key] = round
		}
		if round%5 == 2 {
			c.Want(t, "OK", "DEBUG", "SETT", "RECLAIM")
		}
	}
	live := keys / 5
	for key := live; key < keys; key++ {
		c.Want(t, 1, "DEL", spaceKey(key))
	}
	before := infoNumber(t, c, "value_log_bytes")
	for range 3 {
		for _, job := range []string{"FLUSH", "RECLAIM", "COMPACT", "GC"} {
			c.Want(t, "OK", "DEBUG", "SETT", job)
		}
	}
	after, blobs := infoNumber(t, c, "value_log_bytes"), infoNumber(t, c, "blob_bytes")
	t.Logf("value log: %d MB → %d MB for %d MB of blobs, at most %d MB of memory", before>>20, after>>20, blobs>>20, highest())
	if after > 2*blobs+2*fileBytes {
		t.Errorf("the value log has %d bytes for %d bytes of blobs", after, blobs)
	}
	if waiting := infoNumber(t, c, "dead_waiting"); waiting != 0 {
		t.Errorf("%d still wait to be removed", waiting)
	}
	all := func() {
		for key := range live {
			c.Want(t, spaceValue(key, written[key]), "GET", spaceKey(key))
		}
		c.Want(t, live, "DBSIZE")
	}
	all()
	c.Want(t, "OK", "DEBUG", "SETT", "DROP-CACHE")
	all()
	n.Restart()
	c = n.Dial()
	all()
	n.Stop()
	n.Check()
}

func spaceKey(key int) string { return fmt.Sprint("blob:", key) }

// spaceValue is 100 to 300 KB that no other key or round has.
func spaceValue(key, round int) string {
	random := rand.NewChaCha8([32]byte{byte(key), byte(round), byte(round >> 8)})
	b := make([]byte, 100_000+random.Uint64()%200_000)
	random.Read(b)
	return string(b)
}

func infoNumber(t *testing.T, c *process.Client, name string) int {
	t.Helper()
	text := fmt.Sprint(c.Must(t, "INFO", "sett"))
	_, rest, ok := strings.Cut(text, "\n"+name+":")
	if !ok {
		t.Fatalf("INFO has no %s", name)
	}
	number, _, _ := strings.Cut(rest, "\r")
	value, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
