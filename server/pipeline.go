package server

import (
	"bytes"
	"time"

	"sett/commands"
	"sett/resp"
)

// pipelined are commands that the loop runs as one batch.
type pipelined struct {
	all   []commands.Pipelined
	ends  []int    // of each, in what has arrived behind the first
	words [][]byte // the arguments of those behind the first
	start int      // of the replies, in buffers.out
}

// gather lists the command at hand and those that follow it, are of the same row, spelt alike, and have arrived whole.
func (p *pipelined) gather(row *commands.Row, first [][]byte, rest []byte) {
	p.all, p.ends, p.words = append(p.all[:0], commands.Pipelined{Args: first}), append(p.ends[:0], 0), p.words[:0]
	for used := 0; len(p.all) < commands.MostPipelined; {
		args, n := resp.Glance(rest[used:], p.words[len(p.words):])
		if n == 0 || !bytes.Equal(args[0], first[0]) || !row.Fits(args) {
			return
		}
		start := len(p.words)
		p.words = append(p.words, args...) // where they are already, if there was room
		used += n
		p.all, p.ends = append(p.all, commands.Pipelined{Args: p.words[start:len(p.words):len(p.words)]}), append(p.ends, used)
	}
}

// doAll runs the command at hand, and those like it behind it in the pipeline, as one batch. false: nothing has happened, and it is run by itself.
func (s *session) doAll(b *buffers, row *commands.Row) bool {
	p := s.pipelined
	if p == nil || len(s.rest) == 0 || s.start == 0 || s.link != nil || len(s.reruns) > 0 || s.arrival.bytes > 0 || !row.Pipelines() || s.engine.Data.SomebodyWaits() {
		return false
	}
	if p.gather(row, b.args, s.rest); len(p.all) < 2 {
		return false
	}
	call := &b.call
	call.Row, call.Args, call.DB, call.W = row, b.args, s.db, &b.out
	call.NoTouch, call.Hurried = s.flags&peerNoTouch != 0, true
	p.start = b.out.Len()
	if s.together = s.engine.Data.DoAll(call, p.all); s.together == 0 {
		return false
	}
	begin, behind, leads := s.start, 1+len(b.in)-len(s.rest), s.mustLead(call)
	for i := range p.all[:s.together] {
		b.holdUpTo(p.all[i].End, call.Seen, p.all[i].Wrote, leads)
		if last := &b.marks[len(b.marks)-1]; last.leads {
			last.at = begin
		}
		begin = behind + p.ends[i]
	}
	s.rest = s.rest[p.ends[s.together-1]:]
	return true
}

// ranAll is ran for commands that were one batch. What they took they took in equal parts.
func (s *session) ranAll(b *buffers, row *commands.Row, took time.Duration) {
	p := s.pipelined
	each, replies := took/time.Duration(s.together), b.out.Bytes()
	for i, start := 0, p.start; i < s.together; i++ {
		s.count.ran(&s.server.stats, s.id, row, int64(each), replies[start:p.all[i].End])
		start = p.all[i].End
	}
	if s.took(row, each, uint64(s.together)) {
		for _, c := range p.all[:s.together] {
			s.remember(row, c.Args, nil, each)
		}
	}
}
