package main

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"sett/commands"
	"sett/compaction"
	"sett/config"
	"sett/replication"
	"sett/server"
)

// registerSettings connects the settings that may change while the server runs with what they change.
func (n *node) registerSettings() error {
	n.registerClients()
	n.registerDoors()
	n.registerObservation()
	n.registerData()
	n.registerShutdown()
	n.registerCompaction()
	if err := n.registerOOMScore(); err != nil {
		return err
	}
	if complaints := n.cfg.Unwired(); len(complaints) > 0 {
		return fmt.Errorf("settings without effect: %q", complaints)
	}
	return nil
}

// follow has a setting take effect whenever it changes; there is nothing that could refuse it.
func (n *node) follow(name string, set func(config.Value)) {
	n.cfg.OnChange(name, func(v config.Value) error { set(v); return nil })
}

// adoptAgreed has this node's settings follow what the nodes of its cluster have agreed on.
func (n *node) adoptAgreed(fatal func(error)) {
	commands.Observe(n.store, func(pairs []string, err error) {
		if err == nil {
			err = n.cfg.Adopt(pairs)
		}
		if err != nil {
			fatal(err)
		}
	})
}

// registerClients is for what clients may do.
func (n *node) registerClients() {
	limit := func(name string, set func(*server.Limits, config.Value)) {
		n.follow(name, func(v config.Value) { n.server.SetLimits(func(l *server.Limits) { set(l, v) }) })
	}
	limit("timeout", func(l *server.Limits, v config.Value) { l.TimeoutSec = v.Int() })
	limit("tcp_keepalive", func(l *server.Limits, v config.Value) { l.KeepAliveSec = v.Int() })
	limit("client_query_buffer_limit", func(l *server.Limits, v config.Value) { l.MaxQueryBytes = int(v.Bytes()) })
	limit("client_output_buffer_limit", limitOutput)
	agreed := func(name string, set func(*server.Limits, config.Value)) {
		n.cfg.OnAgreed(name, func(v config.Value) { n.server.SetLimits(func(l *server.Limits) { set(l, v) }) })
	}
	agreed("min_replicas_to_write", func(l *server.Limits, v config.Value) { l.MinReplicas = v.Int() })
	agreed("min_replicas_max_lag", func(l *server.Limits, v config.Value) { l.MinReplicasLagSec = v.Int() })
	limit("cluster.forward_timeout", func(l *server.Limits, v config.Value) { l.ForwardTimeout = v.Duration() })
	limit("cluster.client_mode", func(l *server.Limits, v config.Value) { l.Moved = v.String() == "moved" })
	limit("cluster.read", func(l *server.Limits, v config.Value) { l.Linearizable = v.String() == "linearizable" })
	n.cfg.OnChange("maxclients", func(v config.Value) error {
		possible, err := raiseFileLimit(v.Int(), n.logger)
		if err == nil && possible < v.Int() {
			//lint:ignore ST1005 Redis' text
			err = fmt.Errorf("The operating system is not able to handle the specified number of clients, try with %d", possible)
		}
		if err != nil {
			return err
		}
		n.server.SetLimits(func(l *server.Limits) { l.MaxClients = v.Int() })
		return nil
	})
	n.cfg.OnAgreed("proto_max_bulk_len", func(v config.Value) {
		n.server.SetLimits(func(l *server.Limits) { l.MaxBulkBytes = int(v.Bytes()) })
		n.data.SetMaxBulk(int(v.Bytes()))
	})
}

// registerCompaction is for how space comes back.
func (n *node) registerCompaction() {
	n.cfg.OnChangeTogether(compactionTuning, func(value func(string) config.Value) error {
		n.keeper.SetTuning(tuning(value))
		return nil
	})
}

var compactionTuning = []string{"compaction.rate", "compaction.ttl_interval", "compaction.ttl_ratio", "compaction.tombstone_ratio",
	"compaction.vlog_space_amplification"}

func tuning(value func(name string) config.Value) compaction.Tuning {
	percent := func(name string) float64 { return float64(value(name).Int()) / 100 }
	return compaction.Tuning{
		Rate: value("compaction.rate").Bytes(), TTLInterval: value("compaction.ttl_interval").Duration(),
		TTLRatio: percent("compaction.ttl_ratio"), TombstoneRatio: percent("compaction.tombstone_ratio"),
		ValueLogAmplification: percent("compaction.vlog_space_amplification"),
	}
}

// registerDoors is for who may come in.
func (n *node) registerDoors() {
	n.cfg.OnChange("requirepass", func(v config.Value) error {
		n.server.SetPassword(v.String())
		return nil
	})
	n.cfg.OnChange("protected_mode", func(v config.Value) error {
		n.server.SetProtected(v.Bool())
		return nil
	})
	n.cfg.OnChangeTogether([]string{"port", "bind"}, func(value func(string) config.Value) error {
		return n.move(value("bind").Strings(), value("port").Int())
	})
	n.cfg.OnChangeTogether(tlsSettings, func(value func(string) config.Value) error {
		if err := n.tls.Change(tlsOptions(value)); err != nil {
			n.logger.Warn("CONFIG SET of TLS parameters is refused", "err", err)
			//lint:ignore ST1005 Redis' text
			return errors.New("Unable to update TLS configuration. Check server logs.")
		}
		return nil
	})
}

// move has clients come in elsewhere: all of it, or nothing.
func (n *node) move(bind []string, port int) error {
	if port == 0 && n.secure.Port == 0 && n.cfg.String("unixsocket") == "" {
		return errNoDoor
	}
	oldBind, oldPort := n.plain.Bind, n.plain.Port
	err := n.server.Move(&n.plain, bind, port)
	if err == nil {
		if err = n.server.Move(&n.secure, bind, n.secure.Port); err != nil {
			_ = n.server.Move(&n.plain, oldBind, oldPort) // which logs it
		}
	}
	if err == nil {
		return nil
	}
	n.logger.Warn("CONFIG SET of port or bind is refused", "err", err)
	if port != oldPort {
		//lint:ignore ST1005 Redis' text
		return errors.New("Unable to listen on this port. Check server logs.")
	}
	//lint:ignore ST1005 Redis' text
	return errors.New("Failed to bind to specified addresses.")
}

// registerObservation is for what is logged and measured.
func (n *node) registerObservation() {
	n.follow("loglevel", func(v config.Value) { n.logs.setLevel(v.String()) })
	observe := func(name string, set func(*server.Observation, config.Value)) {
		n.follow(name, func(v config.Value) { n.server.SetObservation(func(o *server.Observation) { set(o, v) }) })
	}
	observe("slowlog_log_slower_than", func(o *server.Observation, v config.Value) { o.SlowerThanUs = int64(v.Int()) })
	observe("slowlog_max_len", func(o *server.Observation, v config.Value) { o.SlowlogMaxLen = int64(v.Int()) })
	observe("latency_monitor_threshold", func(o *server.Observation, v config.Value) { o.LatencyEventMs = int64(v.Int()) })
	observe("latency_tracking", func(o *server.Observation, v config.Value) { o.LatencyTracking = v.Bool() })
	observe("latency_tracking_info_percentiles", func(o *server.Observation, v config.Value) { o.Percentiles = percentiles(v.Strings()) })
}

// registerData is for how data is kept.
func (n *node) registerData() {
	for name, set := range map[string]func(config.Value){
		"maxmemory":                   func(v config.Value) { n.data.SetMaxMemory(v.Bytes()) },
		"maxmemory_policy":            func(v config.Value) { n.data.SetPolicy(v.String()) },
		"maxmemory_samples":           func(v config.Value) { n.data.SetSamples(v.Int()) },
		"maxmemory_eviction_tenacity": func(v config.Value) { n.data.SetTenacity(v.Int()) },
		"lfu_log_factor":              func(v config.Value) { n.data.SetLFULogFactor(v.Int()) },
		"lfu_decay_time":              func(v config.Value) { n.data.SetLFUDecayTime(v.Int()) },

		"hll_sparse_max_bytes": func(v config.Value) { n.data.SetHLLSparseMax(v.Bytes()) },

		"set_max_intset_entries":    func(v config.Value) { n.data.Encodings().SetIntsetEntries.Store(int64(v.Int())) },
		"hash_max_listpack_entries": func(v config.Value) { n.data.Encodings().HashEntries.Store(int64(v.Int())) },
		"hash_max_listpack_value":   func(v config.Value) { n.data.Encodings().HashBytes.Store(v.Bytes()) },
		"zset_max_listpack_entries": func(v config.Value) { n.data.Encodings().ZSetEntries.Store(int64(v.Int())) },
		"zset_max_listpack_value":   func(v config.Value) { n.data.Encodings().ZSetBytes.Store(v.Bytes()) },
	} {
		set(n.cfg.Value(name))
		n.cfg.OnAgreed(name, set)
	}
	n.data.SetMaxDisk(n.cfg.Bytes("max_disk"))
	n.follow("max_disk", func(v config.Value) { n.data.SetMaxDisk(v.Bytes()) })
	n.cfg.OnChange("appendfsync", func(v config.Value) error {
		level, err := replication.ParseFsync(v.String())
		if err != nil {
			return err
		}
		if !n.logging.Load() {
			return errNoLog
		}
		return n.log.SetFsync(level)
	})
	n.follow("scrub_interval", func(v config.Value) { n.keeper.SetScrubInterval(v.Duration()) })
	n.follow("cluster.copy_rate", func(v config.Value) { n.store.SetCopyRate(v.Bytes()) })
	n.keepLog.Store(n.cfg.Bytes("log.keep_bytes"))
	n.follow("log.keep_bytes", func(v config.Value) { n.keepLog.Store(v.Bytes()) })
	n.follow("disk_reserve", func(v config.Value) { n.store.SetDiskReserve(v.Bytes()) })
}

var errNoLog = errors.New("this node has no log yet: it is looking for its cluster, or loading its data")

// registerShutdown is for the signals that end the process.
func (n *node) registerShutdown() {
	for name, noSave := range map[string]*atomic.Bool{"shutdown_on_sigterm": &n.termNoSave, "shutdown_on_sigint": &n.intNoSave} {
		set := func(v config.Value) error {
			noSave.Store(slices.Contains(v.Strings(), "nosave"))
			return nil
		}
		set(n.cfg.Value(name)) // never fails
		n.cfg.OnChange(name, set)
	}
}

func (n *node) registerOOMScore() error {
	cfg, score := n.cfg, &oomScore{path: "/proc/self/oom_score_adj", logger: n.logger}
	cfg.OnChange("oom_score_adj", func(v config.Value) error { return score.apply(v, cfg.Value("oom_score_adj_values")) })
	cfg.OnChange("oom_score_adj_values", func(v config.Value) error { return score.apply(cfg.Value("oom_score_adj"), v) })
	return score.apply(cfg.Value("oom_score_adj"), cfg.Value("oom_score_adj_values"))
}
