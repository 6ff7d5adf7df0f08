package compat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// grammar has what programs consist of: a weight and a command in each line. [ … ] may be left out, { a | b } is one of several, + and * behind
// something repeat it, <…> is one of terminals.
//
// No number is so small or large that C's strtod sets errno: Redis' SORT believes that it was about its own numbers. Scripts have them.
//
// HyperLogLogs are damaged in their header only: of a PFADD that comes upon damaged registers, Redis keeps what it has done before the error, sett
// nothing.
const grammar = `
40 SET <key> <value>
10 SET <key> <value> { NX | XX | GET | KEEPTTL }
20 SET <key> <value> [ { NX | XX } ] [ GET ] [ { EX <seconds> | PX <ms> | EXAT <at> | PXAT <atMs> | KEEPTTL } ]
 5 SET <key> <value> { NX | XX | GET | KEEPTTL | EX <seconds> | PX <ms> | EXAT <at> | PXAT <atMs> } *
30 GET <key>
10 GETDEL <key>
 8 GETEX <key> [ { EX <seconds> | PX <ms> | EXAT <at> | PXAT <atMs> | PERSIST } ]
 5 GETSET <key> <value>
10 SETNX <key> <value>
 5 SETEX <key> <seconds> <value>
 5 PSETEX <key> <ms> <value>
15 APPEND <key> <value>
10 STRLEN <key>
15 SETRANGE <key> <offset> <value>
10 GETRANGE <key> <index> <index>
 3 SUBSTR <key> <index> <index>
10 INCR <key>
 8 DECR <key>
10 INCRBY <key> <int>
 8 DECRBY <key> <int>
12 INCRBYFLOAT <key> <float>
10 MGET <key> +
10 MSET { <key> <value> } +
 8 MSETNX { <key> <value> } +

12 SETBIT <key> <bitOffset> <bit>
10 GETBIT <key> <bitOffset>
 8 BITCOUNT <key> [ <index> <index> [ { BIT | BYTE } ] ]
10 BITPOS <key> <bit> [ <index> [ <index> [ { BIT | BYTE } ] ] ]
12 BITOP { AND | OR | XOR } <key> <key> +
 5 BITOP NOT <key> <key>
15 BITFIELD <key> { GET <type> <bitOffset> | SET <type> <bitOffset> <int> | INCRBY <type> <bitOffset> <int> | OVERFLOW { WRAP | SAT | FAIL } } +
10 BITFIELD <key> { GET <type> <place> | SET <type> <place> <int> | INCRBY <type> <place> <int> | OVERFLOW { WRAP | SAT | FAIL } } +
 5 BITFIELD_RO <key> { GET <type> <place> } *

 8 SET <short> <text>
 3 APPEND <short> <text>
10 LCS <short> <short> [ LEN ] [ IDX ] [ MINMATCHLEN <count> ] [ WITHMATCHLEN ]

12 PFADD <hll> <value> +
 5 PFADD <hll> <int> *
 2 PFADD <key> <value>
 8 PFCOUNT <hll> +
 5 PFMERGE <hll> <hll> *
 1 PFCOUNT <key> <hll>
 5 GET <hll>
 2 PFDEBUG ENCODING <hll>
 2 PFDEBUG DECODE <hll>
 1 PFDEBUG TODENSE <hll>
 1 SETRANGE <hll> { 0 | 4 | 5 | 8 | 15 } { H | a | 0 }
 1 DEL <hll>

25 SADD <set> <member> +
 5 SADD <set> <int> +
10 SREM <set> <member> +
 5 SCARD <set>
 8 SISMEMBER <set> <member>
 5 SMISMEMBER <set> <member> +
10 SMEMBERS <set>
 8 SMOVE <set> <set> <member>
 2 SINTER <set> +
 2 SUNION <set> +
 2 SDIFF <set> +
 4 SINTERSTORE <set> <set> +
 4 SUNIONSTORE <set> <set> +
 4 SDIFFSTORE <set> <set> +
 6 SINTERCARD { 1 <set> | 2 <set> <set> | 3 <set> <set> <key> } [ LIMIT <count> ]
 4 SSCAN <set> 0 [ MATCH <pattern> ] COUNT 1000
 5 SRANDMEMBER <set> [ { <count> | -1 | -20 } ]
 1 SPOP <set> { 0 | -1 | 10000 }
 1 SADD <key> <member>
 1 SREM <key> <member>
 1 SISMEMBER <key> <member>
 1 SUNIONSTORE <key> <set> <key>
 1 SDIFFSTORE <key> <set> <key>
 4 COPY <set> <set> [ REPLACE ]
 2 RENAME <set> <set>
 2 EXPIRE <set> <seconds>
 1 TYPE <set>
 5 OBJECT ENCODING <set>
 2 DEL <set>

25 HSET <hash> { <member> <value> } +
 3 HSET <hash> <longElement> <longElement>
 5 HMSET <hash> { <member> <value> } +
10 HSETNX <hash> <member> <value>
15 HGET <hash> <member>
 8 HMGET <hash> <member> +
12 HDEL <hash> <member> +
 4 HLEN <hash>
 4 HSTRLEN <hash> <member>
 5 HEXISTS <hash> <member>
12 HGETALL <hash>
 4 HKEYS <hash>
 4 HVALS <hash>
12 HINCRBY <hash> <member> <int>
12 HINCRBYFLOAT <hash> <member> <float>
 5 HRANDFIELD <hash> [ { <count> | -1 | -20 } [ WITHVALUES ] ]
 4 HSCAN <hash> 0 [ MATCH <pattern> ] COUNT 1000
 1 HSET <key> <member> <int>
 1 HSETNX <key> <member> <int>
 1 HINCRBY <key> <member> <int>
 1 HGET <set> <member>
 1 HDEL <set> <member>
 4 COPY <hash> <hash> [ REPLACE ]
 2 RENAME <hash> <hash>
 2 EXPIRE <hash> <seconds>
 1 TYPE <hash>
 5 OBJECT ENCODING <hash>
 2 DEL <hash>

25 LPUSH <list> <element> +
25 RPUSH <list> <element> +
 4 RPUSH <list> <longElement> +
 5 LPUSHX <list> <element> +
 5 RPUSHX <list> <element> +
10 LPOP <list> [ <count> ]
10 RPOP <list> [ <count> ]
 5 LLEN <list>
10 LINDEX <list> <index>
10 LSET <list> <index> <element>
20 LRANGE <list> <index> <index>
 3 LRANGE <list> 0 -1
 4 LTRIM <list> <index> <index>
10 LINSERT <list> { BEFORE | AFTER } <element> <element>
12 LREM <list> <int> <element>
 3 LREM <list> { 0 | 1 | -1 | 2 | -2 } <element>
12 LPOS <list> <element> [ RANK { 1 | 2 | -1 | -2 | <int> } ] [ COUNT <count> ] [ MAXLEN <count> ]
10 LMOVE <list> <list> { LEFT | RIGHT } { LEFT | RIGHT }
 8 RPOPLPUSH <list> <list>
10 LMPOP { 1 <list> | 2 <list> <list> | 3 <key> <list> <list> } { LEFT | RIGHT } [ COUNT <count> ]
 2 LPUSH <key> <element>
 1 LPOP <key>
 1 LMOVE <list> <key> LEFT RIGHT
 2 GET <list>
 4 COPY <list> <list> [ REPLACE ]
 2 RENAME <list> <list>
 2 EXPIRE <list> <seconds>
 1 TYPE <list>
 1 OBJECT ENCODING <list>
 1 DEL <list>

30 ZADD <zset> { <score> <entry> } +
15 ZADD <zset> [ { NX | XX } ] [ { GT | LT } ] [ CH ] { <score> <entry> } +
 6 ZADD <zset> { NX | XX | GT | LT | CH | INCR } <score> <entry>
 3 ZADD <zset> { NX | XX | GT | LT | CH | INCR } * <score> <entry>
 5 ZADD <zset> <score> <longMember>
15 ZADD <lex> { 0 <entry> } +
 1 ZADD <lex> 0 <longMember>
 3 ZADD <zset> { 0 <entry> } +
 3 ZREM <lex> <entry> +
10 ZINCRBY <zset> <score> <entry>
12 ZREM <zset> <entry> +
10 ZSCORE <zset> <entry>
 5 ZMSCORE <zset> <entry> +
 5 ZCARD <zset>
10 ZCOUNT <zset> <scoreBound> <scoreBound>
 6 ZLEXCOUNT <lex> <lexBound> <lexBound>
 8 ZRANK <zset> <entry>
 8 ZREVRANK <zset> <entry>
15 ZRANGE <zset> <index> <index> [ REV ] [ WITHSCORES ]
10 ZRANGE <zset> <scoreBound> <scoreBound> BYSCORE [ REV ] [ LIMIT <index> <index> ] [ WITHSCORES ]
 8 ZRANGE <lex> <lexBound> <lexBound> BYLEX [ REV ] [ LIMIT <index> <index> ]
 3 ZRANGE <zset> <index> <index> { BYSCORE | REV | WITHSCORES | LIMIT 0 1 } *
 5 ZREVRANGE <zset> <index> <index> [ WITHSCORES ]
 5 ZRANGEBYSCORE <zset> <scoreBound> <scoreBound> [ WITHSCORES ] [ LIMIT <index> <index> ]
 5 ZREVRANGEBYSCORE <zset> <scoreBound> <scoreBound> [ WITHSCORES ] [ LIMIT <index> <index> ]
 4 ZRANGEBYLEX <lex> <lexBound> <lexBound> [ LIMIT <index> <index> ]
 4 ZREVRANGEBYLEX <lex> <lexBound> <lexBound> [ LIMIT <index> <index> ]
 6 ZRANGESTORE <zset> <zset> <index> <index> [ REV ]
 6 ZRANGESTORE <zset> <zset> <scoreBound> <scoreBound> BYSCORE [ REV ] [ LIMIT <index> <index> ]
 4 ZRANGESTORE <zset> <lex> <lexBound> <lexBound> BYLEX [ REV ] [ LIMIT <index> <index> ]
 4 ZREMRANGEBYRANK <zset> <index> <index>
 4 ZREMRANGEBYSCORE <zset> <scoreBound> <scoreBound>
 3 ZREMRANGEBYLEX <lex> <lexBound> <lexBound>
 8 ZPOPMIN <zset> [ <count> ]
 8 ZPOPMAX <zset> [ <count> ]
 8 ZMPOP { 1 <zset> | 2 <zset> <zset> | 3 <key> <zset> <zset> } { MIN | MAX } [ COUNT <count> ]
 8 ZUNION { 1 <source> | 2 <source> <source> | 3 <source> <source> <source> } [ AGGREGATE { SUM | MIN | MAX } ] [ WITHSCORES ]
 8 ZINTER { 1 <source> | 2 <source> <source> | 3 <source> <source> <source> } [ AGGREGATE { SUM | MIN | MAX } ] [ WITHSCORES ]
 8 ZUNION 2 <source> <source> WEIGHTS <score> <score> [ AGGREGATE { SUM | MIN | MAX } ] WITHSCORES
 8 ZINTER 2 <source> <source> WEIGHTS <score> <score> [ AGGREGATE { SUM | MIN | MAX } ] WITHSCORES
 5 ZDIFF 2 <source> <source> [ WITHSCORES ]
 4 ZINTERCARD 2 <source> <source> [ LIMIT <count> ]
 5 ZUNIONSTORE <zset> 2 <source> <source> [ WEIGHTS <score> <score> ] [ AGGREGATE { SUM | MIN | MAX } ]
 5 ZINTERSTORE <zset> 2 <source> <source> [ WEIGHTS <score> <score> ] [ AGGREGATE { SUM | MIN | MAX } ]
 4 ZDIFFSTORE <zset> 2 <source> <source>
 4 ZRANDMEMBER <zset> [ <count> [ WITHSCORES ] ]
 3 ZSCAN <zset> 0 COUNT 1000 [ MATCH <pattern> ]
 4 SADD <memberSet> <entry> +
 2 ZADD <key> <score> <entry>
 1 ZRANGE <key> 0 -1
 1 GET <zset>
 4 COPY <zset> <zset> [ REPLACE ]
 2 RENAME <zset> <zset>
 2 EXPIRE <zset> <seconds>
 1 TYPE <zset>
 5 OBJECT ENCODING <zset>
 2 DEL <zset>

12 SORT <list> [ ALPHA ] [ { ASC | DESC } ] [ LIMIT <index> <index> ]
 6 SORT <set> [ ALPHA ] [ { ASC | DESC } ] [ LIMIT <index> <index> ]
 4 SORT <list> BY <weight> [ { ASC | DESC } ] [ LIMIT <index> <index> ] [ GET # ] [ GET <weight> ]
 4 SORT <list> BY <weight> ALPHA [ { ASC | DESC } ] [ GET # ] [ GET <weight> ] [ STORE <list> ]
 4 SORT <set> BY <realWeight> [ { ASC | DESC } ] [ LIMIT <index> <index> ] [ GET <weight> ] +
 3 SORT { <list> | <lex> } BY nosort [ { ASC | DESC } ] [ LIMIT <index> <index> ] [ GET # ] [ GET <weight> ] [ STORE <list> ]
 3 SORT { <list> | <set> | <lex> } ALPHA [ { ASC | DESC } ] [ LIMIT <index> <index> ] STORE <list>
 2 SORT <set> BY nosort [ { ASC | DESC } ] [ LIMIT <index> <index> ] STORE <list>
 4 SORT_RO <list> [ ALPHA ] [ { ASC | DESC } ] [ LIMIT <index> <index> ] [ GET <weight> ] *
 2 SORT <list> { ASC | DESC | ALPHA | LIMIT <index> <index> | BY nosort | GET # | STORE <list> } *
 1 SORT <key> STORE <key>
 4 SET <weighed> { <int> | <text> }
 4 HSET <weighedHash> a <int> b <text>
 1 DEL <weighed>

15 GEOADD <geo> [ { NX | XX } ] [ CH ] { <longitude> <latitude> <entry> } +
 6 GEOPOS <geo> <entry> +
 6 GEOHASH <geo> <entry> +
 8 GEODIST <geo> <entry> <entry> [ { m | km | ft | mi | KM } ]
12 GEOSEARCH <geo> { FROMMEMBER <entry> | FROMLONLAT <longitude> <latitude> } { BYRADIUS <distance> <unit> | BYBOX <distance> <distance> <unit> } [ { ASC | DESC } ] [ COUNT <count> [ ANY ] ] [ WITHCOORD ] [ WITHDIST ] [ WITHHASH ]
 6 GEOSEARCHSTORE <zset> <geo> { FROMMEMBER <entry> | FROMLONLAT <longitude> <latitude> } { BYRADIUS <distance> <unit> | BYBOX <distance> <distance> <unit> } [ { ASC | DESC } ] [ COUNT <count> [ ANY ] ]
 5 GEORADIUS <geo> <longitude> <latitude> <distance> <unit> [ WITHDIST ] [ WITHCOORD ] [ WITHHASH ] [ COUNT <count> [ ANY ] ] [ { ASC | DESC } ]
 5 GEORADIUS_RO <geo> <longitude> <latitude> <distance> <unit> [ WITHDIST ] [ WITHCOORD ] [ WITHHASH ] [ COUNT <count> [ ANY ] ] [ { ASC | DESC } ]
 5 GEORADIUSBYMEMBER <geo> <entry> <distance> <unit> [ WITHDIST ] [ COUNT <count> ] [ { ASC | DESC } ]
 5 GEORADIUSBYMEMBER_RO <geo> <entry> <distance> <unit> [ WITHDIST ] [ COUNT <count> ] [ { ASC | DESC } ]
 3 GEORADIUS <geo> <longitude> <latitude> <distance> <unit> STORE <zset> [ COUNT <count> ]
 2 GEORADIUSBYMEMBER <geo> <entry> <distance> <unit> STORE <zset>
 4 ZRANGE <geo> 0 -1 WITHSCORES
 2 ZREM <geo> <entry>

10 DEL <key> +
 5 UNLINK <key> +
 8 EXISTS <key> +
 5 TOUCH <key> +
 8 TYPE <key>
 8 RENAME <key> <key>
 8 RENAMENX <key> <key>
12 COPY <key> <key> [ DB <db> ] [ REPLACE ]
 2 COPY <hll> <hll> [ REPLACE ]
 8 MOVE <key> <db>
 3 KEYS <pattern>
 2 SCAN 0 [ MATCH <pattern> ] COUNT 1000 [ TYPE { string | hash | list | set } ]
 2 RANDOMKEY
 3 DBSIZE
10 OBJECT ENCODING <key>
 2 OBJECT REFCOUNT <key>
 1 OBJECT IDLETIME <key>
 1 OBJECT FREQ <key>
 1 OBJECT ENCODING <hll>

15 EXPIRE <key> <seconds> [ { NX | XX | GT | LT } ]
 8 PEXPIRE <key> <ms> [ { NX | XX | GT | LT } ]
15 EXPIREAT <key> <at> [ { NX | XX | GT | LT } ]
10 PEXPIREAT <key> <atMs> [ { NX | XX | GT | LT } ]
 3 PEXPIREAT <key> <atMs> { NX | XX | GT | LT } *
 2 EXPIRE <key> { 0 | -1 | -100 }
 1 EXPIREAT <key> { 0 | 1 | 1000 }
 8 TTL <key>
 8 PTTL <key>
 8 EXPIRETIME <key>
 8 PEXPIRETIME <key>
10 PERSIST <key>

12 SELECT <db>
 2 SWAPDB <db> <db>
 1 FLUSHDB [ { SYNC | ASYNC } ]
 1 FLUSHALL [ { SYNC | ASYNC } ]

20 MULTI
25 EXEC
 3 DISCARD
10 WATCH <key> +
 2 UNWATCH

 3 PING [ <value> ]
 3 ECHO <value>
 1 RESET
 1 HELLO [ { 2 | 3 } ]
 1 AUTH <value>
 1 CLIENT SETNAME <name>
 1 CLIENT GETNAME
 3 COMMAND GETKEYS <command>
 2 COMMAND GETKEYSANDFLAGS <command>
 2 NOSUCH <value> *
`

// notInPrograms are commands that the grammar has to do without.
var notInPrograms = map[string]string{
	"asking": "the same error always", "bgrewriteaof": "the disk", "bgsave": "the disk", "cluster": "the same error always", "config": "changes what is compared: scripts", "debug": "is each server's own",
	"failover": "the same error always", "info": "is each server's own", "lastsave": "the time", "latency": "is each server's own", "lolwut": "art",
	"memory": "is each server's own", "module": "fixed", "monitor": "ends the connection's replies", "pfselftest": "takes seconds",
	"psync": "ends the connection's replies", "quit": "ends the connection", "readonly": "fixed", "readwrite": "fixed", "replconf": "replication",
	"replicaof": "replication", "role": "fixed", "save": "the disk", "sentinel": "Redis knows it as a Sentinel only", "sett": "Redis does not have it", "shutdown": "ends the server", "slaveof": "replication", "slowlog": "is each server's own",
	"blmove": "waits: scripts", "bzmpop": "waits: scripts", "bzpopmax": "waits: scripts", "bzpopmin": "waits: scripts", "blmpop": "waits: scripts", "blpop": "waits: scripts", "brpop": "waits: scripts", "brpoplpush": "waits: scripts",
	"sync": "ends the connection's replies", "time": "the time", "wait": "fixed", "waitaof": "Redis 7.0 does not have it",
	"hexpire": "Redis 7.0 does not have it", "hexpireat": "Redis 7.0 does not have it", "hexpiretime": "Redis 7.0 does not have it",
	"hgetdel": "Redis 7.0 does not have it", "hgetex": "Redis 7.0 does not have it", "hpersist": "Redis 7.0 does not have it",
	"hpexpire": "Redis 7.0 does not have it", "hpexpireat": "Redis 7.0 does not have it", "hpexpiretime": "Redis 7.0 does not have it",
	"hpttl": "Redis 7.0 does not have it", "hsetex": "Redis 7.0 does not have it", "httl": "Redis 7.0 does not have it",
}

// symbol is a part of a command: a word, a terminal, or a group of alternatives.
type symbol struct {
	word         string
	terminal     string
	alternatives [][]*symbol
	optional     bool
	repeat       byte // '+', '*' or 0
}

type production struct {
	weight int
	parts  []*symbol
}

// name is that of COMMAND INFO.
func (p *production) name() (command, subcommand string) {
	command = strings.ToLower(p.parts[0].word)
	if len(p.parts) > 1 && p.parts[1].word != "" {
		subcommand = command + "|" + strings.ToLower(p.parts[1].word)
	}
	return command, subcommand
}

func parseGrammar(t *testing.T) (productions []*production) {
	t.Helper()
	for _, line := range strings.Split(grammar, "\n") {
		tokens := strings.Fields(line)
		if len(tokens) == 0 {
			continue
		}
		weight, err := strconv.Atoi(tokens[0])
		parts, rest := parseSymbols(tokens[1:])
		if err != nil || len(rest) > 0 {
			t.Fatalf("grammar: %q", line)
		}
		productions = append(productions, &production{weight, parts})
	}
	return productions
}

// parseSymbols reads a sequence, up to what ends it.
func parseSymbols(tokens []string) (sequence []*symbol, rest []string) {
	for len(tokens) > 0 {
		token := tokens[0]
		switch token {
		case "|", "]", "}":
			return sequence, tokens
		case "+", "*":
			sequence[len(sequence)-1].repeat = token[0]
			tokens = tokens[1:]
		case "[", "{":
			group := &symbol{optional: token == "["}
			for tokens[0] == token || tokens[0] == "|" {
				var alternative []*symbol
				alternative, tokens = parseSymbols(tokens[1:])
				group.alternatives = append(group.alternatives, alternative)
			}
			sequence, tokens = append(sequence, group), tokens[1:]
		default:
			s := &symbol{word: token}
			if strings.HasPrefix(token, "<") {
				s = &symbol{terminal: strings.Trim(token, "<>")}
			}
			sequence, tokens = append(sequence, s), tokens[1:]
		}
	}
	return sequence, nil
}

// writer makes programs by chance.
type writer struct {
	*rand.Rand
	productions []*production
	weight      int
}

func newWriter(r *rand.Rand, productions []*production) *writer {
	w := &writer{Rand: r, productions: productions}
	for _, p := range productions {
		w.weight += p.weight
	}
	return w
}

// command is one command of the grammar, mostly as it should be.
func (w *writer) command() []string {
	for {
		n := w.IntN(w.weight)
		for _, p := range w.productions {
			if n -= p.weight; n < 0 {
				args := w.sequence(nil, p.parts)
				if w.IntN(16) == 0 {
					args = w.spoil(args)
				}
				if harmless(args) {
					return args
				}
				break
			}
		}
	}
}

func (w *writer) sequence(args []string, parts []*symbol) []string {
	for _, s := range parts {
		times := 1
		switch {
		case s.optional:
			times = w.IntN(2)
		case s.repeat == '+':
			times = 1 + w.IntN(4)
		case s.repeat == '*':
			times = w.IntN(4)
		}
		for range times {
			switch {
			case s.word != "":
				args = append(args, s.word)
			case s.terminal == "command":
				args = append(args, w.command()...)
			case s.terminal != "":
				args = append(args, w.terminal(s.terminal))
			default:
				args = w.sequence(args, s.alternatives[w.IntN(len(s.alternatives))])
			}
		}
	}
	return args
}

// strange are arguments that somebody gets wrong.
var strange = []string{"", "0", "1", "-1", "a", "nx", "XX", "gt", "LT", "ex", "px", "exat", "pxat", "keepttl", "persist", "get", "replace", "db", "len",
	"9223372036854775807", "-9223372036854775808", "9223372036854775808", "00", "+1", " 1", "1 ", "-0", "1.5", "1e3", "0x10", "inf", "-inf", "nan",
	"4294967295", "4294967296", "16", "k1", "k2", "k3", "x\x00y", "\r\n", "\xff", "sync", "async", ".5", "5.", "1e-20", "3.0", "bit", "BYTE", "u8", "#1", "u64", "sat"}

// spoil makes a mistake.
func (w *writer) spoil(args []string) []string {
	i := w.IntN(len(args))
	switch w.IntN(6) {
	case 0:
		return slices.Delete(args, max(i, 1)%len(args), max(i, 1)%len(args)+1*min(len(args)-1, 1))
	case 1:
		return slices.Insert(args, i+1, args[i])
	case 2:
		return slices.Insert(args, i+1, pick(w, strange))
	case 3:
		args[i] = strings.ToLower(args[i])
	case 4:
		if j := w.IntN(len(args)); i > 0 && j > 0 {
			args[i], args[j] = args[j], args[i]
		}
	case 5:
		if i > 0 {
			args[i] = pick(w, strange)
		}
	}
	return args
}

func pick[T any](w *writer, list []T) T { return list[w.IntN(len(list))] }

var borders = []string{"9223372036854775807", "-9223372036854775808", "9223372036854775806", "-9223372036854775807", "4294967296", "2147483648", "-2147483649", "65536"}

// terminal is one of the arguments that the grammar names.
func (w *writer) terminal(name string) string {
	switch name {
	case "key":
		if w.IntN(100) == 0 {
			return pick(w, []string{"", "\x00", strings.Repeat("long name ", 30)})
		}
		return "k" + w.digits(6)
	case "list":
		return "l" + w.digits(4)
	case "set":
		return "u" + w.digits(4)
	case "hash":
		return "f" + w.digits(4)
	case "member":
		if w.IntN(3) > 0 {
			return pick(w, []string{"a", "b", "c", "", "1", "2", "3", "-1", "x\x00"})
		}
		return w.value()
	case "element":
		if w.IntN(3) > 0 {
			return pick(w, []string{"a", "b", "c", "", "1", "2", "x\x00"})
		}
		return w.value()
	case "longElement":
		return strings.Repeat(pick(w, []string{"p", "q"}), 1020+w.IntN(10)+w.IntN(2)*8000)
	case "weight": // of SORT
		return pick(w, []string{"w*", "w*", "w*", "v*->a", "v*->b", "v*->none", "w", "*", "v*"})
	case "realWeight": // with a constant one, a set is shown in Redis' order of hashes
		return pick(w, []string{"w*", "v*->a", "v*->none", "*"})
	case "weighed":
		return "w" + pick(w, []string{"a", "b", "c", "", "1", "2", "3", "-1"})
	case "weighedHash":
		return "v" + pick(w, []string{"a", "b", "c", "", "1", "2", "3", "-1"})
	case "zset":
		return "z" + w.digits(4)
	case "lex": // whose scores are the same: in others, the order of members means nothing
		return "x" + w.digits(2)
	case "memberSet":
		return "m" + w.digits(2)
	case "source":
		return pick(w, []string{"z", "z", "z", "m"}) + w.digits(4)
	case "geo":
		return "g" + w.digits(2)
	case "entry":
		if w.IntN(3) > 0 {
			return pick(w, []string{"a", "b", "c", "d", "aa", "ab", "b\x00", "", "1", "2"})
		}
		return w.text(12) + w.digits(40)
	case "longMember":
		return strings.Repeat(pick(w, []string{"p", "q"}), pick(w, []int{60, 1020, 9000})+w.IntN(10))
	case "score":
		return pick(w, []string{w.digits(5), w.digits(5), "-" + w.digits(5), w.float(), w.float(), "inf", "-inf", "1e-300", "1." + w.digits(1000), "0x1p3"})
	case "scoreBound":
		return pick(w, []string{"", "", "("}) + pick(w, []string{w.digits(5), "-" + w.digits(5), "-inf", "+inf", "inf", w.float(), "-5", "300"})
	case "lexBound":
		return pick(w, []string{"-", "+", "-", "+", "[" + w.text(4), "(" + w.text(4), "[a", "(a", "[b", "(c", "[", "("})
	case "longitude":
		return pick(w, []string{w.angle(180), w.angle(180), w.angle(180), w.angle(3), "180", w.angle(200)})
	case "latitude":
		return pick(w, []string{w.angle(85), w.angle(85), w.angle(85), w.angle(3), w.angle(85), w.angle(85), "85.05112878", "-85.05112878", w.angle(100)})
	case "distance":
		return pick(w, []string{w.digits(10), w.digits(1000), w.digits(1_000_000), w.digits(30_000_000), w.digits(100) + "." + w.digits(1000), "0", "1e9", "-1"})
	case "unit":
		return pick(w, []string{"m", "km", "ft", "mi", "m", "km", "KM", "x"})
	case "short":
		return "s" + w.digits(3)
	case "hll":
		return "h" + w.digits(4)
	case "db":
		return pick(w, []string{"0", "0", "0", "1", "1", "2", "15", "16", "-1"})
	case "value":
		return w.value()
	case "text":
		return w.text(40)
	case "name":
		return pick(w, []string{"me", "you", "", "a b", "\n"})
	case "int":
		return w.int()
	case "count":
		return w.digits(6)
	case "float":
		return w.float()
	case "index":
		return pick(w, []string{"0", "-1", w.digits(20), "-" + w.digits(20), w.digits(200), w.digits(40000), pick(w, borders)})
	case "offset":
		return pick(w, []string{"0", w.digits(20), w.digits(200), w.digits(20), w.digits(40000), "-1", "536870912"})
	case "bitOffset":
		return pick(w, []string{"0", w.digits(20), w.digits(200), w.digits(2000), w.digits(300000), "-1", "4294967296"})
	case "place":
		return pick(w, []string{w.digits(100), "#" + w.digits(20), "#" + w.digits(200), w.digits(20000)})
	case "bit":
		return pick(w, []string{"0", "1", "0", "1", "0", "1", "0", "1", "2", "-1"})
	case "type":
		return pick(w, []string{"u", "i"}) + w.digits(65)
	case "seconds": // never the same twice: GT and LT compare
		return pick(w, []string{strconv.Itoa(100_000 + w.IntN(100_000_000)), strconv.Itoa(100_000 + w.IntN(100_000_000)), strconv.Itoa(100_000 + w.IntN(100_000_000)), "0", "-5", pick(w, borders[:2])})
	case "ms":
		n := 100_000_000 + w.Int64N(100_000_000_000)
		return pick(w, []string{strconv.FormatInt(n, 10), strconv.FormatInt(n+1, 10), strconv.FormatInt(n+2, 10), "0", "-5", pick(w, borders[:2])})
	case "at":
		return strconv.Itoa(33_177_117_420 + w.IntN(5))
	case "atMs":
		return strconv.Itoa(33_177_117_420_123 + 300*w.IntN(5))
	case "pattern":
		return pick(w, []string{"*", "k*", "k?", "k[1-3]", "k[^1-3]", "[hs]*", "k1", "", "\\k1", "*1", "k[", "k[3-1]", "**1*"})
	}
	panic("grammar: <" + name + ">")
}

func (w *writer) angle(limit float64) string {
	return strconv.FormatFloat((w.Float64()*2-1)*limit, 'f', 4+w.IntN(8), 64) // far apart: among equally distant ones, the order is a matter of Redis' quicksort
}

func (w *writer) digits(n int) string { return strconv.Itoa(w.IntN(n)) }

func (w *writer) int() string {
	switch w.IntN(10) {
	case 0:
		return pick(w, borders)
	case 1, 2:
		return strconv.FormatInt(int64(w.Uint64())>>w.IntN(64), 10)
	case 3:
		return "-" + w.digits(1000)
	}
	return w.digits(300)
}

func (w *writer) float() string {
	switch w.IntN(8) {
	case 0:
		return fmt.Sprintf("%d.%de%d", w.IntN(20)-10, w.IntN(1000), w.IntN(60)-30)
	case 1:
		return pick(w, []string{"1e300", "-1e300", "1e-300", "3.0", "0.1", "123456789.123456789", "1e17", "-0", "inf", "nan"})
	case 2:
		return strconv.FormatFloat(w.NormFloat64()*1e6, 'g', -1, 64)
	case 3:
		return w.int()
	}
	return fmt.Sprintf("%d.%02d", w.IntN(200)-100, w.IntN(100))
}

func (w *writer) value() string {
	switch n := w.IntN(400); {
	case n < 1:
		return strings.Repeat(w.text(8)+"!", 10_000)
	case n < 4:
		return strings.Repeat(w.text(8)+"?", 1000)
	case n < 20:
		return strings.Repeat(w.text(8)+".", 60)
	case n < 140:
		return w.int()
	case n < 180:
		return w.float()
	case n < 200:
		return pick(w, strange)
	}
	return w.text(60)
}

// text is short, and often the same or nearly.
func (w *writer) text(limit int) string {
	b := make([]byte, w.IntN(limit))
	kind := w.IntN(4)
	for i := range b {
		switch kind {
		case 0:
			b[i] = byte(w.Uint32())
		case 1:
			b[i] = "01"[w.IntN(2)]
		default:
			b[i] = "abcd"[w.IntN(4)]
		}
	}
	return string(b)
}

// everywhereAlike leaves out a SPOP of some members, after which two servers are not the same, and asks for no replies of gigabytes.
func everywhereAlike(name string, args []string) bool {
	n := int64(0)
	if len(args) > 2 {
		n, _ = strconv.ParseInt(args[2], 10, 64)
	}
	switch name {
	case "spop":
		return len(args) > 3 || len(args) == 3 && (n < 1 || n >= 10_000)
	case "srandmember", "hrandfield":
		return n > -1000 || len(args) > 4 || n < -1<<63+1
	}
	return true
}

// harmless leaves out what would make strings of hundreds of megabytes, and times that may end, or be compared with each other, within the test.
func harmless(args []string) bool {
	name := strings.ToLower(args[0])
	if !everywhereAlike(name, args) {
		return false
	}
	for i, arg := range args[1:] {
		before := strings.ToLower(args[i])
		n, err := strconv.ParseInt(strings.TrimPrefix(arg, "#"), 10, 64)
		switch {
		case name == "lcs" && (strings.HasPrefix(arg, "k") || strings.HasPrefix(arg, "h") || len(arg) > 2 && i < 2):
			return false // its time is the product of the lengths
		case err != nil || n <= 0:
			continue
		}
		option, large := name == "set" || name == "getex", n > 300_000
		switch {
		case option && (before == "ex" || before == "exat") && n < 50_000, option && (before == "px" || before == "pxat") && n < 50_000_000,
			option && (before == "exat" || before == "pxat") && n < 1<<32 && name == "set",
			(name == "expire" || name == "setex") && i == 1 && n < 50_000, (name == "pexpire" || name == "psetex") && i == 1 && n < 50_000_000,
			(name == "expire" || name == "pexpire") && i == 1 && len(args) > 3 && slices.Contains(strange, arg),
			name == "setrange" && i == 1 && large && n < 1<<29,
			name == "setbit" && i == 1 && n > 2_400_000 && n < 1<<32,
			strings.HasPrefix(name, "bitfield") && (arg[0] == '#' && n > 30_000 || n > 2_400_000) && n < 1<<33:
			return false
		}
	}
	return true
}
