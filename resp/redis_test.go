package resp

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startRedis starts a redis-server of the version whose behaviour this package has, or skips the test.
func startRedis(t *testing.T) (dial func() *net.UnixConn) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil || testing.Short() {
		t.Skip("no redis-server to compare with")
	}
	if version, _ := exec.Command(binary, "--version").Output(); !bytes.Contains(version, []byte("v=7.0.15 ")) {
		t.Skipf("not Redis 7.0.15: %s", version)
	}
	dir := t.TempDir()
	address := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	server := exec.Command(binary, "--port", "0", "--unixsocket", address.Name, "--save", "", "--dir", dir)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	dial = func() *net.UnixConn {
		conn, err := net.DialUnix("unix", nil, address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for range 200 {
		if conn, err := net.DialUnix("unix", nil, address); err == nil {
			conn.Close()
			return dial
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("redis-server does not listen")
	return nil
}

// ask sends bytes and returns all that Redis answers.
func ask(t *testing.T, conn *net.UnixConn, stream []byte) []byte {
	t.Helper()
	defer conn.Close()
	go func() { // beside the reading, or both sides might wait for the other to read
		conn.Write(stream)
		conn.CloseWrite()
	}()
	reply, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// echoServer answers as a Redis that knows one command.
func echoServer(stream []byte) []byte {
	o, _ := serve(stream, open(), wholeStream)
	var w Writer
	for _, args := range o.commands {
		switch name := args[0]; {
		case strings.EqualFold(name, "echo") && len(args) == 2:
			w.BulkString(args[1])
		case strings.EqualFold(name, "echo"):
			w.Error("ERR wrong number of arguments for 'echo' command")
		default:
			var rest string
			for _, arg := range args[1:] {
				if len(rest) < 128 {
					rest += fmt.Sprintf("'%.*s' ", 128-len(rest), cString(arg))
				}
			}
			w.Error(fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", cString(name), rest))
		}
	}
	if o.err != nil {
		w.Error("ERR " + o.err.Error())
	}
	return w.Bytes()
}

func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

func TestStreamsLikeRedis(t *testing.T) {
	dial := startRedis(t)
	for seed := range int64(2000) {
		stream := randomStream(rand.New(rand.NewSource(seed)))
		want := ask(t, dial(), stream)
		if got := echoServer(stream); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %q\n  got %q\nRedis %q", seed, stream, got, want)
		}
	}
}

// KEYS shows what a pattern matches; for "*" alone Redis does not ask.
func TestGlobLikeRedis(t *testing.T) {
	dial := startRedis(t)
	rnd := rand.New(rand.NewSource(1))
	keys, patterns := []string{""}, []string{"**", "?*", ""}
	var stream Writer
	for range 200 {
		keys = append(keys, randomText(rnd, 6, "ab-]^\\\x7f\x80\xff"))
	}
	for range 4000 {
		patterns = append(patterns, randomText(rnd, 9, "ab-]^\\\x80\xff**?[["))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, key := range keys {
		send(&stream, "SET", key, "")
	}
	for _, pattern := range patterns {
		send(&stream, "KEYS", pattern)
	}
	replies := ask(t, dial(), stream.Bytes())[len("+OK\r\n")*len(keys):]
	for _, pattern := range patterns {
		var want, got []string
		reply, rest, err := read(replies)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range reply.items {
			want = append(want, item.text)
		}
		slices.Sort(want)
		for _, key := range keys {
			if Glob([]byte(pattern), []byte(key), false) {
				got = append(got, key)
			}
		}
		if !slices.Equal(got, want) && pattern != "*" {
			t.Errorf("%q matches %q, in Redis %q", pattern, got, want)
		}
		replies = rest
	}
}

func TestDoubleLikeRedis(t *testing.T) {
	dial := startRedis(t)
	rnd := rand.New(rand.NewSource(1))
	var stream, want Writer
	for i := range 3000 {
		v := math.Float64frombits(rnd.Uint64())
		if i%2 == 0 {
			v = float64(rnd.Int63n(1<<60)) / math.Pow10(rnd.Intn(22))
		}
		if math.IsNaN(v) {
			continue // no score
		}
		member := strconv.Itoa(i)
		send(&stream, "ZADD", "z", strconv.FormatFloat(v, 'g', -1, 64), member)
		want.Int(1)
		send(&stream, "ZSCORE", "z", member)
		want.Double(v)
	}
	if got := ask(t, dial(), stream.Bytes()); !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("%q\nRedis %q", want.Bytes(), got)
	}
}

func randomText(rnd *rand.Rand, maxBytes int, letters string) string {
	text := make([]byte, rnd.Intn(maxBytes+1))
	for i := range text {
		text[i] = letters[rnd.Intn(len(letters))]
	}
	return string(text)
}

func send(w *Writer, args ...string) {
	w.Array(len(args))
	for _, arg := range args {
		w.BulkString(arg)
	}
}
