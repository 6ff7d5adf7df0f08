package server

import (
	"errors"

	"sett/commands"
	"sett/resp"
	"sett/storage"
)

// arrival is what a session knows of the large arguments of the command that is arriving. Their bytes never gather in the read buffer: they
// go into the store as they come, if the command takes them from there, or nowhere.
type arrival struct {
	at    int // where the bytes of the present argument belong, counted from the start of the command
	skip  int // bytes of its header that still lie there
	left  int // of its bytes
	bytes int // its size

	arg     int // its index
	wanted  bool
	staging *commands.Staging // once it has begun

	travels  bool     // the leader gets the bytes as they come
	begun    bool     // … and has got what comes before those at hand
	args     int      // of the command
	head     [][]byte // those before this one
	sentArgs int      // that the leader has

	staged []commands.StagedArg // the arguments that are complete
	err    error                // why the command will be refused
}

// keepLarge decides about a large argument at which the parser has stopped: true if it is read like any other, else it is to be absorbed.
func (s *session) keepLarge(b *buffers, command []byte) bool {
	large := s.check.Large()
	limit := s.server.limits.Load().MaxArgBytes
	var row *commands.Row
	if large.Arg > 0 {
		row = s.server.opts.Table.Lookup(resp.ParseHead(command[:large.Head], b.args)[0])
	}
	if s.keepForLeader(row, command) {
		s.beginArrival(&large, command)
		return false
	}
	stages := row != nil && row.Stages != nil && row.Stages(large.Args, large.Arg)
	if !stages && large.Bytes <= limit {
		s.check.Keep()
		return true
	}
	a := &s.arrival
	if !stages && a.err == nil {
		a.err = errArgTooLong(large.Arg, large.Bytes, limit)
	}
	a.wanted = stages && s.engine != nil && !s.away && !s.queueFailed
	s.beginArrival(&large, command)
	return false
}

func (s *session) beginArrival(large *resp.Large, command []byte) {
	a := &s.arrival
	a.arg, a.bytes, a.left = large.Arg, large.Bytes, large.Bytes
	a.skip = s.check.Cut(command)
	a.at = large.Body - a.skip
}

// absorb takes the next bytes of the large argument. It may wait until the store has room for them. false: the connection is over.
func (s *session) absorb(p []byte) bool {
	a := &s.arrival
	a.left -= len(p)
	if !a.wanted || a.err != nil {
		return true
	}
	if a.err = a.stage(s.engine.Data, p); a.err != nil {
		if a.staging != nil {
			a.staging.Drop()
			a.staging = nil
		}
		return !errors.Is(a.err, storage.ErrClosed)
	}
	return true
}

func (a *arrival) stage(data *commands.DataSet, p []byte) (err error) {
	if a.staging == nil {
		if a.staging, err = data.Stage(a.bytes); err != nil {
			return err
		}
	}
	if err = a.staging.Write(p); err != nil || a.left > 0 {
		return err
	}
	blob, err := a.staging.Finish()
	if err == nil {
		a.staged, a.staging = append(a.staged, commands.StagedArg{Arg: a.arg, Blob: blob}), nil
	}
	return err
}

// take hands the staged arguments over to whoever runs or queues the command.
func (a *arrival) take() []commands.StagedArg {
	staged := a.staged
	a.staged = nil
	return staged
}

// drop is the end of the command that the arguments belong to: what nobody has taken is forgotten.
func (a *arrival) drop(s *session) {
	if a.bytes == 0 {
		return
	}
	if a.staging != nil {
		a.staging.Drop()
	}
	s.dropStaged(a.staged)
	*a = arrival{}
}

func (s *session) dropStaged(staged []commands.StagedArg) {
	if len(staged) > 0 { // so there is an engine
		s.engine.Data.DropArgs(staged)
	}
}
