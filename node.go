package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sett/commands"
	"sett/compaction"
	"sett/config"
	"sett/replication"
	"sett/replication/wal"
	"sett/server"
	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// redisVersion is the Redis that clients may take this server for.
const redisVersion = "7.2.4"

// stopGrace is how long connections may take to read their last replies.
const stopGrace = 5 * time.Second

// barrierLogBytes is how much log may be written between two barriers, whatever barrier_interval says: it bounds what a start replays.
const barrierLogBytes = 256 << 20

// node is a running server: the rooms, from the bottom up.
type node struct {
	cfg             *config.Config
	cluster         clusterSettings
	logs            *logs
	logger          *slog.Logger
	disk            disk
	dir             *storage.Dir
	wal             *wal.Log // nil: the log lies in boltdb
	store           *storage.Store
	fsync           replication.Fsync // at the start
	log             log
	others          others       // the other nodes
	keepLog         atomic.Int64 // log.keep_bytes
	clock           *ttl.Clock
	sweeper         *ttl.Sweeper
	evictor         *commands.Evictor
	keeper          *compaction.Keeper
	data            *commands.DataSet
	server          *server.Server
	latency         *server.Latency
	metricsListener net.Listener // nil: there is none
	metrics         *server.HTTP // the same

	plain, secure server.Door  // TCP, and TLS
	unix          net.Listener // nil: there is none, or the server has it
	tls           *server.TLS

	replayed int
	logging  atomic.Bool    // the log has started
	halted   atomic.Bool    // DEBUG PAUSE-CRON: the sweeper rests
	tidying  sync.WaitGroup // what runs when this node begins to evaluate
	stops    chan bool      // SHUTDOWN was called; false: without flushing

	termNoSave, intNoSave atomic.Bool // shutdown_on_sigterm and shutdown_on_sigint say nosave
}

// startNode starts everything, in the order in which each part needs those before it. Clients are answered with -LOADING until the log has
// been replayed, or, in a new node, until it has found a cluster. When it fails, all that was started has ended.
func startNode(cfg *config.Config, logs *logs, fatal func(error)) (*node, error) {
	n := &node{cfg: cfg, cluster: readCluster(cfg), logs: logs, logger: logs.Logger, stops: make(chan bool, 1)}
	if err := n.start(fatal); err != nil {
		n.abandon()
		return nil, err
	}
	return n, nil
}

func (n *node) start(fatal func(error)) error {
	cfg, logger := n.cfg, n.logger
	maxClients, err := raiseFileLimit(cfg.Int("maxclients"), logger)
	if err != nil {
		return err
	}
	if err := n.listen(); err != nil {
		return err
	}
	n.latency = server.NewLatency()
	taken, err := n.listenForMetrics()
	if err != nil {
		return err
	}
	if err := n.listenForNodes(); err != nil {
		return err
	}
	if err := n.openData(fatal); err != nil {
		return n.orStartOver(err)
	}
	table := n.newDataSet()
	n.newServer(table, maxClients, fatal)
	if err := n.registerSettings(); err != nil {
		return err
	}
	if !n.cluster.alone() {
		n.adoptAgreed(fatal)
	}
	if maxClients < cfg.Int("maxclients") { // as in Redis, CONFIG GET says how many may come
		if err := cfg.Set([]string{"maxclients", strconv.Itoa(maxClients)}); err != nil {
			return err
		}
	}
	known := n.dir.Node().ClusterID != ""
	if !known { // a node that comes back needs nothing to be loaded before others can serve its clients: until then they wait in the listeners
		n.serve()
	}
	if taken != nil {
		logger.Warn("nobody can ask for metrics: set metrics_listen to an address that is free, or to nothing", "err", taken)
	}
	if n.metricsListener != nil {
		n.metrics = n.server.ServeMetrics(n.metricsListener)
	}
	if err := n.findLog(fatal); err != nil {
		return err
	}
	if n.replayed, err = n.log.Start(n.store); err != nil {
		return n.orStartOver(err)
	}
	n.logging.Store(true)
	for _, line := range cfg.Overruled() {
		logger.Warn("the nodes of this cluster have agreed on another value by CONFIG SET", "setting", line)
	}
	n.sweeper.Start()
	n.evictor.Start()
	n.keeper.Start()
	engine := &server.Engine{
		Data: n.data, Store: n.store, Hooks: hooks{n.store, n.sweeper, n.keeper, &n.halted}, Space: n.space, Persist: persistence{n.store, n.log},
	}
	if n.wal != nil {
		engine.Log = n.wal
	}
	n.meetOthers(engine)
	n.server.Begin(engine)
	if known {
		n.serve()
	}
	return nil
}

// listen opens everything that clients can come in by.
func (n *node) listen() (err error) {
	cfg := n.cfg
	bind, backlog := cfg.Strings("bind"), cfg.Int("tcp_backlog")
	n.plain = server.Door{Bind: bind, Port: cfg.Int("port"), Backlog: backlog}
	if err := n.plain.Open(); err != nil {
		return err
	}
	if n.tls, err = server.NewTLS(cfg.Int("tls_port") != 0, tlsOptions(cfg.Value), n.logger); err != nil {
		return err
	}
	n.secure = server.Door{Bind: bind, Port: cfg.Int("tls_port"), Backlog: backlog, TLS: n.tls}
	if err := n.secure.Open(); err != nil {
		return err
	}
	path, perm := cfg.String("unixsocket"), fs.FileMode(cfg.Int("unixsocketperm"))
	if path != "" {
		if n.unix, err = server.ListenUnix(path, perm, backlog); err != nil {
			return err
		}
	}
	if n.plain.Port == 0 && n.secure.Port == 0 && n.unix == nil {
		return errNoDoor
	}
	return nil
}

var errNoDoor = errors.New("port and tls_port are 0 and there is no unixsocket: nobody could connect")

// serve lets clients in. The listeners are the server's from here on.
func (n *node) serve() {
	n.server.ServeDoor(&n.plain)
	n.server.ServeDoor(&n.secure)
	if n.unix != nil {
		n.server.Serve([]net.Listener{n.unix})
		n.unix = nil
	}
}

var tlsSettings = []string{"tls_cert_file", "tls_key_file", "tls_ca_cert_file", "tls_ca_cert_dir", "tls_auth_clients", "tls_protocols", "tls_ciphers",
	"tls_session_caching", "tls_session_cache_timeout"}

func tlsOptions(value func(name string) config.Value) server.TLSOptions {
	return server.TLSOptions{
		CertFile: value("tls_cert_file").String(), KeyFile: value("tls_key_file").String(),
		CAFile: value("tls_ca_cert_file").String(), CADir: value("tls_ca_cert_dir").String(),
		AuthClients: value("tls_auth_clients").String(), Protocols: value("tls_protocols").String(), Ciphers: value("tls_ciphers").String(),
		SessionCaching: value("tls_session_caching").Bool(), SessionTimeoutSec: value("tls_session_cache_timeout").Int(),
	}
}

// openData opens the data directory, the log and Badger. Whatever is wrong with them is found here, before anything is changed.
func (n *node) openData(fatal func(error)) (err error) {
	cfg := n.cfg
	if n.disk, err = openDisk(cfg.String("dir")); err != nil {
		return err
	}
	if n.dir, err = storage.OpenDir(n.disk, cfg.String("dir")); err != nil {
		return err
	}
	if err := n.startOver(); err != nil {
		return err
	}
	if n.fsync, err = replication.ParseFsync(cfg.String("appendfsync")); err != nil {
		return err
	}
	if !n.cluster.inBolt() {
		if err := n.openLog(); err != nil {
			return err
		}
	}
	if err := n.openStore(fatal); err != nil {
		return err
	}
	if err := n.dir.BeginUse(); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

func (n *node) openLog() error {
	durable, err := n.dir.Durable()
	if err != nil {
		return err
	}
	copied, err := n.dir.Copied()
	if err != nil {
		return err
	}
	n.wal, err = wal.Open(n.logOptions(), wal.Known{Durable: durable, CleanEnd: n.dir.CleanEnd(), Installed: copied})
	return err
}

func (n *node) openStore(fatal func(error)) (err error) {
	cfg := n.cfg
	options := storage.Options{
		Logger:            n.logger,
		Fatal:             fatal,
		MemoryBudget:      cfg.Bytes("memory_budget"),
		GenerationRecords: cfg.Int("storage.generation_records"),
		GenerationBytes:   cfg.Bytes("storage.generation_bytes"),
		FlushInterval:     cfg.Duration("storage.flush_interval"),
		BatchMaxBytes:     cfg.Bytes("storage.batch_max_bytes"),
		BarrierInterval:   cfg.Duration("storage.barrier_interval"),
		BarrierLogBytes:   barrierLogBytes,
		StallTimeout:      cfg.Duration("storage.stall_timeout"),
		ViewMaxAge:        cfg.Duration("storage.view_max_age"),
		LogSegmentBytes:   cfg.Bytes("log.segment_bytes"),
		CopyRate:          cfg.Bytes("cluster.copy_rate"),
		DiskReserve:       cfg.Bytes("disk_reserve"),
		Took:              n.latency.Took,
	}
	n.disk.watch(&options)
	n.store, err = storage.Open(n.dir, options)
	return err
}

func (n *node) logOptions() wal.Options {
	return wal.Options{
		FS: n.disk, Dir: n.dir.LogDir(), SegmentBytes: n.cfg.Bytes("log.segment_bytes"), Seed: n.dir.Seed(), Logger: n.logger, Took: n.latency.Took,
	}
}

func (n *node) newDataSet() *commands.Table {
	cfg, table := n.cfg, commands.NewTable()
	n.clock = ttl.NewClock(0, ttl.ClockOptions{Step: cfg.Duration("ttl.clock_step"), Settle: cfg.Duration("ttl.clock_settle")})
	n.data = commands.NewDataSet(n.store, types.New(n.dir.HashSeed()), commands.Options{
		Table:     table,
		Clock:     n.clock,
		Databases: cfg.Int("databases"),
		MaxBulk:   int(cfg.Bytes("proto_max_bulk_len")),
		MaxName:   int(cfg.Bytes("storage.max_name_bytes")),
		StagedMax: cfg.Bytes("storage.staged_max_bytes"),
		Values: types.Options{
			ThresholdBytes: int(cfg.Bytes("storage.value_threshold")),
			ChunkBytes:     int(cfg.Bytes("storage.blob_chunk")),
			PackedMaxBytes: int(cfg.Bytes("storage.packed_max_bytes")),

			PackedMaxEntries: cfg.Int("storage.packed_max_entries"),
		},
		Hold:     func() bool { return n.server.Pausing() },
		PullBack: func(expireAtMs int64) { n.sweeper.PullBack(expireAtMs) },
	})
	n.store.OnYield = n.data.TouchAllWatched
	n.store.OnLead = func(lastMs int64) {
		n.clock.Observe(lastMs)
		n.tidying.Go(n.dropLeftStaged)
	}
	n.keeper = compaction.New(compaction.Options{Store: n.store, Layout: layout(n.clock), Log: n.logger, Tuning: tuning(cfg.Value)})
	n.keeper.SetScrubInterval(cfg.Duration("scrub_interval"))
	n.sweeper = ttl.NewSweeper(ttl.SweeperOptions{
		View: n.store.View, Clock: n.clock, Keyspaces: n.data.ExpiringKeyspaces, Remove: n.data.Sweep, BatchKeys: cfg.Int("ttl.sweep_batch"), Log: n.logger,
		Hold: func() bool { return n.halted.Load() || n.server.Pausing() },
		Took: n.latency.Took,
	})
	n.evictor = commands.NewEvictor(n.data, commands.EvictorOptions{
		Log: n.logger, Hold: func() bool { return n.server.Pausing() }, Took: n.latency.Took,
	})
	return table
}

// dropLeftStaged runs each time when this node has begun to evaluate.
func (n *node) dropLeftStaged() {
	if err := n.data.DropLeftStaged(); err != nil {
		n.logger.Warn("values that were cut off while they arrived stay on disk until the next start", "err", err)
	}
}

func (n *node) newServer(table *commands.Table, maxClients int, fatal func(error)) {
	cfg := n.cfg
	limits := server.Limits{
		MaxClients:    maxClients,
		TimeoutSec:    cfg.Int("timeout"),
		KeepAliveSec:  cfg.Int("tcp_keepalive"),
		MaxQueryBytes: int(cfg.Bytes("client_query_buffer_limit")),
		MaxBulkBytes:  int(cfg.Bytes("proto_max_bulk_len")),
		MaxArgBytes:   int(n.store.Budget().Clients),

		MinReplicas:       cfg.Int("min_replicas_to_write"),
		MinReplicasLagSec: cfg.Int("min_replicas_max_lag"),

		ForwardTimeout: n.cluster.forwardTimeout,
		Moved:          n.cluster.clientMode == "moved",
		Linearizable:   n.cluster.read == "linearizable",
	}
	limitOutput(&limits, cfg.Value("client_output_buffer_limit"))
	n.server = server.New(server.Options{
		Table: table, Limits: limits, TLS: n.tls,
		Clustered: !n.cluster.alone(), MasterName: cfg.String("cluster.name"), DownAfter: cfg.Duration("raft.heartbeat"),
		Password: cfg.String("requirepass"), Protected: cfg.Bool("protected_mode"),
		KeepBytes: int(storage.BudgetFor(cfg.Bytes("memory_budget")).Buffer),
		Debug:     server.DebugAccess(cfg.String("enable_debug_command")),
		Config:    settings{cfg},
		About: server.About{
			Version: version, RedisVersion: redisVersion, Dir: cfg.String("dir"), ConfigFile: cfg.SourceFile(), MemoryBudget: cfg.Bytes("memory_budget"),
		},
		Logger: n.logger,
		Observation: server.Observation{
			SlowerThanUs: int64(cfg.Int("slowlog_log_slower_than")), SlowlogMaxLen: int64(cfg.Int("slowlog_max_len")),
			LatencyEventMs: int64(cfg.Int("latency_monitor_threshold")), LatencyTracking: cfg.Bool("latency_tracking"),
			Percentiles: percentiles(cfg.Strings("latency_tracking_info_percentiles")),
		},
		Latency: n.latency,
		Stop:    func(flush bool) { n.stops <- flush },
		Fatal:   fatal,
	})
}

// limitOutput reads what client-output-buffer-limit says about normal clients.
func limitOutput(l *server.Limits, v config.Value) {
	words := v.Strings() // checked: class, hard, soft, seconds, and normal comes first
	numbers := make([]int, 3)
	for i := range numbers {
		numbers[i], _ = strconv.Atoi(words[i+1])
	}
	l.OutHardBytes, l.OutSoftBytes, l.OutSoftSec = numbers[0], numbers[1], numbers[2]
}

// percentiles are numbers: the setting has been checked.
func percentiles(words []string) []float64 {
	found := make([]float64, len(words))
	for i, w := range words {
		found[i], _ = strconv.ParseFloat(w, 64)
	}
	return found
}

// listenForMetrics takes metrics_listen, unless it is empty. Several servers may run on one machine with nothing but a port and a directory to
// set them apart: that the default address is taken is not worth refusing to start.
func (n *node) listenForMetrics() (taken, err error) {
	const name = "metrics_listen"
	addr := n.cfg.String(name)
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		n.metricsListener = l
		return nil, nil
	case n.cfg.IsDefault(name):
		return err, nil
	}
	return nil, fmt.Errorf("metrics_listen: %w", err)
}

// layout is what the keeper knows of keys.
func layout(clock *ttl.Clock) compaction.Layout {
	headers, chunks := types.BlobRanges()
	return compaction.Layout{
		Fate: func(key, value []byte, get func([]byte) ([]byte, error)) storage.Cause {
			return types.Fate(key, value, clock.Now(), get)
		},
		Dead: types.DeadRange(), Doomed: types.Doomed, Estate: types.Estate, Bequest: types.Bequest, Noted: types.NotedRange(), NoteValue: types.NoteValue,
		Headers: headers, Chunks: chunks, AppendHeaderOf: types.AppendHeaderOf,
	}
}

// space is what INFO says about space.
func (n *node) space() server.Space {
	k := n.keeper.Stats()
	files, expired, usage := n.store.Files(), n.sweeper.Backlog(), n.keeper.Usage()
	return server.Space{
		ExpiryLag: expired.Lag, ExpiredWaiting: expired.Rows,
		DeadWaiting: k.DeadWaiting.Load(), Reclaimed: k.ReclaimedIDs.Load(), ReclaimedKeys: k.ReclaimedKeys.Load(), Orphans: k.Orphans.Load(),
		TableBytes: files.Tables, MemtableBytes: files.Memtables, Tables: usage.Bytes, SampledMs: usage.AtMs, Jobs: spaceJobs(n.keeper.Jobs()),
		ValueLogFiles: files.ValueLogFiles, ValueLogBytes: files.ValueLog, BlobBytes: k.BlobBytes.Load(), ForgottenBytes: k.ForgottenBytes.Load(),
		CollectedFiles: k.CollectedFiles.Load(), LastCollectMs: k.LastCollectMs.Load(),
		ScrubbedBytes: k.ScrubbedBytes.Load(), LastScrubMs: k.LastScrubMs.Load(),
		Deletions: n.store.DeletionsWaiting(), Compactions: k.Compactions.Load(), CompactedBytes: k.CompactedBytes.Load(), CompactedAway: k.CompactedAway.Load(),
		CompactionsBusy: k.CompactionsBusy.Load(),
	}
}

func spaceJobs(reports []compaction.JobReport) (jobs []server.SpaceJob) {
	for _, r := range reports {
		j := server.SpaceJob{
			Name: r.Name, Did: r.Did, Before: r.Before, After: r.After, Runs: r.Runs, Moved: r.Moved, Backlog: r.Backlog, Drain: r.Drain,
		}
		if !r.LastRun.IsZero() {
			j.LastRunMs = r.LastRun.UnixMilli()
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// settings is the configuration as CONFIG uses it.
type settings struct{ *config.Config }

// flushOn tells whether all is written to Badger when a signal ends the process.
func (n *node) flushOn(s os.Signal) bool {
	if s == os.Interrupt {
		return !n.intNoSave.Load()
	}
	return !n.termNoSave.Load()
}

// persistence is what SAVE and WAITAOF ask for.
type persistence struct {
	store *storage.Store
	log   log
}

// Save of a node that follows leaves the last of it to its log: what goes to Badger together is the leader's to say.
func (p persistence) Save() error {
	err := flushDurably(p.store)
	if errors.Is(err, storage.ErrNotEvaluating) {
		return p.Sync()
	}
	return err
}

func (p persistence) Sync() error { return p.log.SyncTo(p.store.Status().Applied) }

// flushDurably leaves nothing that a restart would have to replay.
func flushDurably(store *storage.Store) error {
	if err := store.Flush(); err != nil {
		return err
	}
	return store.Barrier()
}

// hooks are what DEBUG does to the storage.
type hooks struct {
	*storage.Store
	sweeper *ttl.Sweeper
	keeper  *compaction.Keeper
	halted  *atomic.Bool
}

func (h hooks) Flush() error { return flushDurably(h.Store) }

func (h hooks) Reclaim() error { return h.keeper.Reclaim() }
func (h hooks) Collect() error { return h.keeper.Collect() }
func (h hooks) Scrub() error   { return h.keeper.Scrub() }

// Compact and Reload wait for the keeper: one job at a time works on Badger.
func (h hooks) Compact() error { return h.keeper.Compact() }
func (h hooks) Reload() error  { return h.keeper.Reload() }

func (h hooks) SetActiveExpire(active bool) { h.sweeper.SetActive(active) }

func (h hooks) PauseCron(pause bool) {
	h.halted.Store(pause)
	h.keeper.Halt(pause)
}

// stop ends everything in an orderly way, from the top down. flush: Badger gets it all, so that the next start has nothing to replay;
// otherwise the log has it.
func (n *node) stop(flush bool) error {
	n.handOver()
	n.server.Shutdown(stopGrace)
	n.sweeper.Stop()
	n.evictor.Stop()
	n.keeper.Stop()
	n.tidying.Wait()
	n.leaveOthers()
	err := n.store.Close(flush)
	end, logErr := n.log.Close()
	if err = errors.Join(err, logErr); err == nil {
		err = n.dir.MarkClean(end)
	}
	err = errors.Join(err, n.others.close())
	err = errors.Join(err, n.dir.Close())
	n.metrics.Close()
	n.server.Close()
	return err
}

// abandon ends what a failed start has begun.
func (n *node) abandon() {
	n.plain.Close()
	n.secure.Close()
	if n.unix != nil {
		n.unix.Close()
	}
	if n.metricsListener != nil {
		n.metricsListener.Close()
	}
	n.metrics.Close()
	if n.server != nil {
		n.server.Shutdown(0)
	}
	n.leaveOthers()
	if n.store != nil {
		n.store.Close(false)
	}
	switch {
	case n.log != nil:
		n.log.Close()
	case n.wal != nil:
		n.wal.Close()
	}
	n.others.close()
	if n.dir != nil {
		n.dir.Close()
	}
}
