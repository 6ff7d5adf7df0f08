package server

import (
	"math"
	"time"

	"sett/commands"
	"sett/resp"
)

// What is asked about replication. A server of this version stands alone: nobody follows it, and it follows nobody.

func replicationHandlers() map[string]*handler {
	return map[string]*handler{
		"role":      {run: role, early: true},
		"replicaof": {run: replicaof},
		"slaveof":   {run: replicaof},
		"failover":  {run: failover},
		"sync":      {run: refuseReplica},
		"psync":     {run: refuseReplica},
		"replconf":  {run: refuseReplica},
		"wait":      {run: wait, blocks: true},
		"waitaof":   {run: waitAOF, blocks: true},
	}
}

// role is that of a master without replicas. Its offset is the index of the last log entry that is committed.
func role(s *session, b *buffers, _ [][]byte) {
	var offset uint64
	if s.engine != nil {
		offset = s.engine.Store.Status().Applied
	}
	b.out.Array(3)
	b.out.BulkString("master")
	b.out.Uint(offset)
	b.out.Array(0)
}

func replicaof(_ *session, b *buffers, args [][]byte) {
	if is(args[1], "no") && is(args[2], "one") {
		b.out.Status("OK")
		return
	}
	if port, ok := resp.ParseInt(args[2]); !ok || port < 0 || port > math.MaxUint16 {
		fail(b, errMasterPort)
		return
	}
	fail(b, errReplicaOf)
}

func refuseReplica(_ *session, b *buffers, _ [][]byte) { fail(b, errNoReplicas) }

func failover(_ *session, b *buffers, args [][]byte) {
	if len(args) == 2 && is(args[1], "abort") {
		fail(b, errNoFailover)
		return
	}
	if err := checkFailover(args[1:]); err != nil {
		fail(b, err)
		return
	}
	fail(b, errFailoverAlone)
}

// checkFailover looks for TO host port, FORCE and TIMEOUT, each at most once.
func checkFailover(args [][]byte) error {
	var to, force bool
	var timeoutMs int64
	for len(args) > 0 {
		used, ok := 0, true
		switch {
		case is(args[0], "timeout") && len(args) > 1 && timeoutMs == 0:
			if timeoutMs, ok = resp.ParseInt(args[1]); ok && timeoutMs <= 0 {
				return errFailoverTimeout
			}
			used = 2
		case is(args[0], "to") && len(args) > 2 && !to:
			_, ok = resp.ParseInt(args[2])
			to, used = true, 3
		case is(args[0], "force") && !force:
			force, used = true, 1
		default:
			return commands.ErrSyntax
		}
		if !ok {
			return commands.ErrNotInteger
		}
		args = args[used:]
	}
	return nil
}

// lacksReplicas tells whether min-replicas-to-write refuses a write, or an EXEC of one.
func (s *session) lacksReplicas(row *commands.Row) bool {
	limits := s.server.limits.Load()
	if limits.MinReplicas == 0 || limits.MinReplicasLagSec == 0 {
		return false
	}
	return s.runs(row, (*commands.Row).IsWrite)
}

// wait is WAIT numreplicas timeout: no replica will ever acknowledge, so it takes as long as it may.
func wait(s *session, b *buffers, args [][]byte) {
	replicas, ok := resp.ParseInt(args[1])
	if !ok {
		fail(b, commands.ErrNotInteger)
		return
	}
	timeoutMs, err := parseTimeout(args[2])
	if err != nil {
		fail(b, err)
		return
	}
	if replicas > 0 && !s.waitForNobody(b, timeoutMs) {
		return
	}
	b.out.Int(0)
}

// waitAOF is WAITAOF numlocal numreplicas timeout. The log is fsynced at once, whatever appendfsync says.
func waitAOF(s *session, b *buffers, args [][]byte) {
	local, ok := resp.ParseInt(args[1])
	if !ok {
		fail(b, commands.ErrNotInteger)
		return
	}
	if local < 0 || local > 1 {
		fail(b, errNumLocal)
		return
	}
	replicas, ok := resp.ParseInt(args[2])
	if !ok || replicas < 0 {
		fail(b, errNotPositive)
		return
	}
	timeoutMs, err := parseTimeout(args[3])
	if err != nil {
		fail(b, err)
		return
	}
	if s.waitEndMs == 0 {
		// The replies before this one have left, so what this client wrote is in the log.
		if err := s.engine.Persist.Sync(); err != nil {
			s.broken(b, err)
			return
		}
	}
	if replicas > 0 && !s.waitForNobody(b, timeoutMs) {
		return
	}
	b.out.Array(2)
	b.out.Int(1)
	b.out.Int(0)
}

// parseTimeout reads milliseconds; 0 is for ever.
func parseTimeout(arg []byte) (int64, error) {
	ms, ok := resp.ParseInt(arg)
	switch {
	case !ok:
		return 0, errTimeoutNumber
	case ms < 0:
		return 0, errTimeoutNegative
	}
	return ms, nil
}

// unblock is how CLIENT UNBLOCK ends a wait.
type unblock int32

const (
	stillBlocked unblock = iota
	unblockTimeout
	unblockError
)

// waitForNobody is the time in which replicas could acknowledge. false: it has replied itself, or the connection waits, and the command runs
// again afterwards. Within EXEC nothing waits.
func (s *session) waitForNobody(b *buffers, timeoutMs int64) (over bool) {
	if s.multi {
		return true
	}
	if s.waitEndMs == 0 {
		s.waitFor(timeoutMs)
	}
	reason := unblock(s.unblocked.Load())
	if reason == stillBlocked && time.Now().UnixMilli() < s.waitEndMs {
		s.postpone(await)
		return false
	}
	s.waitEndMs = 0
	if reason == unblockError {
		fail(b, errUnblocked)
		return false
	}
	return true
}
