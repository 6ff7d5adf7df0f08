package server

import (
	"time"

	"sett/commands"
	"sett/replication"
	"sett/resp"
)

// WAIT and WAITAOF. When they begin, the replies before them have left: what this client wrote is committed, and lies at or below the last index that is
// applied. That index is what they wait for.

// wait is WAIT numreplicas timeout.
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
	if s.follows() {
		fail(b, errWaitReplica)
		return
	}
	s.beginAcknowledge()
	if s.waitForReplicas(b, replicas, timeoutMs, s.acknowledged) {
		b.out.Int(int64(s.acknowledged()))
	}
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
	if s.follows() {
		fail(b, errWaitAOFReplica)
		return
	}
	if s.waitEndMs == 0 {
		s.beginAcknowledge()
		if err := s.engine.Persist.Sync(); err != nil {
			s.broken(b, err)
			return
		}
	}
	if s.waitForReplicas(b, replicas, timeoutMs, s.fsyncedElsewhere) {
		b.out.Array(2)
		b.out.Int(1)
		b.out.Int(int64(s.fsyncedElsewhere()))
	}
}

// follows tells whether this node is in a cluster and does not lead it.
func (s *session) follows() bool {
	c := s.cluster()
	return c != nil && c.State().Role != replication.Leader
}

// beginAcknowledge notes the index at which all that this client wrote is, unless it waits for that already.
func (s *session) beginAcknowledge() {
	if s.waitEndMs == 0 && s.cluster() != nil {
		s.ackIndex = s.engine.Store.Status().Applied
	}
}

// acknowledged counts the other nodes that have what this client wrote.
func (s *session) acknowledged() int {
	if c := s.cluster(); c != nil {
		return c.Acknowledged(s.ackIndex)
	}
	return 0
}

// fsyncedElsewhere counts those that have it on disk. With fsync always they have it there before they acknowledge it; otherwise nobody knows.
func (s *session) fsyncedElsewhere() int {
	if pairs := s.server.opts.Config.Get("appendfsync"); len(pairs) == 2 && pairs[1] == "always" {
		return s.acknowledged()
	}
	return 0
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

// How often a client that waits for replicas looks whether they have followed: soon at first, since they usually have within a round trip.
const (
	firstLook = time.Millisecond
	lastLook  = 64 * time.Millisecond
)

// waitForReplicas is true once as many others have followed as are asked for, or the time is over. false: it has replied itself, or the connection
// waits, and the command runs again afterwards. Within EXEC nothing waits.
func (s *session) waitForReplicas(b *buffers, replicas, timeoutMs int64, followed func() int) (over bool) {
	if s.multi {
		return true
	}
	if int64(followed()) >= replicas {
		s.endWait()
		return true
	}
	if s.waitEndMs == 0 {
		s.waitFor(timeoutMs)
	}
	reason := unblock(s.unblocked.Load())
	if reason == stillBlocked && time.Now().UnixMilli() < s.waitEndMs {
		if s.cluster() != nil {
			s.look = min(max(2*s.look, firstLook), lastLook)
		}
		s.postpone(await)
		return false
	}
	s.endWait()
	if reason == unblockError {
		fail(b, errUnblocked)
		return false
	}
	return true
}

func (s *session) endWait() { s.waitEndMs, s.look = 0, 0 }
