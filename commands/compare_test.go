package commands

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// startRedis runs a redis-server for a test and returns a connection to it. Without one installed the test is skipped.
func startRedis(t *testing.T) net.Conn {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("no redis-server to compare with")
	}
	socket := filepath.Join(t.TempDir(), "redis.sock")
	cmd := exec.Command(binary, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("unix", socket); err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("redis-server does not answer")
	return nil
}

// strange are arguments that somebody gets wrong.
var strange = []string{"", "0", "1", "-1", "a", "nx", "XX", "gt", "LT", "ex", "px", "exat", "pxat", "keepttl", "persist", "get", "replace", "db",
	"9223372036854775807", "-9223372036854775808", "9223372036854775808", "00", "+1", " 1", "1 ", "-0", "1.5", "1e3", "0x10", "inf", "-inf", "nan",
	"100000", "33177117420", "33177117420000", "4294967295", "4294967296", "16", "k1", "k2", "k3", "x\x00y", "sync", "async", ".5", "5.", "1e-20", "3.0", "bit", "BYTE"}

// TestAgainstRedis runs random commands, most of them wrong, against a Redis that is installed, and compares every byte.
func TestAgainstRedis(t *testing.T) {
	conn := startRedis(t)
	replies := bufio.NewReader(conn)
	h := newHouse(t, Options{MaxBulk: 512 << 20})
	c := h.client()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	d := dice{rand.New(rand.NewPCG(*seed, 2))}
	var names []string
	for _, row := range h.set.Table().Rows() {
		switch row.Name {
		case "keys", "scan", "randomkey", "watch", "unwatch", "ttl", "pttl", "expiretime", "pexpiretime": // an order or a time of their own
		case "smembers", "sunion", "sinter", "sdiff", "spop", "srandmember", "hrandfield", "zrandmember", "sscan": // a dict's order, or chance
		default:
			if row.Flags.Has(FlagBlocking) || row.Since > "7.2" { // blocks, or Redis 7.0 does not know it
				continue
			}
			if !row.Session || strings.Contains(row.Group, "transactions") {
				names = append(names, row.Name)
			}
		}
	}
	for i := range 8000 {
		args := []string{names[d.IntN(len(names))]}
		for range d.IntN(6) {
			args = append(args, d.argument())
		}
		if !sensible(args) {
			continue
		}
		sendCommand(t, conn, args)
		want := readReply(t, replies)
		if got := c.do(args...); got != want {
			t.Fatalf("command %d, %.300q:\n got  %.300q\n want %.300q", i, args, got, want)
		}
	}
}

func sendCommand(t *testing.T, conn net.Conn, args []string) {
	t.Helper()
	var request bytes.Buffer
	fmt.Fprintf(&request, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := conn.Write(request.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// TestPlainStringsAreRedis compares the model of TestPagedStrings with a Redis that is installed.
func TestPlainStringsAreRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: nothing for the race detector")
	}
	conn := startRedis(t)
	replies := bufio.NewReader(conn)
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	d := longDice{dice{rand.New(rand.NewPCG(*seed, 6))}}
	p := plainStrings{}
	for i := range 4000 {
		args := d.command(p)
		sendCommand(t, conn, args)
		if want, got := readReply(t, replies), p.run(args); got != want {
			t.Fatalf("command %d, %.100q:\n got  %.300q\n want %.300q", i, args, got, want)
		}
	}
}

// argument is one of few names, or something strange.
func (d dice) argument() string {
	if d.IntN(3) == 0 {
		return fmt.Sprintf("k%d", 1+d.IntN(5))
	}
	return strange[d.IntN(len(strange))]
}

// sensible leaves out what Redis 7.0.15 does not know, what would make strings of hundreds of megabytes, and times to live that may end within the test.
func sensible(args []string) bool {
	for i, arg := range args[1:] {
		if soon := arg == "1" || arg == "16"; soon {
			switch strings.ToLower(args[i]) { // the one before it
			case "ex", "px":
				return false
			}
			if i == 1 && slices.Contains([]string{"expire", "pexpire", "setex", "psetex"}, args[0]) {
				return false
			}
		}
	}
	if args[0] == "setrange" || args[0] == "setbit" {
		return len(args) < 3 || len(args[2]) <= 6 || args[2][0] == '-'
	}
	return true
}
