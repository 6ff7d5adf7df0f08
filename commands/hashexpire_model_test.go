package commands

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/types"
)

// plainField is a field of a hash as a plain Go value.
type plainField struct {
	value string
	dies  int64 // 0: never
}

// plainHashes are all hashes: the truth for TestMortalFields.
type plainHashes struct {
	now  int64
	keys map[string]map[string]plainField
}

// find returns a live field.
func (p *plainHashes) find(key, field string) (f plainField, found bool) {
	f, found = p.keys[key][field]
	return f, found && (f.dies == 0 || p.now <= f.dies)
}

// bury removes what is past its time, as the sweeper does.
func (p *plainHashes) bury() {
	for key, fields := range p.keys {
		for field := range fields {
			if _, found := p.find(key, field); !found {
				delete(fields, field)
			}
		}
		if len(fields) == 0 {
			delete(p.keys, key)
		}
	}
}

func (p *plainHashes) put(key, field string, f plainField) {
	if p.keys[key] == nil {
		p.keys[key] = map[string]plainField{}
	}
	p.keys[key][field] = f
}

func (p *plainHashes) remove(key, field string) bool {
	_, found := p.find(key, field)
	if delete(p.keys[key], field); len(p.keys[key]) == 0 {
		delete(p.keys, key)
	}
	return found
}

// expire is HPEXPIREAT of one field.
func (p *plainHashes) expire(key, field, option string, at int64) int {
	f, found := p.find(key, field)
	switch {
	case !found:
		return -2
	case option == "nx" && f.dies != 0, option == "xx" && f.dies == 0, option == "gt" && (f.dies == 0 || at <= f.dies),
		option == "lt" && f.dies != 0 && at >= f.dies:
		return 0
	case at <= p.now:
		p.remove(key, field)
		return 2
	}
	f.dies = at
	p.put(key, field, f)
	return 1
}

func (p *plainHashes) persist(key, field string) int {
	f, found := p.find(key, field)
	switch {
	case !found:
		return -2
	case f.dies == 0:
		return -1
	}
	f.dies = 0
	p.put(key, field, f)
	return 1
}

// live are the fields of a key with their values, in order.
func (p *plainHashes) live(key string) (all []string) {
	for field := range p.keys[key] {
		if f, found := p.find(key, field); found {
			all = append(all, field+"="+f.value)
		}
	}
	slices.Sort(all)
	return all
}

// stringsOf are the strings of a reply that is an array of bulk strings, or of some of them.
func stringsOf(reply string) (all []string) {
	for {
		_, rest, ok := strings.Cut(reply, "$")
		head, body, more := strings.Cut(rest, "\r\n")
		n, err := strconv.Atoi(head)
		if !ok || !more || err != nil || n < 0 || len(body) < n+2 {
			return all
		}
		all, reply = append(all, body[:n]), body[n+2:]
	}
}

func joined(fields []string) (pairs []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		pairs = append(pairs, fields[i]+"="+fields[i+1])
	}
	slices.Sort(pairs)
	return pairs
}

// TestMortalFields runs random commands of hashes whose fields die, alone and in MULTI, with the sweeper, flushes, lost caches, restarts and time
// passing, and compares all with plain Go maps.
func TestMortalFields(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d -steps=%d", *seed, *steps)
	for name, values := range map[string]types.Options{"small": small, "usual": {}} {
		t.Run(name, func(t *testing.T) { testMortalFields(t, values) })
	}
}

// fieldTrial is one run of TestMortalFields.
type fieldTrial struct {
	*testing.T
	dice
	plainHashes
	h *house
	c *client
}

func testMortalFields(t *testing.T, values types.Options) {
	h := newHouse(t, Options{Values: values})
	f := &fieldTrial{t, dice{rand.New(rand.NewPCG(*seed, 11))}, plainHashes{h.hands.now(), map[string]map[string]plainField{}}, h, h.client()}
	for _, name := range numbered("k", 0, 12) {
		other := h.client()
		other.must(ok, "select", "1")
		other.must(ok, "set", name, "v") // sett check wants to see some records
	}
	for i := 0; i < *steps/3 && !t.Failed(); i++ {
		if f.IntN(4) == 0 {
			h.hands.pass(f.IntN(40))
			f.now = h.hands.now()
		}
		switch n := f.IntN(300); {
		case n == 0:
			h.reopen()
		case n < 4:
			h.store.DropCache()
		case n < 6:
			if err := h.store.Flush(); err != nil {
				t.Fatal(err)
			}
		case n == 6:
			h.audit()
		case n == 7:
			h.check()
		case n < 20:
			h.sweep()
			f.bury()
			f.moveKeys()
			f.compareCounts()
		default:
			f.step()
		}
	}
	h.check()
	h.hands.pass(1 << 20)
	f.now = h.hands.now()
	h.sweep()
	f.bury()
	f.compareCounts()
	h.audit()
	h.check()
}

func (f *fieldTrial) key() string { return f.pick("a", "b", "c", "large", "large") }

func (f *fieldTrial) field(key string) string {
	switch n := f.IntN(20); {
	case n == 0:
		return strings.Repeat("long", 300+f.IntN(3))
	case key == "large":
		return "f" + f.int(900)
	}
	return "f" + f.int(12)
}

func (f *fieldTrial) fields(key string) (all []string) {
	for range 1 + f.IntN(5) {
		all = append(all, f.field(key))
	}
	return all
}

func (f *fieldTrial) val() string {
	switch f.IntN(15) {
	case 0:
		return strings.Repeat(f.pick("x", "y"), 1000+f.IntN(9000))
	case 1, 2:
		return strings.Repeat(f.pick("x", "y"), 100+f.IntN(60))
	}
	return f.int(1000)
}

// at is a time at which fields die: soon, a little later, or in the past. Often many at once.
func (f *fieldTrial) at() int64 {
	switch f.IntN(4) {
	case 0:
		return f.now - int64(f.IntN(2))
	case 1:
		return f.now/100*100 + 200
	}
	return f.now + int64(f.IntN(2000))
}

func (f *fieldTrial) want(want string, words ...string) {
	f.Helper()
	if got := f.c.do(words...); got != want {
		f.Fatalf("%.200q:\n got  %.300q\n want %.300q", words, got, want)
	}
}

func (f *fieldTrial) step() {
	key := f.key()
	switch n := f.IntN(100); {
	case n < 20:
		f.set(key)
	case n < 40:
		f.expireSome(key)
	case n < 60:
		f.takeSome(key)
	default:
		f.look(key)
	}
}

func (f *fieldTrial) set(key string) {
	fields, words, dies, keep := f.fields(key), []string{"hset", key}, int64(0), false
	if f.IntN(30) == 0 {
		fields = numbered("f", 0, 100+f.IntN(100)) // at once
	}
	switch at := f.at(); f.IntN(4) {
	case 0:
		words, dies = []string{"hsetex", key, "pxat", fmt.Sprint(at), "fields", strconv.Itoa(len(fields))}, at
	case 1:
		words, keep = []string{"hsetex", key, "keepttl", "fields", strconv.Itoa(len(fields))}, true
	}
	added := 0
	for _, field := range fields {
		value := f.val()
		words = append(words, field, value)
		old, found := f.find(key, field)
		if !found {
			added++
		}
		switch {
		case keep && found:
			f.put(key, field, plainField{value, old.dies})
		case dies != 0 && dies <= f.now:
			f.remove(key, field)
		default:
			f.put(key, field, plainField{value, dies})
		}
	}
	if words[0] == "hsetex" {
		added = 1
	}
	f.want(num(added), words...)
}

func (f *fieldTrial) expireSome(key string) {
	fields, at, option := f.fields(key), f.at(), f.pick("", "", "nx", "xx", "gt", "lt")
	if f.IntN(20) == 0 {
		fields = numbered("f", 0, 200)
	}
	count := strconv.Itoa(len(fields))
	want := "*" + count + "\r\n"
	words := []string{"hpexpireat", key, fmt.Sprint(at)}
	if f.IntN(4) == 0 {
		words = []string{"hpersist", key}
	} else if option != "" {
		words = append(words, option)
	}
	for _, field := range fields {
		if words[0] == "hpersist" {
			want += num(f.persist(key, field))
		} else {
			want += num(f.expire(key, field, option, at))
		}
	}
	f.want(want, append(append(words, "fields", count), fields...)...)
}

// takeSome removes fields, or changes them while it reads them.
func (f *fieldTrial) takeSome(key string) {
	fields, at := f.fields(key), f.at()
	count := strconv.Itoa(len(fields))
	switch f.IntN(4) {
	case 0:
		n := 0
		for _, field := range fields {
			if f.remove(key, field) {
				n++
			}
		}
		f.want(num(n), append([]string{"hdel", key}, fields...)...)
	case 1:
		want := "*" + count + "\r\n"
		for _, field := range fields {
			want += f.shown(key, field)
			f.remove(key, field)
		}
		f.want(want, append([]string{"hgetdel", key, "fields", count}, fields...)...)
	case 2:
		want := "*" + count + "\r\n"
		for _, field := range fields {
			want += f.shown(key, field)
			f.expire(key, field, "", at)
		}
		f.want(want, append([]string{"hgetex", key, "pxat", fmt.Sprint(at), "fields", count}, fields...)...)
	case 3:
		field := fields[0]
		old, found := f.find(key, field)
		if !found {
			old = plainField{"0", 0}
		}
		n, err := strconv.Atoi(old.value)
		if err != nil {
			return
		}
		f.put(key, field, plainField{strconv.Itoa(n + 3), old.dies})
		f.want(num(n+3), "hincrby", key, field, "3")
	}
}

// shown is how HGET shows a field.
func (f *fieldTrial) shown(key, field string) string {
	if x, found := f.find(key, field); found {
		return bulk(x.value)
	}
	return null
}

func (f *fieldTrial) look(key string) {
	field := f.field(key)
	x, found := f.find(key, field)
	switch f.IntN(8) {
	case 0:
		f.want(f.shown(key, field), "hget", key, field)
	case 1:
		want := -2
		if found && x.dies == 0 {
			want = -1
		} else if found {
			want = int(x.dies)
		}
		f.want("*1\r\n"+num(want), "hpexpiretime", key, "fields", "1", field)
	case 2:
		want := 0
		if found {
			want = 1
		}
		f.want(num(want), "hexists", key, field)
	case 3:
		f.want(num(len(x.value)*toInt(found)), "hstrlen", key, field)
	case 4:
		f.same("hgetall", joined(stringsOf(f.c.do("hgetall", key))), f.live(key))
	case 5:
		f.scan(key)
	case 6:
		f.sample(key)
	case 7:
		f.c.must(ok, "multi")
		f.c.must("+QUEUED\r\n", "hget", key, field)
		f.c.must("+QUEUED\r\n", "hvals", key)
		got := f.c.do("exec")
		if want := "*2\r\n" + f.shown(key, field) + fmt.Sprintf("*%d\r\n", len(f.live(key))); !strings.HasPrefix(got, want) {
			f.Fatalf("in MULTI: %.200q, want %.200q", got, want)
		}
	}
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f *fieldTrial) same(what string, got, want []string) {
	f.Helper()
	if !slices.Equal(got, want) {
		f.Fatalf("%s: %d fields instead of %d, or others", what, len(got), len(want))
	}
}

func (f *fieldTrial) scan(key string) {
	seen, cursor := map[string]string{}, "0"
	for {
		reply := stringsOf(f.c.do("hscan", key, cursor, "count", "50"))
		for i := 1; i+1 < len(reply); i += 2 {
			seen[reply[i]] = reply[i+1]
		}
		if cursor = reply[0]; cursor == "0" {
			break
		}
	}
	var got []string
	for field, value := range seen {
		got = append(got, field+"="+value)
	}
	slices.Sort(got)
	f.same("hscan", got, f.live(key))
}

// sample asks for random fields: none may be past its time, as many as there are must come.
func (f *fieldTrial) sample(key string) {
	count := f.IntN(30) - 10
	live := len(f.live(key))
	got := joined(stringsOf(f.c.do("hrandfield", key, strconv.Itoa(count), "withvalues")))
	want := min(count, live)
	if count < 0 && live > 0 {
		want = -count
	}
	if len(got) != max(want, 0) || count > 0 && len(slices.Compact(slices.Clone(got))) != len(got) {
		f.Fatalf("hrandfield %d of %d: %d fields", count, live, len(got))
	}
	all := f.live(key)
	for _, pair := range got {
		if _, found := slices.BinarySearch(all, pair); !found {
			f.Fatalf("hrandfield shows %.100q", pair)
		}
	}
	if one := stringsOf(f.c.do("hrandfield", key)); len(one) != min(live, 1) {
		f.Fatalf("hrandfield of %d: %d fields", live, len(one))
	}
}

// moveKeys copies, renames and removes keys. Nothing past its time is there.
func (f *fieldTrial) moveKeys() {
	from, to := f.key(), f.key()
	if f.keys[from] == nil || from == to {
		return
	}
	switch f.IntN(6) {
	case 0:
		f.want(num(1), "copy", from, to, "replace")
		f.keys[to] = maps.Clone(f.keys[from])
	case 1:
		f.want(ok, "rename", from, to)
		f.keys[to] = f.keys[from]
		delete(f.keys, from)
	case 2:
		f.want(num(1), "del", from)
		delete(f.keys, from)
	case 3:
		f.want(ok, "set", to, "v")
		f.want(num(1), "del", to)
		delete(f.keys, to)
	case 4:
		f.want(num(1), "pexpire", from, "1000")
		f.want(num(1), "persist", from)
	}
}

// compareCounts compares what is exact once everything past its time was removed.
func (f *fieldTrial) compareCounts() {
	f.want(num(len(f.keys)), "dbsize")
	mortal := 0
	for key, fields := range f.keys {
		f.want(num(len(fields)), "hlen", key)
		dies := false
		for _, field := range fields {
			dies = dies || field.dies != 0
		}
		mortal += toInt(dies)
		if encoding := stringsOf(f.c.do("object", "encoding", key))[0]; encoding != "hashtable" && (encoding == "listpackex") != dies {
			f.Fatalf("the encoding of %s is %s", key, encoding)
		}
	}
	if got := f.h.tally(f.h.space(0)).Mortal; got != int64(mortal) {
		f.Fatalf("%d hashes have fields that die, the counter says %d", mortal, got)
	}
}
