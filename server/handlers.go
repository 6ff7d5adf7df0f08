package server

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"sett/commands"
)

// handler serves a Session row: b.out gets its reply, b.call.Seen and b.call.Wrote what that depends on.
type handler struct {
	run    func(s *session, b *buffers, args [][]byte)
	atOnce bool // is not queued by MULTI
	inside bool // EXEC answers it at its place, under the lock: it only writes its reply, or changes the database
	early  bool // works while the log is replayed
	quick  bool // never waits and is soon done, as all that are inside
	blocks bool // takes its time: the replies before it leave first
	looks  bool // its reply is only true if this node leads

	// travels says that a node which does not lead has the leader run it, like all rows of the data set; the others are about this node or this
	// connection. session.travels knows those of which that depends.
	travels bool
}

// newHandlers gives each Session row of the table its handler. A row without one is a mistake of the program.
func newHandlers(table *commands.Table) map[*commands.Row]*handler {
	byName := make(map[string]*handler)
	for _, family := range []map[string]*handler{connectionHandlers(), clientHandlers(), transactionHandlers(), serverHandlers(),
		saveHandlers(), readHandlers(), replicationHandlers(), clusterHandlers(table), sentinelHandlers(table), observeHandlers()} {
		maps.Copy(byName, family)
	}
	handlers := make(map[*commands.Row]*handler)
	add := func(row *commands.Row) {
		h := byName[row.Name]
		if h == nil && row.Session {
			panic("server: nobody serves " + row.Name)
		}
		if h != nil {
			handlers[row] = h
		}
	}
	for _, row := range table.Rows() {
		add(row)
		for _, sub := range row.Subcommands {
			add(sub)
		}
	}
	return handlers
}

func connectionHandlers() map[string]*handler {
	return map[string]*handler{
		"ping":   {run: ping, inside: true},
		"echo":   {run: echo, inside: true},
		"select": {run: selectDB, inside: true},
		"quit":   {run: quit, quick: true, atOnce: true, early: true},
		"auth":   {run: auth, quick: true, early: true},
		"hello":  {run: hello, inside: true, early: true},
		"reset":  {run: reset, quick: true, atOnce: true, early: true},
	}
}

func transactionHandlers() map[string]*handler {
	return map[string]*handler{
		"multi":   {run: multi, quick: true, atOnce: true},
		"exec":    {run: exec, quick: true, atOnce: true, looks: true}, // if all that is queued is
		"discard": {run: discard, quick: true, atOnce: true},
		"watch":   {run: watch, quick: true, atOnce: true},
		"unwatch": {run: unwatch, quick: true}, // within EXEC it runs last: a round that is run again must still find the keys
	}
}

func serverHandlers() map[string]*handler {
	handlers := map[string]*handler{
		"time":             {run: now, inside: true, early: true},
		"lolwut":           {run: lolwut},
		"module":           {run: onlySubcommands},
		"module|help":      {run: moduleHelp, early: true},
		"module|list":      {run: moduleList},
		"module|load":      {run: refuseModule},
		"module|loadex":    {run: refuseModule},
		"module|unload":    {run: moduleUnload},
		"info":             {run: info, early: true},
		"config":           {run: onlySubcommands},
		"config|get":       {run: configGet, early: true},
		"config|set":       {run: configSet, early: true, blocks: true},
		"config|rewrite":   {run: configRewrite, early: true},
		"config|resetstat": {run: configResetStat, early: true},
		"config|help":      {run: configHelp, early: true},
		"shutdown":         {run: shutdown, early: true, blocks: true},
		"debug":            {run: runDebug, blocks: true},
		"object":           {run: onlySubcommands},
		"object|help":      {run: objectHelp, inside: true, early: true},
		"pfselftest":       {run: pfSelfTest, blocks: true},
		"sett":             {run: onlySubcommands},
		"sett|cluster":     {run: settCluster, blocks: true},
		"sett|digest":      {run: settDigest, blocks: true},
		"sett|help":        {run: settCommandHelp, inside: true, early: true},
		"sett|space":       {run: settSpace},
	}
	for _, name := range []string{"", "|count", "|docs", "|getkeys", "|getkeysandflags", "|help", "|info", "|list"} {
		handlers["command"+name] = &handler{run: command, early: true}
	}
	return handlers
}

// onlySubcommands serves a container that does nothing by itself; its arity has refused the call already.
func onlySubcommands(_ *session, b *buffers, args [][]byte) {
	fail(b, commands.ErrArity(strings.ToLower(string(args[0]))))
}

// fail answers with an error.
func fail(b *buffers, err error) {
	if !commands.ReplyError(&b.out, err) {
		b.out.Error("ERR " + err.Error())
	}
}

func ping(_ *session, b *buffers, args [][]byte) {
	switch len(args) {
	case 1:
		b.out.Status("PONG")
	case 2:
		b.out.Bulk(args[1])
	default:
		fail(b, commands.ErrArity("ping"))
	}
}

func echo(_ *session, b *buffers, args [][]byte) { b.out.Bulk(args[1]) }

func selectDB(s *session, b *buffers, args [][]byte) {
	db, err := s.engine.Data.SelectDB(args[1])
	if err != nil {
		fail(b, err)
		return
	}
	s.db = db
	b.out.Status("OK")
}

// now is TIME: the time that commands run with, with the microseconds that they do not know.
func now(s *session, b *buffers, _ [][]byte) {
	wall := time.Now()
	ms := wall.UnixMilli()
	if s.engine != nil {
		ms = s.engine.Data.Clock().Now()
	}
	us := ms%1000*1000 + wall.UnixMicro()%1000
	b.out.Array(2)
	b.out.BulkString(strconv.FormatInt(ms/1000, 10))
	b.out.BulkString(strconv.FormatInt(us, 10))
}

func quit(s *session, b *buffers, _ [][]byte) {
	b.out.Status("OK")
	s.after = hangUp
}

func objectHelp(_ *session, b *buffers, _ [][]byte) { commands.ReplyHelp(&b.out, commands.ObjectHelp) }

func settCommandHelp(_ *session, b *buffers, _ [][]byte) {
	commands.ReplyHelp(&b.out, commands.SettHelp)
}

// pfSelfTest takes about a second of this connection's time.
func pfSelfTest(s *session, b *buffers, _ [][]byte) {
	if err := s.engine.Data.HyperLogLogSelfTest(); err != nil {
		fail(b, err)
		return
	}
	b.out.Status("OK")
}

// command is COMMAND with all its subcommands.
func command(s *session, b *buffers, args [][]byte) {
	if err := s.server.opts.Table.ReplyCommand(&b.out, args); err != nil {
		fail(b, err)
	}
}
