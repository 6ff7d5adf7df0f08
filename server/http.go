package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"sett/replication"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// HTTP answers those who watch over the server: /metrics, /healthz and /readyz, and those who may use DEBUG: /debug/pprof/.
type HTTP struct {
	server http.Server
	done   chan struct{} // closed when nothing is accepted any more
}

// Limits of what a stranger can take.
const (
	httpHeaderTimeout = 5 * time.Second
	httpTimeout       = 30 * time.Second
	httpIdle          = 2 * time.Minute
	httpHeaderBytes   = 16 << 10
	scrapesAtOnce     = 4
)

// ServeMetrics answers on a listener, which is its own from here on, until Close. The server need not be ready: it tells that.
func (s *Server) ServeMetrics(l net.Listener) *HTTP {
	paths := http.NewServeMux()
	paths.Handle("GET /metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelWarn), MaxRequestsInFlight: scrapesAtOnce,
	}))
	paths.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	paths.HandleFunc("GET /readyz", s.readyz)
	paths.HandleFunc("GET /debug/pprof/", s.toDebuggers(pprof.Index))
	paths.HandleFunc("GET /debug/pprof/profile", s.toDebuggers(pprof.Profile))
	paths.HandleFunc("GET /debug/pprof/trace", s.toDebuggers(pprof.Trace))
	h := &HTTP{done: make(chan struct{})}
	h.server = http.Server{
		Handler: paths, ReadHeaderTimeout: httpHeaderTimeout, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout, IdleTimeout: httpIdle,
		MaxHeaderBytes: httpHeaderBytes, ErrorLog: slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(h.done)
		if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.opts.Logger.Error("metrics are not served any more", "err", err)
		}
	}()
	return h
}

// Close ends it, whatever it is answering. A nil HTTP has nothing to end.
func (h *HTTP) Close() {
	if h == nil {
		return
	}
	h.server.Close()
	<-h.done
}

// toDebuggers answers those who may use DEBUG, as enable_debug_command says; for all others there is nothing.
func (s *Server) toDebuggers(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if s.opts.Debug == DebugAll || s.opts.Debug == DebugLocal && isLocal(host) {
			answer(w, r)
			return
		}
		http.NotFound(w, r)
	}
}

// readyz answers 200 if commands of all kinds are served, else 503 and why not.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	reasons := s.notReady()
	if len(reasons) == 0 {
		io.WriteString(w, "ready\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, "not ready: %s\n", strings.Join(reasons, "; "))
}

// notReady is why clients should rather go elsewhere.
func (s *Server) notReady() (reasons []string) {
	if s.leaving.Load() {
		reasons = append(reasons, "stopping")
	}
	e := s.engine.Load()
	if e == nil {
		return append(reasons, "loading: the log is being replayed")
	}
	now := e.Store.Status()
	if now.Damage != "" {
		reasons = append(reasons, "damage: "+now.Damage)
	}
	if now.Refusal != "" {
		reasons = append(reasons, "writes are refused: "+now.Refusal)
	}
	if e.Cluster != nil {
		return append(reasons, s.unfitMember(e.Cluster, now.Evaluating)...)
	}
	if !now.Evaluating {
		reasons = append(reasons, "not evaluating: the log does not take entries")
	}
	return reasons
}

// What a node says that cannot serve because of its cluster.
const (
	noLeaderReason  = "no leader is known: writes, and reads that are not stale, have to wait"
	divergedReason  = "diverged: it has what the cluster does not, and waits for a copy of the cluster's data"
	noMandateReason = "it leads and does not evaluate yet"
)

// unfitMember is why a node of a cluster does not serve: one that follows need not evaluate, but it needs somebody who does.
func (s *Server) unfitMember(c Cluster, evaluating bool) []string {
	switch state := c.State(); {
	case state.Role == replication.Diverged:
		return []string{divergedReason}
	case state.Leader == "":
		return []string{noLeaderReason}
	case state.Role == replication.Leader && !evaluating:
		return []string{noMandateReason}
	}
	return nil
}
