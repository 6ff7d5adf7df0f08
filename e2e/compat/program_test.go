package compat

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/e2e/process"
)

var seed = flag.Uint64("seed", 0, "of the random programs; 0 is the same each day, or with SETT_FULL one of the clock")

// step is a command of a program. Those of client 0 are for sett alone.
type step struct {
	client int
	args   []string
}

// stepsPerProgram is how long a program is: each begins with empty databases.
const stepsPerProgram = 2000

// TestPrograms runs random programs on sett and on the Redis that is installed, and compares the replies.
func TestPrograms(t *testing.T) {
	redis := startRedis(t)
	switch {
	case *seed == 0 && process.Full:
		*seed = uint64(time.Now().UnixNano())
	case *seed == 0:
		*seed = 20261121
	}
	t.Logf("-seed=%d", *seed)
	sets := []string{"appendfsync=no", "disk_reserve=1MiB"}
	if *seed%2 == 0 {
		sets = append(sets, "storage.generation_records=100", "storage.flush_interval=20ms", "storage.packed_max_entries=8")
	}
	sett := startSett(t, sets...)
	productions := known(t, parseGrammar(t), sett)
	failures, programs := 0, process.Size(12, 520)
	for n := 0; n < programs && failures < 5; n++ {
		proto := protocols[n%2]
		d := &duel{newStage(t, redis, proto), newStage(t, sett, proto)}
		program := newProgram(rand.New(rand.NewPCG(*seed, uint64(n))), productions)
		found, err := d.fight(program)
		if err != nil {
			t.Fatalf("program %d: %v", n, err)
		}
		if found != nil {
			failures++
			shrunk, found := d.shrink(program, found)
			t.Errorf("program %d differs; as a script for scripts/, RESP%d:\n%s got %s\nwant %s", n, proto, asScript(shrunk), block(found.sett.String()), block(found.redis.String()))
		}
		d.redis.end()
		d.sett.end()
	}
	t.Logf("%d commands", programs*stepsPerProgram)
}

// TestProgramsFindADifference sets sett up so that it differs, and expects to be told in one line.
func TestProgramsFindADifference(t *testing.T) {
	d := &duel{newStage(t, startRedis(t), 2), newStage(t, startSett(t, "databases=4"), 2)}
	program := newProgram(rand.New(rand.NewPCG(1, 1)), known(t, parseGrammar(t), d.sett.server))
	found, err := d.fight(program)
	if err != nil || found == nil {
		t.Fatalf("no difference found: %v", err)
	}
	shrunk, found := d.shrink(program, found)
	if len(shrunk) != 1 || found.redis.kind == '-' || found.sett.text != "ERR DB index is out of range" {
		t.Errorf("%sgot %swant %s", asScript(shrunk), found.sett, found.redis)
	}
}

// known are the productions whose commands sett has. What sett has and neither the grammar nor notInPrograms names is a failure.
func known(t *testing.T, productions []*production, sett *server) (kept []*production) {
	t.Helper()
	l, err := sett.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer l.conn.Close()
	list, err := l.do("COMMAND", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	has, container := map[string]bool{"nosuch": true}, map[string]bool{}
	for _, item := range list.items {
		has[item.body] = true
		if command, _, sub := strings.Cut(item.body, "|"); sub {
			container[command] = true
		}
	}
	used := map[string]bool{"nosuch": true}
	for _, p := range productions {
		command, subcommand := p.name()
		used[command] = true
		if !has[command] || container[command] && !has[subcommand] {
			t.Logf("sett has no %s yet", command)
			continue
		}
		kept = append(kept, p)
	}
	for name := range has {
		if !used[name] && notInPrograms[name] == "" && !strings.Contains(name, "|") {
			t.Errorf("%s is neither in the grammar nor in notInPrograms", name)
		}
	}
	return kept
}

// newProgram uses few connections, mostly the same for a while, and disturbs sett now and then.
func newProgram(r *rand.Rand, productions []*production) (program []step) {
	w := newWriter(r, productions)
	client := 1
	for range stepsPerProgram {
		if w.IntN(20) == 0 {
			client = 1 + w.IntN(3)
		}
		program = append(program, step{client, w.command()})
		switch n := w.IntN(4000); {
		case n < 10:
			program = append(program, step{0, []string{"DEBUG", "SETT", "FLUSH"}})
		case n < 50:
			program = append(program, step{0, []string{"DEBUG", "SETT", "DROP-CACHE"}})
		case n < 51:
			program = append(program, step{0, []string{"DEBUG", "SETT", "RECLAIM"}})
		case n < 52:
			program = append(program, step{0, []string{"DEBUG", "RELOAD"}})
		}
	}
	return program
}

// duel is one program on both servers.
type duel struct{ redis, sett *stage }

// difference is the first step whose replies are not the same.
type difference struct {
	step        int
	redis, sett *reply
}

// pipelined is how many commands of one connection are sent without waiting for replies.
const pipelined = 64

// fight runs a program up to the first difference.
func (d *duel) fight(program []step) (*difference, error) {
	for _, st := range []*stage{d.redis, d.sett} {
		if err := st.begin(); err != nil {
			return nil, err
		}
	}
	judge := judge{queued: map[int][]string{}}
	for from := 0; from < len(program); {
		client := program[from].client
		if client == 0 {
			if err := d.sett.admin(program[from].args...); err != nil {
				return nil, err
			}
			from++
			continue
		}
		to := from + 1
		for to < len(program) && to-from < pipelined && program[to].client == client {
			to++
		}
		found, err := d.exchange(client, program[from:to], &judge)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, asScript(program[from:to]))
		}
		if found != nil {
			found.step += from
			return found, nil
		}
		from = to
	}
	return nil, nil
}

// exchange sends some commands of one connection to both and compares the replies.
func (d *duel) exchange(client int, steps []step, judge *judge) (*difference, error) {
	var links [2]*link
	for i, st := range []*stage{d.redis, d.sett} {
		l, err := st.link(client)
		if err != nil {
			return nil, err
		}
		links[i] = l
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, l := range links {
			for _, s := range steps {
				l.send(s.args)
			}
			l.flush()
		}
	}()
	defer func() { <-sent }()
	for i, s := range steps {
		want, err := links[0].receive()
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		got, err := links[1].receive()
		if err != nil {
			return nil, fmt.Errorf("sett: %w", err)
		}
		if !judge.same(client, s.args, want, got) {
			links[0].conn.Close() // whoever still sends stops
			links[1].conn.Close()
			return &difference{i, want, got}, nil
		}
	}
	return nil, nil
}

// judge compares replies. What is a matter of chance or time is compared as far as it is not.
type judge struct {
	queued map[int][]string // the commands that MULTI has taken, by connection
}

func (j *judge) same(client int, args []string, want, got *reply) bool {
	name := strings.ToLower(args[0])
	switch name {
	case "hscan", "sscan", "zscan":
		name += " " + strings.ToLower(args[min(2, len(args)-1)])
	}
	if (name == "object" || name == "scan") && len(args) > 1 {
		name += " " + strings.ToLower(args[1])
	}
	queued := j.queued[client]
	switch {
	case want.kind == '+' && want.text == "QUEUED":
		j.queued[client] = append(queued, name)
		return want.equal(got)
	case name == "exec" || name == "discard" || name == "reset" || name == "multi":
		if name != "multi" || want.kind == '+' {
			j.queued[client] = nil
		}
		if name != "exec" || want.kind != '*' || len(want.items) != len(queued) || len(got.items) != len(queued) {
			return want.equal(got)
		}
		for i, name := range queued {
			if !sameReply(name, want.items[i], got.items[i]) {
				return false
			}
		}
		return want.kind == got.kind
	}
	return sameReply(name, want, got)
}

// sameReply compares the replies of one command.
func sameReply(name string, want, got *reply) bool {
	if want.equal(got) {
		return true
	}
	switch name {
	case "object idletime": // Redis shares small integers between keys, and their clock
		return want.kind == ':' && got.kind == ':'
	case "object refcount": // what EXEC runs holds its own arguments
		return near(want, got, 1)
	case "ttl", "expiretime":
		return near(want, got, 120)
	case "pttl", "pexpiretime":
		return near(want, got, 120_000)
	case "keys", "smembers", "sinter", "sunion", "sdiff", "spop", "hkeys", "hvals", "srandmember", "hrandfield":
		return unordered(want).equal(unordered(got)) || chosen(name) && likeChosen(want, got)
	case "zrandmember":
		return anything(want).equal(anything(got))
	case "hgetall":
		return pairs(want).equal(pairs(got))
	case "hscan 0", "sscan 0", "zscan 0", "scan 0":
		if len(want.items) != 2 || len(got.items) != 2 {
			return false
		}
		partly := want.items[0].body != "0" || got.items[0].body != "0"
		return partly || unordered(want).equal(unordered(got))
	}
	switch {
	case strings.HasPrefix(name, "scan "), strings.HasPrefix(name, "sscan "), strings.HasPrefix(name, "hscan "), strings.HasPrefix(name, "zscan "): // a cursor is each server's own
		return len(want.items) == len(got.items)
	case name == "randomkey":
		return want.kind == got.kind && want.null() == got.null()
	case name == "hello":
		own := []string{"version", "id"}
		return but(want, own).equal(but(got, own))
	}
	return false
}

// chosen tells whether a command draws what it answers with.
func chosen(name string) bool { return name == "srandmember" || name == "hrandfield" }

// likeChosen tells whether as many were drawn.
func likeChosen(want, got *reply) bool {
	return want.kind == got.kind && want.null() == got.null() && want.kind != '-' && len(want.items) == len(got.items)
}

func near(want, got *reply, tolerance int64) bool {
	a, err1 := strconv.ParseInt(want.text, 10, 64)
	b, err2 := strconv.ParseInt(got.text, 10, 64)
	return err1 == nil && err2 == nil && want.kind == ':' && got.kind == ':' && a > 0 && b > 0 && max(a-b, b-a) <= tolerance
}

// shrinkTime is how long shrinking may take.
const shrinkTime = 30 * time.Second

// shrink drops steps as long as a difference remains.
func (d *duel) shrink(program []step, found *difference) ([]step, *difference) {
	program = slices.Clone(program[:found.step+1])
	begin := time.Now()
	for size := len(program) / 2; size > 0; size /= 2 {
		for from := 0; from < len(program)-1 && time.Since(begin) < shrinkTime; {
			rest := slices.Concat(program[:from], program[min(from+size, len(program)-1):])
			again, err := d.fight(rest)
			if err != nil || again == nil {
				from += size
				continue
			}
			program, found = rest[:again.step+1], again
		}
	}
	return program, found
}

// asScript writes a program as a script has it.
func asScript(program []step) string {
	var out strings.Builder
	for _, s := range program {
		switch {
		case s.client == 0:
			out.WriteString("@sett ")
		case s.client > 1:
			fmt.Fprintf(&out, "%d> ", s.client)
		}
		for i, arg := range s.args {
			if i > 0 {
				out.WriteByte(' ')
			}
			out.WriteString(asWord(arg))
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func asWord(arg string) string {
	for unit := 1; unit <= 9; unit++ {
		if n := len(arg) / unit; len(arg) > 50 && strings.Repeat(arg[:unit], n) == arg {
			return fmt.Sprintf("%s*%d", quote(arg[:unit]), n)
		}
	}
	if quoted := quote(arg); arg == "" || quoted[1:len(quoted)-1] != arg || strings.Contains(arg, " ") {
		return quoted
	}
	return arg
}
