package commands

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/resp"
	"sett/types"
)

// plainScores are sorted sets as plain Go maps: the truth for TestSortedSets.
type plainScores map[string]map[string]float64

type plainRow struct {
	member string
	score  float64
}

// rows are the members of a sorted set in their order.
func (p plainScores) rows(key string) (rows []plainRow) {
	for member, score := range p[key] {
		rows = append(rows, plainRow{member, score})
	}
	slices.SortFunc(rows, func(a, b plainRow) int { return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member)) })
	return rows
}

func (p plainScores) put(key, member string, score float64) {
	if p[key] == nil {
		p[key] = map[string]float64{}
	}
	p[key][member] = score
}

func (p plainScores) drop(key string, rows []plainRow) {
	for _, row := range rows {
		delete(p[key], row.member)
	}
	if len(p[key]) == 0 {
		delete(p, key)
	}
}

func printed(f float64) string { return string(resp.AppendDouble(nil, f)) }

func replyRows(rows []plainRow, scores bool) string {
	n := len(rows)
	if scores {
		n *= 2
	}
	var reply strings.Builder
	fmt.Fprintf(&reply, "*%d\r\n", n)
	for _, row := range rows {
		reply.WriteString(bulk(row.member))
		if scores {
			reply.WriteString(bulk(printed(row.score)))
		}
	}
	return reply.String()
}

// sortedDice makes commands, runs them on the truth, and says what they answer.
type sortedDice struct {
	elementDice
	plainScores
}

func (d sortedDice) score() float64 {
	switch d.IntN(10) {
	case 0:
		return math.Inf(1 - 2*d.IntN(2))
	case 1:
		return d.NormFloat64()
	}
	return float64(d.IntN(30) - 10)
}

func (d sortedDice) command() (args []string, want string) {
	key, member := d.key(), d.element()
	if names := slices.Sorted(maps.Keys(d.plainScores[key])); len(names) > 0 && d.IntN(2) == 0 {
		member = names[d.IntN(len(names))]
	}
	old, exists := d.plainScores[key][member]
	switch d.IntN(14) {
	case 0, 1, 2:
		return d.add(key)
	case 3:
		by := float64(d.IntN(7) - 3)
		d.put(key, member, old+by)
		return []string{"zincrby", key, printed(by), member}, bulk(printed(old + by))
	case 4:
		d.drop(key, []plainRow{{member, 0}})
		return []string{"zrem", key, member}, truth(exists)
	case 5:
		if !exists {
			return []string{"zscore", key, member}, "$-1\r\n"
		}
		return []string{"zscore", key, member}, bulk(printed(old))
	case 6:
		i := slices.Index(d.rows(key), plainRow{member, old})
		if i < 0 {
			return []string{"zrank", key, member}, "$-1\r\n"
		}
		if d.IntN(2) == 0 {
			return []string{"zrank", key, member}, num(i)
		}
		return []string{"zrevrank", key, member}, num(len(d.plainScores[key]) - 1 - i)
	case 7:
		return d.pop(key)
	case 8:
		return []string{"zcard", key}, num(len(d.plainScores[key]))
	case 9:
		return d.join(key, d.key(), d.key())
	default:
		return d.ranged(key)
	}
}

func (d sortedDice) add(key string) (args []string, want string) {
	args, added := []string{"zadd", key}, 0
	for range 1 + d.IntN(1<<d.IntN(7)) {
		score, member := d.score(), d.element()
		if _, exists := d.plainScores[key][member]; !exists {
			added++
		}
		d.put(key, member, score)
		args = append(args, printed(score), member)
	}
	return args, num(added)
}

func (d sortedDice) pop(key string) (args []string, want string) {
	rows := d.rows(key)
	n := min(len(rows), d.IntN(1<<d.IntN(8)))
	if d.IntN(2) == 0 {
		d.drop(key, rows[:n])
		return []string{"zpopmin", key, strconv.Itoa(n)}, replyRows(rows[:n], true)
	}
	slices.Reverse(rows)
	d.drop(key, rows[:n])
	return []string{"zpopmax", key, strconv.Itoa(n)}, replyRows(rows[:n], true)
}

func (d sortedDice) join(to, a, b string) (args []string, want string) {
	result := maps.Clone(d.plainScores[a])
	if result == nil {
		result = map[string]float64{}
	}
	for member, score := range d.plainScores[b] {
		if sum := result[member] + score; math.IsNaN(sum) {
			result[member] = 0
		} else {
			result[member] = sum
		}
	}
	if len(result) > 4_000 {
		return []string{"ping"}, "+PONG\r\n"
	}
	delete(d.plainScores, to)
	if len(result) > 0 {
		d.plainScores[to] = result
	}
	return []string{"zunionstore", to, "2", a, b}, num(len(result))
}

// ranged shows, counts or removes a range of ranks or scores.
func (d sortedDice) ranged(key string) (args []string, want string) {
	rows := d.rows(key)
	low, high := d.score(), d.score()
	i := slices.IndexFunc(rows, func(r plainRow) bool { return r.score >= low })
	j := i
	for ; i >= 0 && j < len(rows) && rows[j].score <= high; j++ {
	}
	i = max(i, 0)
	found := rows[i:max(i, j)]
	from, to := printed(low), printed(high)
	switch d.IntN(6) {
	case 0:
		return []string{"zcount", key, from, to}, num(len(found))
	case 1:
		return []string{"zrange", key, from, to, "byscore", "withscores"}, replyRows(found, true)
	case 2:
		if len(found) > 200 && d.IntN(4) > 0 {
			return []string{"zcount", key, from, to}, num(len(found))
		}
		d.drop(key, found)
		return []string{"zremrangebyscore", key, from, to}, num(len(found))
	}
	i = d.IntN(len(rows) + 1)
	j = min(len(rows), i+d.IntN(1<<d.IntN(12)))
	first, last := strconv.Itoa(i), strconv.Itoa(max(j-1, 0))
	if j == 0 {
		return []string{"zrange", key, "1", "0"}, "*0\r\n"
	}
	found = rows[i:max(i, j)]
	if j == i && i > 0 {
		return []string{"zrange", key, first, last}, "*0\r\n"
	}
	switch d.IntN(5) {
	case 0:
		d.drop(key, found)
		return []string{"zremrangebyrank", key, first, last}, num(len(found))
	case 1:
		slices.Reverse(found)
		n := len(rows)
		return []string{"zrange", key, strconv.Itoa(n - j), strconv.Itoa(n - 1 - i), "rev"}, replyRows(found, false)
	case 2:
		delete(d.plainScores, "copy")
		d.plainScores["copy"] = map[string]float64{}
		for _, row := range found {
			d.put("copy", row.member, row.score)
		}
		return []string{"zrangestore", "copy", key, first, last}, num(len(found))
	}
	return []string{"zrange", key, first, last, "withscores"}, replyRows(found, true)
}

// keys renames and copies.
func (d sortedDice) keys(c *client) {
	a, b := d.key(), d.key()
	if d.plainScores[a] == nil || a == b {
		return
	}
	if d.plainScores[b] = maps.Clone(d.plainScores[a]); d.IntN(2) == 0 {
		c.must(":1\r\n", "copy", a, b, "replace")
		return
	}
	c.must("+OK\r\n", "rename", a, b)
	delete(d.plainScores, a)
}

// TestRankWithScore: 7.2's option, which the recordings of 7.0 cannot have.
func TestRankWithScore(t *testing.T) {
	c := newHouse(t, Options{}).client()
	c.must(":2\r\n", "zadd", "z", "1", "a", "2.5", "b")
	c.must("*2\r\n:1\r\n$3\r\n2.5\r\n", "zrank", "z", "b", "WithScore")
	c.must("*2\r\n:0\r\n$3\r\n2.5\r\n", "zrevrank", "z", "b", "withscore")
	c.must("*-1\r\n", "zrank", "z", "c", "withscore")
	c.must("*-1\r\n", "zrank", "nokey", "c", "withscore")
	c.must("-ERR wrong number of arguments for 'zrank' command\r\n", "zrank", "z", "b", "withscores")
}

func seeded(t *testing.T, stream uint64) dice {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", *seed)
	return dice{rand.New(rand.NewPCG(*seed, stream))}
}

// TestSortedSets runs random commands on sorted sets and on plain maps; the store is flushed, emptied out of memory and reopened in between.
func TestSortedSets(t *testing.T) {
	for n, values := range []types.Options{{}, {PackedMaxEntries: 4, PackedMaxBytes: 64}} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHouse(t, Options{Values: values})
			c := h.client()
			d := sortedDice{elementDice{seeded(t, 71+uint64(n))}, plainScores{}}
			for step := range 800 {
				args, want := d.command()
				if got := c.do(args...); got != want {
					t.Fatalf("step %d: %.200q\n got %.400q\nwant %.400q", step, args, got, want)
				}
				switch d.IntN(150) {
				case 0:
					h.reopen()
					c = h.client()
				case 1, 2:
					h.store.DropCache()
				case 3, 4:
					d.keys(c)
				case 5:
					d.growTo(c, d.key(), d.IntN(1500))
				}
			}
			h.audit()
			for key := range d.plainScores {
				c.must(replyRows(d.rows(key), true), "zrange", key, "0", "-1", "withscores")
				c.must(":1\r\n", "del", key)
			}
			h.audit()
			h.check()
		})
	}
}

func (d sortedDice) growTo(c *client, key string, n int) {
	args, added := []string{"zadd", key}, 0
	for range n {
		score, member := d.score(), "m"+strconv.Itoa(d.IntN(5000))
		if _, exists := d.plainScores[key][member]; !exists {
			added++
		}
		d.put(key, member, score)
		args = append(args, printed(score), member)
	}
	if n > 0 {
		c.must(num(added), args...)
	}
}

// TestPlacesAreFound compares searches with looking at every place.
func TestPlacesAreFound(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	d := seeded(t, 73)
	args := []string{"geoadd", "g"}
	for n := range 2000 {
		args = append(args, fmt.Sprint(d.Float64()*360-180), fmt.Sprint((d.Float64()*2-1)*85), fmt.Sprint("m", n))
	}
	c.must(":2000\r\n", args...)
	for range 300 {
		shape := types.GeoShape{Longitude: d.Float64()*360 - 180, Latitude: (d.Float64()*2 - 1) * 80, Unit: 1000, Radius: math.Pow(10, 1+2.4*d.Float64())}
		reply := list(t, c.do("geosearch", "g", "fromlonlat", fmt.Sprint(shape.Longitude), fmt.Sprint(shape.Latitude), "byradius", fmt.Sprint(shape.Radius), "km"))
		found := map[string]bool{}
		for _, member := range reply {
			found[member] = true
		}
		// The box of degrees that Redis looks into is as wide as the circle is at the latitude of its end near the pole: beyond a pole, it lacks a part.
		if math.Abs(shape.Latitude)+shape.Radius/111 > 85 || math.Abs(shape.Longitude) > 150 {
			continue
		}
		for n := 4; n < len(args); n += 3 {
			longitude, _ := strconv.ParseFloat(args[n-2], 64)
			latitude, _ := strconv.ParseFloat(args[n-1], 64)
			distance, _ := shape.Distance(longitude, latitude)
			if within := distance <= shape.Radius*1000; within != found[args[n]] && math.Abs(distance-shape.Radius*1000) > 1 {
				t.Fatalf("%v around %v, %v: %s at %v, %v found %v", shape.Radius, shape.Longitude, shape.Latitude, args[n], longitude, latitude, !within)
			}
		}
	}
	if hash := c.do("geohash", "g", "m0"); !strings.HasSuffix(hash, "0\r\n") {
		t.Errorf("geohash %q", hash)
	}
}
