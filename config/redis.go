package config

import "math"

// redisParameters returns the parameters of Redis 7.2 (and those of 7.0 that it hides) that do nothing in this version.
// Names, types, ranges and defaults are Redis'.
func redisParameters() []Group {
	groups := []Group{
		{Title: "Access", Keys: access(),
			About: "ACLs are not in this version, and neither are TLS connections from this server to others; what would promise ACLs is refused."},
		{Title: "Clients and connections", Keys: connections(),
			About: "There are no notifications, no tracking and no eviction of clients to tune in this version."},
		{Title: "Snapshots and append-only file", Keys: persistence(),
			About: "The log is always on and appendfsync says when it is fsynced; there are no RDB or AOF files."},
		{Title: "Memory and eviction", Keys: memory(),
			About: "Deletes are O(1), so nothing is freed lazily, evicted keys included. For maxmemory and its like see above."},
		{Title: "Encodings", Keys: encodings(),
			About: "How Redis lays out collections in memory."},
		{Title: "Logging", Keys: observation(),
			About: "Where logs go, beside log_format."},
		{Title: "Process", Keys: process(),
			About: "How Redis runs as a process: sett stays in the foreground and leaves the rest to what starts it."},
		{Title: "Replication", Keys: replication(),
			About: "A server of this version stands alone."},
		{Title: "Cluster", Keys: cluster(),
			About: "A server of this version stands alone."},
		{Title: "Debugging", Keys: hidden(),
			About: "CONFIG GET shows these only under their full names, as Redis does."},
	}
	for _, g := range groups {
		for i := range g.Keys {
			if g.Keys[i].Meaning != Refused {
				g.Keys[i].Meaning = Remembered
			}
		}
	}
	return groups
}

func access() []Key {
	return []Key{
		str("aclfile", "").fixed().refused("ACLs are not in this version, and accepting them would leave the server open"),
		enum("acl-pubsub-default", "resetchannels", "allchannels", "resetchannels"),
		num("acllog-max-len", "128", 0, math.MaxInt64),
		num("tls-session-cache-size", "20480", 0, math.MaxInt32),
		boolean("tls-cluster", "no"),
		boolean("tls-replication", "no"),
		boolean("tls-prefer-server-ciphers", "no"),
		str("tls-client-cert-file", ""),
		str("tls-client-key-file", ""),
		str("tls-client-key-file-pass", ""),
		str("tls-key-file-pass", "").refused("encrypted private keys cannot be read: use a key file without a password that only sett may read"),
		str("tls-dh-params-file", "").refused("there is no Diffie-Hellman over finite fields here; ECDHE needs no parameters"),
		str("tls-ciphersuites", "").refused("the cipher suites of TLS 1.3 cannot be chosen here: crypto/tls takes all of them"),
		enum("enable-protected-configs", "no", "no", "yes", "local").fixed(),
		enum("enable-module-command", "no", "no", "yes", "local").fixed(),
	}
}

func connections() []Key {
	return []Key{
		str("bind-source-addr", ""),
		num("socket-mark-id", "0", 0, math.MaxUint32).fixed(),
		{Name: "maxmemory-clients", Kind: Percent, Default: "0", Min: -100, Max: math.MaxInt64},
		num("tracking-table-max-keys", "1000000", 0, math.MaxInt64),
		str("notify-keyspace-events", "").refined(refineEvents).agreed(),
		num("busy-reply-threshold", "5000", 0, math.MaxInt64).alias("lua-time-limit"),
	}
}

func persistence() []Key {
	return []Key{
		list("save", "3600 1 300 100 60 10000").refined(refineSave),
		{Name: "dbfilename", Kind: Text, Default: "dump.rdb", Change: Protected, refine: refineFileName("dbfilename", "filename", true)},
		boolean("rdbchecksum", "yes").fixed(),
		boolean("rdbcompression", "yes"),
		boolean("rdb-del-sync-files", "no"),
		boolean("rdb-save-incremental-fsync", "yes"),
		enum("sanitize-dump-payload", "no", "no", "yes", "clients"),
		boolean("stop-writes-on-bgsave-error", "yes"),
		boolean("appendonly", "no"),
		str("appendfilename", "appendonly.aof").fixed().refined(refineFileName("appendfilename", "filename", false)),
		str("appenddirname", "appendonlydir").fixed().refined(refineFileName("appenddirname", "dirname", false)),
		boolean("no-appendfsync-on-rewrite", "no"),
		boolean("aof-load-truncated", "yes"),
		boolean("aof-use-rdb-preamble", "yes"),
		boolean("aof-timestamp-enabled", "no"),
		boolean("aof-disable-auto-gc", "no"),
		boolean("aof-rewrite-incremental-fsync", "yes"),
		num("auto-aof-rewrite-percentage", "100", 0, math.MaxInt32),
		mem("auto-aof-rewrite-min-size", "67108864", 0, math.MaxInt64),
	}
}

func memory() []Key {
	return []Key{
		num("active-expire-effort", "1", 1, 10),
		boolean("activerehashing", "yes"),
		boolean("activedefrag", "no").refined(refineDefrag),
		num("active-defrag-cycle-min", "1", 1, 99),
		num("active-defrag-cycle-max", "25", 1, 99),
		num("active-defrag-threshold-lower", "10", 0, 1000),
		num("active-defrag-threshold-upper", "100", 0, 1000),
		mem("active-defrag-ignore-bytes", "104857600", 1, math.MaxInt64),
		num("active-defrag-max-scan-fields", "1000", 1, math.MaxInt64),
		boolean("lazyfree-lazy-eviction", "no"),
		boolean("lazyfree-lazy-expire", "no"),
		boolean("lazyfree-lazy-server-del", "no"),
		boolean("lazyfree-lazy-user-del", "no"),
		boolean("lazyfree-lazy-user-flush", "no"),
		boolean("jemalloc-bg-thread", "yes"),
	}
}

func encodings() []Key {
	return []Key{
		num("list-max-listpack-size", "-2", math.MinInt32, math.MaxInt32).alias("list-max-ziplist-size").agreed(),
		num("list-compress-depth", "0", 0, math.MaxInt32).agreed(),
		num("set-max-listpack-entries", "128", 0, math.MaxInt64).agreed(),
		num("set-max-listpack-value", "64", 0, math.MaxInt64).agreed(),
		mem("stream-node-max-bytes", "4096", 0, math.MaxInt64).agreed(),
		num("stream-node-max-entries", "100", 0, math.MaxInt64).agreed(),
	}
}

func observation() []Key {
	return []Key{
		boolean("syslog-enabled", "no").fixed(),
		str("syslog-ident", "redis").fixed(),
		enum("syslog-facility", "local0", "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7").fixed(),
		boolean("crash-log-enabled", "yes"),
		boolean("crash-memcheck-enabled", "yes"),
	}
}

func process() []Key {
	return []Key{
		boolean("daemonize", "no").fixed(),
		enum("supervised", "no", "upstart", "systemd", "auto", "no").fixed(),
		str("pidfile", "").fixed(),
		boolean("always-show-logo", "no").fixed(),
		boolean("set-proc-title", "yes").fixed(),
		str("proc-title-template", "{title} {listen-addr} {server-mode}").refined(refineTitle),
		str("locale-collate", ""),
		num("io-threads", "1", 1, 128).fixed(),
		boolean("io-threads-do-reads", "no").fixed(),
		str("server-cpulist", "").atStart().alias("server_cpulist"),
		str("bio-cpulist", "").atStart().alias("bio_cpulist"),
		str("aof-rewrite-cpulist", "").atStart().alias("aof_rewrite_cpulist"),
		str("bgsave-cpulist", "").atStart().alias("bgsave_cpulist"),
		num("hz", "10", 0, math.MaxInt32).refined(refineHz),
		boolean("dynamic-hz", "yes"),
		boolean("disable-thp", "yes").fixed(),
		str("ignore-warnings", ""),
		num("shutdown-timeout", "10", 0, math.MaxInt32),
	}
}

func replication() []Key {
	return []Key{
		list("replicaof", "").fixed().alias("slaveof").refined(refineReplicaOf).refused("replication is not in this version"),
		str("masteruser", ""),
		str("masterauth", ""),
		str("replica-announce-ip", "").alias("slave-announce-ip"),
		num("replica-announce-port", "0", 0, 65535).alias("slave-announce-port"),
		boolean("replica-announced", "yes"),
		num("replica-priority", "100", 0, math.MaxInt32).alias("slave-priority"),
		boolean("replica-read-only", "yes").alias("slave-read-only"),
		boolean("replica-serve-stale-data", "yes").alias("slave-serve-stale-data"),
		boolean("replica-lazy-flush", "no").alias("slave-lazy-flush"),
		boolean("replica-ignore-maxmemory", "yes").alias("slave-ignore-maxmemory"),
		boolean("replica-ignore-disk-write-errors", "no"),
		enum("propagation-error-behavior", "ignore", "ignore", "panic", "panic-on-replicas"),
		mem("repl-backlog-size", "1048576", 1, math.MaxInt64),
		num("repl-backlog-ttl", "3600", 0, math.MaxInt64),
		num("repl-timeout", "60", 1, math.MaxInt32),
		num("repl-ping-replica-period", "10", 1, math.MaxInt32).alias("repl-ping-slave-period"),
		boolean("repl-disable-tcp-nodelay", "no"),
		boolean("repl-diskless-sync", "yes"),
		num("repl-diskless-sync-delay", "5", 0, math.MaxInt32),
		num("repl-diskless-sync-max-replicas", "0", 0, math.MaxInt32),
		enum("repl-diskless-load", "disabled", "disabled", "on-empty-db", "swapdb"),
	}
}

func cluster() []Key {
	return []Key{
		boolean("cluster-enabled", "no").fixed().refused("cluster mode is not in this version"),
		str("cluster-config-file", "nodes.conf").fixed(),
		num("cluster-port", "0", 0, 65535).fixed(),
		num("cluster-node-timeout", "15000", 0, math.MaxInt64),
		str("cluster-announce-ip", ""),
		str("cluster-announce-hostname", "").refined(refineHostname),
		str("cluster-announce-human-nodename", "").refined(refineNodename),
		num("cluster-announce-port", "0", 0, 65535),
		num("cluster-announce-tls-port", "0", 0, 65535),
		num("cluster-announce-bus-port", "0", 0, 65535),
		enum("cluster-preferred-endpoint-type", "ip", "ip", "hostname", "unknown-endpoint"),
		num("cluster-migration-barrier", "1", 0, math.MaxInt32),
		num("cluster-replica-validity-factor", "10", 0, math.MaxInt32).alias("cluster-slave-validity-factor"),
		boolean("cluster-replica-no-failover", "no").alias("cluster-slave-no-failover"),
		boolean("cluster-allow-replica-migration", "yes"),
		boolean("cluster-require-full-coverage", "yes"),
		boolean("cluster-allow-reads-when-down", "no"),
		boolean("cluster-allow-pubsubshard-when-down", "yes"),
		mem("cluster-link-sendbuf-limit", "0", 0, math.MaxInt64),
	}
}

func hidden() []Key {
	keys := []Key{
		num("rdb-key-save-delay", "0", math.MinInt32, math.MaxInt32),
		num("key-load-delay", "0", math.MinInt32, math.MaxInt32),
		num("watchdog-period", "0", 0, math.MaxInt32),
		mem("loading-process-events-interval-bytes", "2097152", 1024, math.MaxInt32),
		boolean("use-exit-on-panic", "no"),
	}
	for i := range keys {
		keys[i].Hidden = true
	}
	return keys
}

func boolean(name, value string) Key { return Key{Name: name, Kind: Bool, Default: value} }
func str(name, value string) Key     { return Key{Name: name, Kind: Text, Default: value} }
func list(name, value string) Key    { return Key{Name: name, Kind: List, Default: value} }

func num(name, value string, least, most int64) Key {
	return Key{Name: name, Kind: Int, Default: value, Min: least, Max: most}
}

func mem(name, value string, least, most int64) Key {
	return Key{Name: name, Kind: Bytes, Default: value, Min: least, Max: most}
}

func enum(name, value string, choices ...string) Key {
	return Key{Name: name, Kind: Enum, Default: value, Choices: choices}
}

func (k Key) agreed() Key           { k.Agreed = true; return k }
func (k Key) alias(name string) Key { k.Alias = name; return k }
func (k Key) fixed() Key            { k.Change = Immutable; return k }
func (k Key) atStart() Key          { k.Change = Start; return k }
func (k Key) refined(check func(old, text string) (string, error)) Key {
	k.refine = check
	return k
}
func (k Key) refused(why string) Key { k.Meaning = Refused; k.Effect = why; return k }
