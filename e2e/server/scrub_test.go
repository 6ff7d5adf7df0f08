package server

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sett/e2e/process"
	"sett/internal/testport"
)

// TestScrub: one bit of a table that nobody reads is found, named, and turns the node unready.
func TestScrub(t *testing.T) {
	t.Parallel()
	metrics := testport.Addr(t)
	n := process.New(t, filepath.Join(t.TempDir(), "data"), "metrics_listen="+metrics)
	n.Start()
	c := n.Dial()
	for i := range 60 {
		for k := range 1000 {
			c.Send("SET", fmt.Sprint("key:", i, ":", k), strings.Repeat("x", 200))
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if _, err := c.Receive(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Want(t, "OK", "DEBUG", "SETT", "FLUSH")
	c.Want(t, "OK", "DEBUG", "SETT", "COMPACT")
	c.Want(t, "OK", "DEBUG", "SETT", "SCRUB")
	tables, _ := filepath.Glob(filepath.Join(n.Dir, "badger-*", "*.sst"))
	if len(tables) == 0 {
		t.Fatal("there are no tables")
	}
	f, err := os.OpenFile(tables[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 50_000); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 16
	if _, err := f.WriteAt(b, 50_000); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(tables[0])
	c.Refused(t, name, "DEBUG", "SETT", "SCRUB")
	if info := fmt.Sprint(c.Must(t, "INFO", "sett")); !strings.Contains(info, "\r\ndamage:"+name+": ") {
		t.Errorf("INFO does not name %s", name)
	}
	r, err := http.Get("http://" + metrics + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), name) {
		t.Errorf("/readyz: %d %s", r.StatusCode, body)
	}
}
