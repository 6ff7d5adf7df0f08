package config

import (
	"errors"
	"math"
	"path/filepath"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// settings returns the keys that do something in this version.
func settings() []Group {
	return []Group{
		{Title: "Clients", Keys: clientSettings()},
		{Title: "Access", Keys: accessSettings()},
		{Title: "TLS", Keys: tlsSettings(),
			About: "Files that change are loaded again within a minute, and at once by CONFIG SET of any of these; if they are wrong the old ones stay. " +
				"Connections keep the certificate they began with."},
		{Title: "Logging", Keys: loggingSettings()},
		{Title: "Data", Keys: dataSettings()},
		{Title: "Operation", Keys: operationSettings()},
		{Title: "How much data there may be", Keys: limitSettings(),
			About: "For a cache: see \"sett as a cache\" in docs/operations.md. The memory of the process is another matter: memory_budget."},
		{Title: "How keys are kept", Keys: keySettings()},
		{Title: "Observation", Keys: observeSettings(),
			About: "What operators see: SLOWLOG, LATENCY, INFO and the metrics of docs/metrics.md."},
		{Title: "Storage", Table: "storage", Keys: storageSettings(),
			About: "Recent writes in memory over Badger on disk."},
		{Title: "Log", Table: "log", Keys: logSettings(),
			About: "The log is the truth; Badger is its index."},
		{Title: "A cluster", Table: "cluster", Keys: clusterSettings(),
			About: "Several nodes that hold the same data; docs/cluster.md. The same file serves all of them. None of this matters as long as cluster.peers is empty."},
		{Title: "Agreement in a cluster", Table: "raft", Keys: raftSettings(),
			About: "How the nodes agree on one log."},
		{Title: "Expiry", Table: "ttl", Keys: ttlSettings(),
			About: "A key is invisible from the millisecond at which it expires; the sweeper gives its space back."},
		{Title: "Compaction", Table: "compaction", Keys: compactionSettings(),
			About: "What is dead in Badger's files goes in the background; SETT SPACE shows what waits."},
	}
}

func observeSettings() []Key {
	return []Key{
		{Name: "metrics_listen", Kind: Text, Default: "127.0.0.1:7391", Unit: "address:port", Change: Start,
			Effect: "Where Prometheus finds /metrics, and others /healthz and /readyz; empty: nowhere. It has no password: keep it to addresses that only " +
				"you can reach. If the default one is taken the server starts without, and says so; any other has to work.",
			refine: checkAddress},
		{Name: "slowlog-log-slower-than", Kind: Int, Default: "10000", Min: -1, Max: math.MaxInt64, Unit: "microseconds",
			Effect: "A command that ran as long goes into the slow log, 0: every command, -1: none."},
		{Name: "slowlog-max-len", Kind: Int, Default: "128", Min: 0, Max: math.MaxInt64, Unit: "entries",
			Effect: "Length of the slow log; the oldest entries go. Each takes up to 5 KiB of memory."},
		{Name: "latency-monitor-threshold", Kind: Int, Default: "0", Min: 0, Max: math.MaxInt64, Unit: "milliseconds",
			Effect: "What takes as long is an event that LATENCY shows: commands, writes and fsyncs of the log, flushes, barriers, stalls; 0: nothing is."},
		{Name: "latency-tracking", Kind: Bool, Default: "yes",
			Effect: "Counts the times of each command, for INFO latencystats, LATENCY HISTOGRAM and the metrics."},
		{Name: "latency-tracking-info-percentiles", Kind: List, Default: "50 99 99.9",
			Effect: "The percentiles that INFO latencystats shows.", refine: refinePercentiles},
	}
}

func clientSettings() []Key {
	return []Key{
		{Name: "port", Kind: Int, Default: "6379", Min: 0, Max: 65535, Unit: "port number",
			Effect: "TCP port for clients, on every address of bind; 0: none."},
		{Name: "bind", Kind: List, Default: "127.0.0.1 -::1", Unit: "addresses",
			Effect: "Addresses to listen on. A leading - means: start without it where the machine does not have it. `*` is all IPv4 addresses, " +
				"`::*` all IPv6 ones.",
			refine: checkBind},
		{Name: "tcp-backlog", Kind: Int, Default: "511", Min: 0, Max: math.MaxInt32, Unit: "connections", Change: Immutable,
			Effect: "How many connections may wait to be accepted; the system's own limit (net.core.somaxconn) is another one."},
		{Name: "unixsocket", Kind: Text, Default: "", Unit: "path", Change: Immutable,
			Effect: "A Unix socket for clients, made anew at each start; empty: none."},
		{Name: "unixsocketperm", Kind: Octal, Default: "0", Min: 0, Max: 0o777, Change: Immutable,
			Effect: "Its permissions; 0 leaves them to the umask."},
		{Name: "maxclients", Kind: Int, Default: "10000", Min: 1, Max: math.MaxUint32, Unit: "connections",
			Effect: "Connections beyond this number are refused with Redis' error."},
		{Name: "timeout", Kind: Int, Default: "0", Min: 0, Max: math.MaxInt32, Unit: "seconds",
			Effect: "A connection on which nothing arrives for this long is closed; 0 keeps it."},
		{Name: "tcp-keepalive", Kind: Int, Default: "300", Min: 0, Max: math.MaxInt32, Unit: "seconds",
			Effect: "Time between TCP keepalive probes on client connections that are silent; 0 sends none."},
		{Name: "databases", Kind: Int, Default: "16", Min: 1, Max: 65536, Unit: "databases", Change: Immutable,
			Effect: "SELECT takes 0 to this number - 1."},
		{Name: "proto-max-bulk-len", Agreed: true, Kind: Bytes, Default: "512MiB", Min: mib, Max: 512 * mib, Unit: "bytes",
			Effect: "Longest argument of a command, and longest string that a command may make."},
		{Name: "client-query-buffer-limit", Kind: Bytes, Default: "auto", Min: mib, Max: math.MaxInt64, Unit: "bytes",
			Effect: "Longest command with all its arguments; a client that sends more is disconnected.",
			derive: func(budget int64) int64 { return budget / 8 }, Rule: "memory_budget / 8"},
		{Name: "client-output-buffer-limit", Kind: List, Default: "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
			Effect: "Replies in memory that a client has not taken. One that has more than the first number (bytes) is closed at once; one that has had more than the " +
				"second for longer than the third (seconds), too; 0: no limit. Long values are read while they leave and do not count. " +
				"Only normal clients exist in this version.",
			refine: refineOutputLimits},
		{Name: "enable-debug-command", Kind: Enum, Default: "no", Choices: []string{"no", "yes", "local"}, Change: Immutable,
			Effect: "Who may call DEBUG: nobody, everybody, or clients on this machine."},
	}
}

func accessSettings() []Key {
	return []Key{
		{Name: "requirepass", Kind: Text, Default: "", Unit: "password",
			Effect: "Clients must authenticate with this password (AUTH, HELLO) before anything else; empty: they need not. Who is connected stays."},
		{Name: "protected-mode", Kind: Bool, Default: "yes",
			Effect: "Without a password only clients on this machine (127.0.0.1, ::1, Unix socket) are let in."},
	}
}

func tlsSettings() []Key {
	return []Key{
		{Name: "tls-port", Kind: Int, Default: "0", Min: 0, Max: 65535, Unit: "port number", Change: Start,
			Effect: "TCP port for clients that speak TLS, on every address of bind; 0: none. `port` 0 leaves only this one."},
		{Name: "tls-cert-file", Kind: Text, Default: "", Unit: "path", Effect: "The server's certificate, PEM, with the chain behind it."},
		{Name: "tls-key-file", Kind: Text, Default: "", Unit: "path", Effect: "Its private key, PEM, without a password."},
		{Name: "tls-ca-cert-file", Kind: Text, Default: "", Unit: "path", Effect: "Certificates that may have signed those of clients, PEM."},
		{Name: "tls-ca-cert-dir", Kind: Text, Default: "", Unit: "path", Effect: "A directory with files of such certificates; all are read."},
		{Name: "tls-auth-clients", Kind: Enum, Default: "yes", Choices: []string{"no", "yes", "optional"},
			Effect: "Whether clients must show a certificate, need not, or may; one that is shown must be good."},
		{Name: "tls-protocols", Kind: Text, Default: "", Unit: "protocols",
			Effect: "Some of TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3, without a gap; empty: the last two."},
		{Name: "tls-ciphers", Kind: Text, Default: "", Unit: "cipher suites",
			Effect: "Cipher suites up to TLS 1.2, with colons between their names (OpenSSL's or IANA's); groups and exclusions are not understood. " +
				"Empty or DEFAULT: those that Go holds to be safe. crypto/tls decides which of them goes first, whatever tls-prefer-server-ciphers says."},
		{Name: "tls-session-caching", Kind: Bool, Default: "yes",
			Effect: "Clients get session tickets, so that they connect again faster. They keep them, so tls-session-cache-size has nothing to limit."},
		{Name: "tls-session-cache-timeout", Kind: Int, Default: "300", Min: 0, Max: math.MaxInt32, Unit: "seconds",
			Effect: "How long a session may be resumed; 0: up to seven days."},
	}
}

func loggingSettings() []Key {
	return []Key{
		{Name: "loglevel", Kind: Enum, Default: "notice", Choices: []string{"debug", "verbose", "notice", "warning"},
			Effect: "The least important messages to log."},
		{Name: "logfile", Kind: Text, Default: "", Unit: "path", Change: Immutable,
			Effect: "The file that messages are appended to; empty: stderr."},
		{Name: "log_format", Kind: Enum, Default: "text", Choices: []string{"text", "json"}, Change: Start,
			Effect: "One line per message: time, level, text and key=value pairs, or a JSON object."},
	}
}

func dataSettings() []Key {
	return []Key{
		{Name: "dir", Kind: Text, Default: "./data", Unit: "path", Change: Protected,
			Effect: "The data directory, made where it is missing. CONFIG GET shows its absolute path.", refine: absoluteDir},
		{Name: "appendfsync", Alias: "fsync", Kind: Enum, Default: "everysec", Choices: []string{"everysec", "always", "no"},
			Effect: "When the log is fsynced. always: before a write is acknowledged. everysec: once a second, so that a power cut may take the last second; " +
				"killing the process takes nothing. no: when the operating system writes it. fsync is another name for it."},
		{Name: "memory_budget", Kind: Bytes, Default: "1GiB", Min: 128 * mib, Max: 16 * tib, Unit: "bytes", Change: Start,
			Effect: "Memory the server may use; it is divided over caches, recent writes, Badger and clients."},
		{Name: "disk_reserve", Kind: Bytes, Default: "1GiB", Min: mib, Max: 16 * tib, Unit: "bytes",
			Effect: "When less than this is free on the data directory's disk (beyond what is already promised), writes get -MISCONF; deletes still pass, " +
				"and service resumes by itself."},
		{Name: "scrub_interval", Kind: Duration, Default: "168h", Min: 0, Max: int64(8760 * time.Hour),
			Effect: "How often all tables and the value log are read in the background and their checksums compared, within half of this time; 0: never."},
	}
}

func limitSettings() []Key {
	return []Key{
		{Name: "maxmemory", Agreed: true, Kind: Bytes, Default: "0", Min: 0, Max: math.MaxInt64, Unit: "bytes",
			Effect: "How many bytes of data there may be: names and values of all databases, on disk or in memory; 0: no limit. What happens above it " +
				"maxmemory_policy says."},
		{Name: "max_disk", Kind: Bytes, Default: "0", Min: 0, Max: math.MaxInt64, Unit: "bytes",
			Effect: "How large the data directory may become, without the log; 0: no limit. With noeviction, commands that add data get -OOM while it is larger. " +
				"Else the server finds out how much data fits and evicts down to that; until compactions have given the space back the directory is larger."},
		{Name: "maxmemory-policy", Agreed: true, Kind: Enum, Default: "noeviction", Choices: []string{"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
			"allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction"},
			Effect: "Which keys go when there is too much data: of all, or of those with a time to live, the ones used longest ago, the ones used least often, the ones " +
				"that die first, any. noeviction: none, and commands that add data get -OOM. " +
				"With one of the lfu policies it is counted how often keys are used, and OBJECT FREQ answers; else OBJECT IDLETIME does."},
		{Name: "maxmemory-samples", Agreed: true, Kind: Int, Default: "5", Min: 1, Max: math.MaxInt32, Unit: "keys",
			Effect: "Of so many keys one is evicted: more choose better and take longer."},
		{Name: "maxmemory-eviction-tenacity", Agreed: true, Kind: Int, Default: "10", Min: 0, Max: 100, Unit: "steps",
			Effect: "For how long a command that adds data waits when evictions are behind, after one batch of them: 50 µs a step up to 10, then 15 % more for each; " +
				"100: until they are not."},
		{Name: "lfu-log-factor", Agreed: true, Kind: Int, Default: "10", Min: 0, Max: math.MaxInt32, Unit: "factor",
			Effect: "The higher, the more uses it takes until OBJECT FREQ grows by one."},
		{Name: "lfu-decay-time", Agreed: true, Kind: Int, Default: "1", Min: 0, Max: math.MaxInt32, Unit: "minutes",
			Effect: "In this time OBJECT FREQ falls by one; 0: never."},
	}
}

func keySettings() []Key {
	return []Key{
		{Name: "hll-sparse-max-bytes", Agreed: true, Kind: Bytes, Default: "3000", Min: 0, Max: math.MaxInt64, Unit: "bytes",
			Effect: "A HyperLogLog that would become longer than this in its sparse encoding becomes dense: 12 KiB."},
		{Name: "set-max-intset-entries", Agreed: true, Kind: Int, Default: "512", Min: 0, Max: math.MaxInt64, Unit: "members",
			Effect: "OBJECT ENCODING answers intset for a set of integers that never had more members than this, and they are shown in their order; " +
				"how a set lies on disk is another matter: storage.packed_max_entries."},
		{Name: "hash-max-listpack-entries", Agreed: true, Alias: "hash-max-ziplist-entries", Kind: Int, Default: "512", Min: 0, Max: math.MaxInt64, Unit: "fields",
			Effect: "OBJECT ENCODING answers listpack for a hash that never had more fields than this, and HSCAN shows it at once."},
		{Name: "hash-max-listpack-value", Agreed: true, Alias: "hash-max-ziplist-value", Kind: Bytes, Default: "64", Min: 0, Max: math.MaxInt64, Unit: "bytes",
			Effect: "… and never had a longer field or value than this."},
		{Name: "zset-max-listpack-entries", Agreed: true, Alias: "zset-max-ziplist-entries", Kind: Int, Default: "128", Min: 0, Max: math.MaxInt64, Unit: "members",
			Effect: "OBJECT ENCODING answers listpack for a sorted set that never had more members than this, and ZSCAN shows it at once."},
		{Name: "zset-max-listpack-value", Agreed: true, Alias: "zset-max-ziplist-value", Kind: Bytes, Default: "64", Min: 0, Max: math.MaxInt64, Unit: "bytes",
			Effect: "… and never had a longer member than this."},
	}
}

func storageSettings() []Key {
	return []Key{
		{Name: "storage.value_threshold", Kind: Bytes, Default: "16KiB", Min: kib, Max: 30 * kib, Unit: "bytes", Change: Start,
			Effect: "A longer value is kept apart from its key, as a blob in chunks."},
		{Name: "storage.blob_chunk", Kind: Bytes, Default: "64KiB", Min: 4 * kib, Max: 128 * kib, Unit: "bytes", Change: Start,
			Effect: "Size of the chunks in which a blob is stored. What is stored already keeps its own."},
		{Name: "storage.batch_max_bytes", Kind: Bytes, Default: "auto", Min: 64 * kib, Max: 2 * gib, Unit: "bytes", Change: Start,
			Effect: "Largest effect of one command or MULTI; beyond it the command gets an error and has done nothing.",
			derive: func(budget int64) int64 { return min(budget/16, 2*gib) }, Rule: "memory_budget / 16, at most 2GiB"},
		{Name: "storage.packed_max_bytes", Kind: Bytes, Default: "2KiB", Min: 64, Max: 16 * kib, Unit: "bytes", Change: Start,
			Effect: "A string that is changed in place and is longer is kept in pages, so that a change writes a page and not the string. A list, set, hash or sorted set of more bytes is spread over records of its own."},
		{Name: "storage.packed_max_entries", Kind: Int, Default: "128", Min: 1, Max: 1024, Unit: "elements", Change: Start,
			Effect: "A list, set, hash or sorted set of more elements is spread over records of its own. Smaller ones are one record."},
		{Name: "storage.staged_max_bytes", Kind: Bytes, Default: "2GiB", Min: mib, Max: 1 << 40, Unit: "bytes", Change: Start,
			Effect: "Values above 1 MiB are stored while they arrive. All that are on their way at the same time may have this many bytes; a further one gets an error."},
		{Name: "storage.generation_records", Kind: Int, Default: "400000", Min: 100, Max: 10_000_000, Unit: "records", Change: Start,
			Effect: "Recent writes are gathered in generations. One is closed, and then written to Badger, when it holds this many records."},
		{Name: "storage.generation_bytes", Kind: Bytes, Default: "auto", Min: 64 * kib, Max: gib, Unit: "bytes", Change: Start,
			Effect: "A generation is also closed when it holds this many bytes.",
			derive: func(budget int64) int64 { return min(budget/32, 32*mib) }, Rule: "memory_budget / 32, at most 32MiB"},
		{Name: "storage.flush_interval", Kind: Duration, Default: "4s", Min: int64(time.Millisecond), Max: int64(time.Minute), Change: Start,
			Effect: "A generation is also closed when it is this old."},
		{Name: "storage.barrier_interval", Kind: Duration, Default: "10s", Min: int64(10 * time.Millisecond), Max: int64(time.Hour), Change: Start,
			Effect: "How often Badger's files are fsynced, after which the log before that point is no longer needed. A start replays the log from the last such point."},
		{Name: "storage.stall_timeout", Kind: Duration, Default: "10s", Min: int64(10 * time.Millisecond), Max: int64(time.Hour), Change: Start,
			Effect: "How long a write waits when recent writes fill their share of memory, before it gets -MISCONF."},
		{Name: "storage.view_max_age", Kind: Duration, Default: "5m", Min: int64(100 * time.Millisecond), Max: int64(24 * time.Hour), Change: Start,
			Effect: "A view older than this ends, and the command that reads it gets an error: views keep old versions from being removed."},
		{Name: "storage.max_name_bytes", Kind: Bytes, Default: "1MiB", Min: kib, Max: mib, Unit: "bytes", Change: Start,
			Effect: "Longest key name; a command with a longer one gets an error. A name above 32704 bytes is stored apart from its key."},
	}
}

func logSettings() []Key {
	return []Key{
		{Name: "log.segment_bytes", Kind: Bytes, Default: "64MiB", Min: mib, Max: gib, Unit: "bytes", Change: Start,
			Effect: "Size of a file of the log. Files are allocated in advance and removed whole."},
		{Name: "log.keep_bytes", Kind: Bytes, Default: "1GiB", Min: 16 * mib, Max: tib, Unit: "bytes", Change: Live,
			Effect: "In a cluster, how much log is kept for a node that is behind or away; one that needs more than that gets a copy of all data instead."},
	}
}

func clusterSettings() []Key {
	return []Key{
		{Name: "cluster.peers", Kind: List, Default: "", Unit: "addresses", Change: Start,
			Effect: "host:port of the cluster port of every node, this one's own among them; empty: this node is alone.", refine: checkAddresses},
		{Name: "cluster.expect", Kind: Int, Default: "3", Min: 1, Max: 9, Unit: "nodes", Change: Start,
			Effect: "How many nodes must have found each other before a new cluster begins. Never asked again afterwards."},
		{Name: "cluster.listen", Kind: Text, Default: ":7380", Unit: "address:port", Change: Start,
			Effect: "Where the other nodes find this one. All that they say to each other goes over this one port.", refine: checkAddress},
		{Name: "cluster.advertise", Kind: Text, Default: "", Unit: "address:port", Change: Start,
			Effect: "How the other nodes reach cluster.listen; empty: the one of cluster.peers at which this node meets itself.", refine: checkAddress},
		{Name: "cluster.name", Kind: Text, Default: "mymaster", Change: Start,
			Effect: "The name of the master for clients that look for it with SENTINEL; the default is that of Redis' own examples. Alike on all nodes."},
		{Name: "cluster.secret", Kind: Text, Default: "", Hidden: true, Change: Start,
			Effect: "What only the nodes of this cluster know: nobody else is listened to on the cluster port. It proves who speaks and hides nothing; for that there is TLS."},
		{Name: "cluster.tls_cert_file", Kind: Text, Default: "", Unit: "path", Change: Start,
			Effect: "With the next two: what nodes say to each other is encrypted, and each must show a certificate of the same authority."},
		{Name: "cluster.tls_key_file", Kind: Text, Default: "", Unit: "path", Change: Start, Effect: "The key of that certificate."},
		{Name: "cluster.tls_ca_cert_file", Kind: Text, Default: "", Unit: "path", Change: Start, Effect: "The authority."},
		{Name: "cluster.role", Kind: Enum, Default: "voter", Choices: []string{"voter", "replica"}, Change: Start,
			Effect: "A voter counts when the cluster decides what is committed; a replica only follows."},
		{Name: "cluster.client_mode", Kind: Enum, Default: "forward", Choices: []string{"forward", "moved"},
			Effect: "What a node that does not lead does with a command: have the leader run it, or send the client there with -MOVED."},
		{Name: "cluster.forward_timeout", Kind: Duration, Default: "5s", Min: int64(10 * time.Millisecond), Max: int64(10 * time.Minute),
			Effect: "How long a command waits for a leader before it gets -CLUSTERDOWN."},
		{Name: "cluster.copy_rate", Kind: Bytes, Default: "32MiB", Min: mib, Max: tib, Unit: "bytes per second",
			Effect: "How much of its data the leader reads for a copy that another node needs, as long as clients write; otherwise it reads as fast as it can."},
		{Name: "cluster.read", Kind: Enum, Default: "lease", Choices: []string{"lease", "linearizable"},
			Effect: "How the leader knows that it still is one when it answers a read: by its lease, which needs clocks that run about equally fast, or by asking " +
				"a majority each time. A connection chooses for itself with SETT READ."},
		{Name: "cluster.amnesia_wait", Kind: Duration, Default: "30s", Min: 0, Max: int64(time.Hour), Change: Start,
			Effect: "Below fsync always, a machine that lost power may have forgotten what it had acknowledged, and does not vote before it has caught up. If all " +
				"did, there is nobody to catch up with: then they vote after this time."},
	}
}

func raftSettings() []Key {
	return []Key{
		{Name: "raft.log", Kind: Enum, Default: "wal", Choices: []string{"wal", "boltdb"}, Change: Start,
			Effect: "Where the log of a cluster's node lies: in sett's own log, or in hashicorp/raft-boltdb. It cannot be changed for a directory that has one."},
		{Name: "raft.heartbeat", Kind: Duration, Default: "2s", Min: int64(500 * time.Millisecond), Max: int64(time.Minute), Change: Start,
			Effect: "How long a leader may be silent before another node stands for election; alike on all nodes. That its process has ended is noticed at once, whatever is set here; this is for machines that vanish. Shorter means an election for nothing when a machine is slow."},
		{Name: "raft.in_flight", Kind: Int, Default: "2", Min: 1, Max: 64, Unit: "entries", Change: Start,
			Effect: "How many entries are on their way to a majority at once. What is evaluated meanwhile gathers for the next."},
		{Name: "raft.marker_interval", Kind: Duration, Default: "60s", Min: int64(time.Second), Max: int64(time.Hour), Change: Start,
			Effect: "How often a node looks whether its log can be cut."},
		{Name: "raft.disk_stall", Kind: Duration, Default: "10s", Min: int64(time.Second), Max: int64(time.Hour), Change: Start,
			Effect: "A node whose log takes longer than this to take an entry ends, so that another can lead."},
	}
}

func operationSettings() []Key {
	const onSignal = "What the signal means: default and save write all to Badger, so that the next start has nothing to replay; nosave leaves that to " +
		"the next start. Nothing is lost either way, and now and force change nothing."
	signals := []string{"default", "save", "nosave", "now", "force"}
	return []Key{
		{Name: "min-replicas-to-write", Agreed: true, Alias: "min-slaves-to-write", Kind: Int, Default: "0", Min: 0, Max: math.MaxInt32, Unit: "replicas",
			Effect: "Writes get -NOREPLICAS while fewer replicas than this are connected. A server of this version has none."},
		{Name: "min-replicas-max-lag", Agreed: true, Alias: "min-slaves-max-lag", Kind: Int, Default: "10", Min: 0, Max: math.MaxInt32, Unit: "seconds",
			Effect: "A replica counts for min_replicas_to_write if it was heard of within this time; 0 turns that setting off."},
		{Name: "shutdown-on-sigterm", Kind: Flags, Default: "default", Choices: signals, refine: refineShutdown, Effect: onSignal},
		{Name: "shutdown-on-sigint", Kind: Flags, Default: "default", Choices: signals, refine: refineShutdown, Effect: onSignal},
		{Name: "oom-score-adj", Kind: Enum, Default: "no", Choices: []string{"no", "yes", "yes=relative", "absolute"},
			Effect: "Whether Linux is told how readily to end this process when memory runs out; relative adds to what the process was started with."},
		{Name: "oom-score-adj-values", Kind: List, Default: "0 200 800", refine: refineOOMScores,
			Effect: "The scores of a master, a replica and a child process. Only the first is used."},
	}
}

func ttlSettings() []Key {
	return []Key{
		{Name: "ttl.clock_step", Kind: Duration, Default: "10s", Min: int64(100 * time.Millisecond), Max: int64(24 * time.Hour), Change: Start,
			Effect: "A jump of the wall clock forward by more than this pauses the sweeper, in case the clock is wrong."},
		{Name: "ttl.clock_settle", Kind: Duration, Default: "5m", Min: 0, Max: int64(24 * time.Hour), Change: Start,
			Effect: "How long the pause is, and how long the server's time runs on by itself after the wall clock has stepped back."},
		{Name: "ttl.sweep_batch", Kind: Int, Default: "1000", Min: 1, Max: 100_000, Unit: "keys", Change: Start,
			Effect: "Most expired keys that the sweeper removes at a time; fewer, if they take longer than a millisecond."},
	}
}

func compactionSettings() []Key {
	return []Key{
		{Name: "compaction.rate", Kind: Bytes, Default: "64MiB", Min: mib, Max: 64 * gib, Unit: "bytes per second",
			Effect: "What the jobs that give space back read and write in all: four times as much while nobody writes, a quarter while writers have to wait " +
				"for the flusher. Compactions that Badger begins by itself are not counted."},
		{Name: "compaction.ttl_interval", Kind: Duration, Default: "1h", Min: 0, Max: int64(30 * 24 * time.Hour),
			Effect: "How often the tables of Badger's last level, which it never compacts by itself, are sampled for what has died in them; 0: never."},
		{Name: "compaction.ttl_ratio", Kind: Int, Default: "25", Min: 1, Max: 100, Unit: "percent",
			Effect: "A table of which as much is dead is compacted."},
		{Name: "compaction.tombstone_ratio", Kind: Int, Default: "30", Min: 1, Max: 100, Unit: "percent",
			Effect: "Where there are as many deletions for a hundred records, the range is compacted; and where scans have skipped eight records for each that they returned."},
		{Name: "compaction.vlog_space_amplification", Kind: Int, Default: "150", Min: 110, Max: 1000, Unit: "percent",
			Effect: "How large the value log, where large values lie, may be for what lives in it, two files of 64MiB not counted. Less costs more rewriting."},
	}
}

func absoluteDir(_, text string) (string, error) {
	if text == "" {
		return "", errors.New("the data directory needs a name")
	}
	return filepath.Abs(text)
}
